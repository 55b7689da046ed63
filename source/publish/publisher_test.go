package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// bench is a broker with a source's topics on it.
type bench struct {
	cluster *kfake.Cluster
	config  kafka.Config
	admin   *kgo.Client
	topics  []string
}

const (
	prefix     = "src"
	partitions = 3
)

func newBench(t testing.TB) *bench {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := benchOn(t, cluster.ListenAddrs())
	b.cluster = cluster
	return b
}

func benchOn(t testing.TB, brokers []string) *bench {
	t.Helper()
	b := &bench{config: kafka.Default()}
	b.config.Brokers, b.config.Partitions = brokers, partitions
	b.config.Compression = "none" // compressing is not what is tested, and slow under the race detector
	var err error
	if b.admin, err = kafka.NewClient(b.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.admin.Close)
	for _, table := range []string{"orders", "customers"} {
		topic := kafka.TopicName(prefix, change.TableName{DB: "shop", Name: table})
		if _, err := kafka.EnsureTopic(ctxOf(t), kadm.NewClient(b.admin), topic, b.config.TableSettings()); err != nil {
			t.Fatal(err)
		}
		b.topics = append(b.topics, topic)
	}
	return b
}

func ctxOf(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (b *bench) open(t testing.TB, options ...kgo.Opt) *Publisher {
	t.Helper()
	p, err := Open(ctxOf(t), b.settings(t, options...))
	if err != nil {
		t.Fatalf("open: %v", change.Explain(err))
	}
	t.Cleanup(p.Close)
	return p
}

func (b *bench) settings(t testing.TB, options ...kgo.Opt) Config {
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	return Config{Kafka: b.config, Prefix: prefix, TransactionTimeout: 20 * time.Second, Log: log, Options: options}
}

// tight are settings with so little room that some records of 60 KiB fill it.
func (b *bench) tight(t testing.TB) Config {
	cfg := b.settings(t)
	cfg.Kafka.MaxMessageBytes, cfg.BufferBytes = 64<<10, 1
	return cfg
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	fmt.Print(string(b))
	return len(b), nil
}

// read returns what a read_committed consumer sees of a topic, by partition.
func (b *bench) read(t testing.TB, topic string) map[int32][]*kgo.Record {
	t.Helper()
	ctx := ctxOf(t)
	ends, err := kadm.NewClient(b.admin).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	from := map[int32]kgo.Offset{}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		from[o.Partition] = kgo.NewOffset().AtStart()
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	client, err := kafka.NewClient(b.config, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	out := map[int32][]*kgo.Record{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("read %s: %v (left %v)", topic, err, left)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				out[r.Partition] = append(out[r.Partition], r)
			}
		})
	}
	return out
}

func record(topic string, partition int32, key string, v change.Version) Record {
	return Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte("value of " + key), Version: v}
}

func position(v change.Version) *kafka.PositionState {
	return &kafka.PositionState{GTID: fmt.Sprintf("uuid:1-%d", v), File: "binlog.000001", Offset: uint64(v), Version: v}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(change.Explain(err))
	}
}

func TestRowsAndCheckpointTogether(t *testing.T) {
	b := newBench(t)
	p := b.open(t)
	if !p.Checkpoint().Empty() {
		t.Fatalf("a new source has the checkpoint %+v", p.Checkpoint())
	}
	must(t, p.Commit(ctxOf(t))) // nothing open
	must(t, p.Add(record(b.topics[0], 2, "a", 7)))
	must(t, p.Add(Record{Topic: b.topics[0], Partition: 2, Key: []byte("a"), Version: 8,
		Headers: []kgo.RecordHeader{{Key: "x", Value: []byte("y")}}}))
	must(t, p.Set(position(7)))
	must(t, p.Set(position(8)))
	table := &kafka.TableState{Table: change.TableName{DB: "shop", Name: "a.b"}, Topic: "t", Partitions: 3}
	must(t, p.Set(table))
	must(t, p.Set(&kafka.XAState{XID: "x/1"}))
	if p.Records() != 2 || p.Bytes() < int64(len("a"+"value of a"+"a"))+2*8 || p.Age() <= 0 {
		t.Errorf("records %d, bytes %d, age %v", p.Records(), p.Bytes(), p.Age())
	}
	must(t, p.Commit(ctxOf(t)))
	if p.Records() != 0 || p.Bytes() != 0 || p.Age() != 0 {
		t.Errorf("after the commit: records %d, bytes %d, age %v", p.Records(), p.Bytes(), p.Age())
	}
	must(t, p.Delete(&kafka.XAState{XID: "x/1"}))
	must(t, p.Commit(ctxOf(t)))

	got := b.read(t, b.topics[0])[2]
	if len(got) != 2 || got[1].Value != nil || string(got[0].Value) != "value of a" {
		t.Fatalf("read %v", got)
	}
	for i, r := range got {
		if v, ok := kafka.RecordVersion(r); !ok || v != change.Version(7+i) {
			t.Errorf("record %d has version %d, %v", i, v, ok)
		}
	}
	if h := got[1].Headers; len(h) != 2 || h[1].Key != "x" {
		t.Errorf("headers %v", h)
	}
	p.Close()

	c := b.open(t).Checkpoint()
	if c.Position == nil || c.Position.Version != 8 || c.Position.GTID != "uuid:1-8" || len(c.XA) != 0 {
		t.Errorf("checkpoint %+v", c)
	}
	if s := c.Tables[table.Table]; s == nil || s.Topic != "t" {
		t.Errorf("tables %v", c.Tables)
	}
}

