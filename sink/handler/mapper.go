package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// MapFunc says what a change means elsewhere: which rows of the handler's own tables are to be put or deleted.
//
// Every write has the version of the event that it came of, and the newest wins at the inner target. So a function may read the
// state as it is now, whatever the event says, and write that: of all changes that a row depends on the last one has the greatest
// version, and the function that is called for it sees them all, so what stays in the end is right. Two things make it so:
//
//   - What is read is at least as new as the event. Changes of a server may be in the log before its other sessions see them:
//     [WaitVisible] waits until they do. A cache, or a replica that lags, is not enough.
//   - The function writes, for each change of any table that it reads, all rows that depend on it.
//
// Versions of different sources are never compared: one row must be made of one source's tables.
type MapFunc func(ctx context.Context, e *Event) ([]Write, error)

// MapOptions are Options, and a bound.
type MapOptions struct {
	Options

	// WritesMax is how many writes one event may cause, which are held in memory; 0 means 100,000. One that causes more is refused.
	WritesMax int
}

const writesMax = 100_000

// applyAfter is how many writes are collected, over the events of a batch, before they are applied.
const applyAfter = 5_000

// Mapper writes to another target what a function makes of the changes.
type Mapper struct {
	inner      sink.Target
	fn         MapFunc
	tables     []*Table
	options    MapOptions
	partitions partitions
}

// emptyingMapper is a Mapper over a target that can be emptied.
type emptyingMapper struct {
	*Mapper
	emptier sink.Emptier
}

var (
	_ sink.Target   = (*Mapper)(nil)
	_ sink.Preparer = (*Mapper)(nil)
	_ sink.Checker  = (*Mapper)(nil)
	_ sink.Floor    = (*Mapper)(nil)
	_ sink.Emptier  = (*emptyingMapper)(nil)
)

// Map returns the target that writes to inner what the function makes of the changes. tables are those that it writes to.
//
// The changes of one row of a handler's table come of changes of different rows, in partitions that are applied in no common
// order. So inner must tell by itself that a write is older than a delete, as targets do that keep versions and tombstones
// (Elasticsearch). One that relies on progress instead (sluice-sink-mysql's) forgets what was deleted, and is refused:
// InTransaction is for results in MySQL.
func Map(inner sink.Target, fn MapFunc, tables []*Table, o MapOptions) (sink.Target, error) {
	if _, ok := inner.(sink.Progress); ok {
		return nil, &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("handler.Map cannot write to %T", inner),
			Why:  "it keeps progress instead of marks of what was deleted: an older write that comes later would bring a deleted row back",
			Mend: "map to a target that keeps versions and tombstones, or keep the results in MySQL with handler.InTransaction"}
	}
	for _, t := range tables {
		if len(t.of.Key) == 0 {
			return nil, &change.Problem{Kind: change.Configuration, What: "table " + t.of.String() + " of the handler has no key", Mend: "declare it: handler.NewTable(…).Key(…)"}
		}
	}
	if o.WritesMax == 0 {
		o.WritesMax = writesMax
	}
	m := &Mapper{inner: inner, fn: fn, tables: tables, options: o}
	if e, ok := inner.(sink.Emptier); ok {
		return &emptyingMapper{m, e}, nil
	}
	return m, nil
}

// Close closes the inner target.
func (m *Mapper) Close() error { return m.inner.Close() }

// Prepare has the inner target prepare the handler's tables.
func (m *Mapper) Prepare(ctx context.Context, group, source string, _ []*change.Table) error {
	if p, ok := m.inner.(sink.Preparer); ok {
		return p.Prepare(ctx, group, source, m.declared())
	}
	return nil
}

// Check has the inner target look at what it depends on.
func (m *Mapper) Check(ctx context.Context, group string, _ []*change.Table) ([]sink.Finding, error) {
	if c, ok := m.inner.(sink.Checker); ok {
		return c.Check(ctx, group, m.declared())
	}
	return nil, nil
}

// Floor is as Options says, and no more than the inner target allows.
func (m *Mapper) Floor(s sink.LogSettings) time.Duration {
	limit := m.options.Floor(s)
	if f, ok := m.inner.(sink.Floor); ok {
		if own := f.Floor(s); limit == 0 || own > 0 && own < limit {
			return own
		}
	}
	return limit
}

func (m *emptyingMapper) Occupied(ctx context.Context, source string, _ []*change.Table) ([]string, error) {
	return m.emptier.Occupied(ctx, source, m.declared())
}

// Empty empties all of the handler's tables: a replay of one topic alone does not fill them again.
func (m *emptyingMapper) Empty(ctx context.Context, source string, _ []*change.Table) error {
	return m.emptier.Empty(ctx, source, m.declared())
}

func (m *Mapper) declared() []*change.Table {
	tables := make([]*change.Table, len(m.tables))
	for i, t := range m.tables {
		tables[i] = t.of
	}
	return tables
}

