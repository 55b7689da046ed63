package kafka

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/change"
)

func testTopics(t *testing.T, b *broker) {
	name := prefixOf(t) + ".shop.orders"
	settings := b.config.TableSettings()
	first := b.ensure(t, name, settings)
	if !first.Created || first.Partitions != b.config.Partitions || first.ID.IsZero() {
		t.Errorf("made %+v", first)
	}
	if len(first.Notes) != 0 {
		t.Errorf("notes %v", first.Notes)
	}
	settings.Partitions = 1
	again := b.ensure(t, name, settings)
	if again.Created || again.ID != first.ID || again.Partitions != first.Partitions {
		t.Errorf("then found %+v", again)
	}
	for _, s := range []TopicSettings{b.config.CheckpointSettings(), b.config.SignalSettings(), b.config.StatusSettings(), b.config.DeadSettings()} {
		own := name + strings.ReplaceAll(s.Configs[1].Value, "-", "m")
		if topic := b.ensure(t, own, s); topic.Partitions != 1 {
			t.Errorf("%+v", topic)
		}
		b.ensure(t, own, s) // what was made satisfies what is asked for
	}
	testWrongTopic(t, b)
	testPinned(t, b, first)
}

func testWrongTopic(t *testing.T, b *broker) {
	name := prefixOf(t) + ".shop.wrong"
	policy, size := "delete", "1000"
	if _, err := b.adm.CreateTopic(ctxOf(t), 3, 1, map[string]*string{"cleanup.policy": &policy, "max.message.bytes": &size}, name); err != nil {
		t.Fatal(err)
	}
	_, err := EnsureTopic(ctxOf(t), b.adm, name, b.config.TableSettings())
	p := problemOf(t, err)
	if p.Kind != change.Configuration {
		t.Errorf("kind %v", p.Kind)
	}
	for _, want := range []string{"kafka-configs --alter --topic " + name, "cleanup.policy=compact", "message.timestamp.type=LogAppendTime", "max.message.bytes="} {
		if !strings.Contains(p.Mend, want) {
			t.Errorf("mend %q lacks %q", p.Mend, want)
		}
	}
}

func testPinned(t *testing.T, b *broker, first *Topic) {
	state := &TableState{Table: change.TableName{DB: "shop", Name: "orders"}, Topic: first.Name, TopicID: first.ID, Partitions: first.Partitions}
	must(t, first.CheckPinned(state))
	more := *first
	more.Partitions++
	if p := problemOf(t, more.CheckPinned(state)); p.Kind != change.Poison || p.Table != state.Table {
		t.Errorf("more partitions: %+v", p)
	}
	if _, err := b.adm.DeleteTopics(ctxOf(t), first.Name); err != nil {
		t.Fatal(err)
	}
	var second *Topic
	for second == nil || second.ID == first.ID { // deletion takes its time
		var err error
		if second, err = EnsureTopic(ctxOf(t), b.adm, first.Name, b.config.TableSettings()); err != nil {
			t.Fatal(err)
		}
	}
	if p := problemOf(t, second.CheckPinned(state)); !strings.Contains(p.What, "made again") || p.Mend == "" {
		t.Errorf("made again: %+v", p)
	}
}

// Kafka itself refuses a second topic that differs from a first only in '.' and '_'.
func testCollision(t *testing.T, b *broker) {
	b.ensure(t, "c.a.b_c", b.config.TableSettings())
	_, err := EnsureTopic(ctxOf(t), b.adm, "c.a_b.c", b.config.TableSettings())
	if p := problemOf(t, err); p.Kind != change.Poison || !strings.Contains(p.Why, "metric names") {
		t.Errorf("got %+v", p)
	}
}

func TestJudgeConfigs(t *testing.T) {
	want := []TopicConfig{
		{"cleanup.policy", "compact", Exactly},
		{"retention.ms", "1000", AtLeast},
		{"segment.bytes", "16", Advised},
		{"made", "1", OnlyMade},
	}
	for _, c := range []struct {
		name  string
		have  map[string]string
		wrong string // in the problem; empty: none
		notes int
	}{
		{"all right", map[string]string{"cleanup.policy": "compact", "retention.ms": "1000", "segment.bytes": "16"}, "", 0},
		{"more is enough", map[string]string{"cleanup.policy": "compact", "retention.ms": "1001", "segment.bytes": "16", "made": "2"}, "", 0},
		{"no limit is enough", map[string]string{"cleanup.policy": "compact", "retention.ms": "-1", "segment.bytes": "16"}, "", 0},
		{"too little", map[string]string{"cleanup.policy": "compact", "retention.ms": "999", "segment.bytes": "16"}, "retention.ms=999 (needs at least 1000)", 0},
		{"both policies", map[string]string{"cleanup.policy": "compact,delete", "retention.ms": "1000", "segment.bytes": "16"}, "cleanup.policy=compact,delete", 0},
		{"unknown", map[string]string{"cleanup.policy": "compact"}, "", 2},
		{"advice", map[string]string{"cleanup.policy": "compact", "retention.ms": "1000", "segment.bytes": "17"}, "", 1},
	} {
		notes, err := judgeConfigs("t", c.have, want)
		if len(notes) != c.notes || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: notes %v, error %v", c.name, notes, err)
		}
	}
}

func TestDurabilityIsAskedForWithThreeCopies(t *testing.T) {
	c := Default()
	for replication, want := range map[int16]bool{-1: false, 1: false, 2: false, 3: true, 5: true} {
		c.Replication = replication
		found := false
		for _, s := range c.TableSettings().Configs {
			found = found || s.Name == "min.insync.replicas"
		}
		if found != want {
			t.Errorf("replication %d: asked for %v", replication, found)
		}
	}
}

func TestListTopics(t *testing.T) {
	b := local(t)
	for _, name := range []string{"p.shop.orders", "p.a-2Eb.c", "p.checkpoint", "q.shop.orders", "pp.shop.orders", "p.a.b.c"} {
		b.ensure(t, name, b.config.SignalSettings())
	}
	got, err := ListTopics(ctxOf(t), b.adm, "p")
	must(t, err)
	if len(got) != 2 || got["p.shop.orders"] != (change.TableName{DB: "shop", Name: "orders"}) || got["p.a-2Eb.c"] != (change.TableName{DB: "a.b", Name: "c"}) {
		t.Errorf("got %v", got)
	}
}

// What a broker shows of a topic that is being deleted is behind what the controller knows.
func TestATopicThatGoesWhileItIsLookedAt(t *testing.T) {
	b := local(t)
	name := prefixOf(t) + ".shop.orders"
	first := b.ensure(t, name, b.config.TableSettings())
	other := connect(t, b.cluster.ListenAddrs())
	b.cluster.ControlKey(int16(kmsg.DescribeConfigs), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.DropControl()
		b.cluster.SleepControl(func() {
			if _, err := other.adm.DeleteTopics(ctxOf(t), name); err != nil {
				t.Error(err)
			}
		})
		return nil, nil, false
	})
	if second := b.ensure(t, name, b.config.TableSettings()); !second.Created || second.ID == first.ID {
		t.Errorf("found %+v, first %+v", second, first)
	}
}
