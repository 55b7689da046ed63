package handler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

var orders = &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}, Key: []int{0}, Columns: []change.Column{
	{Name: "id", Type: change.BigInt},
	{Name: "status", Type: change.VarChar, Length: 20, Nullable: true},
	{Name: "total", Type: change.Decimal, Precision: 10, Scale: 2, Nullable: true},
}}

var part = sink.Partition{Source: "src", Topic: "src.shop.orders", TopicID: [16]byte{1}, Count: 1}

func row(id int64, status string) []change.Value {
	return []change.Value{change.IntValue(id), change.StringValue(status), change.StringValue("12.50")}
}

// of is a change of the key at an offset.
func of(op change.Op, offset, id int64, before, after []change.Value) sink.Change {
	return sink.Change{Op: op, Table: orders, KeyNames: []string{"id"}, KeyValues: []change.Value{change.IntValue(id)}, Key: fmt.Append(nil, id),
		Before: before, After: after, TrustedBefore: op != change.Read, Version: change.Version(1000 + offset), Offset: offset}
}

func tombstone(offset, id int64) sink.Change {
	c := of(change.Delete, offset, id, nil, nil)
	c.Tombstone, c.TrustedBefore = true, false
	return c
}

func batch(from, next int64, changes ...sink.Change) *sink.Batch {
	return &sink.Batch{Group: "g", Partition: part, From: from, Next: next, Epoch: 1, Changes: changes}
}

// TestOrderAndBound: for any batch, all changes are handled once, those of a key in order and one at a time, and never more keys at
// once than Parallel.
func TestOrderAndBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfN(rapid.Int64Range(0, 9), 0, 60).Draw(t, "ids")
		parallel := rapid.IntRange(1, 5).Draw(t, "parallel")
		var changes []sink.Change
		for i, id := range ids {
			changes = append(changes, of(change.Create, int64(i), id, nil, row(id, "new")))
		}
		var mu sync.Mutex
		last, busy := make(map[string]int64), make(map[string]bool)
		var now, most, calls int
		target := New(func(_ context.Context, e *Event) error {
			id := e.Key("id").String()
			mu.Lock()
			if before, ok := last[id]; ok && before >= e.change.Offset || busy[id] {
				t.Errorf("key %s: offset %d after %d, busy %v", id, e.change.Offset, before, busy[id])
			}
			last[id], busy[id] = e.change.Offset, true
			now, calls = now+1, calls+1
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
			mu.Lock()
			busy[id], now = false, now-1
			mu.Unlock()
			return nil
		}, Options{Parallel: parallel})
		if err := target.Apply(context.Background(), batch(0, int64(len(ids)), changes...)); err != nil {
			t.Fatal(err)
		}
		if calls != len(ids) || most > parallel {
			t.Errorf("%d calls for %d changes, %d at once where %d may", calls, len(ids), most, parallel)
		}
	})
}

func TestKeysGoSideBySide(t *testing.T) {
	var gate sync.WaitGroup
	gate.Add(3)
	target := New(func(context.Context, *Event) error {
		gate.Done()
		gate.Wait() // for all three
		return nil
	}, Options{Parallel: 3})
	done := make(chan error, 1)
	go func() {
		done <- target.Apply(t.Context(), batch(0, 3, of(change.Create, 0, 1, nil, row(1, "a")), of(change.Create, 1, 2, nil, row(2, "a")), of(change.Create, 2, 3, nil, row(3, "a"))))
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("three keys were not handled at once")
	}
}

// TestErrors: what an error is decides; what was done does not come again while the process lives, and what follows a failure of
// its key waits.
func TestErrors(t *testing.T) {
	var fail atomic.Pointer[error]
	var mu sync.Mutex
	var done []int64
	target := New(func(_ context.Context, e *Event) error {
		if err := fail.Load(); err != nil && e.change.Offset == 1 {
			return *err
		}
		mu.Lock()
		defer mu.Unlock()
		done = append(done, e.change.Offset)
		return nil
	}, Default())
	b := batch(0, 4, of(change.Create, 0, 1, nil, row(1, "a")), of(change.Create, 1, 2, nil, row(2, "a")), of(change.Update, 2, 2, row(2, "a"), row(2, "b")),
		of(change.Create, 3, 3, nil, row(3, "a")))
	for _, c := range []struct {
		err  error
		kind change.Severity
		at   int64 // the record that is refused; -1: none
	}{
		{errors.New("the service is away"), change.Retry, -1},
		{context.DeadlineExceeded, change.Retry, -1},
		{Refuse(errors.New("no such user")), change.Poison, 1},
		{fmt.Errorf("wrapped: %w", Refuse(errors.New("no such user"))), change.Poison, 1},
		{&change.Problem{Kind: change.Configuration, What: "wrong"}, change.Configuration, -1},
	} {
		fail.Store(&c.err)
		err := target.Apply(t.Context(), b)
		var refused *sink.Refused
		if change.SeverityOf(err) != c.kind || errors.As(err, &refused) != (c.at >= 0) || refused != nil && refused.Offset != c.at {
			t.Errorf("%v gave %v", c.err, err)
		}
		if p := new(change.Problem); errors.As(err, &p) && c.kind != change.Configuration && (p.Why == "" || p.Mend == "" || !strings.Contains(p.Where, "offset 1, key id=2")) {
			t.Errorf("%v does not say why, where and what mends it: %s", c.err, change.Explain(err))
		}
		if slices.Sort(done); !slices.Equal(done, []int64{0, 3}) {
			t.Errorf("done: %v, want 0 and 3, once", done)
		}
	}
	fail.Store(nil)
	if err := target.Apply(t.Context(), b); err != nil || !slices.Equal(done, []int64{0, 3, 1, 2}) {
		t.Errorf("%v, done %v: want 1 and 2 after all", err, done)
	}
	// The partition is set back: everything comes again.
	if err := target.Apply(t.Context(), batch(4, 5)); err != nil {
		t.Fatal(err)
	}
	if err := target.Apply(t.Context(), b); err != nil || len(done) != 8 {
		t.Errorf("%v, done %v: want all four again", err, done)
	}
}

