package sinktest

import (
	"errors"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// story is one told case: a place, an owner of its partitions, and rows that are named by id.
type story struct {
	t     *testing.T
	o     Options
	table Table
	open  func() sink.Target
	h     *handle
	parts [3]sink.Partition
	at    [3]int64
}

type testCase struct {
	name    string
	uniques bool // needs a target that obeys unique keys
	run     func(*testing.T, Options)
}

// tell makes a case of a table of the suite.
func tell(name string, table func() Table, body func(s *story)) testCase {
	uniques := len(table().Uniques) > 0
	return testCase{name: name, uniques: uniques, run: func(t *testing.T, o Options) {
		s := &story{t: t, o: o, table: table()}
		s.open = o.New(t, Spec{Group: group, Source: source, Tables: []Table{s.table}})
		for i := range s.parts {
			s.parts[i] = partition(s.table.Table, int32(i), int32(len(s.parts)))
		}
		s.own()
		body(s)
	}}
}

// own lets a new process take all partitions over.
func (s *story) own() *handle {
	s.t.Helper()
	s.h = newHandle(s.t, s.o, s.open, s.table.Table)
	for _, p := range s.parts {
		s.h.assign(p)
	}
	return s.h
}

// keeps reports whether the target keeps progress.
func (s *story) keeps() bool {
	_, ok := s.h.target.(sink.Progress)
	return ok
}

// send applies the changes as the next batch of the partition.
func (s *story) send(p int, changes ...sink.Change) {
	s.t.Helper()
	from, next := s.number(p, changes)
	s.h.must(s.parts[p], from, next, changes...)
	s.at[p] = next
}

// number gives the changes the partition's next offsets.
func (s *story) number(p int, changes []sink.Change) (from, next int64) {
	next = s.at[p]
	for i := range changes {
		changes[i].Offset = next
		next++
	}
	return s.at[p], next
}

// row is a row of the suite's plain and unique tables; code "" and b < 0 are NULL.
func row(id int64, code string, a, b int64) []change.Value {
	r := []change.Value{change.IntValue(id), {}, change.IntValue(a), {}}
	if code != "" {
		r[1] = change.StringValue(code)
	}
	if b >= 0 {
		r[3] = change.IntValue(b)
	}
	return r
}

func (s *story) change(op change.Op, v change.Version, before, after []change.Value) sink.Change {
	image := after
	if image == nil {
		image = before
	}
	key := []change.Value{image[0]}
	return sink.Change{Op: op, Table: s.table.Table, KeyNames: s.table.KeyNames(), KeyValues: key, Key: []byte(encode(key)),
		Before: before, After: after, TrustedBefore: op != change.Read, Version: v, AppendMillis: int64(v), Bytes: 100}
}

func (s *story) create(v change.Version, after []change.Value) sink.Change {
	return s.change(change.Create, v, nil, after)
}

func (s *story) update(v change.Version, before, after []change.Value) sink.Change {
	return s.change(change.Update, v, before, after)
}

func (s *story) read(v change.Version, after []change.Value) sink.Change {
	return s.change(change.Read, v, nil, after)
}

func (s *story) delete(v change.Version, before []change.Value) sink.Change {
	return s.change(change.Delete, v, before, nil)
}

func (s *story) tombstone(v change.Version, before []change.Value) sink.Change {
	c := s.change(change.Delete, v, before, nil)
	c.Before, c.TrustedBefore, c.Tombstone = nil, false, true
	return c
}

// holds fails unless the target has these rows and no others.
func (s *story) holds(want ...[]change.Value) {
	s.t.Helper()
	got := make(map[string]int)
	for _, r := range scan(s.t, s.o, s.h.target, s.table.Table) {
		got[encode(r.Values)]++
		found := false
		for _, w := range want {
			found = found || encode(w) == encode(r.Values)
		}
		if !found {
			s.t.Errorf("row %v should not be there", r.Values)
		}
	}
	for _, w := range want {
		if got[encode(w)] != 1 {
			s.t.Errorf("row %v is there %d times, want once", w, got[encode(w)])
		}
	}
}

var cases = []testCase{
	tell("insert, update, delete", plainTable, func(s *story) {
		one, two := row(1, "a", 1, 1), row(1, "b", 2, -1)
		s.send(0, s.create(10, one), s.create(11, row(2, "", 0, 0)))
		s.holds(one, row(2, "", 0, 0))
		s.send(0, s.update(12, one, two))
		s.holds(two, row(2, "", 0, 0))
		s.send(0, s.delete(13, two), s.tombstone(13, two))
		s.holds(row(2, "", 0, 0))
	}),
	tell("many changes of one key in one batch", plainTable, func(s *story) {
		one, two := row(1, "a", 1, 1), row(1, "b", 2, -1)
		s.send(0, s.create(10, one), s.update(11, one, two), s.delete(12, two), s.tombstone(13, two), s.create(14, one))
		s.holds(one)
		s.send(0, s.update(15, one, two), s.delete(16, two), s.tombstone(17, two))
		s.holds()
	}),
	tell("stale versions do nothing", plainTable, func(s *story) {
		one, two := row(1, "a", 1, 1), row(1, "b", 1, 2)
		s.send(0, s.create(10, one))
		s.send(0, s.read(9, two))
		s.holds(one)
		if !s.o.LastOfEquals {
			s.send(0, s.read(10, two))
			s.holds(one)
		}
		s.send(0, s.delete(9, two))
		s.holds(one)
		s.send(0, s.read(8, two), s.update(12, one, two), s.read(11, one))
		s.holds(two)
	}),
	tell("a tombstone alone deletes", plainTable, func(s *story) {
		s.send(0, s.tombstone(5, row(7, "", 0, 0)))
		s.holds()
		s.send(0, s.create(10, row(1, "a", 1, 1)))
		s.send(0, s.tombstone(11, row(1, "", 0, 0)))
		s.holds()
		s.send(0, s.create(12, row(1, "c", 1, 1)))
		s.holds(row(1, "c", 1, 1))
	}),
	tell("a deleted row does not come back", plainTable, func(s *story) {
		if s.keeps() {
			s.t.Skip("the target keeps progress: a record that was applied does not come again")
		}
		one := row(1, "a", 1, 1)
		s.send(0, s.create(10, one), s.delete(12, one), s.tombstone(12, one))
		s.send(0, s.create(10, one), s.read(11, one))
		s.holds()
		s.send(0, s.create(13, one))
		s.holds(one)
	}),
	tell("a changed key is a delete and a create", plainTable, func(s *story) {
		old, moved := row(1, "a", 1, 1), row(2, "a", 1, 1)
		s.send(0, s.create(10, old))
		s.send(1, s.create(12, moved))
		s.send(0, s.delete(11, old), s.tombstone(11, old))
		s.holds(moved)
	}),
	tell("empty batches move the progress", plainTable, func(s *story) {
		s.h.must(s.parts[0], 0, 5)
		s.h.must(s.parts[0], 5, 5)
		c := s.create(10, row(1, "a", 1, 1))
		c.Offset = 7
		s.h.must(s.parts[0], 5, 9, c)
		s.holds(row(1, "a", 1, 1))
		if next, known := s.own().assign(s.parts[0]); s.keeps() && (!known || next != 9) {
			s.t.Errorf("next is %d (known: %v), want 9", next, known)
		}
	}),
	tell("an unknown partition may begin anywhere", plainTable, func(s *story) {
		if !s.keeps() {
			s.t.Skip("the target keeps no progress")
		}
		if _, known := s.h.assign(s.parts[0]); known {
			s.t.Error("a partition that nothing was applied of is known")
		}
		c := s.create(10, row(1, "a", 1, 1))
		c.Offset = 40
		s.h.must(s.parts[0], 37, 41, c)
		if next, known := s.h.assign(s.parts[0]); !known || next != 41 {
			s.t.Errorf("next is %d (known: %v), want 41", next, known)
		}
	}),
	tell("a late owner is refused", plainTable, lateOwner),
	tell("a batch whose answer was lost", plainTable, lostAnswer),
	tell("another incarnation of a topic has its own progress", plainTable, otherIncarnation),
	tell("replay goes back and fences", plainTable, replay),
	tell("a unique value goes over, delete first", uniqueTable, func(s *story) {
		one, two := row(1, "a", 1, 1), row(2, "a", 2, 2)
		s.send(0, s.create(10, one))
		s.send(0, s.delete(11, one), s.tombstone(11, one))
		s.send(1, s.create(12, two))
		s.holds(two)
	}),
	tell("a unique value goes over, delete last", uniqueTable, func(s *story) {
		one, two := row(1, "a", 1, 1), row(2, "a", 2, 2)
		s.send(0, s.create(10, one))
		s.send(1, s.create(12, two))
		s.holds(two)
		s.send(0, s.delete(11, one), s.tombstone(11, one))
		s.holds(two)
		noDebts(s.t, s.o, s.h.target)
	}),
	tell("an older row comes late to a taken unique value", uniqueTable, func(s *story) {
		one, two := row(1, "a", 1, 1), row(2, "a", 2, 2)
		s.send(1, s.create(12, two))
		s.send(0, s.create(10, one))
		s.holds(two)
		s.send(0, s.update(11, one, row(1, "b", 1, 1)))
		s.holds(two, row(1, "b", 1, 1))
		noDebts(s.t, s.o, s.h.target)
	}),
	tell("two rows swap a unique value", uniqueTable, func(s *story) {
		a, b := row(1, "a", 1, 1), row(2, "b", 2, 2)
		s.send(0, s.create(10, a))
		s.send(1, s.create(11, b))
		parked := row(1, "", 1, 1)
		s.send(1, s.update(13, b, row(2, "a", 2, 2)))
		s.send(0, s.update(12, a, parked), s.update(14, parked, row(1, "b", 1, 1)))
		s.holds(row(1, "b", 1, 1), row(2, "a", 2, 2))
		noDebts(s.t, s.o, s.h.target)
	}),
	tell("two rows swap in one batch", uniqueTable, func(s *story) {
		a, b := row(1, "a", 1, 1), row(2, "b", 2, 2)
		s.send(0, s.create(10, a), s.create(11, b), s.create(12, row(3, "c", 3, 3)))
		parked := row(1, "", 1, 1)
		s.send(0, s.update(13, a, parked), s.update(14, b, row(2, "a", 2, 2)), s.update(15, parked, row(1, "b", 1, 1)))
		s.holds(row(1, "b", 1, 1), row(2, "a", 2, 2), row(3, "c", 3, 3))
		noDebts(s.t, s.o, s.h.target)
	}),
	tell("one row pushes out two holders", uniqueTable, func(s *story) {
		one, two := row(1, "a", 1, 1), row(2, "b", 2, 2)
		s.send(0, s.create(10, one))
		s.send(1, s.create(11, two))
		s.send(2, s.create(14, row(3, "a", 2, 2)))
		s.holds(row(3, "a", 2, 2))
		s.send(0, s.update(12, one, row(1, "d", 1, 1)))
		s.send(1, s.delete(13, two), s.tombstone(13, two))
		s.holds(row(3, "a", 2, 2), row(1, "d", 1, 1))
		noDebts(s.t, s.o, s.h.target)
	}),
	tell("NULL holds no unique value", uniqueTable, func(s *story) {
		s.send(0, s.create(10, row(1, "", 1, -1)), s.create(11, row(2, "", 1, -1)))
		s.send(1, s.create(12, row(3, "", 1, -1)))
		s.holds(row(1, "", 1, -1), row(2, "", 1, -1), row(3, "", 1, -1))
	}),
	tell("a debt is told until it is paid", uniqueTable, func(s *story) {
		debtor, ok := s.h.target.(sink.Debtor)
		if !ok {
			s.t.Skip("the target tells no debts")
		}
		s.send(0, s.create(10, row(1, "a", 1, 1)))
		s.send(1, s.create(12, row(2, "a", 2, 2)))
		debts, err := debtor.Debts(s.t.Context(), group)
		if err != nil || len(debts) != 1 {
			s.t.Fatalf("debts are %v (%v), want the deleted holder's", debts, err)
		}
		if d := debts[0]; d.Topic != s.parts[0].Topic || d.Version != 12 || d.AppendMillis != 12 || d.Table != s.table.TableName {
			s.t.Errorf("debt is %+v", d)
		}
		s.send(0, s.update(11, row(1, "a", 1, 1), row(1, "z", 1, 1)))
		noDebts(s.t, s.o, s.h.target)
	}),
}

func lateOwner(s *story) {
	if !s.keeps() {
		s.t.Skip("the target keeps no progress")
	}
	s.send(0, s.create(10, row(1, "a", 1, 1)))
	old := s.h
	s.own()
	c := s.read(11, row(1, "late", 1, 1))
	c.Offset = 1
	var lost *sink.OwnershipLost
	if err := old.apply(s.parts[0], 1, 2, c); !errors.As(err, &lost) {
		s.t.Fatalf("the old owner's batch gave %v, want *OwnershipLost", err)
	}
	if lost.Partition != s.parts[0] {
		s.t.Errorf("the error names %v, want %v", lost.Partition, s.parts[0])
	}
	s.holds(row(1, "a", 1, 1))
	s.send(0, s.read(11, row(1, "b", 1, 1)))
	s.holds(row(1, "b", 1, 1))
}

func lostAnswer(s *story) {
	if !s.keeps() {
		s.t.Skip("the target keeps no progress")
	}
	one := row(1, "a", 1, 1)
	first := []sink.Change{s.create(10, one), s.delete(11, one)}
	s.send(0, first...)
	var lost *sink.OwnershipLost
	err := s.h.apply(s.parts[0], 0, 2, first...)
	if err != nil && !errors.As(err, &lost) && change.SeverityOf(err) != change.Retry {
		s.t.Fatalf("the batch again: %v", err)
	}
	s.holds()
	if next, known := s.h.assign(s.parts[0]); !known || next != 2 {
		s.t.Errorf("next is %d (known: %v), want 2", next, known)
	}
	gap := s.create(12, one)
	gap.Offset = 9
	if err := s.h.apply(s.parts[0], 9, 10, gap); !errors.As(err, &lost) {
		s.t.Errorf("a batch that leaves a gap gave %v, want *OwnershipLost", err)
	}
	s.holds()
}

func otherIncarnation(s *story) {
	progress, ok := s.h.target.(sink.Progress)
	if !ok {
		s.t.Skip("the target keeps no progress")
	}
	s.send(0, s.create(10, row(1, "a", 1, 1)))
	other := s.parts[0]
	other.TopicID = [16]byte{9}
	if _, known := s.h.assign(other); known {
		s.t.Error("another topic id finds the old one's progress")
	}
	all, err := progress.Positions(s.t.Context(), group)
	if err != nil {
		s.t.Fatal(err)
	}
	found := make(map[sink.Partition]int64)
	for _, p := range all {
		found[p.Partition] = p.Next
	}
	if next, ok := found[s.parts[0]]; !ok || next != 1 {
		s.t.Errorf("positions say next %d (known: %v) for %v, want 1", next, ok, s.parts[0])
	}
	if next, ok := found[other]; !ok || next != -1 {
		s.t.Errorf("positions say next %d (known: %v) for the new incarnation, want -1", next, ok)
	}
	if others, err := progress.Positions(s.t.Context(), "another group"); err != nil || len(others) != 0 {
		s.t.Errorf("another group has positions %v (%v)", others, err)
	}
}

func replay(s *story) {
	replayer, ok := s.h.target.(sink.Replayer)
	if !ok {
		s.t.Skip("the target cannot be replayed")
	}
	one := row(1, "a", 1, 1)
	s.send(0, s.create(10, one), s.create(11, row(2, "b", 2, 2)))
	ctx, tables := s.t.Context(), []*change.Table{s.table.Table}
	if names, err := replayer.Occupied(ctx, source, tables); err != nil || len(names) == 0 {
		s.t.Fatalf("occupied tables are %v (%v), want one", names, err)
	}
	if err := replayer.Empty(ctx, source, tables); err != nil {
		s.t.Fatal(err)
	}
	if names, err := replayer.Occupied(ctx, source, tables); err != nil || len(names) != 0 {
		s.t.Fatalf("occupied tables are %v (%v), want none", names, err)
	}
	if err := replayer.SetProgress(ctx, group, []sink.Reset{{Partition: s.parts[0], Next: 1, ThroughMillis: -77}}); err != nil {
		s.t.Fatal(err)
	}
	s.storedThrough(s.parts[0], -77)
	var lost *sink.OwnershipLost
	if err := s.h.apply(s.parts[0], 2, 3); !errors.As(err, &lost) {
		s.t.Errorf("the owner of before gave %v, want *OwnershipLost", err)
	}
	if next, known := s.own().assign(s.parts[0]); !known || next != 1 {
		s.t.Errorf("next is %d (known: %v), want 1", next, known)
	}
	s.at[0] = 1
	s.send(0, s.create(11, row(2, "b", 2, 2)))
	s.holds(row(2, "b", 2, 2))
	s.storedThrough(s.parts[0], 2000)
	if err := replayer.SetProgress(ctx, group, []sink.Reset{{Partition: s.parts[0], Next: -1}}); err != nil {
		s.t.Fatal(err)
	}
	if _, known := s.own().assign(s.parts[0]); known {
		s.t.Error("a partition that was reset to -1 is known")
	}
}

// storedThrough fails unless the T of the partition is stored as it was given: a negative one is no smaller number
// but another state.
func (s *story) storedThrough(p sink.Partition, want int64) {
	s.t.Helper()
	all, err := s.h.target.(sink.Progress).Positions(s.t.Context(), group)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, stored := range all {
		if stored.Partition == p && stored.ThroughMillis != want {
			s.t.Errorf("the stored T of %s is %d, want %d", p, stored.ThroughMillis, want)
		}
	}
}
