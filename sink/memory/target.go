package memory

import (
	"context"
	"fmt"
	"math"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target applies to a Store and keeps progress there. It holds nothing itself.
type Target struct{ store *Store }

var (
	_ sink.Target   = (*Target)(nil)
	_ sink.Progress = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Replayer = (*Target)(nil)
	_ sink.Debtor   = (*Target)(nil)
)

// Store returns what the target writes to.
func (t *Target) Store() *Store { return t.store }

// Close does nothing.
func (t *Target) Close() error { return nil }

// Apply writes the batch and moves the progress, shard by shard.
func (t *Target) Apply(_ context.Context, b *sink.Batch) error {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	places, err := s.plan(b)
	if err != nil {
		return err
	}
	for i, sh := range s.shards {
		p := sh.progress[owner{b.Group, b.Partition}]
		if p == nil || p.epoch != b.Epoch || (p.next >= 0 && p.next < b.From) {
			return &sink.OwnershipLost{Partition: b.Partition, Shard: sh.name, Epoch: b.Epoch}
		}
		if p.next > b.Next {
			continue // this shard stood further than the others after a crash
		}
		if err := s.fault(sh); err != nil {
			return err
		}
		s.write(i, b, places, p.next)
		p.next = b.Next
		p.throughMillis = b.ThroughMillis
	}
	return nil
}

func (s *Store) fault(sh *shard) error {
	if s.config.Fault == nil {
		return nil
	}
	return s.config.Fault(sh.name)
}

// plan routes all changes and refuses what may not be written, before anything is.
func (s *Store) plan(b *sink.Batch) ([]place, error) {
	places := make([]place, len(b.Changes))
	for i := range b.Changes {
		c := &b.Changes[i]
		p, err := s.place(c)
		if err == nil {
			err = s.sameSource(b, c, p)
		}
		if err != nil {
			return nil, &sink.Refused{Offset: c.Offset, Err: err}
		}
		places[i] = p
	}
	return places, nil
}

// sameSource refuses to write over the row of another source: their versions cannot be compared (rule R3).
func (s *Store) sameSource(b *sink.Batch, c *sink.Change, p place) error {
	at := p.deletes
	if p.write >= 0 {
		at = append(at[:len(at):len(at)], p.write)
	}
	for _, i := range at {
		t := s.shards[i].tables[c.Table.TableName]
		if t == nil {
			continue
		}
		if r := t.rows[encode(c.KeyValues)]; r != nil && r.source != b.Source {
			return &change.Problem{Kind: change.Poison, Table: c.Table.TableName,
				What:  fmt.Sprintf("the row belongs to source %q, the change is from %q", r.source, b.Source),
				Where: c.Table.String(), Why: "versions of different sources cannot be compared",
				Mend: "let one source own the row, or use another table for this source"}
		}
	}
	return nil
}

// write applies to shard i all changes of the batch at offsets from next on. The writes of a change come before
// the deletes that it causes elsewhere in the order of the changes; within one shard a change does one thing.
func (s *Store) write(i int, b *sink.Batch, places []place, next int64) {
	for j := range b.Changes {
		c := &b.Changes[j]
		if c.Offset < next {
			continue
		}
		t := s.table(s.shards[i], c.Table.TableName)
		if places[j].write == i {
			t.upsert(b, c, &s.stats)
			continue
		}
		for _, at := range places[j].deletes {
			if at == i {
				t.delete(c, &s.stats)
			}
		}
	}
}

// Assign hands out the next epoch and the lowest next offset over the shards.
func (t *Target) Assign(_ context.Context, group string, p sink.Partition) (next, epoch int64, found bool, err error) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	next, found = math.MaxInt64, true
	for _, sh := range s.shards {
		stored := sh.progress[owner{group, p}]
		if stored == nil {
			stored = &progress{next: -1}
			sh.progress[owner{group, p}] = stored
		}
		next = min(next, stored.next)
		epoch = max(epoch, stored.epoch)
	}
	epoch++
	for _, sh := range s.shards {
		sh.progress[owner{group, p}].epoch = epoch
	}
	if next < 0 {
		next, found = 0, false
	}
	return next, epoch, found, nil
}

// Positions returns all progress of the group.
func (t *Target) Positions(_ context.Context, group string) ([]sink.Position, error) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []sink.Position
	for _, sh := range s.shards {
		for o, p := range sh.progress {
			if o.group == group {
				all = append(all, sink.Position{Partition: o.partition, Shard: sh.name, Next: p.next, Epoch: p.epoch,
					ThroughMillis: p.throughMillis})
			}
		}
	}
	return all, nil
}

// Prepare refuses a table that lacks a column of a unique key.
func (t *Target) Prepare(_ context.Context, _, _ string, tables []*change.Table) error {
	for _, table := range tables {
		for _, unique := range t.store.config.Uniques[table.TableName] {
			for _, name := range unique {
				if table.Column(name) < 0 {
					return &change.Problem{Kind: change.Poison, Table: table.TableName, Where: table.String(),
						What: fmt.Sprintf("the unique column %q is not in the table", name),
						Why:  "a unique key of the target must be one of the source's",
						Mend: "drop the unique key at the target, then start the sink again"}
				}
			}
		}
	}
	return nil
}

// Check says that memory is there.
func (t *Target) Check(context.Context, string, []*change.Table) ([]sink.Finding, error) {
	return []sink.Finding{{Level: sink.Good, Where: "memory", What: "the target is a map in this process"}}, nil
}

// SetProgress writes the resets with the next epoch and forgets other incarnations of their topics.
func (t *Target) SetProgress(_ context.Context, group string, to []sink.Reset) error {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reset := range to {
		var epoch int64
		for _, sh := range s.shards {
			for o, p := range sh.progress {
				if o.group != group || o.partition.Topic != reset.Topic {
					continue
				}
				if o.partition == reset.Partition {
					epoch = max(epoch, p.epoch)
				} else if o.partition.TopicID != reset.TopicID || o.partition.Count != reset.Count {
					delete(sh.progress, o)
				}
			}
		}
		for _, sh := range s.shards {
			sh.progress[owner{group, reset.Partition}] = &progress{next: reset.Next, epoch: epoch + 1, throughMillis: reset.ThroughMillis}
		}
	}
	return nil
}

// Debts returns the debts of all tables.
func (t *Target) Debts(context.Context, string) ([]sink.Debt, error) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []sink.Debt
	for _, sh := range s.shards {
		for name, table := range sh.tables {
			for _, d := range table.debts {
				all = append(all, sink.Debt{Topic: d.topic, Table: name, Shard: sh.name, Key: text(d.key), Version: d.by.Version})
			}
		}
	}
	return all, nil
}
