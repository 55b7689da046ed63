package run

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink/memory"
	"github.com/sluice-cdc/sluice/testbed"
)

// TestOnKafka runs on Apache Kafka what most depends on how a broker behaves.
func TestOnKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no Apache Kafka is started")
	}
	k, err := testbed.StartKafka(t.Context(), testbed.KafkaOptions{HeapMB: 256, Log: t.Logf, Properties: map[string]string{
		"log.cleaner.backoff.ms": "200", "log.initial.task.delay.ms": "100"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Stop() }()
	worldOf := func(t *testing.T) *world { return newWorldOn(t, k.Address()) }
	for _, c := range []struct {
		name string
		long bool
		test func(*testing.T, *world)
	}{
		{"applies and goes on", false, testAppliesAndGoesOn},
		{"recreated topic", false, testRecreatedTopicIsRefusedAndReplayed},
		{"compacted log", false, testCompactedLog},
		{"without progress", true, testWithoutProgressTheGroupsOffsetsCount},
		{"ownership", true, testOwnershipIsTakenAgain},
		{"dead letters", true, testDeadLetters},
		{"tombstone alone", true, testTombstoneAlone},
		{"members come and go", true, func(t *testing.T, _ *world) { testMembersComeAndGo(t, worldOf) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.long && os.Getenv("SLUICE_LONG") == "" {
				t.Skip("runs on the local broker in each test, on Apache Kafka with SLUICE_LONG=1")
			}
			c.test(t, worldOf(t))
		})
	}
}

// testCompactedLog reads a log whose beginning compaction has taken away, all but the offsets.
func testCompactedLog(t *testing.T, w *world) {
	a := w.table("a", 1)
	var all []kadm.AlterConfig
	for name, value := range map[string]string{"segment.ms": "100", "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "100", "min.compaction.lag.ms": "0", "delete.retention.ms": "100"} {
		all = append(all, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: kadm.StringPtr(value)})
	}
	if _, err := w.adm.AlterTopicConfigs(t.Context(), all, a.topic); err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		w.publish(append(a.put(1, string(rune('a'+i))), a.put(2, "x")...)...)
	}
	reader, err := kafka.NewClient(w.config().Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	probe := &Sink{fetching: reader, admin: kadm.NewClient(reader)}
	eventually(t, "compaction has taken the log's beginning", func() error {
		time.Sleep(200 * time.Millisecond)
		w.publish(a.put(3, "rolls the segment")...)
		to, err := probe.emptyTo(t.Context(), spot{a.topic, 0}, 0, 30)
		if err == nil && to < 10 {
			err = fmt.Errorf("there is no record up to offset %d", to)
		}
		return err
	})
	w.publish(a.remove(2)...)
	store := memory.NewStore(memory.Config{})
	s := start(t, w.config(), store.Open())
	a.shown(store)
	eventually(t, "progress reaches the end", s.atEnd)
	s.end()
}
