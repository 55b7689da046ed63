package handler

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/run"
)

// Func does with a change what the program is for. When it returns nil, it is done. ctx ends when nothing more may be finished:
// at a second SIGTERM, after the page's drain_timeout, or when the partition was taken away.
type Func func(ctx context.Context, e *Event) error

// Options say how a handler is called. They are the handler block of a page for Main.
type Options struct {
	// Parallel is how many keys of one partition are handled at once. Less, and a slow service makes the lag grow; more, and it
	// may be asked more at once than it can take: partitions times Parallel, at most the page's parallel times Parallel.
	Parallel int `yaml:"parallel"`

	// StateOnly says that the newest state of each key is enough: changes that compaction has taken out of the log are not missed.
	// Without it the topic stops when the group falls further behind than the log keeps every change.
	StateOnly bool `yaml:"state_only"`
}

const parallelMax = 1024

// Default returns the options that hold where nothing is said.
func Default() Options { return Options{Parallel: 16} }

// Check reports everything that is wrong.
func (o *Options) Check(report func(path, problem string)) {
	if o.Parallel < 1 || o.Parallel > parallelMax {
		report("parallel", fmt.Sprintf("%d: want 1 to %d", o.Parallel, parallelMax))
	}
}

// parallel is Parallel where it was given in code, which may leave it out.
func (o *Options) parallel() int {
	if o.Parallel < 1 {
		return Default().Parallel
	}
	return o.Parallel
}

// Floor bounds how far behind the group may fall: see StateOnly.
func (o *Options) Floor(s sink.LogSettings) time.Duration {
	switch {
	case !s.Compacted:
		return 0
	case o.StateOnly:
		return s.MinCompactionLag + s.DeleteRetention
	}
	return s.MinCompactionLag
}

// page is what the config file of Main holds besides what every sink's has.
type page struct {
	Handler Options `yaml:"handler"`
}

// Main is the whole main of a program around one function. It has the commands of every sink: run (the default), doctor, wait,
// replay, dead. A program with keys of its own in the page calls run.Main with a struct for them, and New.
func Main(name string, fn Func) {
	run.Main(name, func() *page { return &page{Default()} }, func(_ context.Context, p *page, _ sink.Setup) (sink.Target, error) {
		return New(fn, p.Handler), nil
	})
}

// Target calls a function for each change.
type Target struct {
	fn         Func
	options    Options
	partitions partitions
}

var (
	_ sink.Target = (*Target)(nil)
	_ sink.Floor  = (*Target)(nil)
)

// New returns the target that calls the function.
func New(fn Func, o Options) *Target { return &Target{fn: fn, options: o} }

// Close does nothing.
func (t *Target) Close() error { return nil }

// Floor is as Options says.
func (t *Target) Floor(s sink.LogSettings) time.Duration { return t.options.Floor(s) }

// Apply calls the function for the changes of the batch that it has not done yet, and returns when all calls have ended.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	p := t.partitions.of(b)
	todo := p.undone(p.events(b))
	err := inOrder(ctx, todo, t.options.parallel(), func(ctx context.Context, e *Event) error {
		if err := t.fn(ctx, e); err != nil {
			return err
		}
		if e.missed() == "" {
			p.did(e.change.Offset)
		}
		return nil
	})
	if err == nil {
		p.passed(b)
	}
	return err
}

// Refuse makes an error one of the record: it will not pass by itself. The topic stops at the record, or, where the page says
// on_error: dead_letter, the record is set aside and the topic goes on. Within a transaction use Event.Refuse, which says whose fault it is.
func Refuse(err error) error {
	return &change.Problem{Kind: change.Poison, What: "the handler refuses the record", Err: err,
		Why:  "the handler would be wrong, or lack what the record says",
		Mend: "mend the row at the source or the handler, or set such records aside (on_error: dead_letter); the topic goes on by itself where a try succeeds"}
}

// Refuse is Refuse for this event.
func (e *Event) Refuse(err error) error {
	return &sink.Refused{Offset: e.change.Offset, Err: e.placed(Refuse(err))}
}