// TestSetBackWithinABatch: a batch that begins earlier than one that was done in part does all of it anew.
func TestSetBackWithinABatch(t *testing.T) {
	var got []int64
	fail := true
	target := New(func(_ context.Context, e *Event) error {
		if fail && e.change.Offset == 3 {
			return errors.New("away")
		}
		got = append(got, e.change.Offset)
		return nil
	}, Options{Parallel: 1})
	changes := []sink.Change{of(change.Create, 1, 1, nil, row(1, "a")), of(change.Update, 2, 1, row(1, "a"), row(1, "b")), of(change.Update, 3, 1, row(1, "b"), row(1, "c"))}
	if err := target.Apply(t.Context(), batch(2, 4, changes[1:]...)); err == nil {
		t.Fatal("no error")
	}
	fail = false
	if err := target.Apply(t.Context(), batch(1, 4, changes...)); err != nil || !slices.Equal(got, []int64{2, 1, 2, 3}) {
		t.Errorf("%v, handled %v: after the partition was set back each change of the key comes, in order", err, got)
	}
}

func TestManyFailuresEndTheRound(t *testing.T) {
	var calls atomic.Int64
	target := New(func(context.Context, *Event) error { calls.Add(1); return errors.New("away") }, Options{Parallel: 4})
	var changes []sink.Change
	for id := range int64(1000) {
		changes = append(changes, of(change.Create, id, id, nil, row(id, "a")))
	}
	if err := target.Apply(t.Context(), batch(0, 1000, changes...)); change.SeverityOf(err) != change.Retry || calls.Load() > 60 {
		t.Errorf("%v after %d calls: a service that is away is not asked for every key", err, calls.Load())
	}
}

// TestTriedAtOnce: a service that fails now and then holds nothing up.
func TestTriedAtOnce(t *testing.T) {
	calls := 0
	target := New(func(context.Context, *Event) error {
		if calls++; calls < 3 {
			return errors.New("busy")
		}
		return nil
	}, Options{Parallel: 2})
	if err := target.Apply(t.Context(), batch(0, 1, of(change.Create, 0, 1, nil, row(1, "a")))); err != nil || calls != 3 {
		t.Errorf("%v after %d calls, want three", err, calls)
	}
}

func TestShutdown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	target := New(func(ctx context.Context, _ *Event) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}, Default())
	if err := target.Apply(ctx, batch(0, 1, of(change.Create, 0, 1, nil, row(1, "a")))); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's end", err)
	}
}

