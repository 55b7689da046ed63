package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/testbed/rig"
)

// killShares are how far into the backlog a process is killed.
var killShares = []float64{0.2, 0.4, 0.6}

// runKills is work (h): a backlog, a source that is killed and started again three times on its way through it, and then a sink.
func (r *run) runKills(ctx context.Context) error {
	if err := r.bed.needShards(ctx); err != nil {
		return err
	}
	data := backlogOf(r.settings.killRows())
	w := &work{name: workKill, rows: data.changes(), table: "killed", shape: rows200, deletes: data.deletes()}
	if err := r.bed.makeTable(ctx, w.shape, w.table); err != nil {
		return err
	}
	s, err := r.bed.newSource(w.table, false)
	if err != nil {
		return err
	}
	if err := s.Prime(ctx); err != nil {
		return err
	}
	if w.bytes, err = r.bed.written(ctx, func() error { return data.write(ctx, r.bed.db, w.shape, w.table) }); err != nil {
		return err
	}
	if err := r.killSource(ctx, w, s); err != nil {
		return fmt.Errorf("%s of the source: %w", w.name, err)
	}
	want, err := r.bed.tableSum(ctx, w.table)
	if err != nil {
		return err
	}
	if err := r.bed.checkTopic(ctx, s.run, w.table, want, data.events()); err != nil {
		return fmt.Errorf("%s of the source: %w", w.name, err)
	}
	w.topic = s.topic()
	if w.end, err = r.bed.committed(ctx, w.topic); err != nil {
		return err
	}
	if err := r.killSink(ctx, w); err != nil {
		return fmt.Errorf("%s of the sink: %w", w.name, err)
	}
	if err := r.bed.deleteTopics(ctx, s.run); err != nil {
		return err
	}
	return r.bed.forget(ctx, w.table)
}

// killSource kills it some times on its way, and lets it come to the end.
func (r *run) killSource(ctx context.Context, w *work, s *ownSource) (err error) {
	if s.end, err = r.bed.binlogEnd(ctx); err != nil {
		return err
	}
	defer s.Stop()
	if err := s.Start(ctx); err != nil {
		return err
	}
	seen := func() (int64, error) {
		at, err := r.bed.committed(ctx, s.topic())
		return at.sum(), err
	}
	// New is what lies behind all that the dead process has appended, and behind the markers that end its transaction.
	before := func() (int64, error) {
		at, err := r.bed.appended(ctx, s.topic())
		return at.sum() + 2*partitions, err
	}
	for _, share := range killShares {
		if err := r.kill(ctx, s.process, int64(share*float64(w.rows+w.deletes)), seen, before, killSource); err != nil {
			return err
		}
	}
	if err := s.finish(ctx, stallMax); err != nil {
		return err
	}
	r.report.peak(r.usage(s).peak)
	return nil
}

// killSink does so with a sink that reads the topic from its beginning. A dead one's partitions are its own until its session ends, so
// that time is taken off.
func (r *run) killSink(ctx context.Context, w *work) error {
	if err := r.bed.emptyTargets(ctx, nil, ""); err != nil {
		return err
	}
	k, err := r.bed.newMySQLSink(w.topic, w.table, "", sinkShards, w.end)
	if err != nil {
		return err
	}
	defer k.Stop()
	if err := k.Start(ctx); err != nil {
		return err
	}
	seen := func() (int64, error) {
		var sum int64
		for _, db := range k.targets {
			at, err := applied(ctx, db, k.group)
			if err != nil {
				return 0, err
			}
			sum += at.sum()
		}
		return sum, nil
	}
	// A batch that was on its way is still applied by the server: what counts begins when nothing moves any more.
	before := func() (int64, error) {
		for last := int64(-1); ; {
			now, err := seen()
			if err != nil || now == last {
				return now, err
			}
			last = now
			time.Sleep(100 * time.Millisecond)
		}
	}
	for _, share := range killShares {
		if err := r.kill(ctx, k.process, int64(share*float64(sinkShards*w.end.sum())), seen, before, killSink); err != nil {
			return err
		}
	}
	err = within(ctx, stallMax, func() (bool, error) { p, err := k.Progress(ctx); return p.Through, err })
	if err != nil {
		return fmt.Errorf("wait until the topic is applied: %w", err)
	}
	r.report.peak(r.usage(k).peak)
	return r.bed.checkTargets(ctx, w.table, k.targets...)
}

// kill waits until seen has come to at, kills the process, starts it again at once and takes the time until seen exceeds what before says.
func (r *run) kill(ctx context.Context, p *rig.Process, at int64, seen, before func() (int64, error), measure string) error {
	err := within(ctx, stallMax, func() (bool, error) {
		n, err := seen()
		if err == nil {
			err = stillRuns(p)
		}
		return n >= at, err
	})
	if err != nil {
		return fmt.Errorf("wait until it is at %d: %w", at, err)
	}
	began := time.Now()
	if err := p.Kill(); err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() { started <- p.Start() }()
	floor, err := before()
	if err == nil {
		err = <-started
	}
	if err != nil {
		return err
	}
	err = within(ctx, stallMax, func() (bool, error) {
		n, err := seen()
		if err == nil {
			err = stillRuns(p)
		}
		return n > floor, err
	})
	if err != nil {
		return fmt.Errorf("wait for the first row after a kill: %w", err)
	}
	took := time.Since(began)
	if measure == killSink {
		took = max(0, took-sessionTimeout)
	}
	r.report.figure(workKill, measure, took.Seconds())
	r.note("%s: %s %.2f", workKill, measure, took.Seconds())
	return nil
}
