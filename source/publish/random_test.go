package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/testbed"
)

// life is a source in small: row v of an endless table goes to a topic and partition that v decides, with the
// version v, and the checkpoint says the last row published. It dies at random places and comes back. Whatever
// happens, a reader must see the rows 1, 2, 3 ... each once, in order in each partition, up to the checkpoint.
type life struct {
	b       *bench
	random  *rand.Rand
	cut     *cutter // nil: connections hold
	between func()  // nil: called before each row
	p       *Publisher
	next    change.Version // the next row
	deaths  map[string]int
	opens   int
}

func (l *life) place(v change.Version) (topic string, partition int32) {
	return l.b.topics[v%2], int32(v/2) % partitions
}

// open comes back from the checkpoint, however often it takes.
func (l *life) open(t *testing.T) {
	t.Helper()
	var options []kgo.Opt
	if l.cut != nil {
		options = append(l.cut.options(), kgo.RetryTimeout(2*time.Second))
	}
	for try := 0; ; try++ {
		l.opens++
		p, err := Open(ctxOf(t), l.b.settings(t, options...))
		if err == nil {
			l.p, l.next = p, 1
			p.batchMax = 1 + l.random.IntN(1000) // many batches of a partition in one transaction, or a single one
			if at := p.Checkpoint().Position; at != nil {
				l.next = at.Version + 1
			}
			return
		}
		if change.SeverityOf(err) != change.Retry || try == 20 {
			t.Fatalf("open: %v", change.Explain(err))
		}
	}
}

// die forgets everything, as a killed process does.
func (l *life) die(where string) {
	l.deaths[where]++
	l.p.Close()
	l.p = nil
}

// transact publishes some rows in one transaction, and may die on the way.
func (l *life) transact(t *testing.T) {
	if l.p == nil {
		l.open(t)
	}
	fate := l.random.IntN(16)
	for range l.random.IntN(40) {
		if l.between != nil {
			l.between()
		}
		topic, partition := l.place(l.next)
		if err := l.p.Add(record(topic, partition, strconv.Itoa(int(l.next)), l.next)); err != nil {
			l.lost(t, err)
			return
		}
		l.next++
		if l.random.IntN(100) == 0 {
			l.die("adding")
			return
		}
	}
	if l.next == 1 {
		return // nothing was ever published: there is no position to keep
	}
	if err := l.p.Set(position(l.next - 1)); err != nil {
		l.lost(t, err)
		return
	}
	switch fate {
	case 0:
		l.die("before the flush")
	case 1:
		if err := l.p.send(); err != nil {
			l.lost(t, err)
			return
		}
		l.die("after the flush")
	default:
		if err := l.p.Commit(ctxOf(t)); err != nil {
			l.lost(t, err)
			return
		}
		if fate == 2 {
			l.die("after the commit")
		}
	}
}

func (l *life) lost(t *testing.T, err error) {
	t.Helper()
	var lost *Lost
	if !errors.As(err, &lost) || lost.Fenced || change.SeverityOf(err) != change.Retry {
		t.Fatalf("lost by %v", err)
	}
	l.die("lost")
}

func (l *life) check(t *testing.T) {
	t.Helper()
	l.cut = nil
	if l.p != nil {
		l.die("the end")
	}
	l.open(t)
	defer l.p.Close()
	last := l.next - 1
	want := map[string][]change.Version{}
	for v := change.Version(1); v <= last; v++ {
		topic, partition := l.place(v)
		at := fmt.Sprintf("%s/%d", topic, partition)
		want[at] = append(want[at], v)
	}
	var greatest change.Version
	for _, topic := range l.b.topics {
		for partition, records := range l.b.read(t, topic) {
			at := fmt.Sprintf("%s/%d", topic, partition)
			for i, r := range records {
				v, _ := kafka.RecordVersion(r)
				if i >= len(want[at]) || v != want[at][i] || string(r.Key) != strconv.Itoa(int(v)) {
					t.Fatalf("%s record %d is %s with version %d; the checkpoint is at %d", at, i, r.Key, v, last)
				}
				greatest = max(greatest, v)
			}
			if len(records) != len(want[at]) {
				t.Fatalf("%s has %d records, want %d", at, len(records), len(want[at]))
			}
		}
	}
	if greatest != last {
		t.Fatalf("the greatest version is %d, the checkpoint says %d", greatest, last)
	}
	found, err := kafka.GreatestVersion(ctxOf(t), l.b.admin, l.b.topics)
	if err != nil || found != last {
		t.Fatalf("GreatestVersion says %d, %v; want %d", found, err, last)
	}
	t.Logf("%d rows, %d opens, deaths %v", last, l.opens, l.deaths)
}

