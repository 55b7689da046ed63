package history

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

var orders = change.TableName{DB: "shop", Name: "orders"}

// world is a pipeline without a fault: what it did is true, until a test spoils it.
type world struct {
	t       *rapid.T
	events  []Event
	records []Record // offsets and versions are given by number
	rows    map[Key]Row
	counter int
	looks   []Observation
}

const worldPartitions = 2

func newWorld(t *rapid.T) *world {
	w := &world{t: t, rows: map[Key]Row{}}
	for range rapid.IntRange(12, 60).Draw(t, "steps") {
		w.step()
	}
	return w
}

func keyOf(n int) Key { return Key{orders, fmt.Sprint(n)} }

func (w *world) step() {
	n := rapid.IntRange(0, 4).Draw(w.t, "key")
	k := keyOf(n)
	row, there := w.rows[k]
	switch kind := rapid.IntRange(0, 4).Draw(w.t, "kind"); {
	case kind == 0 && there: // a crawl reads it
		w.records = append(w.records, Record{Key: k, Op: change.Read, Crawled: true, After: row})
	case kind == 0: // a sweep finds that it is gone
		w.records = append(w.records, Record{Key: k, Op: change.Delete, Crawled: true}, Record{Key: k, Op: change.Delete, Tombstone: true})
	case kind == 1 && there:
		w.change(Event{Key: k, Op: change.Delete, Before: row})
		w.records = append(w.records, Record{Key: k, Op: change.Delete, Tombstone: true})
		delete(w.rows, k)
	default:
		w.counter++
		op, next := change.Create, Row(fmt.Sprint("row ", w.counter))
		if there {
			op = change.Update
		}
		w.change(Event{Key: k, Op: op, Before: row, After: next})
		w.rows[k] = next
	}
}

func (w *world) change(e Event) {
	e.Where = fmt.Sprint("event ", len(w.events))
	w.events = append(w.events, e)
	w.records = append(w.records, Record{Key: e.Key, Op: e.Op, Before: e.Before, After: e.After})
}

// number gives partitions, offsets and versions as a source does: growing over all, the tombstone's that of its delete.
func (w *world) number() {
	offsets := map[int32]int64{}
	version := change.Version(1000)
	for i := range w.records {
		r := &w.records[i]
		r.Partition = int32(r.Key.Body[0]) % worldPartitions
		r.Offset = offsets[r.Partition]
		offsets[r.Partition] += 1 + int64(i%2) // transaction markers
		if !r.Tombstone {
			version++
		}
		r.Version = version
	}
}

// watch looks at a target while it applies the records partition by partition.
func (w *world) watch() {
	next := map[int32]int64{}
	shown := map[Key]*Record{}
	for i := range w.records {
		r := &w.records[i]
		next[r.Partition] = r.Offset + 1
		shown[r.Key] = r
		if rapid.IntRange(0, 2).Draw(w.t, "look") > 0 {
			w.looks = append(w.looks, look(shown[r.Key], next[r.Partition]))
		}
	}
}

func look(r *Record, next int64) Observation {
	o := Observation{Target: "s0", Key: r.Key, Next: next}
	if r.Op != change.Delete {
		o.Present, o.Version, o.Row = true, r.Version, r.After
	}
	return o
}

// judge tells a Checker everything.
func (w *world) judge(o Options) []Fault {
	c := New(o)
	for _, e := range w.events {
		c.Event(e)
	}
	for _, r := range w.records {
		c.Record(r)
	}
	for _, o := range w.looks {
		c.Observe(o)
	}
	for n := range 5 {
		o := Observation{Target: "s0", Key: keyOf(n), Next: -1}
		for i := range w.records {
			if r := &w.records[i]; r.Key == o.Key {
				o = look(r, -1)
			}
		}
		c.Rest(o)
	}
	return c.Check()
}

// pick draws the index of a record, event or look for which ok holds; the test case is given up where there is none.
func pick[T any](t *rapid.T, list []T, ok func(int, T) bool) int {
	var all []int
	for i, e := range list {
		if ok(i, e) {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		t.Skip("no place for the fault")
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "place")]
}

// TestNoFalseAlarm: a pipeline that does nothing wrong is not accused.
func TestNoFalseAlarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.number()
		w.watch()
		if faults := w.judge(Options{Tombstones: true}); len(faults) > 0 {
			t.Fatalf("%d faults of none: %v\n%v", len(faults), faults[0], w.records)
		}
	})
}

func stream(_ int, r Record) bool { return !r.Crawled && !r.Tombstone }

