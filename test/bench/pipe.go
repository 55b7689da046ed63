package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// pipe is a source and a sink of ours, one behind the other, over an empty table: what is written from now on goes all the way into the first
// shard. It is a Contender only for its processes.
type pipe struct {
	*ownSource
	sink *ownMySQLSink
	once sync.Once
	err  error
}

// piped starts one and waits until a first row has gone all the way.
func (r *run) piped(ctx context.Context, w *work) (p *pipe, err error) {
	if err := r.bed.makeTable(ctx, w.shape, w.table); err != nil {
		return nil, err
	}
	if err := r.bed.emptyTargets(ctx, nil, ""); err != nil {
		return nil, err
	}
	p = &pipe{}
	if p.ownSource, err = r.bed.newSource(w.table, false); err != nil {
		return nil, err
	}
	if p.sink, err = r.bed.newMySQLSink(p.topic(), w.table, "", 1, nil); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	if err := p.begin(ctx); err != nil {
		return nil, err
	}
	if err := p.sink.Start(ctx); err != nil {
		return nil, err
	}
	// A row of every shape: numbers above all that the work writes are free.
	if err := execute(ctx, r.bed.db, w.shape.insert(w.table, fmt.Sprint(firstRow-1), "1")); err != nil {
		return nil, err
	}
	return p, p.caughtUp(ctx, beginWithin)
}

// firstRow is the key of the row that goes first.
const firstRow = 2_000_000_000

// caughtUp waits until source and sink have done all that was written so far.
func (p *pipe) caughtUp(ctx context.Context, limit time.Duration) (err error) {
	if err := p.finish(ctx, limit); err != nil {
		return err
	}
	if p.sink.end, err = p.bed.committed(ctx, p.topic()); err != nil {
		return err
	}
	err = within(ctx, limit, func() (bool, error) {
		done, err := p.sink.Progress(ctx)
		return done.Through && p.sink.end.sum() > 0, err
	})
	if err != nil {
		return fmt.Errorf("wait for the sink: %w", err)
	}
	return nil
}

// Pids are both's.
func (p *pipe) Pids() map[string]int {
	pids := p.ownSource.Pids()
	maps.Copy(pids, p.sink.Pids())
	return pids
}

// stop ends both, once.
func (p *pipe) stop() error {
	p.once.Do(func() { p.err = errors.Join(p.sink.Stop(), p.ownSource.Stop()) })
	return p.err
}

// forgetPipe removes what a pipe has left.
func (b *bed) forgetPipe(ctx context.Context, p *pipe) error {
	if err := b.deleteTopics(ctx, p.run); err != nil {
		return err
	}
	return b.forget(ctx, p.table)
}
