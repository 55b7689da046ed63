package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

var errFault = &change.Problem{Kind: change.Retry, What: "a fault of the test"}

// faulty is a store whose answers are lost, whose requests do not arrive, or arrive late.
type faulty struct {
	store
	r      *rand.Rand
	one    int      // of how many operations one fails; 0: none
	late   []func() // swaps that have not arrived yet
	before func()   // called before each operation that changes something
}

// at decides what becomes of an operation.
func (f *faulty) at(do func() error) error {
	if f.before != nil {
		f.before()
	}
	for len(f.late) > 0 && f.r.IntN(2) == 0 {
		f.late[0]()
		f.late = f.late[1:]
	}
	if f.one == 0 {
		return do()
	}
	switch f.r.IntN(3 * f.one) {
	case 0:
		return errFault
	case 1:
		if err := do(); err != nil {
			return err
		}
		return errFault
	}
	return do()
}

func (f *faulty) put(ctx context.Context, key string, file *os.File) error {
	defer discard(file)
	return f.at(func() error { return f.store.put(ctx, key, file) })
}

func (f *faulty) swap(ctx context.Context, key string, data []byte, tag string) (newTag string, err error) {
	if f.one > 0 && f.r.IntN(3*f.one) == 0 {
		f.late = append(f.late, func() { f.store.swap(context.Background(), key, data, tag) })
		return "", errFault
	}
	err = f.at(func() error {
		newTag, err = f.store.swap(ctx, key, data, tag)
		return err
	})
	return newTag, err
}

func (f *faulty) remove(ctx context.Context, keys ...string) error {
	return f.at(func() error {
		if f.one > 0 && len(keys) > 1 && f.r.IntN(f.one) == 0 {
			return errors.Join(f.store.remove(ctx, keys[:f.r.IntN(len(keys))]...), errFault)
		}
		return f.store.remove(ctx, keys...)
	})
}

// world is one partition of a topic, its log, and processes that apply it.
type world struct {
	t      *testing.T
	config Config
	store  *faulty
	now    time.Time
	part   sink.Partition
	log    []sink.Change // by offset; Bytes 0: a transaction marker
	tables []*change.Table
}

func newWorld(t *testing.T, r *rand.Rand, length int) *world {
	w := &world{t: t, config: Default(), now: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
		part: sink.Partition{Source: "src", Topic: "src.shop.orders", TopicID: [16]byte{1}, Count: 1}}
	w.config.Path = t.TempDir()
	w.config.RollSize = 12 << 10
	w.config.RollTime = 2 * time.Hour
	w.store = &faulty{store: &local{root: w.config.Path}, r: r}
	columns := []change.Column{{Name: "id", Type: change.BigInt}, {Name: "note", Type: change.VarChar, Nullable: true}, {Name: "later", Type: change.Int, Nullable: true}}
	for n := 2; n <= 3; n++ {
		w.tables = append(w.tables, &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}, Columns: columns[:n], Key: []int{0}})
	}
	at := w.now
	for offset := range length {
		at = at.Add(time.Duration(r.IntN(40)) * time.Minute)
		w.log = append(w.log, w.change(r, int64(offset), at, w.tables[min(1, offset*2/length)]))
	}
	return w
}

// change makes a record; one of five is a marker, which is no change.
func (w *world) change(r *rand.Rand, offset int64, at time.Time, table *change.Table) sink.Change {
	row := make([]change.Value, len(table.Columns))
	row[0], row[1] = change.IntValue(r.Int64N(20)), change.StringValue(fmt.Sprint("note ", offset))
	c := sink.Change{Op: change.Create, Table: table, KeyNames: []string{"id"}, KeyValues: row[:1], Key: fmt.Append(nil, row[0].Int()), After: row,
		Version: change.Version(at.UnixMicro() + offset), Offset: offset, AppendMillis: at.UnixMilli(), Bytes: 200}
	c.Origin.CommitMillis = at.UnixMilli()
	if r.IntN(5) == 0 {
		c.Bytes = 0
	}
	return c
}

func (w *world) open() *Target {
	t := &Target{config: w.config, log: slog.New(slog.DiscardHandler), store: w.store, now: func() time.Time { return w.now },
		layouts: make(map[*change.Table]*layout), read: make(map[string]*layout), held: make(map[sink.Partition]*held)}
	return t
}

func (w *world) batch(from, next, epoch int64) *sink.Batch {
	b := &sink.Batch{Group: "g", Partition: w.part, From: from, Next: next, Epoch: epoch, ThroughMillis: w.now.UnixMilli()}
	for _, c := range w.log[from:next] {
		if c.Bytes > 0 {
			b.Changes = append(b.Changes, c)
		}
	}
	if next > from {
		last := &w.log[next-1]
		b.ThroughMillis, w.now = last.AppendMillis, time.UnixMilli(max(last.AppendMillis, w.now.UnixMilli()))
	}
	return b
}

