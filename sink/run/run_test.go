package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
)

func TestAppliesAndGoesOn(t *testing.T) { testAppliesAndGoesOn(t, newWorld(t)) }

func testAppliesAndGoesOn(t *testing.T, w *world) {
	r := seeded(t)
	a, b := w.table("a", 3), w.table("b", 2)
	store := memory.NewStore(memory.Config{})
	w.publish(append(a.random(r, 300), b.random(r, 300)...)...)

	s := start(t, w.config(), store.Open())
	a.shown(store)
	b.shown(store)
	for range 20 {
		w.publish(append(a.random(r, 20), b.random(r, 20)...)...)
	}
	w.transaction(kgo.TryAbort, a.record(change.Create, 777, nil, text(777, "never")))
	a.shown(store)
	b.shown(store)
	eventually(t, "progress reaches the end, transaction markers and all", func() error { return s.atEnd() })
	s.end()

	mirrored(t, w, store)
	before := store.Stats()
	w.publish(append(a.random(r, 50), b.random(r, 50)...)...)
	s = start(t, w.config(), store.Open())
	a.shown(store)
	b.shown(store)
	if after := store.Stats(); after.Stale > before.Stale {
		t.Errorf("%d records came again after a restart in good order", after.Stale-before.Stale)
	}
	eventually(t, "ready", func() error {
		if reasons := s.s.Health().Reasons(); len(reasons) > 0 {
			return fmt.Errorf("%v", reasons)
		}
		return nil
	})
	s.end()
}

// atEnd reports whether all partitions have passed all offsets.
func (r *running) atEnd() error {
	status := r.s.Status()
	if status.Partitions == 0 {
		return errors.New("no partition is assigned")
	}
	for _, topic := range status.Topics {
		for _, p := range topic.Partitions {
			if p.End == 0 && p.Next != 0 || p.Next < p.End || p.Through == nil {
				return fmt.Errorf("%s[%d]: %+v", topic.Topic, p.Partition, p)
			}
		}
	}
	return nil
}

// mirrored fails unless the group's offsets are what the target says, with the topic's identity beside.
func mirrored(t *testing.T, w *world, store *memory.Store) {
	group := w.config().Group
	t.Helper()
	positions, err := store.Open().Positions(t.Context(), group)
	if err != nil || len(positions) == 0 {
		t.Fatalf("the target's progress is %v (%v)", positions, err)
	}
	committed, err := w.adm.FetchOffsets(t.Context(), group)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range positions {
		o, _ := committed.Lookup(p.Topic, p.Partition.Partition)
		pinned, ok := parsePin(o.Metadata)
		if o.At != p.Next || !ok || pinned.id != p.TopicID || pinned.count != p.Count || pinned.throughMillis != p.ThroughMillis {
			t.Errorf("%s: committed %d with %q, the target says %+v", p.Partition, o.At, o.Metadata, p)
		}
	}
}

func TestWithoutProgressTheGroupsOffsetsCount(t *testing.T) {
	testWithoutProgressTheGroupsOffsetsCount(t, newWorld(t))
}

func testWithoutProgressTheGroupsOffsetsCount(t *testing.T, w *world) {
	r := seeded(t)
	a := w.table("a", 3)
	store := memory.NewStore(memory.Config{})
	w.publish(a.random(r, 200)...)
	s := start(t, w.config(), store.OpenPlain())
	a.shown(store)
	s.end()
	before := store.Stats()
	w.publish(a.random(r, 30)...)
	s = start(t, w.config(), store.OpenPlain())
	a.shown(store)
	if again := store.Stats().Stale - before.Stale; again > 40 { // tombstones of the new records are stale too
		t.Errorf("%d records came again after a restart in good order", again)
	}
	s.crash() // nothing more is committed
	for range 5 {
		w.publish(a.random(r, 30)...)
	}
	start(t, w.config(), store.OpenPlain())
	a.shown(store)
}

func TestMembersComeAndGo(t *testing.T) { testMembersComeAndGo(t, newWorld) }

