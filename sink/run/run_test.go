package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
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
	w.publish(append(b.random(r, 100), a.random(r, 50)...)...)
	b.shown(store)
	time.Sleep(1500 * time.Millisecond) // it is tried again, and stays stopped
	if err := a.same(store); err == nil {
		t.Error("the stopped topic went on")
	}
	status := s.s.Status()
	if status.Ready || status.Topics[0].Stopped == nil || status.Topics[1].Stopped != nil {
		t.Errorf("status is %+v", status)
	}
	s.end()
	mirrored(t, w, store)
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

func TestTopicsThatComeLater(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	store := memory.NewStore(memory.Config{})
	s := start(t, w.config(), store.Open())
	eventually(t, "it says that there is no topic", func() error {
		for _, reason := range s.s.Health().Reasons() {
			if reason.Key == "topics" {
				return nil
			}
		}
		return errors.New("it does not")
	})
	a := w.table("a", 2)
	w.publish(a.random(r, 50)...)
	a.shown(store)
	w.createTopic(w.prefix+".checkpoint", 1)
	b := w.table("b", 2)
	w.publish(b.random(r, 50)...)
	b.shown(store)
	for _, topic := range s.s.Status().Topics {
		if topic.Topic != a.topic && topic.Topic != b.topic {
			t.Errorf("the topic %s was taken in", topic.Topic)
		}
	}
}

func TestAddedColumn(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	w.publish(a.put(1, "one")...)
	start(t, w.config(), store.Open())
	a.shown(store)
	wide := orders("a")
	wide.Columns = append(wide.Columns, change.Column{Name: "n", Type: change.Int, Nullable: true})
	a.shape(wide)
	w.publish(a.record(change.Create, 2, nil, append(text(2, "two"), []byte("42"))))
	a.rows[2] = "two"
	a.shown(store)
	row, _ := store.Get(wide.TableName, change.IntValue(2))
	if len(row.Values) != 3 || row.Values[2].Int() != 42 {
		t.Errorf("row is %v", row.Values)
	}
}

func TestTombstoneAlone(t *testing.T) { testTombstoneAlone(t, newWorld(t)) }

func testTombstoneAlone(t *testing.T, w *world) {
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	a.rows[1] = "x"
	bare := a.remove(1)[1] // compaction has taken all else: no envelope names the table
	w.publish(bare)
	start(t, w.config(), store.Open())
	w.publish(a.put(2, "two")...)
	a.shown(store)
}

func TestRecreatedTopicIsRefusedAndReplayed(t *testing.T) {
	testRecreatedTopicIsRefusedAndReplayed(t, newWorld(t))
}

func testRecreatedTopicIsRefusedAndReplayed(t *testing.T, w *world) {
	r := seeded(t)
	a := w.table("a", 2)
	store := memory.NewStore(memory.Config{})
	w.publish(a.random(r, 50)...)
	s := start(t, w.config(), store.Open())
	a.shown(store)
	s.end()
	if _, err := w.adm.DeleteTopics(t.Context(), a.topic); err != nil {
		t.Fatal(err)
	}
	w.createTopic(a.topic, 2)
	w.client.PurgeTopicsFromProducing(a.topic)
	a.rows = map[int64]string{}
	w.publish(a.random(r, 50)...)
	s = start(t, w.config(), store.Open())
	if reason := s.stopped(a.topic); !strings.Contains(reason, "deleted and made again") || !strings.Contains(reason, "sluice replay --group "+w.config().Group) {
		t.Errorf("the reason is %q", reason)
	}
	s.end()
	if err := w.replay(store.Open(), "--to", "beginning"); err == nil || !strings.Contains(change.Explain(err), "--empty") {
		t.Errorf("replay over rows gave %v, want it refused", err)
	}
	if err := w.replay(store.Open(), "--to", "beginning", "--empty"); err != nil {
		t.Fatal(change.Explain(err))
	}
	start(t, w.config(), store.Open())
	a.shown(store)
}

func TestRecreatedWhileRunning(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	a := w.table("a", 2)
	store := memory.NewStore(memory.Config{})
	w.publish(a.random(r, 50)...)
	s := start(t, w.config(), store.Open())
	a.shown(store)
	if _, err := w.adm.DeleteTopics(t.Context(), a.topic); err != nil {
		t.Fatal(err)
	}
	w.createTopic(a.topic, 2)
	if reason := s.stopped(a.topic); !strings.Contains(reason, "deleted and made again") {
		t.Errorf("the reason is %q", reason)
	}
}

func TestAddedPartitionsAreRefused(t *testing.T) {
	for name, open := range map[string]func(*memory.Store) sink.Target{
		"progress": func(s *memory.Store) sink.Target { return s.Open() },
		"plain":    func(s *memory.Store) sink.Target { return s.OpenPlain() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r := seeded(t)
			a := w.table("a", 2)
			store := memory.NewStore(memory.Config{})
			w.publish(a.random(r, 50)...)
			s := start(t, w.config(), open(store))
			a.shown(store)
			s.end()
			if _, err := w.adm.CreatePartitions(t.Context(), 1, a.topic); err != nil {
				t.Fatal(err)
			}
			s = start(t, w.config(), open(store))
			if reason := s.stopped(a.topic); !strings.Contains(reason, "has 3 partitions, progress is of 2") {
				t.Errorf("the reason is %q", reason)
			}
		})
	}
}

