package bench

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// runCrawl is work (b): a table that is there, and nobody writes to it.
func (r *run) runCrawl(ctx context.Context) error {
	w, err := r.filled(ctx, rows200, "crawled", workCrawl, r.settings.crawlRows())
	if err != nil {
		return err
	}
	want, err := r.bed.tableSum(ctx, w.table)
	if err != nil {
		return err
	}
	w.check = func(ctx context.Context, c Contender) error {
		run := c.(*ownSource).run
		if err := r.bed.checkTopic(ctx, run, w.table, want, map[change.Op]int64{change.Read: w.rows}); err != nil {
			return err
		}
		return r.bed.deleteTopics(ctx, run)
	}
	list, err := r.turns(w, func() (Contender, error) { return r.newCrawl(w) })
	if err != nil {
		return err
	}
	if err := prime(ctx, list); err != nil {
		return err
	}
	if err := r.fight(ctx, w, list); err != nil {
		return err
	}
	return r.bed.forget(ctx, w.table)
}

func (r *run) newCrawl(w *work) (*ownSource, error) {
	s, err := r.bed.newSource(w.table, true)
	if err == nil {
		s.records = w.rows
	}
	return s, err
}

// filled makes a table with so many rows.
func (r *run) filled(ctx context.Context, s *shape, table, name string, rows int) (*work, error) {
	w := &work{name: name, rows: int64(rows), table: table, shape: s}
	if err := r.bed.makeTable(ctx, s, table); err != nil {
		return nil, err
	}
	var err error
	w.bytes, err = r.bed.written(ctx, func() error { return s.fill(ctx, r.bed.db, table, rows) })
	return w, err
}

// writesPerSecond is what goes on beside the crawl of work (c).
const writesPerSecond = 2000

// runBoth is work (c): a crawl of a table that is written to all the time. What the topic leaves is compared when the writing has ended and
// the stream is through; how many events there were is not known beforehand, for a crawl leaves out rows that the stream carries.
func (r *run) runBoth(ctx context.Context) error {
	w, err := r.filled(ctx, rows200, "written", workBoth, r.settings.crawlRows())
	if err != nil {
		return err
	}
	for round := 1; round <= r.settings.Pairs; round++ {
		if err := r.crawlUnderWrites(ctx, w, round); err != nil {
			return err
		}
	}
	return r.bed.forget(ctx, w.table)
}

func (r *run) crawlUnderWrites(ctx context.Context, w *work, round int) error {
	s, err := r.newCrawl(w)
	if err != nil {
		return err
	}
	// A stream that is still going after the crawl: only the crawl's end counts, so its rows need not all be in the topic.
	s.records = 1
	both := &crawlWriter{ownSource: s, writer: writer{db: r.bed.db, table: w.table, rows: int(w.rows), perSecond: writesPerSecond}}
	result, err := r.measure(ctx, w, both, round)
	if err != nil {
		return err
	}
	result.Note = fmt.Sprintf("%.0f writes/s beside it", both.writer.rate())
	r.report.add(result)
	r.note("%s: %.0f rows/s, %s", w.name, result.RowsPerSecond(), result.Note)
	want, err := r.bed.tableSum(ctx, w.table)
	if err != nil {
		return err
	}
	got, err := r.bed.readTopic(ctx, s.run, w.table)
	if err != nil {
		return err
	}
	if has := got.sum(); has != want {
		return fmt.Errorf("%s: the topic leaves %s, the table has %s: rows were lost or bent", w.name, &has, &want)
	}
	return r.bed.deleteTopics(ctx, s.run)
}

// crawlWriter is a source that crawls while somebody writes.
type crawlWriter struct {
	*ownSource
	writer writer
	stop   context.CancelFunc
	ended  chan error
}

// Start starts the writer first, so that the crawl never has the table for itself.
func (c *crawlWriter) Start(ctx context.Context) error {
	writing, stop := context.WithCancel(ctx)
	c.stop, c.ended = stop, make(chan error, 1)
	go func() { c.ended <- c.writer.run(writing) }()
	return c.ownSource.Start(ctx)
}

// Stop ends the writing, lets the source publish the rest and ends it.
func (c *crawlWriter) Stop() error {
	c.stop()
	if err := <-c.ended; err != nil {
		c.ownSource.Stop()
		return err
	}
	if err := c.finish(context.Background(), stallMax); err != nil {
		c.ownSource.Stop()
		return err
	}
	return c.ownSource.Stop()
}

// writer changes random rows of a table at a steady pace.
type writer struct {
	db        *sql.DB
	table     string
	rows      int
	perSecond int
	written   atomic.Int64
	took      time.Duration
}

// writerConnections are enough for the pace, and few enough to leave the processor to others.
const writerConnections = 8

// rate is what it came to.
func (w *writer) rate() float64 { return float64(w.written.Load()) / max(w.took.Seconds(), 1e-9) }

// run writes until ctx ends, which is no error.
func (w *writer) run(ctx context.Context) error {
	began := time.Now()
	defer func() { w.took = time.Since(began) }()
	random := rand.New(rand.NewPCG(20261129, 0)) // the same rows each time
	return atPace(ctx, w.perSecond, 0, writerConnections, func(int) any { return 1 + random.IntN(w.rows) }, func(_ int, id any) error {
		// Not under ctx: a statement that is cut off may have been done or not, which nobody then knows.
		statement := fmt.Sprintf("UPDATE %s.%s SET k = k ^ 1 WHERE id = %d", database, w.table, id)
		if _, err := w.db.ExecContext(context.WithoutCancel(ctx), statement); err != nil {
			return err
		}
		w.written.Add(1)
		return nil
	})
}

// atPace does something perSecond times a second over some goroutines, count times or, where that is 0, until ctx ends. What is late is
// done as soon as it can be: the pace is that of the clock, not of the answers. next is called by one goroutine, in order.
func atPace(ctx context.Context, perSecond, count, side int, next func(i int) any, do func(i int, what any) error) error {
	type job struct {
		i    int
		what any
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan job) // unbuffered: what waits is not taken yet
	var doing sync.WaitGroup
	for range side {
		doing.Go(func() {
			for j := range jobs {
				if err := do(j.i, j.what); err != nil {
					cancel(err)
				}
			}
		})
	}
	began := time.Now()
	for i := 0; (count == 0 || i < count) && ctx.Err() == nil; i++ {
		time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		jobs <- job{i, next(i)}
	}
	close(jobs)
	doing.Wait()
	if err := context.Cause(ctx); err != nil && err != context.Canceled {
		return err
	}
	return nil
}
