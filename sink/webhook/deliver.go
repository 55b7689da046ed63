package webhook

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// patience is how long a call of Apply waits, in all, with one event: it has one of the sink's few places meanwhile. With more to
// wait it returns, and the runtime calls it again.
const patience = 2 * time.Second

// Apply tells the hooks of the batch's changes: those of one key one after the other, those of different keys side by side.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	memory := t.memories.of(b)
	lists, err := t.plan(b)
	if err != nil {
		return err
	}
	r := &round{target: t, batch: b, memory: memory}
	var wg sync.WaitGroup
	for _, list := range lists {
		next := new(atomic.Int64)
		for range min(len(list), cap(list[0].hook.slots)) {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(list)) && r.run(ctx, list[i]); i = next.Add(1) - 1 {
				}
			})
		}
	}
	wg.Wait()
	if err := r.result(ctx); err != nil {
		return err
	}
	memory.forget(b.Next)
	return nil
}

// Resend tells the hooks of one change that the group has passed.
func (t *Target) Resend(ctx context.Context, p sink.Partition, c *sink.Change) error {
	return t.Apply(ctx, &sink.Batch{Partition: p, From: c.Offset, Next: c.Offset + 1, Reached: c.Offset + 1, Resend: true, Changes: []sink.Change{*c}})
}

// chain is what one hook is to be told of one key, in order.
type chain struct {
	hook   *hook
	events []planned
}

type planned struct {
	form   *form
	change *sink.Change
	err    error // whether it is to be told of could not be decided
}

// plan decides for each hook and change. It returns the hooks' chains, each hook's in the order of their first changes.
func (t *Target) plan(b *sink.Batch) ([][]*chain, error) {
	byKey := make([]map[string]*chain, len(t.hooks))
	lists := make([][]*chain, len(t.hooks))
	for i := range b.Changes {
		c := &b.Changes[i]
		forms, err := t.formsOf(c.Table)
		if err != nil {
			return nil, err
		}
		for h, f := range forms {
			if f == nil {
				continue
			}
			v, err := f.decide(b, c)
			if v != tell && v != unsettled {
				t.metrics.skipped.WithLabelValues(f.hook.config.Name, string(v)).Inc()
				continue
			}
			at := byKey[h][string(c.Key)]
			if at == nil {
				if byKey[h] == nil {
					byKey[h] = make(map[string]*chain)
				}
				at = &chain{hook: f.hook}
				byKey[h][string(c.Key)] = at
				lists[h] = append(lists[h], at)
			}
			at.events = append(at.events, planned{f, c, err})
		}
	}
	var told [][]*chain
	for _, list := range lists {
		if len(list) > 0 {
			told = append(told, list)
		}
	}
	return told, nil
}

// round is one call of Apply.
type round struct {
	target *Target
	batch  *sink.Batch
	memory *memory

	mu      sync.Mutex    // guards the following
	refused *sink.Refused // the first in the log
	barred  error
	failed  error
}

// run tells of the chain's events in order, until one is not accepted. It returns false where the hook's other chains are not
// worth a try.
func (r *round) run(ctx context.Context, c *chain) bool {
	for i := range c.events {
		if err := r.tell(ctx, c.hook, &c.events[i]); err != nil {
			return r.note(err)
		}
	}
	return true
}

func (r *round) note(err error) (goOn bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused *sink.Refused
	switch {
	case errors.As(err, &refused):
		if r.refused == nil || refused.Offset < r.refused.Offset {
			r.refused = refused
		}
		return true
	case change.SeverityOf(err) == change.Poison:
		r.barred = err
		return false
	}
	r.failed = err
	return !errors.Is(err, errLeftAlone)
}

// result is what Apply returns. A refusal comes first: with its record set aside, or the topic stopped before it, the rest goes on.
func (r *round) result(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case ctx.Err() != nil && (r.failed != nil || r.refused != nil || r.barred != nil):
		return ctx.Err()
	case r.refused != nil:
		return r.refused
	case r.barred != nil:
		return r.barred
	}
	return r.failed
}