// until does again what fails.
func (w *world) until(do func() error) {
	w.t.Helper()
	for try := 0; ; try++ {
		err := do()
		if err == nil {
			return
		}
		if change.SeverityOf(err) != change.Retry || try > 1000 {
			w.t.Fatal(change.Explain(err))
		}
	}
}

// everyOffsetOnce reads all files, and fails unless they have each change below end once, in order, and their names all offsets.
func (w *world) everyOffsetOnce(end int64, visible bool) {
	w.t.Helper()
	plain := w.open()
	plain.store = w.store.store
	parts, err := plain.partitionsOf(context.Background(), w.part.Source, w.tables[0].TableName)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(parts) == 0 {
		return
	}
	next, want := int64(0), int64(0)
	for _, key := range parts[0].files {
		if visible && strings.HasPrefix(key, stagedFolder) {
			break
		}
		if _, s, ok := parseFile(key); ok && !strings.HasPrefix(key, stagedFolder) {
			if s.first != next {
				w.t.Fatalf("a file begins at %d, the one before ends at %d: %q", s.first, next, parts[0].files)
			}
			next = s.next
		}
		r, err := plain.openFile(context.Background(), key)
		if err != nil {
			w.t.Fatal(err)
		}
		day := dayOfKey(key)
		if err := r.each(context.Background(), []int{colOffset, colVersion}, func(v []parquet.Value) error {
			for want < int64(len(w.log)) && w.log[want].Bytes == 0 {
				want++
			}
			if got := v[0].Int64(); got != want || day != "" && day != dayOf(change.Version(v[1].Int64())) {
				return fmt.Errorf("%s has offset %d of %s, want offset %d", key, got, dayOf(change.Version(v[1].Int64())), want)
			}
			want++
			return nil
		}); err != nil {
			w.t.Fatal(err)
		}
		r.close()
	}
	for want < end && w.log[want].Bytes == 0 {
		want++
	}
	if !visible && want < end {
		w.t.Fatalf("the files end before offset %d, want %d: %q", want, end, parts[0].files)
	}
}

func seedOf(t *testing.T) uint64 {
	seed := rand.Uint64()
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("SLUICE_SEED=%d", seed)
	return seed
}

// TestEveryOffsetInOneFile: batches of any cut, whose requests fail, or arrive though they seemed to fail, or arrive late; owners that die,
// and owners that do not know yet that they are none. In the end each offset is in one file, and readers never saw one twice.
func TestEveryOffsetInOneFile(t *testing.T) {
	seed := seedOf(t)
	rounds := 8
	switch {
	case os.Getenv("SLUICE_FULL") != "":
		rounds = 200
	case testing.Short():
		rounds = 2
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		w := newWorld(t, r, 200)
		w.store.one = 4 + r.IntN(20)
		w.config.KeepReplaced = time.Duration(r.IntN(3)) * time.Hour
		w.deliver(r)
		if t.Failed() {
			return
		}
	}
}

func (w *world) deliver(r *rand.Rand) {
	target, zombies := w.open(), []func() error(nil)
	at, epoch := int64(0), int64(0)
	assign := func() {
		w.until(func() error {
			next, e, found, err := target.Assign(context.Background(), "g", w.part)
			if at, epoch = max(next, 0), e; !found {
				at = 0
			}
			return err
		})
	}
	assign()
	for tries := 0; at < int64(len(w.log)); tries++ {
		b := w.batch(at, min(int64(len(w.log)), at+r.Int64N(12)), epoch)
		err := target.Apply(context.Background(), b)
		var lost *sink.OwnershipLost
		switch {
		case err == nil:
			at = b.Next
		case errors.As(err, &lost):
			assign()
		case change.SeverityOf(err) != change.Retry:
			w.t.Fatal(change.Explain(err))
		}
		switch r.IntN(20) {
		case 0: // it dies
			target = w.open()
			assign()
		case 1: // it is thought dead
			old, late := target, w.batch(at, min(int64(len(w.log)), at+r.Int64N(12)), epoch)
			done := old.held[w.part] != nil && old.held[w.part].state.Next >= late.Next && old.held[w.part].state.Next > late.From // it was told of a failure after its commit
			zombies = append(zombies, func() error {
				if err := old.Apply(context.Background(), late); err != nil || done {
					return errFault
				}
				return nil
			})
			target = w.open()
			assign()
		case 2:
			for _, z := range zombies {
				if z() == nil {
					w.t.Fatal("an owner of before has applied a batch")
				}
			}
			zombies = nil
			w.everyOffsetOnce(at, true)
		}
		if tries > 10_000 {
			w.t.Fatal("it gets no further")
		}
	}
	w.store.one = 0
	end := int64(len(w.log))
	assign()
	for range 8 {
		w.now = w.now.Add(26 * time.Hour)
		w.until(func() error { return target.Apply(context.Background(), w.batch(end, end, epoch)) })
		w.everyOffsetOnce(end, false)
	}
	w.days(target)
}

