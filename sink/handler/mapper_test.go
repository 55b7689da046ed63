package handler

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
	"github.com/sluice-cdc/sluice/sink/sinktest"
)

// same is a Mapper that writes each row as it is. It gets to know the tables when it is prepared for them.
type same struct {
	*Mapper
	sink.Scanner
}

func (s *same) Prepare(_ context.Context, _, _ string, tables []*change.Table) error {
	for _, t := range tables {
		s.tables = append(s.tables, &Table{of: t})
	}
	return nil
}

func (s *same) tableOf(of *change.Table) *Table {
	return s.tables[slices.IndexFunc(s.tables, func(t *Table) bool { return t.of == of })]
}

// mapSame maps each table to itself.
func mapSame(inner *memory.Plain) sink.Target {
	s := &same{Scanner: inner}
	target, err := Map(inner, func(_ context.Context, e *Event) ([]Write, error) {
		t := s.tableOf(e.change.Table)
		r := Row{}
		if e.Deleted() {
			for i, k := range t.of.Key {
				r[t.of.Columns[k].Name] = e.change.KeyValues[i]
			}
			return []Write{Delete(t, r)}, nil
		}
		for i, v := range e.change.After {
			r[t.of.Columns[i].Name] = v
		}
		return []Write{Put(t, r)}, nil
	}, nil, MapOptions{Options: Options{Parallel: 1}})
	if err != nil {
		panic(err)
	}
	s.Mapper = target.(*Mapper)
	return s
}

// TestSuite: a function that writes each row as it is makes of a target that keeps versions another that passes the suite.
func TestSuite(t *testing.T) {
	sinktest.Run(t, sinktest.Options{Histories: 100, New: func(_ testing.TB, spec sinktest.Spec) func() sink.Target {
		store := memory.NewStore(memory.Config{})
		return func() sink.Target { return mapSame(store.OpenPlain()) }
	}})
}

var docs = NewTable("docs.users").Key("user", Text).Column("orders", Int)