func TestUncommittedIsForgotten(t *testing.T) {
	b := newBench(t)
	p := b.open(t)
	must(t, p.Add(record(b.topics[0], 0, "kept", 1)))
	must(t, p.Set(position(1)))
	must(t, p.Commit(ctxOf(t)))
	must(t, p.Add(record(b.topics[0], 0, "lost", 2)))
	must(t, p.Set(position(2)))
	must(t, p.send()) // acknowledged, not committed: then the process dies
	p.Close()

	p = b.open(t)
	if v := p.Checkpoint().Position.Version; v != 1 {
		t.Errorf("checkpoint at version %d", v)
	}
	must(t, p.Add(record(b.topics[0], 0, "next", 3)))
	must(t, p.Commit(ctxOf(t)))
	var keys []string
	for _, r := range b.read(t, b.topics[0])[0] {
		keys = append(keys, string(r.Key))
	}
	if strings.Join(keys, " ") != "kept next" {
		t.Errorf("read %v", keys)
	}
}

func TestASecondSourceFencesTheFirst(t *testing.T) {
	for _, at := range []string{"idle", "open", "sent"} {
		t.Run(at, func(t *testing.T) {
			fencing(t, newBench(t), at)
		})
	}
}

func fencing(t *testing.T, b *bench, at string) {
	t.Helper()
	first := b.open(t)
	must(t, first.Add(record(b.topics[0], 0, "a", 1)))
	must(t, first.Set(position(1)))
	must(t, first.Commit(ctxOf(t)))
	if at != "idle" {
		must(t, first.Add(record(b.topics[0], 0, "b", 2)))
		must(t, first.Set(position(2)))
	}
	if at == "sent" {
		must(t, first.send())
	}
	second := b.open(t)
	if v := second.Checkpoint().Position.Version; v != 1 {
		t.Errorf("the second source starts at version %d", v)
	}
	err := first.Add(record(b.topics[0], 0, "c", 2))
	if err == nil {
		err = first.Commit(ctxOf(t))
	}
	var lost *Lost
	if !errors.As(err, &lost) || !lost.Fenced || change.SeverityOf(err) != change.Fatal {
		t.Errorf("the first source got %v; it should be thrown out by the second", err)
	}
	if again := first.Commit(ctxOf(t)); again != err {
		t.Errorf("then %v", again)
	}
	must(t, second.Add(record(b.topics[0], 0, "d", 2)))
	must(t, second.Commit(ctxOf(t)))
	if got := b.read(t, b.topics[0])[0]; len(got) != 2 || string(got[1].Key) != "d" {
		t.Errorf("read %v", got)
	}
}

// What the first transaction of a client was told to be committed is there.
func TestFirstCommit(t *testing.T) {
	b := newBench(t)
	for _, set := range []bool{true, false} {
		p := b.open(t)
		must(t, p.Add(record(b.topics[0], 0, "a", 1)))
		if set {
			must(t, p.Set(position(1)))
		}
		must(t, p.Commit(ctxOf(t)))
		p.Close()
	}
	if got := b.read(t, b.topics[0])[0]; len(got) != 2 {
		t.Errorf("of two records that were committed %d are there", len(got))
	}
}

func TestTooLarge(t *testing.T) {
	b := newBench(t)
	b.config.MaxMessageBytes = 64 << 10
	p := b.open(t)
	must(t, p.Add(record(b.topics[0], 0, "a", 1)))
	big := Record{Topic: b.topics[0], Key: []byte("big"), Value: make([]byte, 64<<10), Version: 2}
	err := p.Add(big)
	var problem *change.Problem
	if !errors.As(err, &problem) || problem.Kind != change.Poison || problem.Table != (change.TableName{DB: "shop", Name: "orders"}) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"626967", "65539", "kafka.max_message_bytes"} {
		if !strings.Contains(change.Explain(err), want) {
			t.Errorf("%q is not in\n%s", want, change.Explain(err))
		}
	}
	big.Value = big.Value[:64<<10-3]
	must(t, p.Add(big))
	must(t, p.Commit(ctxOf(t)))
	if got := b.read(t, b.topics[0])[0]; len(got) != 2 {
		t.Errorf("read %d records", len(got))
	}
}

func TestABrokerThatRefusesASizeStopsTheTable(t *testing.T) {
	b := newBench(t)
	p := b.open(t)
	b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: b.topics[1], Err: kerr.MessageTooLarge})
	must(t, p.Add(record(b.topics[1], 0, "a", 1)))
	err := p.Commit(ctxOf(t))
	var problem *change.Problem
	if !errors.As(err, &problem) || problem.Kind != change.Poison || problem.Table.Name != "customers" {
		t.Fatalf("got %v", err)
	}
}

func TestOpenWithoutABroker(t *testing.T) {
	cfg := Config{Kafka: kafka.Default(), Prefix: prefix}
	cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	cfg.Options = []kgo.Opt{kgo.RetryTimeout(200 * time.Millisecond)}
	_, err := Open(ctxOf(t), cfg)
	var problem *change.Problem
	if !errors.As(err, &problem) || problem.Kind != change.Retry || !strings.Contains(problem.Mend, "kafka.brokers") {
		t.Errorf("got %v", err)
	}
}

func TestNothingRunsAfterClose(t *testing.T) {
	b := newBench(t)
	b.admin.Close()
	before := goleak.IgnoreCurrent()
	p := b.open(t)
	must(t, p.Add(record(b.topics[0], 0, "a", 1)))
	must(t, p.Commit(ctxOf(t)))
	must(t, p.Add(record(b.topics[0], 0, "b", 2)))
	p.Close()
	p.Close()
	goleak.VerifyNone(t, before)
}
