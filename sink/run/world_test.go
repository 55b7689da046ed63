package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
)

// world is a broker, a registry, and a producer that writes as a source does.
type world struct {
	t        *testing.T
	address  string
	prefix   string // of the topics, and the group's name: a broker may be shared
	registry *registry.Client
	url      string
	client   *kgo.Client // transactional
	adm      *kadm.Client
	version  change.Version
}

// newWorld is a world with a local broker of its own.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel() // a world waits more than it works
	broker, err := localbroker.Start(t.Context(), localbroker.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	return newWorldOn(t, broker.Address())
}

var worlds atomic.Int64

func newWorldOn(t *testing.T, address string) *world {
	t.Helper()
	reg, err := localregistry.Start(t.Context(), localregistry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reg.Close)
	client, err := registry.New(registry.Options{URL: reg.URL()})
	if err != nil {
		t.Fatal(err)
	}
	prefix := fmt.Sprintf("src%d", worlds.Add(1))
	w := &world{t: t, address: address, prefix: prefix, registry: client, url: reg.URL(), version: change.Version(time.Now().UnixMicro())}
	w.client, err = kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID(prefix),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConcurrentTransactionsBackoff(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.adm = kadm.NewClient(w.client)
	return w
}

// table is a table with its topic and the rows that the source has.
type table struct {
	w       *world
	encoder *avro.Encoder
	topic   string
	count   int32
	keyID   int
	valueID int
	rows    map[int64]string
	newest  map[int64]change.Version // of each row's last record
}

func (w *world) table(name string, partitions int32) *table {
	w.t.Helper()
	t := &table{w: w, topic: w.prefix + ".shop." + name, count: partitions, rows: make(map[int64]string), newest: make(map[int64]change.Version)}
	w.createTopic(t.topic, partitions)
	t.shape(orders(name))
	return t
}

func (w *world) createTopic(topic string, partitions int32) {
	w.t.Helper()
	configs := map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "message.timestamp.type": kadm.StringPtr("LogAppendTime"),
		"delete.retention.ms": kadm.StringPtr("604800000")}
	if _, err := w.adm.CreateTopic(w.t.Context(), partitions, 1, configs, topic); err != nil {
		w.t.Fatal(err)
	}
}

func orders(name string) *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0}, Columns: []change.Column{
		{Name: "id", Type: change.BigInt},
		{Name: "note", Type: change.VarChar, Length: 100, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
	}}
}

// shape registers the schemas of the table and uses them from now on.
func (t *table) shape(of *change.Table) {
	t.w.t.Helper()
	var err error
	if t.encoder, err = avro.NewEncoder(of, t.topic, schema.Options{}); err != nil {
		t.w.t.Fatal(err)
	}
	if t.keyID, err = t.w.registry.Register(t.w.t.Context(), t.topic+"-key", t.encoder.KeySchema()); err != nil {
		t.w.t.Fatal(err)
	}
	if t.valueID, err = t.w.registry.Register(t.w.t.Context(), t.topic+"-value", t.encoder.ValueSchema()); err != nil {
		t.w.t.Fatal(err)
	}
}

func text(id int64, note string) [][]byte {
	return [][]byte{strconv.AppendInt(nil, id, 10), []byte(note)}
}

// record is one event of a row.
func (t *table) record(op change.Op, id int64, before, after [][]byte) *kgo.Record {
	t.w.t.Helper()
	identity := make([][]byte, len(t.encoder.Table().Columns))
	copy(identity, text(id, ""))
	key, err := t.encoder.AppendKey(nil, avro.Row{Text: identity})
	if err != nil {
		t.w.t.Fatal(err)
	}
	event := &avro.Event{Op: op, Before: avro.Row{Text: before}, After: avro.Row{Text: after}, TsMs: time.Now().UnixMilli(),
		Source: avro.Source{Version: "test", Name: t.w.prefix, DB: "shop", Table: t.encoder.Table().Name, TsMs: time.Now().UnixMilli()}}
	if op == change.Read {
		event.Source.Snapshot = "incremental"
	}
	value, err := t.encoder.AppendValue(registry.AppendFrame(nil, t.valueID), event)
	if err != nil {
		t.w.t.Fatal(err)
	}
	t.w.version++
	t.newest[id] = t.w.version
	return &kgo.Record{Topic: t.topic, Partition: kafka.Partition(key, t.count), Key: append(registry.AppendFrame(nil, t.keyID), key...), Value: value,
		Headers: []kgo.RecordHeader{{Key: change.VersionHeader, Value: kafka.AppendVersion(nil, t.w.version)}}}
}

// put inserts or updates the row and returns its records; it counts as done.
func (t *table) put(id int64, note string) []*kgo.Record {
	before, there := t.rows[id]
	t.rows[id] = note
	if there {
		return []*kgo.Record{t.record(change.Update, id, text(id, before), text(id, note))}
	}
	return []*kgo.Record{t.record(change.Create, id, nil, text(id, note))}
}