func TestGroupOffsetAboveTheTarget(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	w.publish(a.random(r, 50)...)
	s := start(t, w.config(), store.Open())
	a.shown(store)
	s.end()
	restored := memory.NewStore(memory.Config{}) // the target lost all
	s = start(t, w.config(), restored.Open())
	if reason := s.stopped(a.topic); !strings.Contains(reason, "the target knows nothing") || !strings.Contains(reason, "--to beginning --empty") {
		t.Errorf("the reason is %q", reason)
	}
	s.end()
	if err := w.replay(restored.Open(), "--to", "beginning"); err != nil {
		t.Fatal(change.Explain(err))
	}
	start(t, w.config(), restored.Open())
	a.shown(restored)
}

func TestSecondKeySchemaIsRefused(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	w.publish(a.put(1, "one")...)
	other, err := w.registry.Register(t.Context(), "other", strings.Replace(a.encoder.KeySchema(), `"long"`, `"int"`, 1))
	if err != nil {
		t.Fatal(err)
	}
	second := a.put(2, "two")[0]
	second.Key[4] = byte(other)
	w.publish(second)
	s := start(t, w.config(), store.Open())
	if reason := s.stopped(a.topic); !strings.Contains(reason, "keys of two schemas") {
		t.Errorf("the reason is %q", reason)
	}
}

func TestConfigurationEndsTheProcess(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	w.publish(a.put(1, "one")...)
	target := &hooked{Target: memory.NewStore(memory.Config{}).OpenPlain(), before: func(context.Context, *sink.Batch) error {
		return &change.Problem{Kind: change.Configuration, What: "wrong password"}
	}}
	s := start(t, w.config(), target)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the sink went on")
	}
	if change.SeverityOf(s.err) != change.Configuration {
		t.Errorf("it ended with %v", s.err)
	}
}

func TestDrainFinishesWhatIsApplied(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	w.publish(a.put(1, "one")...)
	store := memory.NewStore(memory.Config{})
	applying := make(chan struct{}, 10)
	target := (&hooked{Target: store.Open(), before: func(ctx context.Context, b *sink.Batch) error {
		if len(b.Changes) > 0 {
			applying <- struct{}{}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}}).wrap()
	s := start(t, w.config(), target)
	<-applying
	s.end()
	if err := a.same(store); err != nil {
		t.Errorf("the batch in flight was not finished: %v", err)
	}
	mirrored(t, w, store)
}

func TestSlowTargetBoundsTheQueue(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 2)
	note := strings.Repeat("x", 90)
	var n int64
	for range 60 {
		var records []*kgo.Record
		for range 500 {
			n++
			records = append(records, a.put(n, note)...)
		}
		w.publish(records...)
	}
	store := memory.NewStore(memory.Config{})
	gate := make(chan struct{})
	target := (&hooked{Target: store.Open(), before: func(ctx context.Context, _ *sink.Batch) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}).wrap()
	c := w.config()
	c.QueueBytes = 1 << 20
	c.Batch.MaxRows = 100
	s := start(t, c, target)
	most := 0
	eventually(t, "the queues fill", func() error {
		most = s.s.Status().QueueBytes
		if most < 1<<20 {
			return fmt.Errorf("%d bytes", most)
		}
		return nil
	})
	for range 50 {
		time.Sleep(20 * time.Millisecond)
		most = max(most, s.s.Status().QueueBytes)
	}
	// The two partitions may hold their shares and what one poll gave.
	if limit := 1<<20 + pollRecords*600; most > limit {
		t.Errorf("the queues held %d bytes, want %d at most", most, limit)
	}
	close(gate)
	a.shown(store)
}

func TestThrough(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	store := memory.NewStore(memory.Config{})
	w.publish(a.put(1, "one")...)
	began := time.Now()
	firsts := make(chan int64, 100)
	target := (&hooked{Target: store.Open(), before: func(_ context.Context, b *sink.Batch) error {
		firsts <- b.ThroughMillis
		return nil
	}}).wrap()
	c := w.config()
	c.Batch.MaxRows = 1
	for i := range int64(5) {
		w.publish(a.put(i, "more")...)
	}
	s := start(t, c, target)
	a.shown(store)
	if first := <-firsts; first >= 0 || -first < began.UnixMilli() {
		t.Errorf("T of the first batch is %d, want the negative of when the first read began", first)
	}
	eventually(t, "T is a time", func() error {
		p, _ := store.Open().Positions(t.Context(), w.config().Group)
		if p[0].ThroughMillis < began.Add(-time.Minute).UnixMilli() {
			return fmt.Errorf("T is %d", p[0].ThroughMillis)
		}
		return nil
	})
	s.end()
}

func TestStatusTopic(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 1)
	w.createTopic(kafka.StatusTopic(w.prefix), 1)
	store := memory.NewStore(memory.Config{})
	w.publish(a.put(1, "one")...)
	s := start(t, w.config(), store.Open())
	plain, err := kgo.NewClient(kgo.SeedBrokers(w.address))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	eventually(t, "the status is written", func() error {
		all, err := kafka.ReadStatus(t.Context(), plain, w.prefix)
		if err != nil {
			return err
		}
		if len(all) != 1 || all[0].Role != kafka.RoleSink || all[0].Name != w.config().Group {
			return fmt.Errorf("statuses are %v", all)
		}
		return nil
	})
	s.end()
	if all, err := kafka.ReadStatus(t.Context(), plain, w.prefix); err != nil || len(all) != 0 {
		t.Errorf("after the end statuses are %v (%v)", all, err)
	}
}
