package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
)

// broker is what a test talks to: the local broker, or Apache Kafka.
type broker struct {
	config  Config
	client  *kgo.Client
	adm     *kadm.Client
	cluster *kfake.Cluster // nil on Apache Kafka
}

func local(t *testing.T, options ...kfake.Opt) *broker {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := connect(t, cluster.ListenAddrs())
	b.cluster = cluster
	return b
}

func connect(t *testing.T, brokers []string) *broker {
	t.Helper()
	b := &broker{config: Default()}
	b.config.Brokers = brokers
	client, err := NewClient(b.config, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	b.client, b.adm = client, kadm.NewClient(client)
	return b
}

func ctxOf(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(change.Explain(err))
	}
}

func (b *broker) ensure(t *testing.T, name string, s TopicSettings) *Topic {
	t.Helper()
	topic, err := EnsureTopic(ctxOf(t), b.adm, name, s)
	must(t, err)
	return topic
}

func (b *broker) produce(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	must(t, b.client.ProduceSync(ctxOf(t), records...).FirstErr())
}

func problemOf(t *testing.T, err error) *change.Problem {
	t.Helper()
	var p *change.Problem
	if !errors.As(err, &p) {
		t.Fatalf("%v is no Problem", err)
	}
	return p
}

// onBoth runs a test on the local broker and on Apache Kafka, whose one instance serves all of TestOnKafka.
var onBoth = map[string]func(*testing.T, *broker){
	"topics":           testTopics,
	"greatest version": testGreatestVersion,
	"newest keys":      testNewestKeys,
	"checkpoint":       testCheckpoint,
	"signals":          testSignals,
	"status":           testStatus,
	"standby":          testStandby,
	"lag":              testLag,
}

func TestOnTheLocalBroker(t *testing.T) {
	for name, test := range onBoth {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, local(t))
		})
	}
}

func TestOnKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no Apache Kafka is started")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	k, err := testbed.StartKafka(ctx, testbed.KafkaOptions{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.Stop() }()
	for name, test := range onBoth {
		t.Run(name, func(t *testing.T) { test(t, connect(t, []string{k.Address()})) })
	}
	t.Run("names that collide", func(t *testing.T) { testCollision(t, connect(t, []string{k.Address()})) })
}

// prefixOf gives each test topics of its own.
func prefixOf(t *testing.T) string {
	return "p" + strings.Map(func(r rune) rune {
		if plainByte(byte(r)) && r != '_' {
			return r
		}
		return -1
	}, t.Name())
}

func seeded(t *testing.T) *rand.Rand {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		var err error
		n, err = strconv.ParseUint(s, 10, 64)
		must(t, err)
	}
	t.Logf("SLUICE_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

func versioned(topic string, partition int32, key string, value []byte, v change.Version) *kgo.Record {
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value,
		Headers: []kgo.RecordHeader{{Key: "other", Value: []byte("12345678")}, {Key: change.VersionHeader, Value: AppendVersion(nil, v)}}}
}

// aborted writes records in a transaction that is aborted.
func (b *broker) aborted(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	client, err := NewClient(b.config, kgo.TransactionalID(prefixOf(t)+"-aborter"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	defer client.Close()
	must(t, client.BeginTransaction())
	must(t, client.ProduceSync(ctxOf(t), records...).FirstErr())
	must(t, client.EndTransaction(ctxOf(t), kgo.TryAbort))
}

func testGreatestVersion(t *testing.T, b *broker) {
	topic := prefixOf(t) + ".db.t"
	s := b.config.TableSettings()
	s.Partitions = 2
	b.ensure(t, topic, s)
	empty := prefixOf(t) + ".db.empty"
	b.ensure(t, empty, s)
	check := func(want change.Version) {
		t.Helper()
		got, err := GreatestVersion(ctxOf(t), b.client, []string{topic, empty})
		if err != nil || got != want {
			t.Errorf("GreatestVersion = %d, %v; want %d", got, err, want)
		}
	}
	check(0)
	b.produce(t, versioned(topic, 0, "a", []byte("x"), 40), versioned(topic, 1, "b", nil, 41), versioned(topic, 0, "c", nil, 39))
	check(41)
	// The end of the partition is nothing but what aborted transactions left: more than one step back.
	var left []*kgo.Record
	for i := range 5 * tailFirst {
		left = append(left, versioned(topic, 1, "z", nil, change.Version(1000+i)))
	}
	b.aborted(t, left...)
	check(41)
}

// testNewestKeys compares with a model over random puts, deletes and aborted transactions, in several passes.
func testNewestKeys(t *testing.T, b *broker) {
	random := seeded(t)
	topic := prefixOf(t) + ".db.t"
	s := b.config.TableSettings()
	s.Partitions = 3
	b.ensure(t, topic, s)
	newest := map[string]*kgo.Record{}
	const keys, steps = 60, 600
	var batch []*kgo.Record
	for i := range steps {
		key := "k" + strconv.Itoa(random.IntN(keys))
		r := versioned(topic, Partition([]byte(key), 3), key, []byte("v"), change.Version(i+1))
		if random.IntN(4) == 0 {
			r.Value = nil
		}
		if random.IntN(200) == 0 {
			b.aborted(t, r)
			continue
		}
		newest[key] = r
		batch = append(batch, r)
	}
	b.produce(t, batch...)
	for _, below := range []change.Version{0, 1, steps / 2, steps + 1} {
		for _, passes := range []int{1, 4} {
			got := map[string]int{}
			for pass := range passes {
				err := NewestKeys(ctxOf(t), b.client, topic, below, pass, passes, func(key []byte) error {
					got[string(key)]++
					return nil
				})
				must(t, err)
			}
			for key, r := range newest {
				v, _ := RecordVersion(r)
				want := 0
				if r.Value != nil && v < below {
					want = 1
				}
				if got[key] != want {
					t.Errorf("below %d in %d passes: key %s comes %d times, want %d", below, passes, key, got[key], want)
				}
				delete(got, key)
			}
			if len(got) > 0 {
				t.Errorf("unknown keys %v", got)
			}
		}
	}
	stop := errors.New("stop")
	if err := NewestKeys(ctxOf(t), b.client, topic, steps+1, 0, 1, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("yield's error comes back as %v", err)
	}
}

func testLag(t *testing.T, b *broker) {
	topic := prefixOf(t) + ".db.t"
	s := b.config.TableSettings()
	s.Partitions = 2
	b.ensure(t, topic, s)
	for i := range 5 {
		b.produce(t, versioned(topic, 1, fmt.Sprint(i), nil, 1))
	}
	group := prefixOf(t) + "-group"
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 1, 2, -1)
	must(t, b.adm.CommitAllOffsets(ctxOf(t), group, offsets))
	lags, err := Lags(ctxOf(t), b.adm, []string{group})
	must(t, err)
	want := []Lag{
		{Group: group, Topic: topic, Partition: 0, Committed: -1},
		{Group: group, Topic: topic, Partition: 1, Committed: 2, End: 5, Records: 3},
	}
	if fmt.Sprint(lags) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", lags, want)
	}
	lags, err = Lags(ctxOf(t), b.adm, []string{"nobody"}, topic)
	must(t, err)
	if len(lags) != 2 || lags[1].Records != 5 || lags[1].Committed != -1 {
		t.Errorf("a group without offsets: %v", lags)
	}
}