// days fails where a day that is over has more files than its schemas have.
func (w *world) days(target *Target) {
	found, err := target.store.list(context.Background(), tableFolder(w.tables[0].TableName))
	if err != nil {
		w.t.Fatal(err)
	}
	files := make(map[string]int)
	for _, e := range found {
		files[dayOfKey(e.key)]++
	}
	for day, n := range files {
		if n > 2 {
			w.t.Errorf("%s has %d files after its compaction", day, n)
		}
	}
	for _, folder := range []string{stagedFolder, scratchFolder + "/"} {
		if left, err := target.store.list(context.Background(), folder); err != nil || len(left) > 0 {
			w.t.Errorf("%s has %v (%v), want nothing", folder, left, err)
		}
	}
}

// TestReadersDuringCompaction looks at the files as a reader does before every single change of them.
func TestReadersDuringCompaction(t *testing.T) {
	r := rand.New(rand.NewPCG(seedOf(t), 1))
	w := newWorld(t, r, 120)
	w.config.RollTime = 0
	target := w.open()
	_, epoch, _, err := target.Assign(t.Context(), "g", w.part)
	if err != nil {
		t.Fatal(err)
	}
	looks, most := 0, 0
	gone := make(map[string]time.Time) // files that were merged into another, since when
	w.store.before = func() {
		looks++
		w.everyOffsetOnce(0, true)
		if found, err := w.store.store.list(t.Context(), tableFolder(w.tables[0].TableName)); err == nil {
			now := current(found)
			most = max(most, len(found)-len(now))
			w.keepsReplaced(found, now, gone)
		}
	}
	for at := int64(0); at < 120; at += 3 {
		if err := target.Apply(t.Context(), w.batch(at, at+3, epoch)); err != nil {
			t.Fatal(change.Explain(err))
		}
	}
	if looks < 200 || most < 2 {
		t.Errorf("%d looks, at most %d files that were replaced: the test shows nothing", looks, most)
	}
}

// keepsReplaced fails where a file that was merged into another goes before its time.
func (w *world) keepsReplaced(found, now []entry, since map[string]time.Time) {
	w.t.Helper()
	for _, e := range found {
		if _, known := since[e.key]; !known && !slices.Contains(now, e) {
			since[e.key] = w.now
		}
	}
	for key, at := range since {
		there := slices.ContainsFunc(found, func(e entry) bool { return e.key == key })
		if !there && w.now.Sub(at) < w.config.KeepReplaced {
			w.t.Fatalf("%s was removed %v after it was merged, want %v", key, w.now.Sub(at), w.config.KeepReplaced)
		}
	}
}

// TestRetention removes days that are old enough, of the partition alone, and says so in the state.
func TestRetention(t *testing.T) {
	w := newWorld(t, rand.New(rand.NewPCG(1, 1)), 300)
	w.config.RollTime, w.config.Retention = 0, 72*time.Hour
	target := w.open()
	_, epoch, _, err := target.Assign(t.Context(), "g", w.part)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < 300; at += 10 {
		if err := target.Apply(t.Context(), w.batch(at, at+10, epoch)); err != nil {
			t.Fatal(change.Explain(err))
		}
	}
	found, err := target.store.list(t.Context(), tableFolder(w.tables[0].TableName))
	if err != nil {
		t.Fatal(err)
	}
	limit := w.now.Add(-w.config.Retention).Format(dayLayout)
	days := make(map[string]bool)
	for _, e := range found {
		days[dayOfKey(e.key)] = true
	}
	for day := range days {
		if day < limit {
			t.Errorf("%s is still there, the limit is %s", day, limit)
		}
	}
	if len(days) < 3 {
		t.Errorf("left are %v, want the last three days", days)
	}
	s, _, err := target.load(t.Context(), "g", &w.part)
	if err != nil || s.Removed == "" || s.Removed >= limit {
		t.Errorf("the state says that %q was removed (%v)", s.Removed, err)
	}
	var told []sink.Copied
	err = target.Copy(t.Context(), sink.CopyRequest{Tables: map[string][]change.TableName{"src": {w.tables[0].TableName}}, AsOf: w.now}, func(c sink.Copied) { told = append(told, c) })
	if change.SeverityOf(err) != change.Configuration || len(told) > 0 {
		t.Errorf("a copy of a history that has lost its beginning gave %v", err)
	}
}

