package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// inOrder calls do for all events: for those of one key one after the other, for different keys side by side. A key whose event
// failed is left there; others go on, unless so many have failed that what they all need is away. It returns when no call is running.
func inOrder(ctx context.Context, events []*Event, parallel int, do Func) error {
	chains := chainsOf(events)
	r := &round{enough: parallel}
	var wg sync.WaitGroup
	next := make(chan []*Event)
	for range min(parallel, len(chains)) {
		wg.Go(func() {
			for chain := range next {
				r.run(ctx, chain, do)
			}
		})
	}
	for _, chain := range chains {
		if ctx.Err() != nil || r.hopeless() {
			break
		}
		next <- chain
	}
	close(next)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.result()
}

// chainsOf groups the events by key, in the order of the keys' first events.
func chainsOf(events []*Event) [][]*Event {
	at := make(map[string]int, len(events))
	var chains [][]*Event
	for _, e := range events {
		i, ok := at[string(e.change.Key)]
		if !ok {
			i = len(chains)
			at[string(e.change.Key)] = i
			chains = append(chains, nil)
		}
		chains[i] = append(chains[i], e)
	}
	return chains
}

// round is one call of inOrder.
type round struct {
	enough int // failures after which no other key is begun

	mu      sync.Mutex    // guards the following
	refused *sink.Refused // the first in the log
	failed  error
	count   int
}

func (r *round) run(ctx context.Context, chain []*Event, do Func) {
	for _, e := range chain {
		if ctx.Err() != nil {
			return
		}
		err := judge(e, do(ctx, e))
		for tries := range triesAtOnce {
			if err == nil || change.SeverityOf(err) != change.Retry || r.hopeless() || !sleep(ctx, firstPause<<tries) {
				break
			}
			err = judge(e, do(ctx, e))
		}
		if err != nil {
			r.note(err)
			return
		}
	}
}

// An event that failed is tried again at once so often, with a pause that doubles: a service that fails now and then must not hold up
// the whole batch. After that the runtime tries the batch again, with growing pauses.
const (
	triesAtOnce = 3
	firstPause  = 50 * time.Millisecond
)

// sleep returns false where ctx ended before the time was up.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *round) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused *sink.Refused
	if errors.As(err, &refused) {
		if r.refused == nil || refused.Offset < r.refused.Offset {
			r.refused = refused
		}
		return
	}
	r.count++
	if r.failed == nil || change.SeverityOf(r.failed) == change.Retry {
		r.failed = err // what ends the process counts more than what is tried again
	}
}

func (r *round) hopeless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count >= r.enough || r.failed != nil && change.SeverityOf(r.failed) != change.Retry
}

// result is what Apply returns. What ends the process comes first, then a refusal: with its record set aside, or the topic
// stopped before it, the rest goes on.
func (r *round) result() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != nil && (r.failed == nil || change.SeverityOf(r.failed) == change.Retry) {
		return r.refused
	}
	return r.failed
}

// judge gives the function's error its kind.
func judge(e *Event, err error) error {
	var refused *sink.Refused
	var p *change.Problem
	switch {
	case errors.As(err, &refused):
		return err
	case e.missed() != "":
		return &sink.Refused{Offset: e.change.Offset, Err: e.placed(e.noColumn())}
	case err == nil:
		return nil
	case !errors.As(err, &p):
		return e.placed(&change.Problem{Kind: change.Retry, What: "the handler failed", Err: err,
			Why: "nothing is lost: the change is handled again", Mend: "look at what the handler needs; an error that will not pass is handler.Refuse's"})
	case p.Kind == change.Poison:
		return &sink.Refused{Offset: e.change.Offset, Err: e.placed(err)}
	}
	return err
}

// noColumn is the error of a function that asks for a column that is not there.
func (e *Event) noColumn() error {
	return &change.Problem{Kind: change.Poison, What: fmt.Sprintf("the handler asks for column %q, which %s has not", e.missed(), e.Table()),
		Why:  "it would take every row's for empty",
		Mend: fmt.Sprintf("mend the handler: the columns were %s (those of the key: %s); ask Event.Has for one that may be missing", strings.Join(e.Columns(), ", "), strings.Join(e.change.KeyNames, ", "))}
}

// placed puts the event's place to a problem that has none.
func (e *Event) placed(err error) error {
	var p *change.Problem
	if !errors.As(err, &p) || p.Where != "" {
		return err
	}
	placed := *p
	if err != p { // wrapped: what the function says of it comes first
		placed.What, placed.Err = "the handler failed", err
	}
	placed.Table = e.change.Table.TableName
	placed.Where = fmt.Sprintf("%s offset %d, key %s", e.batch.Partition, e.change.Offset, e.keyText())
	return &placed
}

func (e *Event) keyText() string {
	parts := make([]string, len(e.change.KeyValues))
	for i, v := range e.change.KeyValues {
		parts[i] = e.change.KeyNames[i] + "=" + v.String()
	}
	return strings.Join(parts, ",")
}

// partitions keep, by partition, what is done of the batch under way.
type partitions struct {
	mu sync.Mutex // guards the following
	by map[sink.Partition]*progress
}

// of returns what is known of the batch's partition.
func (ps *partitions) of(b *sink.Batch) *progress {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.by == nil {
		ps.by = make(map[sink.Partition]*progress)
	}
	p := ps.by[b.Partition]
	if p == nil {
		p = &progress{done: make(map[int64]bool)}
		ps.by[b.Partition] = p
	}
	p.begin(b.From)
	return p
}

// progress is what this process knows of one partition. It holds no more than the offsets of one batch.
type progress struct {
	mu      sync.Mutex // guards the following
	from    int64      // where the last batch began
	done    map[int64]bool
	deleted string // the key of the delete with which the last batch that was done ended
	next    int64  // where that batch ended
}

// events returns the batch's changes, without the tombstones that follow their deletes: they say nothing new.
func (p *progress) events(b *sink.Batch) []*Event {
	p.mu.Lock()
	deleted := ""
	if p.next == b.From {
		deleted = p.deleted
	}
	p.mu.Unlock()
	events := make([]*Event, 0, len(b.Changes))
	for i := range b.Changes {
		c := &b.Changes[i]
		follows := c.Tombstone && deleted != "" && deleted == string(c.Key)
		deleted = deletedKey(c)
		if !follows {
			events = append(events, &Event{change: c, batch: b})
		}
	}
	return events
}

// deletedKey is the key that the change deletes, empty where it does not or is a tombstone itself.
func deletedKey(c *sink.Change) string {
	if c.Op == change.Delete && !c.Tombstone {
		return string(c.Key)
	}
	return ""
}

// undone are the events that are still to be done.
func (p *progress) undone(events []*Event) []*Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	todo := events[:0:0]
	for _, e := range events {
		if !p.done[e.change.Offset] {
			todo = append(todo, e)
		}
	}
	return todo
}

func (p *progress) did(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[offset] = true
}

// passed notes that the batch is done.
func (p *progress) passed(b *sink.Batch) {
	p.begin(b.Next)
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(b.Changes); n > 0 {
		p.deleted = deletedKey(&b.Changes[n-1])
	} else if p.next != b.From {
		p.deleted = ""
	}
	p.next = b.Next
}

// begin forgets what lies before the offset. Where the partition was set back, it forgets all: of a key that comes again every
// change has to, or the last one done would be an old one.
func (p *progress) begin(from int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for offset := range p.done {
		if offset < from || from < p.from {
			delete(p.done, offset)
		}
	}
	p.from = from
}
