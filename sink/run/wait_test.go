package run

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink/memory"
)

const sourceUUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"

// checkpoint writes records of the source's checkpoint.
func (w *world) checkpoint(states ...kafka.State) {
	w.t.Helper()
	topic := kafka.CheckpointTopic(w.prefix)
	_, err := w.adm.CreateTopic(w.t.Context(), 1, 1, map[string]*string{"cleanup.policy": kadm.StringPtr("compact")}, topic)
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		w.t.Fatal(err)
	}
	var records []*kgo.Record
	for _, s := range states {
		value, err := kafka.EncodeState(s)
		if err != nil {
			w.t.Fatal(err)
		}
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(s.CheckpointKey()), Value: value})
	}
	w.publish(records...)
}

// state is what the checkpoint says of a table.
func (t *table) state() *kafka.TableState {
	t.w.t.Helper()
	details, err := t.w.adm.ListTopics(t.w.t.Context(), t.topic)
	if err != nil {
		t.w.t.Fatal(err)
	}
	return &kafka.TableState{Table: t.encoder.Table().TableName, Topic: t.topic, TopicID: kafka.TopicID(details[t.topic].ID), Partitions: t.count, Crawled: true}
}

func upTo(n int) *kafka.PositionState {
	return &kafka.PositionState{GTID: fmt.Sprintf("%s:1-%d", sourceUUID, n), File: "binlog.000001", Offset: uint64(n) * 100,
		Server: kafka.ServerIdentity{UUID: sourceUUID, Flavor: "mysql"}}
}

// TestWait goes through all that a wait can wait for, from the checkpoint to the target's progress.
func TestWait(t *testing.T) {
	for _, kind := range []string{"kept", "plain"} {
		t.Run(kind, func(t *testing.T) { testWait(t, kind) })
	}
}

func testWait(t *testing.T, kind string) {
	w := newWorld(t)
	a := w.table("a", 3)
	store := memory.NewStore(memory.Config{})
	c := w.config()
	file := page(t, fmt.Sprintf("group: %s\nkafka: {brokers: [%q], registry: %q}\ntopics: [%q]\nmemory: {mode: %s}\n", c.Group, w.address, w.url, w.prefix+".*", kind))
	const short = "--timeout=400ms"
	wait := func(code int, want string, args ...string) {
		t.Helper()
		for {
			var out, errs output
			got := definition(store).Run(t.Context(), t.Context(), append([]string{"wait", "--config", file}, args...), &out, &errs)
			text := out.String() + errs.String()
			if got == code && strings.Contains(text, want) {
				return
			}
			// It tells what it knows when the time is over: a busy machine gets more of it.
			if i := slices.Index(args, short); i >= 0 {
				args = slices.Replace(slices.Clone(args), i, i+1, "--timeout=10s")
				continue
			}
			t.Errorf("wait %v: exit %d, want %d with %q in\n%s", args, got, code, want, text)
			return
		}
	}
	set := func(n int) string { return fmt.Sprintf("%s:1-%d", sourceUUID, n) }
	wait(2, "there is no topic "+w.prefix+".checkpoint", "--gtid", set(10), short)
	w.checkpoint(upTo(9), a.state())
	w.publish(a.put(1, "x")...)
	wait(1, "published "+set(9)+"; "+set(10)+" is wanted", "--gtid", set(10), short)

	w.publish(a.put(2, "y")...)
	w.checkpoint(upTo(10))
	wait(1, "nothing is applied yet", "--gtid", set(10), short)
	target := store.Open()
	var s *running
	if kind == "kept" {
		s = start(t, c, target)
	} else {
		s = start(t, c, store.OpenPlain())
	}
	wait(0, "up to "+set(10)+" is applied", "--gtid", set(10))
	if err := a.same(store); err != nil {
		t.Errorf("the wait is over, and %v", err)
	}
	s.end()

	for i := range int64(20) {
		w.publish(a.put(i, "z")...)
	}
	wait(1, " is wanted", "--gtid", set(10), short) // published, and not applied
	wait(1, `"behind":"`+a.topic, "--gtid", set(10), short, "-o", "json")

	unfinished := *a.state()
	for _, c := range []struct {
		state kafka.State
		want  string
	}{
		{&kafka.SweepState{Table: unfinished.Table, Keys: 17}, "shop.a is being swept: 17 keys"},
		{&kafka.CrawlState{ID: "k", Table: unfinished.Table, State: "running", Rows: 5, Estimate: 9}, "shop.a is being crawled: 5 rows of about 9"},
	} {
		w.checkpoint(c.state)
		wait(1, c.want, "--gtid", set(10), short)
		w.publish(&kgo.Record{Topic: kafka.CheckpointTopic(w.prefix), Key: []byte(c.state.CheckpointKey())})
	}
	w.checkpoint(&kafka.CrawlState{ID: "k", Table: unfinished.Table, State: "running", Keys: "[1]"}) // named keys hold nobody up
	unfinished.Stopped = &kafka.Stopped{Reason: "row too large", Mend: "raise it"}
	w.checkpoint(&unfinished)
	wait(1, "shop.a is stopped at the source: row too large", "--gtid", set(10), short)
	wait(2, "no topic of this page is shop.b's", "--gtid", set(10), "--table", "shop.b")
	wait(2, "where the source "+w.prefix+" reads from", "--now", short)
	wait(2, "needs one of --now and --gtid", short)
}
