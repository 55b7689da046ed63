package run

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/serve"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
)

// alone is a sink without clients, for what a worker decides by itself.
func alone(target sink.Target) *Sink {
	s := &Sink{config: Default(), target: target, log: slog.New(slog.DiscardHandler), metrics: newMetrics(), health: &serve.Health{},
		pulse: newPulse(), hard: context.Background(), topics: make(map[string]*topic), workers: make(map[spot]*worker)}
	s.progress, _ = target.(sink.Progress)
	s.debtor, _ = target.(sink.Debtor)
	return s
}

func stamped(offset int64, at time.Time) *kgo.Record {
	return &kgo.Record{Offset: offset, Timestamp: at}
}

// TestThroughOfABatch: what may be said of T once a batch is applied.
func TestThroughOfABatch(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	first := beginning{through: -ago(time.Hour).UnixMilli(), firstEnd: 100, firstAt: ago(time.Hour).UnixMilli()}
	for name, c := range map[string]struct {
		begun beginning
		p     pending
		ends  ends
		want  int64
	}{
		"first read, on the way":                  {first, pending{next: 99, records: []*kgo.Record{stamped(98, ago(time.Minute))}}, ends{}, first.through},
		"first read, done with a very old record": {first, pending{next: 100, records: []*kgo.Record{stamped(99, ago(900*time.Hour))}}, ends{}, first.firstAt},
		"first read, done with a new record":      {first, pending{next: 101, records: []*kgo.Record{stamped(100, ago(time.Minute))}}, ends{}, ago(time.Minute).UnixMilli()},
		"the last record's time":                  {beginning{through: 5}, pending{next: 7, records: []*kgo.Record{stamped(6, ago(time.Hour))}}, ends{}, ago(time.Hour).UnixMilli()},
		"never back":                              {beginning{through: ago(time.Minute).UnixMilli()}, pending{next: 7, records: []*kgo.Record{stamped(6, ago(time.Hour))}}, ends{}, ago(time.Minute).UnixMilli()},
		"a clock that is ahead":                   {beginning{through: 5}, pending{next: 7, records: []*kgo.Record{stamped(6, now.Add(time.Hour))}}, ends{}, 0},
		"idle at the end":                         {beginning{through: 5}, pending{next: 7}, ends{asked: ago(time.Second), end: 7}, ago(time.Second).UnixMilli()},
		"idle before an open transaction":         {beginning{through: 5}, pending{next: 7}, ends{asked: ago(time.Second), end: 9, stable: 7}, 5},
	} {
		w := newWorker(alone(nil), &topic{}, spot{"a", 0})
		w.begun = c.begun
		w.view.ends = c.ends
		got := w.through(&c.p)
		if c.want == 0 { // now
			if got < now.UnixMilli() || got > time.Now().UnixMilli() {
				t.Errorf("%s: T is %d, want the time now, %d", name, got, now.UnixMilli())
			}
			continue
		}
		if got != c.want {
			t.Errorf("%s: T is %d, want %d", name, got, c.want)
		}
	}
}

// TestStopperGoesAway: the worker that stopped a topic is the one that tries again; when it goes, others must not wait
// for it.
func TestStopperGoesAway(t *testing.T) {
	topic := &topic{name: "a"}
	w := newWorker(alone(nil), topic, spot{"a", 0})
	topic.halt(w, errors.New("poison"))
	close(w.stop)
	w.run()
	if topic.halted() != nil {
		t.Error("the topic stays stopped")
	}
}