// tell tells one event, until it is accepted or waiting for the next try takes too long.
func (r *round) tell(ctx context.Context, h *hook, p *planned) error {
	a := r.memory.attempt(h.config.Name, p.change.Offset)
	if a.accepted {
		return nil
	}
	if p.err != nil {
		return r.refuse(h, p.change, "its condition cannot be evaluated", "whether it is to be told of cannot be known",
			"mend the condition: arithmetic and functions need values (after.total ?? 0)", p.err)
	}
	e := &event{hook: h.config.Name, batch: r.batch, change: p.change, replayed: p.change.Offset < r.batch.Reached}
	body, err := p.form.body.render(e)
	if err != nil {
		return r.refuse(h, p.change, "the body cannot be written", "the receiver would miss the event, or get it bent",
			"mend the hook's template or its max_body, or the value at the source", err)
	}
	for left := patience; ; {
		wait := time.Until(a.notBefore)
		if wait <= 0 {
			if wait, err = r.once(ctx, h, e, body, p.form.body.kind, a); wait <= 0 {
				return err
			}
		}
		if left -= wait; left < 0 {
			return h.late(a, wait)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// once sends the event once, if the receiver may be asked now. A wait says how long until the next try; without one err is final.
func (r *round) once(ctx context.Context, h *hook, e *event, body []byte, kind string, a *attempt) (wait time.Duration, err error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	wait, probe := h.admit(time.Now())
	if wait > 0 {
		return wait, nil
	}
	a.tries++
	began := time.Now()
	answer := h.post(ctx, e, body, kind, a.tries, began)
	r.target.noted(h, &answer, h.note(&answer, probe, time.Now()), time.Since(began))
	switch answer.outcome {
	case accepted:
		a.accepted = true
		return 0, nil
	case refused:
		return 0, r.refuse(h, e.change, "the receiver refuses the event", "it would miss the event",
			"mend the receiver, or set such records aside: on_error: dead_letter", answer.err)
	case barred:
		return 0, h.problem(change.Poison, "the receiver takes no events", "every event would meet the same",
			"set the hook's url to where the receiver is, and its headers to what it asks for; the topic goes on by itself where the receiver was mended", answer.err)
	case cut:
		return 0, answer.err
	}
	pause := jitter(backoff(a.tries, h.config.RetryFirst, h.config.RetryMax))
	a.notBefore = time.Now().Add(pause)
	return pause, nil
}

func (r *round) refuse(h *hook, c *sink.Change, what, why, mend string, err error) error {
	p := h.problem(change.Poison, what, why, mend, err)
	p.Table = c.Table.TableName
	return &sink.Refused{Offset: c.Offset, Err: p}
}

// errLeftAlone marks that the receiver is left alone for now, whichever the event.
var errLeftAlone = errors.New("the receiver is left alone for now")

// late is the error of an event that has to wait longer than a call of Apply may.
func (h *hook) late(a *attempt, wait time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.last
	if h.circuit.opened > 0 || time.Now().Before(h.hold) {
		err = errors.Join(errLeftAlone, err)
	}
	return h.problem(change.Retry, fmt.Sprintf("an event was not accepted in %d tries; the next is in %s at the earliest", a.tries, wait.Round(time.Millisecond)),
		"nothing is lost: the log keeps what was not accepted", "look at the receiver; it is tried again", err)
}

// memories keeps, by partition, what is known of the events of the batch under way: a batch that comes again in this process does
// not tell again what was accepted. A crash forgets it, and the events of the batch come again.
type memories struct {
	mu sync.Mutex // guards the following
	by map[sink.Partition]*memory
}

// of returns the memory of the batch's partition.
func (m *memories) of(b *sink.Batch) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := m.by[b.Partition]
	if of == nil {
		of = &memory{attempts: make(map[spot]*attempt)}
		m.by[b.Partition] = of
	}
	of.forget(b.From)
	return of
}

type memory struct {
	mu       sync.Mutex // guards the following; an attempt belongs to whoever tells of it
	attempts map[spot]*attempt
}

type spot struct {
	hook   string
	offset int64
}

// attempt is what is known of one event for one hook.
type attempt struct {
	accepted  bool
	tries     int
	notBefore time.Time
}

func (m *memory) attempt(hook string, offset int64) *attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.attempts[spot{hook, offset}]
	if a == nil {
		a = &attempt{}
		m.attempts[spot{hook, offset}] = a
	}
	return a
}

// forget forgets what lies before the offset.
func (m *memory) forget(before int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := range m.attempts {
		if at.offset < before {
			delete(m.attempts, at)
		}
	}
}