func testMembersComeAndGo(t *testing.T, worldOf func(*testing.T) *world) {
	for name, open := range map[string]func(*memory.Store) sink.Target{
		"progress": func(s *memory.Store) sink.Target { return s.Open() },
		"plain":    func(s *memory.Store) sink.Target { return s.OpenPlain() },
	} {
		t.Run(name, func(t *testing.T) {
			w := worldOf(t)
			r := seeded(t)
			a, b := w.table("a", 5), w.table("b", 3)
			store := memory.NewStore(memory.Config{})
			c := w.config()
			c.Batch.MaxRows = 7
			slow := &hooked{Target: open(store), before: func(context.Context, *sink.Batch) error { time.Sleep(time.Millisecond); return nil }}
			wrapped := slow.wrap()
			first := start(t, c, wrapped)
			var others []*running
			for i := range 30 {
				w.publish(append(a.random(r, 30), b.random(r, 30)...)...)
				switch i {
				case 5, 10:
					others = append(others, start(t, c, wrapped))
				case 15:
					others[0].end()
				case 20:
					first.crash()
				}
				time.Sleep(20 * time.Millisecond)
			}
			a.shown(store)
			b.shown(store)
		})
	}
}

// hooked lets a test see and refuse batches.
type hooked struct {
	sink.Target
	before func(context.Context, *sink.Batch) error
	after  func(context.Context, *sink.Batch) error
}

func (h *hooked) Apply(ctx context.Context, b *sink.Batch) error {
	if h.before != nil {
		if err := h.before(ctx, b); err != nil {
			return err
		}
	}
	err := h.Target.Apply(ctx, b)
	if err == nil && h.after != nil {
		err = h.after(ctx, b)
	}
	return err
}

// full is a hooked target with the abilities of the memory target.
type full struct {
	*hooked
	*memory.Target
}

func (f full) Apply(ctx context.Context, b *sink.Batch) error { return f.hooked.Apply(ctx, b) }
func (f full) Close() error                                   { return nil }

// wrap gives the hooked target the abilities that it had.
func (h *hooked) wrap() sink.Target {
	if m, ok := h.Target.(*memory.Target); ok {
		return full{h, m}
	}
	return h
}

func TestRetriesAndLostAnswers(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	a := w.table("a", 3)
	store := memory.NewStore(memory.Config{})
	n := 0
	target := (&hooked{Target: store.Open(),
		before: func(context.Context, *sink.Batch) error {
			if n++; n%3 == 0 {
				return &change.Problem{Kind: change.Retry, What: "the target is away"}
			}
			return nil
		},
		after: func(_ context.Context, b *sink.Batch) error {
			if n%7 == 0 { // it is done, but the answer does not arrive
				return &change.Problem{Kind: change.Retry, What: "the connection broke"}
			}
			return nil
		}}).wrap()
	c := w.config()
	c.Batch.MaxRows, c.Parallel = 5, 1
	start(t, c, target)
	for range 10 {
		w.publish(a.random(r, 40)...)
	}
	a.shown(store)
}

func TestOwnershipIsTakenAgain(t *testing.T) { testOwnershipIsTakenAgain(t, newWorld(t)) }

