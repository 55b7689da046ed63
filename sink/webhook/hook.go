package webhook

import (
	"context"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/shape"
	"github.com/sluice-cdc/sluice/sink"
)

// hook is a hook at work.
type hook struct {
	config *Hook
	tables []*regexp.Regexp
	key    []byte // signs; nil: nothing is signed
	client *http.Client
	slots  chan struct{} // one element for each request under way
	endpoint
}

func newHook(c *Hook) (*hook, error) {
	h := &hook{config: c, slots: make(chan struct{}, c.Concurrency)}
	h.circuit = circuit{failuresMax: c.CircuitFailures, pause: c.CircuitPause, pauseMax: c.CircuitMax}
	for _, text := range c.Tables {
		p, err := parsePattern(text)
		if err != nil {
			return nil, c.wrong("tables", err)
		}
		h.tables = append(h.tables, p)
	}
	var err error
	if h.key, err = c.key(); err != nil {
		return nil, err
	}
	h.client, err = newClient(c)
	return h, err
}

func (h *hook) matches(t *change.Table) bool {
	return slices.ContainsFunc(h.tables, func(p *regexp.Regexp) bool { return p.MatchString(t.String()) })
}

// form is a hook made ready for one schema of a table.
type form struct {
	hook      *hook
	condition *shape.Condition // nil: every change
	body      *body
}

// newForm compiles the hook's condition and body for the table. A column that they name and that there is not is an error.
func newForm(h *hook, t *change.Table) (*form, error) {
	f := &form{hook: h}
	var err error
	what := "its condition does not fit the table"
	if h.config.Condition != "" {
		f.condition, err = shape.CompileCondition(h.config.Condition, t)
	}
	if err == nil {
		what = "its body does not fit the table"
		f.body, err = newBody(h.config, t)
	}
	if err != nil {
		p := h.problem(change.Poison, what, "which changes are to be told of, and how, cannot be decided",
			"correct the hook in the page and start the sink again", err)
		p.Table, p.Where = t.TableName, t.String()
		return nil, p
	}
	return f, nil
}

// verdict is what a hook makes of a change.
type verdict string

// The verdicts.
const (
	tell      verdict = "tell"
	otherOp   verdict = "op"        // of a kind that the hook has not asked for
	early     verdict = "since"     // committed before Since
	replayed  verdict = "replayed"  // told of before a replay went back
	unknown   verdict = "unknown"   // the condition asks for a before image that is not known
	unmet     verdict = "condition" // the condition is false
	unsettled verdict = "error"     // the condition cannot be evaluated
)

// decide says whether the hook is to be told of the change. It is pure.
func (f *form) decide(b *sink.Batch, c *sink.Change) (verdict, error) {
	config := f.hook.config
	op := c.Op.String()
	if c.Tombstone {
		op = opTombstone
	}
	switch {
	case !slices.Contains(config.Ops, op):
		return otherOp, nil
	case !config.Since.IsZero() && int64(c.Version) < config.Since.UnixMicro():
		return early, nil
	case c.Offset < b.Reached && !b.Resend && !config.Resend:
		return replayed, nil
	case f.condition == nil:
		return tell, nil
	}
	before, known := knownBefore(c)
	if f.condition.ReadsBefore() && !known {
		return unknown, nil
	}
	holds, err := f.condition.Holds(c.Op, before, c.After)
	switch {
	case err != nil:
		return unsettled, err
	case holds:
		return tell, nil
	}
	return unmet, nil
}

// endpoint is what is known of a receiver's state, shared by all partitions.
type endpoint struct {
	mu      sync.Mutex // guards the following
	circuit circuit
	hold    time.Time // until when the receiver asked to be left alone (Retry-After)
	last    error     // of the last request that failed
}

// admit says whether a request may go now, and whether it is the circuit's probe; else how long to wait at least.
func (e *endpoint) admit(now time.Time) (wait time.Duration, probe bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if wait := e.hold.Sub(now); wait > 0 {
		return wait, false
	}
	return e.circuit.admit(now)
}

// note takes an answer in. changed: the circuit has opened or closed by it.
func (e *endpoint) note(a *answer, probe bool, now time.Time) (changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if until := now.Add(a.retryAfter); a.retryAfter > 0 && until.After(e.hold) {
		e.hold = until
	}
	if a.outcome == failed {
		e.last = a.err
	}
	switch {
	case a.outcome == cut:
		e.circuit.cancel(probe)
		return false
	case a.alive():
		return e.circuit.succeed()
	}
	return e.circuit.fail(now, probe, jitter)
}

// open reports whether nothing goes at the moment.
func (e *endpoint) open() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.circuit.opened > 0
}

// jitter takes up to half of a pause away, so that many that failed together do not come again together.
func jitter(d time.Duration) time.Duration { return d - time.Duration(rand.Int64N(int64(d)/2+1)) }

// sleep waits, unless ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
