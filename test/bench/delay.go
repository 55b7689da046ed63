package bench

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/schema/registry"
)

// delayRates are the changes a second at which delays are measured.
var delayRates = []int{100, 1000, 5000}

// delayWarm is for how long changes are written before they count: connections are made then, and pages become warm.
const delayWarm = 2 * time.Second

// delayConnections write side by side: enough that a commit that takes 3 ms does not slow down the highest rate.
const delayConnections = 16

// lookEvery is the pause between two looks at the target. A delay is too long by half of it on average.
const lookEvery = time.Millisecond

// delayPatience is how long the last change may take after its commit.
const delayPatience = time.Minute

// runDelays is work (f): single rows are inserted, each a transaction of its own, at a steady pace. A row's time begins when its client has
// the answer to the commit, and ends when a read_committed reader has its event and when a SELECT at the target shows it.
func (r *run) runDelays(ctx context.Context) error {
	if err := r.bed.needShards(ctx); err != nil {
		return err
	}
	t := table{title: "Delay, ms", columns: []string{"changes/s", "wanted/s", "topic p50", "p99", "p99.9", "visible p50", "p99", "p99.9"}}
	for _, rate := range delayRates {
		row, err := r.delay(ctx, rate)
		if err != nil {
			return fmt.Errorf("delay at %d changes/s: %w", rate, err)
		}
		t.rows = append(t.rows, row)
		r.note("delay: %v", row)
	}
	r.report.tables = append(r.report.tables, t)
	return nil
}

func (r *run) delay(ctx context.Context, perSecond int) (row []string, err error) {
	w := &work{name: workDelay, table: fmt.Sprintf("ticks%d", perSecond), shape: rows200}
	p, err := r.piped(ctx, w)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	count := int((delayWarm + r.settings.delayFor()).Seconds() * float64(perSecond))
	d := &delays{pipe: p, db: r.bed.db, target: r.bed.targets[0], perSecond: perSecond,
		committed: make([]atomic.Int64, count+1), arrived: make([]atomic.Int64, count+1), shown: make([]atomic.Int64, count+1)}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	if err := r.bed.checkTargets(ctx, w.table, r.bed.targets[0]); err != nil {
		return nil, err
	}
	warm := int(delayWarm.Seconds()) * perSecond
	topic, visible := d.since(d.arrived, warm), d.since(d.shown, warm)
	if perSecond == 1000 {
		r.report.figure(workDelay, visibleP50, millis(percentile(visible, 0.5)))
		r.report.figure(workDelay, visibleP99, millis(percentile(visible, 0.99)))
	}
	r.report.peak(r.usage(p).peak)
	row = []string{fmt.Sprintf("%.0f", d.reached(warm)), fmt.Sprint(perSecond)}
	for _, of := range [][]time.Duration{topic, visible} {
		for _, share := range []float64{0.5, 0.99, 0.999} {
			row = append(row, fmt.Sprintf("%.1f", millis(percentile(of, share))))
		}
	}
	if err := p.stop(); err != nil {
		return nil, err
	}
	return row, r.bed.forgetPipe(ctx, p)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// delays are the moments of each row, in nanoseconds since the run's begin, by its id from 1 on; 0 is not yet.
type delays struct {
	pipe       *pipe
	db, target *sql.DB
	perSecond  int
	began      time.Time

	committed, arrived, shown []atomic.Int64
	twice                     atomic.Int64 // events that came again
}

func (d *delays) now() int64 { return int64(time.Since(d.began)) }

// run writes, and watches topic and target meanwhile.
func (d *delays) run(ctx context.Context) error {
	d.began = time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watching sync.WaitGroup
	errs := make(chan error, 2)
	for _, watch := range []func(context.Context) error{d.watchTopic, d.watchTarget} {
		watching.Go(func() {
			if err := watch(ctx); err != nil && ctx.Err() == nil {
				errs <- err
			}
		})
	}
	defer watching.Wait()
	defer cancel()
	err := atPace(ctx, d.perSecond, len(d.committed)-1, delayConnections, func(i int) any { return i }, func(i int, _ any) error {
		_, err := d.db.ExecContext(ctx, rows200.insert(d.pipe.table, fmt.Sprint(i), "1"))
		d.committed[i+1].Store(d.now())
		return err
	})
	if err != nil {
		return err
	}
	err = within(ctx, delayPatience, func() (bool, error) {
		select {
		case err := <-errs:
			return false, err
		default:
			return all(d.arrived) && all(d.shown), nil
		}
	})
	if n := d.twice.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d events came twice", n))
	}
	if err != nil {
		return fmt.Errorf("wait until all rows have arrived: %w", err)
	}
	return nil
}

// all reports whether every row has its moment.
func all(moments []atomic.Int64) bool {
	for i := range moments[1:] {
		if moments[i+1].Load() == 0 {
			return false
		}
	}
	return true
}

// watchTopic reads what is committed. The key of the table is one INT, which is a zigzag number behind the frame.
func (d *delays) watchTopic(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(d.pipe.bed.kafka.Address()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics(d.pipe.topic()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read %s: %w", d.pipe.topic(), err)
		}
		now := d.now()
		fetches.EachRecord(func(rec *kgo.Record) {
			_, body, err := registry.ReadFrame(rec.Key)
			id, size := binary.Varint(body)
			if err != nil || size <= 0 || id < 1 || id >= int64(len(d.arrived)) {
				return // the row that went first
			}
			if !d.arrived[id].CompareAndSwap(0, now) {
				d.twice.Add(1)
			}
		})
	}
}

// watchTarget asks for the ids above the least that is not shown yet. Partitions are applied side by side, so they come in no order.
func (d *delays) watchTarget(ctx context.Context) error {
	conn, err := d.target.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	query := fmt.Sprintf("SELECT id FROM %s.%s WHERE id > ? AND id < %d", database, d.pipe.table, len(d.shown))
	for low := 0; ; {
		rows, err := conn.QueryContext(ctx, query, low)
		if err != nil {
			return err
		}
		for rows.Next() {
			var id int
			if err := rows.Scan(&id); err != nil {
				rows.Close()
				return err
			}
			d.shown[id].CompareAndSwap(0, d.now())
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for low+1 < len(d.shown) && d.shown[low+1].Load() != 0 {
			low++
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lookEvery):
		}
	}
}

// since is how long each row took from its commit, without the first ones. A reader may be faster than the answer to the client.
func (d *delays) since(moments []atomic.Int64, warm int) []time.Duration {
	var took []time.Duration
	for id := warm + 1; id < len(moments); id++ {
		took = append(took, max(0, time.Duration(moments[id].Load()-d.committed[id].Load())))
	}
	return took
}

// reached is how many changes a second there were.
func (d *delays) reached(warm int) float64 {
	first, last := d.committed[warm+1].Load(), int64(0)
	for id := warm + 1; id < len(d.committed); id++ {
		last = max(last, d.committed[id].Load())
	}
	return float64(len(d.committed)-1-warm) / max(time.Duration(last-first).Seconds(), 1e-9)
}