func TestIdle(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		through int64
		ends    ends
		want    bool
		next    int64
	}{
		"nothing known":            {5, ends{}, false, 7},
		"at the end, T is old":     {now.Add(-2 * throughRefresh).UnixMilli(), ends{asked: now, end: 7}, true, 7},
		"at the end, T is new":     {now.Add(-throughRefresh / 2).UnixMilli(), ends{asked: now, end: 7}, false, 7},
		"at the end, T not known":  {0, ends{asked: now, end: 7}, true, 7},
		"not at the end":           {5, ends{asked: now, end: 9}, false, 7},
		"offsets without records":  {now.UnixMilli(), ends{asked: now, end: 9, emptyFromNext: 7, emptyTo: 9}, true, 9},
		"empty from another place": {now.UnixMilli(), ends{asked: now, end: 9, emptyFromNext: 6, emptyTo: 9}, false, 7},
	} {
		w := newWorker(alone(nil), &topic{}, spot{"a", 0})
		w.begun.through = c.through
		w.view.ends = c.ends
		p := &pending{from: 7, next: 7}
		if got := w.idle(p); got != c.want || p.next != c.next {
			t.Errorf("%s: %v with next %d, want %v with %d", name, got, p.next, c.want, c.next)
		}
	}
}

// TestSleeperDoesNotApply: a process that slept longer than its session must not apply to a target that cannot tell.
func TestSleeperDoesNotApply(t *testing.T) {
	store := memory.NewStore(memory.Config{})
	s := alone(store.OpenPlain())
	w := newWorker(s, &topic{}, spot{"a", 0})
	if err := w.alive(); err != nil {
		t.Errorf("a young process: %v", err)
	}
	s.pulse.base = time.Now().Add(-time.Hour)
	if err := w.alive(); change.SeverityOf(err) != change.Retry || err == nil {
		t.Errorf("without a heartbeat for an hour: %v, want a retry", err)
	}
	s.pulse.OnBrokerE2E(kgo.BrokerMetadata{}, keyHeartbeat, kgo.BrokerE2E{})
	if err := w.alive(); err != nil {
		t.Errorf("after a heartbeat: %v", err)
	}
	s.pulse.last.Store(0)
	s.progress = store.Open()
	if err := w.alive(); err != nil {
		t.Errorf("a target that tells a late owner itself: %v", err)
	}
}

// TestDebtStopsAndGoesOn: a holder of a unique value gave way, and its own next change does not come.
func TestDebtStopsAndGoesOn(t *testing.T) {
	store := memory.NewStore(memory.Config{Uniques: map[change.TableName][][]string{{DB: "shop", Name: "a"}: {{"note"}}}})
	target := store.Open()
	s := alone(target)
	s.config.Group = "g"
	s.seen = map[string]incarnation{"src.shop.a": {count: 1}}
	part := sink.Partition{Source: "src", Topic: "src.shop.a", Count: 1}
	_, epoch, _, err := target.Assign(t.Context(), "g", part)
	if err != nil {
		t.Fatal(err)
	}
	row := func(id int64, note string, v change.Version) sink.Change {
		values := []change.Value{change.IntValue(id), change.StringValue(note)}
		return sink.Change{Op: change.Create, Table: orders("a"), KeyValues: values[:1], After: values, TrustedBefore: true, Version: v}
	}
	next := int64(0)
	apply := func(changes ...sink.Change) {
		t.Helper()
		for i := range changes {
			changes[i].Offset = next + int64(i)
		}
		b := &sink.Batch{Group: "g", Partition: part, Epoch: epoch, From: next, Next: next + 10, Changes: changes}
		next += 10
		if err := target.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	owed, seen := &worker{}, make(sightings)
	check := func(want bool) {
		t.Helper()
		err := s.checkDebts(t.Context(), owed, seen, func(context.Context, []string) (kadm.ListedOffsets, error) {
			return kadm.ListedOffsets{part.Topic: {0: {Offset: next + 5}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if stopped := s.topicOf("src.shop.a").halted() != nil; stopped != want || (len(s.health.Reasons()) > 0) != want {
			t.Errorf("stopped is %v with %v, want %v", stopped, s.health.Reasons(), want)
		}
	}
	apply(row(1, "x", 1), row(2, "x", 3))
	check(false)
	check(false) // what was in the log by then is still to come
	apply()
	check(true)
	apply(row(1, "y", 12))
	check(false)
}