func testOwnershipIsTakenAgain(t *testing.T, w *world) {
	r := seeded(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	w.publish(a.random(r, 100)...)
	start(t, w.config(), store.Open())
	a.shown(store)
	positions, _ := store.Open().Positions(t.Context(), w.config().Group)
	if _, _, _, err := store.Open().Assign(t.Context(), w.config().Group, positions[0].Partition); err != nil {
		t.Fatal(err)
	}
	w.publish(a.random(r, 100)...)
	a.shown(store)
	now, _ := store.Open().Positions(t.Context(), w.config().Group)
	if now[0].Epoch < positions[0].Epoch+2 {
		t.Errorf("epoch went from %d to %d, want it taken twice", positions[0].Epoch, now[0].Epoch)
	}
}

// damage is a record that no schema fits.
func (t *table) damage(id int64) *kgo.Record {
	r := t.record(change.Create, id, nil, text(id, "x"))
	r.Value = r.Value[:len(r.Value)-3]
	return r
}

func TestPoisonStopsItsTopicOnly(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	a, b := w.table("a", 3), w.table("b", 2)
	store := memory.NewStore(memory.Config{})
	w.publish(append(a.random(r, 100), b.random(r, 100)...)...)
	s := start(t, w.config(), store.Open())
	a.shown(store)
	w.publish(append(a.random(r, 10), a.damage(1000))...)
	reason := s.stopped(a.topic)
	if !strings.Contains(reason, "a record is not what its schema says") || !strings.Contains(reason, "offset") {
		t.Errorf("the reason is %q", reason)
	}
	eventually(t, "what was being applied is done", func() error {
		for _, p := range s.s.Status().Topics[0].Partitions {
			if p.State == "applying" {
				return errors.New(p.State)
			}
		}
		return nil
	})
	before := progressOf(t, store, a)
	w.publish(append(b.random(r, 100), a.random(r, 50)...)...)
	b.shown(store)
	time.Sleep(1500 * time.Millisecond) // it is tried again, and stays stopped
	if after := progressOf(t, store, a); after != before {
		t.Errorf("partitions of the stopped topic went on: %s, before %s", after, before)
	}
	status := s.s.Status()
	if status.Ready || status.Topics[0].Stopped == nil || status.Topics[1].Stopped != nil {
		t.Errorf("status is %+v", status)
	}
	s.end()
	mirrored(t, w, store)
}

// progressOf tells how far each partition of the table's topic is.
func progressOf(t *testing.T, store *memory.Store, a *table) string {
	t.Helper()
	all, err := store.Open().Positions(t.Context(), a.w.config().Group)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range all {
		if p.Topic == a.topic {
			lines = append(lines, fmt.Sprintf("%s at %d", p.Partition, p.Next))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

func TestDeadLetters(t *testing.T) { testDeadLetters(t, newWorld(t)) }

func testDeadLetters(t *testing.T, w *world) {
	r := seeded(t)
	a := w.table("a", 3)
	c := w.config()
	c.OnError = []ErrorRule{{Topics: a.topic, Do: DeadLetter}}
	store := memory.NewStore(memory.Config{Route: func(_ *change.Table, row []change.Value) (string, error) {
		if row[1].String() == "nowhere" {
			return "", errors.New("no rule")
		}
		return "", nil
	}})
	bad := []*kgo.Record{a.damage(1000), a.record(change.Create, 1001, nil, text(1001, "nowhere")), a.record(change.Create, 1002, nil, text(1002, "x"))}
	bad[2].Headers = nil
	records := append(a.random(r, 50), bad...)
	w.publish(append(records, a.random(r, 50)...)...)
	start(t, c, store.Open())
	a.shown(store)

	reader, err := kgo.NewClient(kgo.SeedBrokers(w.address), kgo.ConsumeTopics(w.config().Group+".dead"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	letters := make(map[string]*kgo.Record)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for len(letters) < len(bad) && ctx.Err() == nil {
		for _, l := range reader.PollFetches(ctx).Records() {
			letters[string(l.Key)] = l
		}
	}
	for i, want := range []string{"a record is not what its schema says", "a row has no shard", "without the header sluice.version"} {
		l := letters[string(bad[i].Key)]
		if l == nil {
			t.Errorf("record %d is not among the dead letters", i)
			continue
		}
		headers := make(map[string]string)
		for _, h := range l.Headers {
			headers[h.Key] = string(h.Value)
		}
		if string(l.Value) != string(bad[i].Value) || !strings.Contains(headers[headerReason], want) || headers[headerTopic] != a.topic ||
			headers[headerOffset] != fmt.Sprint(bad[i].Offset) || headers[headerPartition] != fmt.Sprint(bad[i].Partition) {
			t.Errorf("letter %d has headers %v, value equal: %v", i, headers, string(l.Value) == string(bad[i].Value))
		}
	}
}
