package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var errEnough = errors.New("enough")

// tail takes n signals in.
func (b *broker) tail(t *testing.T, prefix string, from *SignalState, n int) (got []Signal, state SignalState) {
	t.Helper()
	err := TailSignals(ctxOf(t), b.client, prefix, from, func(s Signal, at SignalState) error {
		got, state = append(got, s), at
		if len(got) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("tail: %v", err)
	}
	return got, state
}

func (b *broker) send(t *testing.T, prefix string, s Signal) {
	t.Helper()
	_, err := SendSignal(ctxOf(t), b.client, prefix, s)
	must(t, err)
}

func testSignals(t *testing.T, b *broker) {
	prefix := prefixOf(t)
	topic := SignalTopic(prefix)
	first := b.ensure(t, topic, b.config.SignalSettings())
	b.send(t, prefix, Signal{ID: "one", Kind: CrawlStart, Table: "shop.orders", Where: "a > 1"})
	got, state := b.tail(t, prefix, nil, 1)
	if got[0].ID != "one" || got[0].Kind != CrawlStart || got[0].Where != "a > 1" || state.TopicID != first.ID {
		t.Errorf("got %+v, %+v", got, state)
	}
	b.produce(t, &kgo.Record{Topic: topic, Key: []byte("bad"), Value: []byte("{")})
	b.produce(t, &kgo.Record{Topic: topic, Key: []byte("new"), Value: []byte(`{"format":2,"kind":"x"}`)})
	b.send(t, prefix, Signal{ID: "two", Kind: CrawlCancel, Crawl: "one"})
	time.AfterFunc(time.Second, func() { // while it waits at the end
		_, _ = SendSignal(context.Background(), b.client, prefix, Signal{ID: "late", Kind: CrawlStart})
	})
	got, state = b.tail(t, prefix, &state, 4)
	if got[0].Invalid == nil || got[0].ID != "bad" || got[1].Invalid == nil || got[2].Invalid != nil || got[2].ID != "two" || got[3].ID != "late" {
		t.Errorf("got %+v", got)
	}
	// A topic that was made again starts anew.
	if _, err := b.adm.DeleteTopics(ctxOf(t), topic); err != nil {
		t.Fatal(err)
	}
	for second := first; second.ID == first.ID; {
		second = b.ensure(t, topic, b.config.SignalSettings())
	}
	connect(t, b.config.Brokers).send(t, prefix, Signal{ID: "three", Kind: CrawlStart}) // as another process does
	if got, _ = b.tail(t, prefix, &state, 1); got[0].ID != "three" {
		t.Errorf("got %+v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := TailSignals(ctx, b.client, prefix, &SignalState{TopicID: TopicID{1}, Next: 5}, func(Signal, SignalState) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the end of the context: %v", err)
	}
}