// Apply asks the function what the changes of the batch mean, and has the inner target write it. Of a batch that fails in part,
// what could be written is, and is not asked for again.
func (m *Mapper) Apply(ctx context.Context, b *sink.Batch) error {
	p := m.partitions.of(b)
	c := &collector{mapper: m, batch: b, progress: p}
	err := inOrder(ctx, p.undone(p.events(b)), m.options.parallel(), c.handle)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if flushErr := c.flush(ctx); err == nil {
		err = flushErr
	}
	if err == nil {
		p.passed(b)
	}
	return err
}

// collector gathers the writes of one batch.
type collector struct {
	mapper   *Mapper
	batch    *sink.Batch
	progress *progress

	flushing sync.Mutex // held while the inner target applies: never twice at once for one partition

	mu      sync.Mutex // guards the following; taken after flushing
	pending []written
	count   int
}

// written is what one event has become, as changes of each table.
type written struct {
	event   *Event
	changes map[*Table][]sink.Change
}

// handle asks the function about one event.
func (c *collector) handle(ctx context.Context, e *Event) error {
	writes, err := c.mapper.fn(ctx, e)
	if err != nil || e.missed() != "" {
		return err
	}
	if len(writes) > c.mapper.options.WritesMax {
		return Refuse(fmt.Errorf("one event causes %d writes: the bound is %d (MapOptions.WritesMax)", len(writes), c.mapper.options.WritesMax))
	}
	changes := make(map[*Table][]sink.Change)
	seen := make(map[*Table]map[string]bool)
	for _, w := range writes {
		if !slices.Contains(c.mapper.tables, w.table) {
			return Refuse(errors.New("a write names a table that Map was not told of"))
		}
		made, err := w.change(e)
		if err != nil {
			return Refuse(err)
		}
		if seen[w.table][string(made.Key)] {
			return Refuse(fmt.Errorf("one event writes twice to a key of %s: which of the two counts cannot be told", w.table.of))
		}
		if seen[w.table] == nil {
			seen[w.table] = make(map[string]bool)
		}
		seen[w.table][string(made.Key)] = true
		changes[w.table] = append(changes[w.table], made)
	}
	return c.add(ctx, written{e, changes}, len(writes))
}

// add keeps the writes, and has them applied where there are many.
func (c *collector) add(ctx context.Context, w written, count int) error {
	c.mu.Lock()
	c.pending = append(c.pending, w)
	c.count += count
	full := c.count >= applyAfter
	c.mu.Unlock()
	if full {
		return c.flush(ctx)
	}
	return nil
}

// flush applies what was collected. What could not be applied stays collected.
func (c *collector) flush(ctx context.Context) error {
	c.flushing.Lock()
	defer c.flushing.Unlock()
	c.mu.Lock()
	pending := c.pending
	c.pending, c.count = nil, 0
	c.mu.Unlock()
	slices.SortFunc(pending, func(a, b written) int { return cmp.Compare(a.event.change.Offset, b.event.change.Offset) })
	if err := c.apply(ctx, pending); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pending = append(pending, c.pending...)
		return err
	}
	for _, w := range pending {
		c.progress.did(w.event.change.Offset)
	}
	return nil
}

// apply applies the writes, one table after the other. The order among tables and calls does not matter: versions decide.
func (c *collector) apply(ctx context.Context, writes []written) error {
	for _, t := range c.mapper.tables {
		b := *c.batch
		// A batch is of one topic, so of one table: the inner target may keep things by it.
		b.Topic = b.Source + "." + t.of.String()
		b.Changes, b.Bytes = nil, 0
		for _, w := range writes {
			b.Changes = append(b.Changes, w.changes[t]...)
		}
		for i := range b.Changes {
			b.Bytes += b.Changes[i].Bytes
		}
		if err := c.mapper.inner.Apply(ctx, &b); err != nil {
			return err
		}
	}
	return nil
}

// change is the write as a change of the handler's table. What it says of before is nothing: a put is a row that is there, whatever
// was; a delete is a bare tombstone.
func (w Write) change(e *Event) (sink.Change, error) {
	values, err := w.values()
	if err != nil {
		return sink.Change{}, err
	}
	of := e.change
	c := sink.Change{Op: change.Read, Table: w.table.of, KeyNames: w.table.of.KeyNames(), Version: of.Version, Origin: of.Origin,
		Offset: of.Offset, AppendMillis: of.AppendMillis, Bytes: 64 * (1 + len(values))}
	c.Origin.Snapshot = overTheTop
	c.KeyValues, c.Key = w.table.keyOf(values)
	for _, v := range values {
		c.Bytes += len(v.Bytes)
	}
	if w.deleted {
		c.Op, c.Tombstone = change.Delete, true
		return c, nil
	}
	c.After = values
	return c, nil
}
