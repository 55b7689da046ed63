package sim

import (
	"context"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// lean is a target that keeps progress and no markers of deletes, as sink/mysql does: rules R5 and R6, one shard. What
// comes late is kept away by the epoch and the offset alone.
type lean struct {
	w        *world
	rows     [keyCount]*held
	debts    [keyCount]change.Version // the version above which the key's next change must still come; 0: none
	progress map[sink.Partition]*mark
}

type held struct {
	version change.Version
	values  []change.Value
}

type mark struct{ next, epoch int64 }

var _ sink.Progress = (*lean)(nil)

func (l *lean) Close() error { return nil }

// Positions is not asked for here.
func (l *lean) Positions(context.Context, string) ([]sink.Position, error) { return nil, nil }

// Assign hands out the next epoch.
func (l *lean) Assign(_ context.Context, _ string, p sink.Partition) (next, epoch int64, found bool, err error) {
	m := l.progress[p]
	if m == nil {
		m = &mark{next: -1}
		l.progress[p] = m
	}
	m.epoch++
	return max(m.next, 0), m.epoch, m.next >= 0, nil
}

// Apply moves the progress first, or refuses, and then applies by version.
func (l *lean) Apply(_ context.Context, b *sink.Batch) error {
	m := l.progress[b.Partition]
	if (m.epoch != b.Epoch || m.next >= 0 && m.next != b.From) && !l.w.has(NoTargetFence) {
		return &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch}
	}
	m.next = b.Next
	for i := range b.Changes {
		c := &b.Changes[i]
		key := c.KeyValues[0].Int()
		if h := l.rows[key]; h != nil && h.version >= c.Version {
			continue
		}
		if c.Version > l.debts[key] {
			l.debts[key] = 0
		}
		if c.Op == change.Delete {
			l.rows[key] = nil
		} else {
			l.upsert(int(key), c)
		}
	}
	return nil
}

// upsert gives way to a newer holder of its unique value, and makes older ones give way.
func (l *lean) upsert(key int, c *sink.Change) {
	var older []int
	for other, h := range l.rows {
		if h == nil || other == key || c.After[2].IsNull() || !h.values[2].Equal(c.After[2]) {
			continue
		}
		if h.version > c.Version && !l.w.has(Replace) {
			l.debts[key] = c.Version
			return
		}
		older = append(older, other)
	}
	for _, other := range older {
		l.debts[other] = l.rows[other].version
		l.rows[other] = nil
	}
	l.rows[key] = &held{version: c.Version, values: c.After}
}

// Scan calls each for all rows.
func (l *lean) Scan(_ context.Context, _ sink.Scan, each func(sink.Row) error) error {
	for _, h := range l.rows {
		if h != nil {
			if err := each(sink.Row{Values: h.values, Version: h.version, Source: sourceName}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Debts returns what is owed.
func (l *lean) Debts(context.Context, string) (all []sink.Debt, err error) {
	for key, v := range l.debts {
		if v > 0 {
			all = append(all, sink.Debt{Table: table.TableName, Key: change.IntValue(int64(key)).String(), Version: v})
		}
	}
	return all, nil
}