func mapper(t *testing.T, store *memory.Store, fn MapFunc, o MapOptions) sink.Target {
	t.Helper()
	m, err := Map(store.OpenPlain(), fn, []*Table{docs}, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestNewestStateWins: two changes that a document depends on are handled in the wrong order, each with the state as it is then.
func TestNewestStateWins(t *testing.T) {
	store := memory.NewStore(memory.Config{})
	state := int64(0)
	m := mapper(t, store, func(context.Context, *Event) ([]Write, error) {
		return []Write{Put(docs, Row{"user": "u", "orders": state})}, nil
	}, MapOptions{})
	state = 2 // both are visible
	if err := m.Apply(t.Context(), batch(1, 2, of(change.Update, 1, 2, row(2, "a"), row(2, "b")))); err != nil {
		t.Fatal(err)
	}
	state = 1 // a reader that saw less, and comes late
	if err := m.Apply(t.Context(), batch(0, 1, of(change.Update, 0, 1, row(1, "a"), row(1, "b")))); err != nil {
		t.Fatal(err)
	}
	got, ok := store.Get(docs.of.TableName, change.StringValue("u"))
	if !ok || got.Values[1].Int() != 2 || got.Version != 1001 {
		t.Errorf("%+v %v, want the state that the newest event saw", got, ok)
	}
}

func TestMapRefuses(t *testing.T) {
	store := memory.NewStore(memory.Config{})
	other := NewTable("docs.others").Key("k", Int)
	many := func(n int) []Write {
		var w []Write
		for i := range n {
			w = append(w, Put(docs, Row{"user": fmt.Sprint(i)}))
		}
		return w
	}
	for name, writes := range map[string][]Write{
		"twice the same key":       {Put(docs, Row{"user": "u"}), Delete(docs, Row{"user": "u"})},
		"a table it does not know": {Put(other, Row{"k": 1})},
		"a wrong row":              {Put(docs, Row{"user": nil})},
		"too many":                 many(11),
	} {
		m := mapper(t, store, func(context.Context, *Event) ([]Write, error) { return writes, nil }, MapOptions{WritesMax: 10})
		err := m.Apply(t.Context(), batch(0, 1, of(change.Create, 0, 1, nil, row(1, "a"))))
		var refused *sink.Refused
		if !errors.As(err, &refused) || change.SeverityOf(err) != change.Poison {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := store.Rows(docs.of.TableName); n != 0 {
		t.Errorf("%d rows are written", n)
	}
	if _, err := Map(store.Open(), nil, nil, MapOptions{}); change.SeverityOf(err) != change.Configuration {
		t.Errorf("a target with progress: %v", err)
	}
	if _, err := Map(store.OpenPlain(), nil, []*Table{NewTable("a.b")}, MapOptions{}); change.SeverityOf(err) != change.Configuration {
		t.Errorf("a table without a key: %v", err)
	}
}

// TestManyWrites: more than are held at once, from many keys at once.
func TestManyWrites(t *testing.T) {
	store := memory.NewStore(memory.Config{})
	m := mapper(t, store, func(_ context.Context, e *Event) ([]Write, error) {
		var w []Write
		for i := range 1000 {
			w = append(w, Put(docs, Row{"user": fmt.Sprintf("%s-%d", e.Key("id"), i), "orders": i}))
		}
		return w, nil
	}, MapOptions{})
	var changes []sink.Change
	for id := range int64(20) {
		changes = append(changes, of(change.Create, id, id, nil, row(id, "a")))
	}
	if err := m.Apply(t.Context(), batch(0, 20, changes...)); err != nil || store.Rows(docs.of.TableName) != 20_000 {
		t.Errorf("%v, %d rows, want 20000", err, store.Rows(docs.of.TableName))
	}
}

// failing fails now and then, before or after it has written.
type failing struct {
	*memory.Plain
	calls atomic.Int64
}

func (f *failing) Apply(ctx context.Context, b *sink.Batch) error {
	away := &change.Problem{Kind: change.Retry, What: "away"}
	switch f.calls.Add(1) % 4 {
	case 1:
		return away
	case 2:
		f.Plain.Apply(ctx, b)
		return away
	}
	return f.Plain.Apply(ctx, b)
}

// once fails the first time.
type once struct {
	*memory.Plain
	calls atomic.Int64
}

func (o *once) Apply(ctx context.Context, b *sink.Batch) error {
	if o.calls.Add(1) == 1 {
		return &change.Problem{Kind: change.Retry, What: "away"}
	}
	return o.Plain.Apply(ctx, b)
}

// TestCollectedIsKept: what other events had collected when the target failed in the middle of a batch is written all the same.
func TestCollectedIsKept(t *testing.T) {
	store := memory.NewStore(memory.Config{})
	m, err := Map(&once{Plain: store.OpenPlain()}, func(_ context.Context, e *Event) ([]Write, error) {
		var w []Write
		for i := range 1000 {
			w = append(w, Put(docs, Row{"user": fmt.Sprintf("%s-%d", e.Key("id"), i)}))
		}
		return w, nil
	}, []*Table{docs}, MapOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var changes []sink.Change
	for id := range int64(20) {
		changes = append(changes, of(change.Create, id, id, nil, row(id, "a")))
	}
	if err := m.Apply(t.Context(), batch(0, 20, changes...)); err != nil || store.Rows(docs.of.TableName) != 20_000 {
		t.Errorf("%v, %d rows, want 20000", err, store.Rows(docs.of.TableName))
	}
}

// TestFlaky: a service and a target that fail now and then; each try goes further, and nothing is lost of what was collected.
func TestFlaky(t *testing.T) {
	store := memory.NewStore(memory.Config{})
	var asked atomic.Int64
	m, err := Map(&failing{Plain: store.OpenPlain()}, func(_ context.Context, e *Event) ([]Write, error) {
		if rand.IntN(3) == 0 {
			return nil, errors.New("busy")
		}
		asked.Add(1)
		var w []Write
		for i := range 100 {
			w = append(w, Put(docs, Row{"user": fmt.Sprintf("%s-%d", e.Key("id"), i)}))
		}
		return w, nil
	}, []*Table{docs}, MapOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var changes []sink.Change
	for id := range int64(200) {
		changes = append(changes, of(change.Create, id, id, nil, row(id, "a")))
	}
	tries := 1
	for ; m.Apply(t.Context(), batch(0, 200, changes...)) != nil; tries++ {
		if tries == 30 {
			t.Fatal("not done after 30 tries")
		}
	}
	if n := store.Rows(docs.of.TableName); n != 200*100 || asked.Load() > 600 {
		t.Errorf("%d rows after %d tries, %d asked; want 20000", n, tries, asked.Load())
	}
}
