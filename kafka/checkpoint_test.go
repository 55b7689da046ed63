package kafka

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

// everything is a checkpoint with each kind of state, one of its fields set wherever there is one.
func everything() *Checkpoint {
	table := change.TableName{DB: "a.b", Name: "c/d"}
	c := NewCheckpoint()
	c.Position = &PositionState{
		GTID: "3f2a:1-5", File: "binlog.000007", Offset: 1 << 40, Version: 1 << 52, Millis: 12,
		InTransaction: []InTransaction{{GTID: "3f2a:6", File: "binlog.000007", Offset: 5, Row: 1 << 33, Checksum: 1<<64 - 1, Tables: []change.TableName{table}}},
		Server:        ServerIdentity{UUID: "3f2a", ServerID: 1, Flavor: "mysql", Version: "9.7.4", Address: "db1:3306"},
	}
	c.Tables[table] = &TableState{
		Table: table, Topic: "p.a-2Eb.c-2Fd", TopicID: TopicID{1, 2, 15: 255}, Partitions: 12, KeySchemaID: 1, ValueSchemaID: 2,
		Key: []string{"id"}, Crawled: true, Stopped: &Stopped{Reason: "r", Position: change.Position{File: "f", Offset: 1}, Version: 3, Mend: "m", Millis: 4},
	}
	c.Crawls["x/1"] = &CrawlState{ID: "x/1", Table: table, Where: "a > 1", Keys: "[1]", Rows: 5, Estimate: 6, Started: 7, State: "running", Sweep: true,
		Ranges: []CrawlRange{{From: []string{"1"}, To: []string{"_binary x'00'"}, Next: []string{"2"}, Done: true}, {}}}
	c.Sweeps[table] = &SweepState{Table: table, Below: 9, Reason: "TRUNCATE", Pass: 1, Passes: 2, Keys: 3, Gone: 4}
	c.XA["xid"] = &XAState{XID: "xid", GTID: "3f2a:3", File: "f", Offset: 4, Millis: 5}
	c.Signal = &SignalState{TopicID: TopicID{9}, Next: 11}
	return c
}

func statesOf(c *Checkpoint) []State {
	states := []State{c.Position, c.Signal}
	for _, s := range c.Tables {
		states = append(states, s)
	}
	for _, s := range c.Crawls {
		states = append(states, s)
	}
	for _, s := range c.Sweeps {
		states = append(states, s)
	}
	for _, s := range c.XA {
		states = append(states, s)
	}
	return states
}

func checkpointRecord(t *testing.T, prefix string, s State) *kgo.Record {
	t.Helper()
	value, err := EncodeState(s)
	must(t, err)
	return &kgo.Record{Topic: CheckpointTopic(prefix), Key: []byte(s.CheckpointKey()), Value: value}
}

func testCheckpoint(t *testing.T, b *broker) {
	prefix := prefixOf(t)
	topic := CheckpointTopic(prefix)
	b.ensure(t, topic, b.config.CheckpointSettings())
	load := func(ctx context.Context) (*Checkpoint, error) { return LoadCheckpoint(ctx, b.client, prefix, nil) }
	c, err := load(ctxOf(t))
	must(t, err)
	if !c.Empty() {
		t.Errorf("an empty topic gives %+v", c)
	}
	want := everything()
	b.produce(t, checkpointRecord(t, prefix, &PositionState{File: "old"}), checkpointRecord(t, prefix, &XAState{XID: "gone"}))
	for _, s := range statesOf(want) {
		b.produce(t, checkpointRecord(t, prefix, s))
	}
	b.produce(t, &kgo.Record{Topic: topic, Key: []byte("xa/gone")})
	b.aborted(t, checkpointRecord(t, prefix, &PositionState{File: "aborted"}))
	c, err = load(ctxOf(t))
	must(t, err)
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, s := range statesOf(want) {
		b.produce(t, &kgo.Record{Topic: topic, Key: []byte(s.CheckpointKey())})
	}
	c, err = load(ctxOf(t))
	must(t, err)
	if !c.Empty() {
		t.Errorf("all taken away, and there is %+v", c)
	}
	testUndecided(t, b, prefix)
	testUnreadable(t, b, prefix)
}

// While a transaction is open in the topic, its end is unknown.
func testUndecided(t *testing.T, b *broker, prefix string) {
	open, err := NewClient(b.config, kgo.TransactionalID(prefix+"-open"))
	must(t, err)
	defer open.Close()
	must(t, open.BeginTransaction())
	must(t, open.ProduceSync(ctxOf(t), checkpointRecord(t, prefix, &PositionState{File: "undecided"})).FirstErr())
	short, cancel := context.WithTimeout(ctxOf(t), 1500*time.Millisecond)
	defer cancel()
	said := 0
	if c, err := LoadCheckpoint(short, b.client, prefix, func(string) { said++ }); err == nil || said != 1 {
		t.Errorf("loaded %+v, %v; said %d times", c, err, said)
	}
	time.AfterFunc(300*time.Millisecond, func() { _ = open.EndTransaction(context.Background(), kgo.TryCommit) })
	c, err := LoadCheckpoint(ctxOf(t), b.client, prefix, nil)
	must(t, err)
	if c.Position == nil || c.Position.File != "undecided" {
		t.Errorf("committed, and there is %+v", c)
	}
}

func testUnreadable(t *testing.T, b *broker, prefix string) {
	b.produce(t, &kgo.Record{Topic: CheckpointTopic(prefix), Key: []byte("position"), Value: []byte(`{"format":2,"state":{}}`)})
	_, err := LoadCheckpoint(ctxOf(t), b.client, prefix, nil)
	if p := problemOf(t, err); p.Kind != change.Configuration || !strings.Contains(p.Error(), "format 2") || p.Mend == "" {
		t.Errorf("got %v", change.Explain(err))
	}
}

func TestPutRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, c := range [][2]string{
		{"position", `{`},
		{"position", `{"format":2}`},
		{"position", `{"format":1,"state":[]}`},
		{"table/a", `{"format":1,"state":{}}`},
		{"novelty/x", `{"format":1,"state":{}}`},
		{"novelty", `{"format":1,"state":{}}`},
	} {
		if err := NewCheckpoint().put(c[0], []byte(c[1])); err == nil {
			t.Errorf("%s = %s is taken", c[0], c[1])
		}
	}
	for _, key := range []string{"novelty", "table/a", "xb/1"} {
		if err := NewCheckpoint().put(key, nil); err == nil {
			t.Errorf("taking %s away is taken", key)
		}
	}
}

func TestTopicIDText(t *testing.T) {
	id := TopicID{0: 255, 15: 1}
	text, _ := id.MarshalText()
	var back TopicID
	if err := back.UnmarshalText(text); err != nil || back != id || len(text) != 22 {
		t.Errorf("%s reads back as %v, %v", text, back, err)
	}
	if err := back.UnmarshalText([]byte("AA")); err == nil {
		t.Error("a short id is taken")
	}
	if fmt.Sprint(id) != string(text) {
		t.Errorf("prints as %v", id)
	}
}
