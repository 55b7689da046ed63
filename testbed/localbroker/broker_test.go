package localbroker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/testbed"
)

func start(t *testing.T, o Options) *Broker {
	t.Helper()
	o.Log = t.Logf
	b, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func client(t *testing.T, b *Broker, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(options, kgo.SeedBrokers(b.Address()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func createTopic(t *testing.T, b *Broker, topic string, partitions int32) {
	t.Helper()
	if _, err := kadm.NewClient(client(t, b)).CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

// consume reads count records of the topic from its start.
func consume(t *testing.T, b *Broker, topic string, count int, options ...kgo.Opt) []string {
	t.Helper()
	options = append(options, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	c := client(t, b, options...)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var values []string
	for len(values) < count {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(values), count, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func produce(t *testing.T, c *kgo.Client, topic string, values ...string) {
	t.Helper()
	for _, value := range values {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTopicsAreNotMadeByProducing(t *testing.T) {
	b := start(t, Options{})
	c := client(t, b, kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	err := c.ProduceSync(t.Context(), &kgo.Record{Topic: "nobody-made-it"}).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("producing to a missing topic: %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
}

func TestTransactionsAreAtomicAndFenced(t *testing.T) {
	b := start(t, Options{})
	createTopic(t, b, "t", 1)
	first := client(t, b, kgo.TransactionalID("writer"))
	begin := func(c *kgo.Client) {
		t.Helper()
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
	}
	begin(first)
	produce(t, first, "t", "aborted")
	if err := first.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	begin(first)
	produce(t, first, "t", "committed")
	if err := first.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := consume(t, b, "t", 1); got[0] != "committed" {
		t.Errorf("a reader of committed records sees %q", got)
	}

	// A second producer with the id fences the first in the middle of its own.
	begin(first)
	produce(t, first, "t", "fenced")
	second := client(t, b, kgo.TransactionalID("writer"))
	if _, _, err := second.ProducerID(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.EndTransaction(t.Context(), kgo.TryCommit); err == nil {
		t.Error("a fenced producer could commit")
	}
	begin(second)
	produce(t, second, "t", "successor")
	if err := second.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(consume(t, b, "t", 2)); got != "[committed successor]" {
		t.Errorf("after the fence a reader sees %s", got)
	}
}

// TestGroups joins as a classic group and as one of the new protocol (KIP-848).
func TestGroups(t *testing.T) {
	b := start(t, Options{})
	createTopic(t, b, "t", 3)
	produce(t, client(t, b), "t", "1", "2", "3")
	for _, test := range []struct {
		group   string
		joined  kmsg.Key
		options []kgo.Opt
	}{
		{"classic", kmsg.JoinGroup, nil},
		{"kip848", kmsg.ConsumerGroupHeartbeat, []kgo.Opt{kgo.ServerSideBalancer()}},
	} {
		t.Run(test.group, func(t *testing.T) {
			seen := b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{test.joined}, Group: test.group, Count: -1, Observe: true})
			defer seen.Remove()
			consume(t, b, "t", 3, append(test.options, kgo.ConsumerGroup(test.group))...)
			if seen.Hits() == 0 {
				t.Errorf("the group did not join by %s", test.joined.Name())
			}
		})
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	port := testbed.FreePort()
	t.Cleanup(func() { testbed.ReleasePort(port) })
	b := start(t, Options{DataDir: dir, Port: port})
	createTopic(t, b, "t", 1)
	produce(t, client(t, b), "t", "kept")
	if _, err := Start(t.Context(), Options{DataDir: dir}); err == nil {
		t.Error("a second broker started on the same data folder")
	}
	b.Close()
	again := start(t, Options{DataDir: dir, Port: port})
	if got := consume(t, again, "t", 1); got[0] != "kept" {
		t.Errorf("after the restart the topic holds %q", got)
	}
}