func seed(t *testing.T) *rand.Rand {
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv("SLUICE_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SLUICE_SEED=%d", n)
	return rand.New(rand.NewPCG(n, 1))
}

func live(t *testing.T, b *bench, random *rand.Rand, rounds int, cut *cutter) {
	t.Helper()
	l := &life{b: b, random: random, cut: cut, deaths: map[string]int{}}
	for range rounds {
		l.transact(t)
	}
	l.check(t)
}

// lives is how many are lived in each test.
const lives = 3

func TestRandomLives(t *testing.T) {
	random := seed(t)
	for i := range lives {
		t.Run(strconv.Itoa(i), func(t *testing.T) { live(t, newBench(t), random, 150, nil) })
	}
}

func TestRandomLivesWithCutConnections(t *testing.T) {
	random := seed(t)
	for i := range lives {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			cut := &cutter{random: rand.New(rand.NewPCG(random.Uint64(), 2)), odds: 20}
			live(t, newBench(t), random, 60, cut)
		})
	}
}

// The same against Apache Kafka itself.
func TestRandomLivesOnKafka(t *testing.T) {
	b := realBench(t)
	random := seed(t)
	t.Run("commits", func(t *testing.T) { commits(t, b.anew(t)) })
	t.Run("deaths", func(t *testing.T) { live(t, b.anew(t), random, 120, nil) })
	t.Run("cuts", func(t *testing.T) {
		cut := &cutter{random: rand.New(rand.NewPCG(random.Uint64(), 2)), odds: 30}
		live(t, b.anew(t), random, 60, cut)
	})
	t.Run("the answer to a commit is lost", func(t *testing.T) { lostAnswer(t, b.anew(t), false, all, true, true) })
	t.Run("the request to commit is lost", func(t *testing.T) { lostAnswer(t, b.anew(t), true, all, true, false) })
	t.Run("fencing", func(t *testing.T) { fencing(t, b.anew(t), "sent") })
	setTransactionVersion(t, b.admin, 1) // as before Kafka 4.0
	t.Run("commits, partitions told", func(t *testing.T) { commits(t, b.anew(t)) })
	t.Run("deaths, partitions told", func(t *testing.T) { live(t, b.anew(t), random, 120, nil) })
	t.Run("cuts, partitions told", func(t *testing.T) {
		cut := &cutter{random: rand.New(rand.NewPCG(random.Uint64(), 2)), odds: 30}
		live(t, b.anew(t), random, 60, cut)
	})
	t.Run("fencing, partitions told", func(t *testing.T) { fencing(t, b.anew(t), "sent") })
}

// commits has one Publisher commit again and again to the same partitions, in one batch of each and in several, without losing a transaction.
func commits(t *testing.T, b *bench) {
	t.Helper()
	p := b.open(t)
	const transactions = 8
	for i := range transactions {
		p.batchMax = 1 + 1000*(i%2)
		for row := range 7 {
			v := change.Version(7*i + row + 1)
			must(t, p.Add(record(b.topics[0], int32(row%2), strconv.Itoa(int(v)), v)))
		}
		must(t, p.Set(position(change.Version(7*i+7))))
		must(t, p.Commit(ctxOf(t)))
	}
	for partition, each := range map[int32]int{0: 4, 1: 3} {
		if got := b.read(t, b.topics[0])[partition]; len(got) != transactions*each {
			t.Errorf("partition %d has %d records", partition, len(got))
		}
	}
}

func TestCommits(t *testing.T) {
	commits(t, newBench(t))
	told := newBench(t)
	setTransactionVersion(t, told.admin, 0)
	commits(t, told)
}

func realBench(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no Apache Kafka is started")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // the first start fetches it
	defer cancel()
	k, err := testbed.StartKafka(ctx, testbed.KafkaOptions{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Stop() })
	return benchOn(t, []string{k.Address()})
}

// anew gives the same broker without topics.
func (b *bench) anew(t *testing.T) *bench {
	t.Helper()
	adm := kadm.NewClient(b.admin)
	if _, err := adm.DeleteTopics(ctxOf(t), append(b.topics, kafka.CheckpointTopic(prefix))...); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		gone := true
		for _, topic := range append(b.topics, kafka.CheckpointTopic(prefix)) {
			if found, err := kafka.LookupTopic(ctxOf(t), adm, topic); err != nil || found != nil {
				gone = false
			}
		}
		if gone || time.Now().After(deadline) {
			return benchOn(t, b.config.Brokers)
		}
	}
}