// next returns the index of the next record of the same key that ok holds for.
func (w *world) next(i int, ok func(int, Record) bool) int {
	for j := i + 1; j < len(w.records); j++ {
		if w.records[j].Key == w.records[i].Key && ok(j, w.records[j]) {
			return j
		}
	}
	return -1
}

// TestTopicFaultsAreFound spoils a topic in each of the ways there are.
func TestTopicFaultsAreFound(t *testing.T) {
	for kind, spoil := range map[Kind]func(*rapid.T, *world){
		Duplicate: func(t *rapid.T, w *world) {
			i := pick(t, w.records, func(i int, r Record) bool { return stream(i, r) && r.Op != change.Delete })
			w.records = append(w.records, w.records[i])
		},
		Gap: func(t *rapid.T, w *world) {
			i := pick(t, w.records, func(i int, r Record) bool { return stream(i, r) && r.Op != change.Delete })
			w.records = slices.Delete(w.records, i, i+1)
		},
		Reorder: func(t *rapid.T, w *world) {
			puts := func(i int, r Record) bool { return stream(i, r) && r.Op != change.Delete }
			i := pick(t, w.records, func(i int, r Record) bool { return puts(i, r) && w.next(i, puts) > 0 })
			j := w.next(i, puts)
			w.records[i], w.records[j] = w.records[j], w.records[i]
		},
		Invented: func(t *rapid.T, w *world) {
			i := pick(t, w.records, stream)
			w.records[i].After += " and more"
		},
		StaleCrawl: func(t *rapid.T, w *world) {
			i := pick(t, w.records, func(i int, r Record) bool { return r.Op == change.Update && stream(i, r) })
			w.records = slices.Insert(w.records, i+1, Record{Key: w.records[i].Key, Op: change.Read, Crawled: true, After: w.records[i].Before})
		},
		NoTombstone: func(t *rapid.T, w *world) {
			i := pick(t, w.records, func(_ int, r Record) bool { return r.Tombstone })
			w.records = slices.Delete(w.records, i, i+1)
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t)
				spoil(t, w)
				w.number()
				found(t, w.judge(Options{Tombstones: true}), kind)
			})
		})
	}
}

// TestVersionFaultIsFound: a version that falls, or comes twice.
func TestVersionFaultIsFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.number()
		i := pick(t, w.records, func(i int, r Record) bool {
			return !r.Tombstone && slices.ContainsFunc(w.records[:i], func(o Record) bool { return o.Partition == r.Partition })
		})
		for j := range i {
			if w.records[j].Partition == w.records[i].Partition {
				w.records[i].Version = w.records[j].Version
			}
		}
		found(t, w.judge(Options{}), VersionBack)
	})
}

// TestTargetFaultsAreFound spoils what a target shows.
func TestTargetFaultsAreFound(t *testing.T) {
	present := func(_ int, o Observation) bool { return o.Present }
	for kind, spoil := range map[Kind]func(*rapid.T, *world){
		Unpublished: func(t *rapid.T, w *world) {
			w.looks[pick(t, w.looks, present)].Row += " and more"
		},
		WentBack: func(t *rapid.T, w *world) { // with no progress to hold it against
			i := pick(t, w.looks, func(i int, o Observation) bool {
				return o.Present && slices.ContainsFunc(w.looks[:i], func(p Observation) bool { return p.Key == o.Key && p.Present && p.Version < o.Version })
			})
			j := slices.IndexFunc(w.looks, func(p Observation) bool {
				return p.Key == w.looks[i].Key && p.Present && p.Version < w.looks[i].Version
			})
			w.looks = slices.Insert(w.looks, i+1, w.looks[j])
			w.looks[i+1].Next = -1
		},
		Revived: func(t *rapid.T, w *world) {
			i := pick(t, w.looks, func(i int, o Observation) bool {
				return !o.Present && slices.ContainsFunc(w.looks[:i], func(p Observation) bool { return p.Key == o.Key && p.Present })
			})
			for _, o := range w.looks[:i] {
				if o.Key == w.looks[i].Key && o.Present {
					next := w.looks[i].Next
					w.looks[i] = o
					w.looks[i].Next = next
				}
			}
		},
		Missed: func(t *rapid.T, w *world) {
			w.looks[pick(t, w.looks, present)] = Observation{Target: "s0", Key: w.looks[pick(t, w.looks, present)].Key, Next: 1 << 40}
			last := map[Key]bool{}
			for i := range w.records {
				last[w.records[i].Key] = w.records[i].Op != change.Delete
			}
			if i := slices.IndexFunc(w.looks, func(o Observation) bool { return o.Next == 1<<40 }); !last[w.looks[i].Key] {
				t.Skip("the row is gone in the end")
			}
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t)
				w.number()
				w.watch()
				spoil(t, w)
				found(t, w.judge(Options{}), kind)
			})
		})
	}
}

