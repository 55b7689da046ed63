package memory_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

func config(spec sinktest.Spec) memory.Config {
	c := memory.Config{Uniques: make(map[change.TableName][][]string)}
	for _, table := range spec.Tables {
		c.Uniques[table.TableName] = table.Uniques
	}
	return c
}

func TestSuite(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Uniques: true, Histories: 300, New: func(_ testing.TB, spec sinktest.Spec) func() sink.Target {
		store := memory.NewStore(config(spec))
		return func() sink.Target { return store.Open() }
	}})
}

func TestSuiteWithoutProgress(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Uniques: true, Histories: 300, New: func(_ testing.TB, spec sinktest.Spec) func() sink.Target {
		store := memory.NewStore(config(spec))
		return func() sink.Target { return store.OpenPlain() }
	}})
}

// TestSuiteSharded runs the suite over three shards that fail between their commits, with rows that move from
// shard to shard.
func TestSuiteSharded(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Histories: 500, New: func(_ testing.TB, spec sinktest.Spec) func() sink.Target {
		c := config(spec)
		c.Shards = []string{"s0", "s1", "s2"}
		c.Route = func(t *change.Table, row []change.Value) (string, error) {
			if i := t.Column("a"); i >= 0 {
				return c.Shards[row[i].Int()%3], nil
			}
			return "s0", nil
		}
		var calls atomic.Int64
		c.Fault = func(string) error {
			if calls.Add(1)%5 == 0 {
				return &change.Problem{Kind: change.Retry, What: "the shard went away"}
			}
			return nil
		}
		store := memory.NewStore(c)
		return func() sink.Target { return store.Open() }
	}})
}

var orders = &change.Table{
	TableName: change.TableName{DB: "shop", Name: "orders"},
	Columns:   []change.Column{{Name: "id", Type: change.BigInt}, {Name: "user", Type: change.BigInt}},
	Key:       []int{0},
}

func order(op change.Op, offset int64, v change.Version, before, after []change.Value) sink.Change {
	image := after
	if image == nil {
		image = before
	}
	return sink.Change{Op: op, Table: orders, KeyNames: []string{"id"}, KeyValues: image[:1], Before: before, After: after,
		TrustedBefore: op != change.Read, Version: v, Offset: offset}
}

func row(id, user int64) []change.Value {
	return []change.Value{change.IntValue(id), change.IntValue(user)}
}

func sharded(fault func(string) error) *memory.Store {
	return memory.NewStore(memory.Config{Shards: []string{"s0", "s1"}, Fault: fault,
		Route: func(_ *change.Table, row []change.Value) (string, error) {
			if row[1].Int() > 1 {
				return "", errors.New("no such user")
			}
			return []string{"s0", "s1"}[row[1].Int()], nil
		}})
}

var part = sink.Partition{Source: "src", Topic: "src.shop.orders", Count: 1}

func batch(epoch, from, next int64, changes ...sink.Change) *sink.Batch {
	return &sink.Batch{Group: "g", Partition: part, Epoch: epoch, From: from, Next: next, Changes: changes}
}

// TestShardThatStandsFurther: after a crash between two shards the next owner cuts other batches; the shard
// that stands further skips what it has, by offset.
func TestShardThatStandsFurther(t *testing.T) {
	fail := false
	store := sharded(func(shard string) error {
		if fail && shard == "s1" {
			return &change.Problem{Kind: change.Retry, What: "s1 is away"}
		}
		return nil
	})
	ctx, target := t.Context(), store.Open()
	_, epoch, _, err := target.Assign(ctx, "g", part)
	if err != nil {
		t.Fatal(err)
	}
	changes := []sink.Change{order(change.Create, 1, 11, nil, row(2, 0)), order(change.Create, 2, 12, nil, row(3, 1)),
		order(change.Create, 3, 13, nil, row(4, 0))}
	if err := target.Apply(ctx, batch(epoch, 0, 1)); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := target.Apply(ctx, batch(epoch, 1, 3, changes[:2]...)); change.SeverityOf(err) != change.Retry {
		t.Fatalf("apply gave %v, want a retry", err)
	}
	fail = false
	next, epoch, found, err := target.Assign(ctx, "g", part)
	if err != nil || !found || next != 1 {
		t.Fatalf("next is %d (found %v, %v), want 1: the lowest over the shards", next, found, err)
	}
	before := store.Stats()
	if err := target.Apply(ctx, batch(epoch, 1, 4, changes...)); err != nil {
		t.Fatal(err)
	}
	if s := store.Stats(); s.Stale != before.Stale || s.Written != before.Written+2 {
		t.Errorf("stats went from %+v to %+v, want two rows written, none stale", before, s)
	}
	next, _, _, _ = target.Assign(ctx, "g", part)
	if next != 4 {
		t.Errorf("next is %d, want 4", next)
	}
}

