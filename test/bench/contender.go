package bench

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// Contender is one run of a thing that is measured: a program of ours, a peer, or a bare program that shows the floor.
type Contender interface {
	// Name is what the table calls it: "sluice", "maxwell". Runs of the same thing have the same name.
	Name() string
	// Prime is called before the work's data is written, and leaves a reader of the binlog where that data will begin. Others have
	// nothing to do.
	Prime(ctx context.Context) error
	// Start starts the processes. It need not wait until they are ready: time counts from the first progress.
	Start(ctx context.Context) error
	// Pids are its own processes that run, by a name that begins with what it is: "source", "sink". Servers are not its own.
	Pids() map[string]int
	// Progress says how far the work is. It is asked for every few milliseconds, so it must be cheap.
	Progress(ctx context.Context) (Progress, error)
	// Stop ends the processes. It is called once, also after a Start that failed.
	Stop() error
}

// Progress is how far a contender is.
type Progress struct {
	Done    int64 // in a unit of its own; it only grows
	Through bool  // all of the work's rows are done
}

// Rated is a contender that says itself how fast it was, as the bare programs do. It is asked when the work is through.
type Rated interface {
	Rated() (Rate, error)
}

// Rate is what such a program says.
type Rate struct {
	Rows       int64
	Bytes      int64 // 0: not known
	Seconds    float64
	CPUSeconds float64 // of its own process
}

// Times of a measurement.
const (
	pollEvery = 10 * time.Millisecond
	// stallMax is how long a contender may make no progress before the run is given up.
	stallMax = 3 * time.Minute
)

// measure lets one contender do the work.
func (r *run) measure(ctx context.Context, w *work, c Contender, round int) (result *Result, err error) {
	began := time.Now()
	defer func() {
		if stop := c.Stop(); err == nil && stop != nil {
			err = fmt.Errorf("stop %s: %w", c.Name(), stop)
		}
	}()
	if err := c.Start(ctx); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name(), err)
	}
	watch := watcher{contender: c, usage: func() usage { return r.usage(c) }}
	if err := watch.run(ctx, began); err != nil {
		return nil, fmt.Errorf("%s, %s: %w", w.name, c.Name(), err)
	}
	result = watch.result(began)
	result.Work, result.Who, result.Round, result.Rows, result.Bytes = w.name, c.Name(), round, w.rows, w.bytes
	if rated, ok := ratedOf(c); ok {
		rate, err := rated.Rated()
		if err != nil {
			return nil, fmt.Errorf("%s, %s: %w", w.name, c.Name(), err)
		}
		result.takeRate(c.Name(), rate)
	}
	result.perMillion()
	return result, nil
}

// watcher looks at a contender from its first progress to its end.
type watcher struct {
	contender   Contender
	usage       func() usage
	first, last mark
}

// mark is one look.
type mark struct {
	at   time.Time
	done int64
	usage
}

// usage is what processes have used so far, by name.
type usage struct {
	cpu  map[string]float64 // seconds
	peak map[string]int64   // bytes; of the contender's own only
}

// run looks until the work is through. The end is when progress was last seen, for time and for what was used: some know a while later that this
// was all, and go on with something else.
func (w *watcher) run(ctx context.Context, began time.Time) error {
	moved, before := began, int64(0)
	for {
		p, err := w.contender.Progress(ctx)
		if err != nil {
			return err
		}
		now := time.Now()
		if p.Done != before {
			moved, before = now, p.Done
			w.last = mark{now, p.Done, w.usage()}
			if p.Done > 0 && w.first.at.IsZero() { // below 0: a sink has said that it has nothing yet
				w.first = w.last
			}
		}
		if p.Through {
			if p.Done == 0 {
				w.last = mark{now, 0, w.usage()}
			}
			w.last.peak = w.usage().peak
			return nil
		}
		if now.Sub(moved) > stallMax {
			return fmt.Errorf("no progress for %s; it stands at %d", stallMax, p.Done)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// result is what lies between the first and the last look. What was done at the first is left out of both rows and time; a work so small
// that it was over by then counts from the start.
func (w *watcher) result(began time.Time) *Result {
	r := &Result{FirstAfter: w.first.at.Sub(began), CPU: map[string]float64{}, Peak: maps.Clone(w.last.peak)}
	if w.first.at.IsZero() || w.last.done <= w.first.done {
		r.Share, r.Seconds = 1, w.last.at.Sub(began).Seconds()
		r.Note = "over before it was seen to begin: counted from its start"
		if w.first.at.IsZero() {
			r.FirstAfter = w.last.at.Sub(began)
		}
	} else {
		r.Share = float64(w.last.done-w.first.done) / float64(w.last.done)
		r.Seconds = w.last.at.Sub(w.first.at).Seconds()
	}
	for name, after := range w.last.cpu {
		if before, ok := w.first.cpu[name]; ok && r.Share < 1 {
			r.CPU[name] = after - before
		}
	}
	return r
}

// ratedOf is the contender as one that says itself how fast it was, if it or what it wraps is one.
func ratedOf(c Contender) (Rated, bool) {
	if wrapped, ok := c.(interface{ unwrap() Contender }); ok {
		c = wrapped.unwrap()
	}
	rated, ok := c.(Rated)
	return rated, ok
}