// remove deletes the row: an envelope and a tombstone.
func (t *table) remove(id int64) []*kgo.Record {
	before, there := t.rows[id]
	if !there {
		return nil
	}
	delete(t.rows, id)
	gone := t.record(change.Delete, id, text(id, before), nil)
	tombstone := t.record(change.Delete, id, text(id, before), nil)
	tombstone.Value = nil
	return []*kgo.Record{gone, tombstone}
}

// random does n random things to the table and returns the records.
func (t *table) random(r *rand.Rand, n int) []*kgo.Record {
	var records []*kgo.Record
	for range n {
		id := r.Int64N(200)
		switch r.IntN(5) {
		case 0:
			records = append(records, t.remove(id)...)
		case 1:
			if note, there := t.rows[id]; there {
				records = append(records, t.record(change.Read, id, nil, text(id, note)))
			}
		default:
			records = append(records, t.put(id, fmt.Sprintf("note %d", r.IntN(1000)))...)
		}
	}
	return records
}

// publish writes the records in one transaction.
func (w *world) publish(records ...*kgo.Record) {
	w.t.Helper()
	w.transaction(kgo.TryCommit, records...)
}

func (w *world) transaction(how kgo.TransactionEndTry, records ...*kgo.Record) {
	w.t.Helper()
	ctx := w.t.Context()
	if err := w.client.BeginTransaction(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.client.EndTransaction(ctx, how); err != nil {
		w.t.Fatal(err)
	}
}

// config is the page of a sink in this world.
func (w *world) config() Config {
	c := Default()
	c.Group = "g-" + w.prefix
	c.Kafka.Brokers = []string{w.address}
	c.Kafka.Registry = w.url
	c.Topics = []string{w.prefix + ".shop.*"}
	c.SessionTimeout = 6 * time.Second
	c.RetryStopped = time.Second
	c.Progress = 0
	return c
}

// logs keeps what a sink logs and shows it when the test fails.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func logger(t *testing.T) *slog.Logger {
	l := &logs{}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if t.Failed() {
			t.Logf("the sink's log:\n%s", l.text.String())
		}
	})
	var out io.Writer = l
	if os.Getenv("SLUICE_TEST_LOG") != "" {
		out = os.Stderr
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// running is a sink that runs.
type running struct {
	t    *testing.T
	s    *Sink
	stop context.CancelFunc
	kill context.CancelFunc
	done chan struct{}
	err  error
}

func start(t *testing.T, c Config, target sink.Target) *running {
	t.Helper()
	s, err := New(c, target, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, s: s, done: make(chan struct{})}
	var ctx, hard context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	hard, r.kill = context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		r.err = s.Run(ctx, hard)
	}()
	t.Cleanup(func() {
		r.kill()
		<-r.done
	})
	return r
}

// end stops the sink in good order.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		r.t.Fatal("the sink did not end")
	}
	if r.err != nil {
		r.t.Fatalf("the sink ended with %s", change.Explain(r.err))
	}
}

// crash ends it at once.
func (r *running) crash() {
	r.kill()
	<-r.done
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// same compares the store with the table.
func (t *table) same(store *memory.Store) error {
	got := make(map[int64]string)
	name := t.encoder.Table().TableName
	err := store.Open().Scan(context.Background(), sink.Scan{Source: t.w.prefix, Table: t.encoder.Table()}, func(r sink.Row) error {
		id := r.Values[0].Int()
		if _, twice := got[id]; twice {
			return fmt.Errorf("%s: row %d is there twice", name, id)
		}
		got[id] = r.Values[1].String()
		if r.Version != t.newest[id] {
			return fmt.Errorf("%s: row %d has version %d, its record %d", name, id, r.Version, t.newest[id])
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id, note := range t.rows {
		if g, ok := got[id]; !ok || g != note {
			return fmt.Errorf("%s: row %d is %q (%v), want %q", name, id, g, ok, note)
		}
	}
	if len(got) != len(t.rows) {
		return fmt.Errorf("%s: %d rows, want %d", name, len(got), len(t.rows))
	}
	return nil
}

func (t *table) shown(store *memory.Store) {
	t.w.t.Helper()
	eventually(t.w.t, "the target shows what the source has", func() error { return t.same(store) })
}

// stopped waits until the sink says that the topic is stopped, and returns the reason.
func (r *running) stopped(topic string) string {
	r.t.Helper()
	var reason string
	eventually(r.t, "the topic is stopped", func() error {
		for _, why := range r.s.Health().Reasons() {
			if why.Key == "topic "+topic {
				reason = why.What + " | " + why.Why + " | " + why.Mend
				return nil
			}
		}
		return errors.New("it is not")
	})
	return reason
}

func seeded(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SLUICE_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