// TestGoingBackLeavesOutWhatIsThere: a replay without --empty writes nothing twice, and one that goes forward leaves a gap.
func TestGoingBackLeavesOutWhatIsThere(t *testing.T) {
	w := newWorld(t, rand.New(rand.NewPCG(2, 2)), 100)
	target := w.open()
	apply := func(from, next int64) {
		t.Helper()
		at, epoch, _, err := target.Assign(t.Context(), "g", w.part)
		if err != nil || at != from && at >= 0 {
			t.Fatalf("assigned at %d (%v), want %d", at, err, from)
		}
		if err := target.Apply(t.Context(), w.batch(from, next, epoch)); err != nil {
			t.Fatal(change.Explain(err))
		}
	}
	apply(0, 60)
	for _, to := range []int64{20, -1, 0} {
		if err := target.SetProgress(t.Context(), "g", []sink.Reset{{Partition: w.part, Next: to}}); err != nil {
			t.Fatal(err)
		}
		apply(max(to, 0), 60)
		w.everyOffsetOnce(60, false)
	}
	apply(60, 70)
	w.everyOffsetOnce(70, false)
}

// TestCopyCutsBetweenTransactions makes transactions over two tables whose versions run ahead of the clock, and copies as of each moment.
func TestCopyCutsBetweenTransactions(t *testing.T) {
	w := newWorld(t, rand.New(rand.NewPCG(3, 3)), 1)
	names := []string{"orders", "items"}
	var targets []*sink.Batch
	start := w.now
	target := w.open()
	for i, name := range names {
		table := &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Columns: w.tables[0].Columns, Key: []int{0}}
		p := w.part
		p.Topic = "src.shop." + name
		_, epoch, _, err := target.Assign(t.Context(), "g", p)
		if err != nil {
			t.Fatal(err)
		}
		b := &sink.Batch{Group: "g", Partition: p, Epoch: epoch, ThroughMillis: 1}
		for n := range 50 { // transaction n is committed at n ms and has 3000 events, so that versions run ahead of the clock
			c := sink.Change{Op: change.Update, Table: table, KeyValues: []change.Value{change.IntValue(1)}, Version: change.Version(start.UnixMicro() + int64(n)*3000 + int64(i)),
				Offset: int64(n), Bytes: 10, After: []change.Value{change.IntValue(1), change.StringValue(fmt.Sprint(n))}}
			c.Before = c.After
			c.Origin.CommitMillis, c.Origin.GTID, c.Origin.Snapshot = start.UnixMilli()+int64(n), fmt.Sprint("g:", n+1), "false"
			b.Changes = append(b.Changes, c)
		}
		b.Next = 50
		targets = append(targets, b)
	}
	for _, b := range targets {
		if err := target.Apply(t.Context(), b); err != nil {
			t.Fatal(change.Explain(err))
		}
	}
	for n := range 50 {
		asOf := start.Add(time.Duration(n) * time.Millisecond)
		var told []sink.Copied
		r := sink.CopyRequest{Tables: map[string][]change.TableName{"src": {{DB: "shop", Name: "orders"}, {DB: "shop", Name: "items"}}}, AsOf: asOf, To: t.TempDir()}
		if err := target.Copy(t.Context(), r, func(c sink.Copied) { told = append(told, c) }); err != nil {
			t.Fatal(change.Explain(err))
		}
		for _, c := range told {
			if c.Rows != 1 || c.GTID != fmt.Sprint("g:", n+1) {
				t.Errorf("as of %d ms: %+v", n, c)
			}
			if got := noteOf(t, r.To, c.Table.Name); got != fmt.Sprint(n) {
				t.Errorf("as of %d ms %s has %q", n, c.Table, got)
			}
		}
	}
}

// noteOf reads the note of the one row of a copy.
func noteOf(t *testing.T, folder, table string) (note string) {
	l := &local{root: folder}
	found, err := l.list(t.Context(), "./")
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(found, func(e entry) bool { return strings.Contains(e.key, table+"/") })
	if at < 0 {
		t.Fatalf("no file of %s in %v", table, found)
	}
	o, err := l.open(t.Context(), found[at].key)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	f, err := parquet.OpenFile(o, o.size())
	if err != nil {
		t.Fatal(err)
	}
	if err := eachOf(t.Context(), f.RowGroups()[0], []int{1}, func(v []parquet.Value) error {
		note = string(v[0].ByteArray())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return note
}
