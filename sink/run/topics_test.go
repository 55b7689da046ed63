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
	if reason := s.stopped(a.topic); !strings.Contains(reason, "deleted and made again") || !strings.Contains(reason, "--group "+w.config().Group) {
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

func TestPartitionsAddedWhileRunning(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	a := w.table("a", 2)
	store := memory.NewStore(memory.Config{})
	w.publish(a.random(r, 50)...)
	s := start(t, w.config(), store.Open())
	a.shown(store)
	if _, err := w.adm.CreatePartitions(t.Context(), 1, a.topic); err != nil {
		t.Fatal(err)
	}
	if reason := s.stopped(a.topic); !strings.Contains(reason, "has 3 partitions, progress is of 2") {
		t.Errorf("the reason is %q", reason)
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