// TestAbsentForAMoment: a holder may be away, and comes back newer; not as it was.
func TestAbsentForAMoment(t *testing.T) {
	k := keyOf(1)
	c := New(Options{Holders: true})
	for i, row := range []Row{"a", "b"} {
		op, before := change.Create, Row("")
		if i > 0 {
			op, before = change.Update, "a"
		}
		c.Event(Event{Key: k, Op: op, Before: before, After: row})
		c.Record(Record{Key: k, Op: op, Before: before, After: row, Offset: int64(i), Version: change.Version(10 + i)})
	}
	c.Observe(Observation{Key: k, Present: true, Version: 10, Row: "a", Next: 1})
	c.Observe(Observation{Key: k, Next: 1})
	c.Observe(Observation{Key: k, Present: true, Version: 11, Row: "b", Next: 2})
	if faults := c.Check(); len(faults) > 0 {
		t.Errorf("a holder's absence: %v", faults)
	}
	c.Observe(Observation{Key: k, Next: -1})
	c.Observe(Observation{Key: k, Present: true, Version: 11, Row: "b", Next: -1})
	for range 2 { // a second look at the same finds the same
		if faults := c.Check(); len(faults) != 1 || faults[0].Kind != Revived {
			t.Errorf("the same version again: %v", faults)
		}
	}
}

// TestRest: a target at rest is held against the topic's end.
func TestRest(t *testing.T) {
	for _, o := range []Observation{
		{Present: true, Version: 11, Row: "a"}, {Present: true, Version: 10, Row: "b"}, {},
	} {
		c := New(Options{})
		o.Key = keyOf(1)
		c.Event(Event{Key: o.Key, Op: change.Create, After: "b"})
		c.Record(Record{Key: o.Key, Op: change.Create, After: "b", Version: 11})
		c.Rest(o)
		if faults := c.Check(); len(faults) != 1 || faults[0].Kind != Different {
			t.Errorf("%+v: %v", o, faults)
		}
	}
}

// TestUnlogged: after DDL that changes rows without events a crawl is believed, and before it is not.
func TestUnlogged(t *testing.T) {
	k := keyOf(1)
	for _, unlogged := range []bool{false, true} {
		c := New(Options{})
		c.Event(Event{Key: k, Op: change.Create, After: "a"})
		c.Record(Record{Key: k, Op: change.Create, After: "a", Version: 1})
		if unlogged {
			c.Unlogged(orders)
		}
		c.Record(Record{Key: k, Op: change.Read, Crawled: true, After: "b", Version: 2, Offset: 1})
		c.Event(Event{Key: k, Op: change.Update, Before: "b", After: "c"})
		c.Record(Record{Key: k, Op: change.Update, Before: "b", After: "c", Version: 3, Offset: 2})
		c.Record(Record{Key: k, Op: change.Read, Crawled: true, After: "c", Version: 4, Offset: 3})
		faults := c.Check()
		if unlogged && len(faults) > 0 || !unlogged && (len(faults) != 1 || faults[0].Kind != StaleCrawl) {
			t.Errorf("unlogged %v: %v", unlogged, faults)
		}
	}
}

func found(t *rapid.T, faults []Fault, kind Kind) {
	if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == kind }) {
		var all []string
		for _, f := range faults {
			all = append(all, f.String())
		}
		t.Fatalf("no fault of kind %q found, but %d: %s", kind, len(faults), strings.Join(all, "\n"))
	}
}

// TestKeep: of keys that are not followed nothing is kept and nothing said, but that their versions grow.
func TestKeep(t *testing.T) {
	c := New(Options{Keep: func(k Key) bool { return k == keyOf(1) }})
	for n := range 3 {
		c.Event(Event{Key: keyOf(n), Op: change.Create, After: "a"})
		c.Observe(Observation{Target: "s0", Key: keyOf(n), Present: true, Version: 99, Row: "never", Next: -1})
	}
	c.Record(Record{Key: keyOf(2), Offset: 1, Op: change.Create, Version: 8, After: "never"})
	c.Record(Record{Key: keyOf(1), Offset: 2, Op: change.Create, Version: 7, After: "a"})
	c.Record(Record{Key: keyOf(0), Offset: 3, Op: change.Create, Version: 6, After: "never"})
	var said []string
	for _, f := range c.Check() {
		said = append(said, fmt.Sprint(f.Kind, " ", f.Key.Body))
	}
	if want := []string{"version back 1", "version back 0", "unpublished 1"}; !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	if counts := c.Counts(); counts.Keys != 1 || counts.Events != 1 || counts.Records != 1 {
		t.Errorf("%+v", counts)
	}
}
