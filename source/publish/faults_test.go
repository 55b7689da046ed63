package publish

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// brokerErrors are what brokers answer in bad times, none of them a fence. With REQUEST_TIMED_OUT the work is
// done all the same.
var brokerErrors = []struct {
	key kmsg.Key
	err *kerr.Error
}{
	{kmsg.Produce, kerr.NotLeaderForPartition},
	{kmsg.Produce, kerr.RequestTimedOut},
	{kmsg.Produce, kerr.NotEnoughReplicasAfterAppend},
	{kmsg.Produce, kerr.NotEnoughReplicas},
	{kmsg.Produce, kerr.UnknownServerError},
	{kmsg.Produce, kerr.OutOfOrderSequenceNumber},
	{kmsg.Produce, kerr.UnknownProducerID},
	{kmsg.Produce, kerr.TransactionAbortable},
	{kmsg.Produce, kerr.ConcurrentTransactions},
	{kmsg.EndTxn, kerr.UnknownServerError},
	{kmsg.EndTxn, kerr.NotCoordinator},
	{kmsg.EndTxn, kerr.CoordinatorLoadInProgress},
	{kmsg.EndTxn, kerr.ConcurrentTransactions},
	{kmsg.EndTxn, kerr.RequestTimedOut},
	{kmsg.EndTxn, kerr.TransactionAbortable},
	{kmsg.EndTxn, kerr.InvalidTxnState},
	{kmsg.InitProducerID, kerr.CoordinatorNotAvailable},
	{kmsg.InitProducerID, kerr.ConcurrentTransactions},
	{kmsg.Fetch, kerr.NotLeaderForPartition},
	{kmsg.ListOffsets, kerr.NotLeaderForPartition},
}

func TestRandomLivesWithBrokerErrors(t *testing.T) {
	random := seed(t)
	for i := range lives {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			b := newBench(t)
			l := &life{b: b, random: random, deaths: map[string]int{}}
			for range 60 {
				if random.IntN(2) == 0 {
					e := brokerErrors[random.IntN(len(brokerErrors))]
					b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{e.key}, Err: e.err, Count: 1 + random.IntN(3), TopLevel: random.IntN(2) == 0})
				}
				l.transact(t)
			}
			l.check(t)
		})
	}
}

// A transaction that is open for longer than the time allowed ends by itself, and does not look like a fence.
func TestTooLongOpen(t *testing.T) {
	b := newBench(t)
	cfg := b.settings(t)
	cfg.TransactionTimeout = 300 * time.Millisecond
	p, err := Open(ctxOf(t), cfg)
	must(t, err)
	defer p.Close()
	must(t, p.Add(record(b.topics[0], 0, "a", 1)))
	time.Sleep(500 * time.Millisecond)
	err = p.Commit(ctxOf(t))
	var lost *Lost
	if !errors.As(err, &lost) || lost.Fenced || change.SeverityOf(err) != change.Retry {
		t.Errorf("commit returned %v", err)
	}
	if got := b.open(t).Checkpoint(); !got.Empty() {
		t.Errorf("checkpoint %+v", got)
	}
}

// Add does not wait for ever on a broker that answers nothing, and lets go when the publisher is closed.
func TestAddWaitsForRoomAndNotForEver(t *testing.T) {
	b := newBench(t)
	cfg := b.tight(t)
	cfg.TransactionTimeout = time.Second
	p, err := Open(ctxOf(t), cfg)
	must(t, err)
	defer p.Close()
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		b.cluster.SleepControl(func() { time.Sleep(3 * time.Second) })
		return nil, nil, false
	})
	began := time.Now()
	for n := 0; err == nil && n < 100; n++ {
		err = p.Add(Record{Topic: b.topics[0], Key: []byte("k"), Value: make([]byte, 60<<10)})
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 2900*time.Millisecond || change.SeverityOf(err) != change.Retry {
		t.Errorf("after %v: %v", took, err)
	}
}

// What a predecessor has left open decides nothing until the broker has decided it: opening waits and says so.
func TestOpenWaitsForAnOpenTransaction(t *testing.T) {
	b := newBench(t)
	must(t, b.open(t).Set(position(0))) // makes the topic
	adm := kadm.NewClient(b.admin)
	_, err := kafka.EnsureTopic(ctxOf(t), adm, kafka.CheckpointTopic(prefix), b.config.CheckpointSettings())
	must(t, err)
	// A stranger's transaction is not fenced by ours, and holds the last stable offset back.
	stranger := b.settings(t)
	stranger.Prefix = "stranger"
	s, err := Open(ctxOf(t), stranger)
	must(t, err)
	s.topic = kafka.CheckpointTopic(prefix)
	must(t, s.Set(position(5)))
	must(t, s.send())
	notices := make(chan string, 10)
	cfg := b.settings(t)
	cfg.Notice = func(s string) { notices <- s }
	done := make(chan *Publisher)
	go func() {
		p, err := Open(ctxOf(t), cfg)
		if err != nil {
			t.Error(err)
		}
		done <- p
	}()
	select {
	case <-notices:
	case <-done:
		t.Fatal("it did not wait")
	}
	must(t, s.end())
	p := <-done
	if p == nil || p.Checkpoint().Position == nil || p.Checkpoint().Position.Version != 5 {
		t.Fatalf("opened with %+v", p)
	}
	p.Close()
	s.Close()
}

// Rule R2: until the transactional id is taken a predecessor may still commit, so what is read before is not the
// end.
func TestOpenFencesBeforeItReads(t *testing.T) {
	b := newBench(t)
	b.open(t).Close()
	var asked []string
	for _, key := range []kmsg.Key{kmsg.InitProducerID, kmsg.ListOffsets, kmsg.Fetch} {
		b.cluster.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
			b.cluster.KeepControl()
			asked = append(asked, key.Name())
			return nil, nil, false
		})
	}
	p := b.open(t)
	must(t, p.Set(position(1)))
	must(t, p.Commit(ctxOf(t)))
	asked = nil
	b.open(t)
	taken := slices.Repeat([]string{kmsg.InitProducerID.Name()}, lanes)
	if len(asked) < lanes+2 || !slices.Equal(asked[:lanes], taken) || asked[len(asked)-1] != kmsg.Fetch.Name() {
		t.Errorf("it asked %v: all ids are to be taken before the checkpoint is read", asked)
	}
}

// Closing lets go of an Add that waits for room, from another goroutine.
func TestCloseLetsGo(t *testing.T) {
	b := newBench(t)
	cfg := b.tight(t)
	p, err := Open(ctxOf(t), cfg)
	must(t, err)
	b.cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		b.cluster.SleepControl(func() { time.Sleep(2 * time.Second) })
		return nil, nil, false
	})
	time.AfterFunc(300*time.Millisecond, p.Close)
	began := time.Now()
	for n := 0; err == nil && n < 100; n++ {
		err = p.Add(Record{Topic: b.topics[0], Key: []byte("k"), Value: make([]byte, 60<<10)})
	}
	if took := time.Since(began); err == nil || took > 1500*time.Millisecond {
		t.Errorf("after %v: %v", took, err)
	}
}
