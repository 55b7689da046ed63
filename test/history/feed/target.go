package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/test/history"
)

// Target is one table as a target holds it. Its shards are looked at as one place each.
type Target struct {
	Name    string
	Scanner sink.Scanner
	Source  string
	Table   *change.Table // as the source has it; the target's columns are found by name

	seen map[string]map[history.Key]bool // by place: keys that were shown once, so that absence is noticed
}

// Look reads the table once and tells each row of it, and each row that is no longer there.
func (t *Target) Look(ctx context.Context, tell func(history.Observation)) error {
	if t.seen == nil {
		t.seen = map[string]map[history.Key]bool{}
	}
	now := map[string]map[history.Key]bool{}
	err := t.Scanner.Scan(ctx, sink.Scan{Source: t.Source, Table: t.Table}, func(r sink.Row) error {
		values, err := t.values(&r)
		if err != nil {
			return err
		}
		place, key := t.Name+"/"+r.Shard, keyOf(t.Table.TableName, keyValues(t.Table, values))
		for _, m := range []map[string]map[history.Key]bool{t.seen, now} {
			if m[place] == nil {
				m[place] = map[history.Key]bool{}
			}
			m[place][key] = true
		}
		tell(history.Observation{Target: place, Key: key, Present: true, Version: r.Version, Row: rowOf(values), Next: -1})
		return nil
	})
	if err != nil {
		return fmt.Errorf("look at %s of %s: %w", t.Table, t.Name, err)
	}
	for place, keys := range t.seen {
		for key := range keys {
			if !now[place][key] {
				tell(history.Observation{Target: place, Key: key, Next: -1})
			}
		}
	}
	return nil
}

// values are the row's by column of the source's table.
func (t *Target) values(r *sink.Row) ([]change.Value, error) {
	values := make([]change.Value, len(t.Table.Columns))
	for i := range values {
		at := slices.Index(r.Columns, t.Table.Columns[i].Name)
		if at < 0 {
			return nil, fmt.Errorf("%s has no column %s", t.Table, t.Table.Columns[i].Name)
		}
		values[i] = r.Values[at]
	}
	return values, nil
}

// Watch looks at the targets again and again, from a goroutine of its own, until the function that it returns is called.
// That one waits for the last look, returns how many there were, and what ended them early, if anything did. Between calls
// the Checker is the watcher's alone.
func Watch(ctx context.Context, every time.Duration, c *history.Checker, targets ...*Target) (stop func() (looks int, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	looks := 0
	go func() {
		for ctx.Err() == nil {
			for _, t := range targets {
				if err := t.Look(ctx, c.Observe); err != nil {
					done <- err
					return
				}
			}
			looks++
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
		done <- nil
	}()
	return func() (int, error) {
		cancel()
		err := <-done
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return looks, err
	}
}