// TestTombstones: the tombstone after a delete is not an event of its own, in the same batch or the next; one whose delete is gone is.
func TestTombstones(t *testing.T) {
	var got []string
	target := New(func(_ context.Context, e *Event) error {
		got = append(got, fmt.Sprintf("%s%s bare=%v", e.Op(), e.Key("id"), e.Bare()))
		return nil
	}, Options{Parallel: 1})
	for _, b := range []*sink.Batch{
		batch(0, 3, of(change.Delete, 0, 1, row(1, "a"), nil), tombstone(1, 1), of(change.Delete, 2, 2, row(2, "a"), nil)),
		batch(3, 3), // T is written anew
		batch(3, 6, tombstone(3, 2), tombstone(5, 3)),
	} {
		if err := target.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"d1 bare=false", "d2 bare=false", "d3 bare=true"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestMisspeltColumn(t *testing.T) {
	for name, ask := range map[string]func(e *Event){
		"new": func(e *Event) { e.New("stauts") }, "old": func(e *Event) { e.Old("stauts") }, "key": func(e *Event) { e.Key("status") },
		"became": func(e *Event) { e.Became("stauts", "PAID") },
	} {
		target := New(func(_ context.Context, e *Event) error { ask(e); return nil }, Default())
		err := target.Apply(t.Context(), batch(0, 1, of(change.Update, 0, 1, row(1, "a"), row(1, "b"))))
		var refused *sink.Refused
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "which shop.orders has not") {
			t.Errorf("%s: %v", name, err)
		}
		if err := target.Apply(t.Context(), batch(0, 1, of(change.Update, 0, 1, row(1, "a"), row(1, "b")))); err == nil {
			t.Errorf("%s: the second try passes", name)
		}
	}
	target := New(func(_ context.Context, e *Event) error {
		if e.Has("later") {
			e.New("later")
		}
		return nil
	}, Default())
	if err := target.Apply(t.Context(), batch(0, 1, of(change.Create, 0, 1, nil, row(1, "a")))); err != nil {
		t.Error(err)
	}
}

func TestWhatIsKnown(t *testing.T) {
	first := of(change.Read, 0, 1, nil, row(1, "PAID"))
	first.Origin.Snapshot, first.TrustedBefore = "true", true
	again := of(change.Read, 0, 1, nil, row(1, "PAID"))
	again.Origin.Snapshot = "incremental"
	found := of(change.Delete, 0, 1, []change.Value{change.IntValue(1), {}, {}}, nil)
	found.Origin.Snapshot, found.TrustedBefore = "incremental", false
	for name, c := range map[string]struct {
		change                      sink.Change
		became, known, first, delta bool
		old, now                    string
	}{
		"create":             {of(change.Create, 0, 1, nil, row(1, "PAID")), true, true, false, true, "", "PAID"},
		"update to it":       {of(change.Update, 0, 1, row(1, "NEW"), row(1, "PAID")), true, true, false, true, "NEW", "PAID"},
		"update of others":   {of(change.Update, 0, 1, row(1, "PAID"), row(1, "PAID")), false, true, false, false, "PAID", "PAID"},
		"update to another":  {of(change.Update, 0, 1, row(1, "PAID"), row(1, "NEW")), false, true, false, true, "PAID", "NEW"},
		"first crawl":        {first, false, false, true, false, "", "PAID"},
		"later crawl":        {again, false, false, false, false, "", "PAID"},
		"delete":             {of(change.Delete, 0, 1, row(1, "PAID"), nil), false, true, false, true, "PAID", ""},
		"delete by a crawl":  {found, false, false, false, false, "", ""},
		"tombstone":          {tombstone(0, 1), false, false, false, false, "", ""},
		"NULL to it":         {of(change.Update, 0, 1, []change.Value{change.IntValue(1), {}, {}}, row(1, "PAID")), true, true, false, true, "", "PAID"},
		"empty text to NULL": {of(change.Update, 0, 1, row(1, ""), []change.Value{change.IntValue(1), {}, {}}), false, true, false, true, "", ""},
	} {
		e := &Event{change: &c.change, batch: batch(0, 1)}
		if e.Became("status", "PAID") != c.became || e.KnownBefore() != c.known || e.FirstCrawl() != c.first || e.Changed("status") != c.delta ||
			e.Old("status").String() != c.old || e.New("status").String() != c.now || e.missed() != "" {
			t.Errorf("%s: became %v, known %v, first %v, changed %v, old %q, new %q", name, e.Became("status", "PAID"), e.KnownBefore(), e.FirstCrawl(), e.Changed("status"),
				e.Old("status"), e.New("status"))
		}
	}
}

func TestIDs(t *testing.T) {
	seen := make(map[string]string)
	for name, c := range map[string]sink.Change{
		"one": of(change.Create, 0, 1, nil, row(1, "a")), "another key": of(change.Create, 0, 2, nil, row(2, "a")), "another version": of(change.Create, 1, 1, nil, row(1, "a"))} {
		id := (&Event{change: &c, batch: batch(0, 1)}).ID()
		moved := c
		moved.Offset = 99 // a topic that was copied, say
		if again := (&Event{change: &moved, batch: batch(50, 100)}).ID(); again != id || len(id) != 24 || seen[id] != "" {
			t.Errorf("%s has id %s, then %s; taken by %q", name, id, again, seen[id])
		}
		seen[id] = name
	}
}

func TestFloor(t *testing.T) {
	log := sink.LogSettings{MinCompactionLag: time.Hour, DeleteRetention: 2 * time.Hour, Compacted: true}
	every, state := Options{}, Options{StateOnly: true}
	if every.Floor(log) != time.Hour || state.Floor(log) != 3*time.Hour || every.Floor(sink.LogSettings{}) != 0 {
		t.Errorf("every change %s, state %s, uncompacted %s", every.Floor(log), state.Floor(log), every.Floor(sink.LogSettings{}))
	}
}

func TestOptionsAreChecked(t *testing.T) {
	got := make(map[string]string)
	o := Options{Parallel: 5000}
	o.Check(func(path, problem string) { got[path] = problem })
	if !slices.Equal(slices.Collect(maps.Keys(got)), []string{"parallel"}) {
		t.Errorf("%v", got)
	}
}