func TestMoveBetweenShards(t *testing.T) {
	store := sharded(nil)
	target := store.OpenPlain()
	steps := []struct {
		c    sink.Change
		want string // the shard that holds the row then; empty: none
	}{
		{order(change.Create, 0, 10, nil, row(1, 0)), "s0"},
		{order(change.Update, 1, 11, row(1, 0), row(1, 1)), "s1"},
		{order(change.Read, 2, 12, nil, row(1, 0)), "s0"}, // no before image: deleted on all other shards
		{order(change.Delete, 3, 13, row(1, 0), nil), ""},
		{order(change.Read, 4, 11, nil, row(1, 0)), ""}, // stale: the marker of the delete holds
	}
	for i, step := range steps {
		if err := target.Apply(t.Context(), batch(0, int64(i), int64(i+1), step.c)); err != nil {
			t.Fatal(err)
		}
		got, ok := store.Get(orders.TableName, change.IntValue(1))
		if ok != (step.want != "") || got.Shard != step.want || store.Rows(orders.TableName) > 1 {
			t.Errorf("after step %d the row is in shard %q (%v), want %q", i, got.Shard, ok, step.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	store := sharded(nil)
	target := store.OpenPlain()
	if err := target.Apply(t.Context(), batch(0, 0, 1, order(change.Create, 0, 10, nil, row(1, 0)))); err != nil {
		t.Fatal(err)
	}
	noShard := batch(0, 1, 3, order(change.Create, 1, 11, nil, row(2, 0)), order(change.Create, 2, 12, nil, row(3, 7)))
	otherSource := batch(0, 1, 2, order(change.Update, 1, 11, row(1, 0), row(1, 0)))
	otherSource.Source = "other"
	for name, c := range map[string]struct {
		batch  *sink.Batch
		offset int64
	}{"no shard": {noShard, 2}, "another source's row": {otherSource, 1}} {
		err := target.Apply(t.Context(), c.batch)
		var refused *sink.Refused
		if !errors.As(err, &refused) || refused.Offset != c.offset || change.SeverityOf(err) != change.Poison {
			t.Errorf("%s: apply gave %v, want the change at offset %d refused", name, err, c.offset)
		}
	}
	if n := store.Rows(orders.TableName); n != 1 {
		t.Errorf("%d rows, want 1: nothing of a refused batch is written", n)
	}
}

func TestScanBounds(t *testing.T) {
	store := sharded(nil)
	target := store.Open()
	for id := range int64(10) {
		c := order(change.Create, id, 10, nil, row(id-5, id%2))
		if err := store.OpenPlain().Apply(t.Context(), batch(0, id, id+1, c)); err != nil {
			t.Fatal(err)
		}
	}
	key := func(id int64) []change.Value { return []change.Value{change.IntValue(id)} }
	for name, c := range map[string]struct {
		scan sink.Scan
		want []int64
	}{
		"between": {sink.Scan{After: key(-2), Through: key(1)}, []int64{-1, 0, 1}},
		"after":   {sink.Scan{After: key(2)}, []int64{3, 4}},
		"through": {sink.Scan{Through: key(-4)}, []int64{-5, -4}},
		"keys":    {sink.Scan{Keys: [][]change.Value{key(3), key(77)}}, []int64{3}},
	} {
		c.scan.Table = orders
		var got []int64
		err := target.Scan(t.Context(), c.scan, func(r sink.Row) error {
			got = append(got, r.Values[0].Int())
			return nil
		})
		slices.Sort(got)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: rows %v (%v), want %v", name, got, err, c.want)
		}
	}
}
