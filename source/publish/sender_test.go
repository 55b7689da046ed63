package publish

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/change"
)

// Partitions move from broker to broker while they are written to.
func TestRandomLivesWhileLeadersMove(t *testing.T) {
	const brokers = 3
	random := seed(t)
	for i := range lives {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			cluster, err := kfake.NewCluster(kfake.NumBrokers(brokers))
			must(t, err)
			t.Cleanup(cluster.Close)
			b := benchOn(t, cluster.ListenAddrs())
			l := &life{b: b, random: random, deaths: map[string]int{}}
			l.between = func() {
				if random.IntN(10) == 0 {
					must(t, cluster.MoveTopicPartition(b.topics[random.IntN(2)], random.Int32N(partitions), random.Int32N(brokers)))
				}
				if random.IntN(100) == 0 {
					cluster.RehashCoordinators()
				}
			}
			for range 100 {
				l.transact(t)
			}
			l.check(t)
		})
	}
}

// setTransactionVersion sets the cluster's transaction.version; below 2 it is as brokers before Kafka 4.0 are.
func setTransactionVersion(t *testing.T, client *kgo.Client, version int16) {
	t.Helper()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel = "transaction.version", version
	f.AllowDowngrade, f.UpgradeType = true, 2 // a safe downgrade
	if version >= 2 {
		f.AllowDowngrade, f.UpgradeType = false, 1
	}
	req.FeatureUpdates = append(req.FeatureUpdates, f)
	resp, err := req.RequestWith(ctxOf(t), client)
	must(t, err)
	must(t, kerr.ErrorForCode(resp.ErrorCode))
	for _, r := range resp.Results {
		must(t, kerr.ErrorForCode(r.ErrorCode))
	}
}

// Brokers that want to be told of a transaction's partitions are, and a producer's sequence then goes on over transactions.
func TestRandomLivesWithPartitionsTold(t *testing.T) {
	random := seed(t)
	for i := range lives {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			b := newBench(t)
			setTransactionVersion(t, b.admin, 0)
			told := 0
			b.cluster.ControlKey(int16(kmsg.AddPartitionsToTxn), func(kmsg.Request) (kmsg.Response, error, bool) {
				b.cluster.KeepControl()
				told++
				return nil, nil, false
			})
			l := &life{b: b, random: random, deaths: map[string]int{}}
			for range 60 {
				if random.IntN(4) == 0 {
					errs := []*kerr.Error{kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.UnknownTopicOrPartition}
					b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.AddPartitionsToTxn}, Err: errs[random.IntN(len(errs))], Count: 1 + random.IntN(3)})
				}
				l.transact(t)
			}
			l.check(t)
			if told == 0 {
				t.Error("no partition was told of")
			}
		})
	}
}

// What was acknowledged of a transaction is gone with the topic: the rest must not be committed without it.
func TestATopicThatIsMadeAnewIsNoticed(t *testing.T) {
	b := newBench(t)
	p := b.open(t)
	must(t, p.Add(record(b.topics[0], 0, "a", 1)))
	must(t, p.Set(position(1)))
	must(t, p.send())
	must(t, b.cluster.DeleteTopic(b.topics[0]))
	must(t, b.cluster.CreateTopic(b.topics[0], partitions, nil))
	must(t, p.Add(record(b.topics[0], 0, "b", 2)))
	err := p.Commit(ctxOf(t))
	var lost *Lost
	if !errors.As(err, &lost) || lost.Fenced || change.SeverityOf(err) != change.Retry || !errors.Is(err, errOtherTopic) {
		t.Errorf("commit returned %v", err)
	}
}

// What does not become known, because nobody has the topic, ends the Publisher in some seconds and not with its transaction's time.
func TestATopicThatNobodyHas(t *testing.T) {
	b := newBench(t)
	p := b.open(t)
	must(t, p.Add(record("nobody.has.this", 0, "a", 1)))
	err := p.Commit(ctxOf(t))
	var lost *Lost
	if !errors.As(err, &lost) || !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("commit returned %v", err)
	}
}

// Rows of many partitions do not wait in open batches for the commit, however large the transaction is.
func TestOpenBatchesAreBounded(t *testing.T) {
	b := newBench(t)
	cfg := b.tight(t)
	p, err := Open(ctxOf(t), cfg)
	must(t, err)
	t.Cleanup(p.Close)
	const rows, size = 6 * 64, 1 << 10
	for i := range rows { // to each partition what makes no batch
		must(t, p.Add(Record{Topic: b.topics[i%2], Partition: int32(i / 2 % partitions), Key: []byte("k"), Value: make([]byte, size)}))
		if most := p.cfg.BufferBytes/2 + 2*size; p.held > most {
			t.Fatalf("%d bytes are in open batches, %d may be", p.held, most)
		}
	}
	must(t, p.Commit(ctxOf(t)))
	if p.held != 0 {
		t.Errorf("%d bytes are held after the commit", p.held)
	}
	found := 0
	for _, topic := range b.topics {
		for _, records := range b.read(t, topic) {
			found += len(records)
		}
	}
	if found != rows {
		t.Errorf("%d rows of %d are there", found, rows)
	}
}

// A request has one leader's batches, and is no larger than brokers take.
func TestBatchesInRequests(t *testing.T) {
	random := seed(t)
	for range 200 {
		var batches []*batch
		for range 1 + random.IntN(40) {
			batches = append(batches, &batch{to: &partition{leader: random.Int32N(3)}, wire: make([]byte, random.IntN(requestBytes/2))})
		}
		batches[0].wire = make([]byte, 2*requestBytes) // one may be larger
		seen := map[*batch]bool{}
		for _, r := range inRequests(batches) {
			bytes := 0
			for _, b := range r {
				if bytes += len(b.wire); b.to.leader != r[0].to.leader || seen[b] {
					t.Fatal("a request has batches of two leaders, or one twice")
				}
				seen[b] = true
			}
			if bytes > requestBytes && len(r) > 1 {
				t.Fatalf("a request of %d batches has %d bytes", len(r), bytes)
			}
		}
		if len(seen) != len(batches) {
			t.Fatalf("%d batches of %d are in requests", len(seen), len(batches))
		}
	}
}

// What was tried again until the time was over is in the error.
func TestWhyItWasTriedAgainIsSaid(t *testing.T) {
	b := newBench(t)
	cfg := b.settings(t)
	cfg.TransactionTimeout = time.Second
	p, err := Open(ctxOf(t), cfg)
	must(t, err)
	t.Cleanup(p.Close)
	b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 1000})
	must(t, p.Add(record(b.topics[0], 0, "a", 1)))
	err = p.Commit(ctxOf(t))
	var lost *Lost
	if !errors.As(err, &lost) || lost.Fenced || change.SeverityOf(err) != change.Retry || !strings.Contains(change.Explain(err), "NOT_ENOUGH_REPLICAS") {
		t.Errorf("commit returned %v", err)
	}
}
