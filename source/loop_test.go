package source

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/source/merge"
	"github.com/sluice-cdc/sluice/source/publish"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
)

// newTestLoop returns a loop that publishes to a local broker and has no server.
func newTestLoop(t testing.TB) *loop {
	t.Helper()
	broker, err := localbroker.Start(t.Context(), localbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	cfg := Default()
	cfg.Name, cfg.Kafka.Brokers, cfg.Kafka.Replication = "test", []string{broker.Address()}, 1
	pub, err := publish.Open(t.Context(), publish.Config{Kafka: cfg.Kafka, Prefix: cfg.Name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pub.Close)
	return &loop{
		cfg: &cfg, pub: pub, stats: newStats("test", ""), queue: newQueue(cfg.Limits.QueueBytes), merger: merge.New(merge.Limits{}),
		published: gtid.New(gtid.MySQL), delivered: gtid.New(gtid.MySQL), committed: time.Now(),
		tables: map[change.TableName]*table{}, openXA: map[string]*kafka.XAState{}, calls: make(chan func(context.Context) error, 1),
	}
}

// A backlog in which few events are of captured tables must not keep a Kafka transaction open until the brokers abort it: the
// source would begin again at the same place, for ever.
func TestSmallTransactionInALongBacklog(t *testing.T) {
	l := newTestLoop(t)
	state := kafka.TableState{Table: change.TableName{DB: "a", Name: "b"}}
	if err := l.pub.Set(&state); err != nil {
		t.Fatal(err)
	}
	l.dirty = true
	for began := time.Now(); time.Since(began) < 2*l.cfg.Limits.CheckpointEvery && l.pub.Age() > 0; time.Sleep(10 * time.Millisecond) {
		if len(l.queue.events) == 0 {
			l.queue.events <- &binlog.Event{Kind: binlog.Idle}
		}
		if err := l.settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if l.pub.Age() > 0 {
		t.Errorf("the transaction is open for %v and the queue is not empty", l.pub.Age())
	}
}

// Behind a broker whose commits are slow a transaction is kept open for as long as the last commit took, while more is at hand.
func TestTransactionsGrowWithSlowCommits(t *testing.T) {
	for _, c := range []struct{ age, took, behind, want time.Duration }{
		{50 * time.Millisecond, 6 * time.Millisecond, 0, 50 * time.Millisecond},
		{50 * time.Millisecond, 300 * time.Millisecond, 0, 300 * time.Millisecond},
		{50 * time.Millisecond, time.Minute, 0, openForMax},
		{3 * time.Second, time.Minute, 0, 3 * time.Second},
		{50 * time.Millisecond, 6 * time.Millisecond, 400 * time.Millisecond, 50 * time.Millisecond},
		{50 * time.Millisecond, 6 * time.Millisecond, 2 * time.Second, 200 * time.Millisecond},
		{50 * time.Millisecond, 6 * time.Millisecond, time.Hour, openBehindMax},
		{50 * time.Millisecond, 600 * time.Millisecond, time.Hour, 600 * time.Millisecond},
		{50 * time.Millisecond, 6 * time.Millisecond, -time.Hour, 50 * time.Millisecond}, // clocks differ
	} {
		if got := openFor(c.age, c.took, c.behind); got != c.want {
			t.Errorf("openFor(%s, %s, %s) = %s, want %s", c.age, c.took, c.behind, got, c.want)
		}
	}
	l := newTestLoop(t)
	l.commitTook = 400 * time.Millisecond
	l.queue.events <- &binlog.Event{Kind: binlog.Idle}
	if err := l.pub.Add(publish.Record{Topic: "test.checkpoint", Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	for l.pub.Age() > 0 {
		age := l.pub.Age()
		if err := l.settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l.pub.Age() == 0 && age < 400*time.Millisecond {
			t.Errorf("it was committed after %s though more was at hand", age)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if l.commitTook >= 400*time.Millisecond || l.commitTook == 0 {
		t.Errorf("the last commit took %s", l.commitTook)
	}
}

// A commit that has begun when the session ends comes to its end.
func TestCommitOutlivesTheSession(t *testing.T) {
	l := newTestLoop(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.dirty = true
	if err := l.commit(ctx); err != nil {
		t.Fatal(err)
	}
	if l.dirty {
		t.Error("nothing was committed")
	}
}

// lasting ends some time after its parent, and not before.
func TestLasting(t *testing.T) {
	parent, end := context.WithCancel(t.Context())
	ctx, cancel := lasting(parent, 50*time.Millisecond)
	defer cancel()
	end()
	if ctx.Err() != nil {
		t.Error("it ended with its parent")
	}
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Second):
		t.Error("it did not end")
	}
}

// XA COMMIT of a transaction that is not known comes as two events: what is between them is still the transaction, so that
// without GTIDs reading never resumes within it.
func TestUnknownXAKeepsTheTransactionOpen(t *testing.T) {
	l := newTestLoop(t)
	l.published, l.delivered = nil, nil
	start := change.Position{File: "binlog.000001", Offset: 100}
	for _, ev := range []*binlog.Event{
		{Kind: binlog.Begin, Start: start, Position: change.Position{File: start.File, Offset: 150}},
		{Kind: binlog.UnknownXA, Start: start, XID: "X'61',X'',1", Position: change.Position{File: start.File, Offset: 150}},
	} {
		if err := l.take(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if s := l.state(); s.Offset != 100 {
		t.Errorf("the checkpoint is at %s:%d, within the transaction", s.File, s.Offset)
	}
}

// A commit time that lies further ahead than clocks may differ moves no version: the rows of years would be older than one row of
// a server whose clock was wrong for a moment (R3).
func TestAClockFarAheadIsNotBelieved(t *testing.T) {
	l := newTestLoop(t)
	for name, c := range map[string]struct {
		ahead time.Duration
		want  bool
	}{"a year ahead": {365 * 24 * time.Hour, false}, "an hour ahead": {time.Hour, false}, "as clocks differ": {20 * time.Second, true}, "past": {-time.Hour, true}} {
		at := time.Now().Add(c.ahead)
		for which, ev := range map[string]*binlog.Event{
			"the transaction's": {Kind: binlog.Begin, CommitMicros: at.UnixMicro()},
			"the header's":      {Kind: binlog.Begin, Timestamp: uint32(at.Unix())},
		} {
			if err := l.take(t.Context(), ev); err != nil {
				t.Fatal(err)
			}
			if v := change.Version(5).Next(l.txn.commitMicros); (v > 6) != c.want {
				t.Errorf("%s, %s: the version after 5 is %d", name, which, v)
			}
		}
	}
}

// Chunks that are published while others are being read share a commit, and nobody else waits for it.
func TestChunksShareCommits(t *testing.T) {
	l, tm := benchLoop(t)
	l.log, l.windows, l.waiting = slog.New(slog.DiscardHandler), map[merge.WindowID]int{}, map[merge.WindowID]*chunk{}
	l.patience = time.NewTimer(time.Hour)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	publish := func(id merge.WindowID) *chunk {
		t.Helper()
		c := &chunk{valueID: 2, done: make(chan crawl.Outcome, 1), progress: func(int) crawl.Progress { return crawl.Progress{ID: "c", Table: benchName} }}
		l.waiting[id] = c
		must(l.publishChunk(t.Context(), merge.Due{ID: id, Table: benchName, Rows: []merge.Row{{Key: []byte{byte(id)}, Value: []byte("row")}}}))
		return c
	}
	settled := func(when string, want bool) {
		t.Helper()
		must(l.settle(t.Context()))
		if committed := l.pub.Age() == 0; committed != want {
			t.Errorf("%s: committed: %v, want %v", when, committed, want)
		}
	}
	l.windows[2] = 2
	first := publish(1)
	settled("another chunk is being read", false)
	delete(l.windows, 2)
	second := publish(2)
	settled("no other chunk is being read", true)
	if len(first.done) != 1 || len(second.done) != 1 {
		t.Error("the crawl was not told")
	}
	l.windows[4] = 2
	publish(3)
	ev := benchEvent(tm, change.Create, 1)
	for _, e := range []*binlog.Event{{Kind: binlog.Begin, Position: ev.Position}, ev, {Kind: binlog.Commit, Position: ev.Position}} {
		must(l.take(t.Context(), e))
	}
	settled("the stream has brought a row", true)
	publish(4)
	l.then = append(l.then, func() {})
	settled("somebody else waits for the commit", true)
	publish(5)
	settled("another chunk is still being read", false)
	select {
	case <-l.patience.C:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing wakes the loop up")
	}
	settled("it was open for long enough", true)
}

// What a first crawl has to look up in its topic is nothing: it is not read.
func TestAFreshTopicIsNotSwept(t *testing.T) {
	l, _ := benchLoop(t)
	if err := errors.Join(l.pub.Add(l.tables[benchName].record(append(registry.AppendFrame(nil, 1), 7), []byte("row"), 5)), l.commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	go func() {
		for call := range l.calls {
			_ = call(t.Context())
		}
	}()
	defer close(l.calls)
	for _, fresh := range []bool{false, true} {
		l.tables[benchName].state.Fresh = fresh
		found := 0
		err := topicKeys{&session{Source: &Source{client: l.pub.Client()}, loop: l}}.Keys(t.Context(), benchName, 6, 0, 1, func([]byte) error { found++; return nil })
		if err != nil || (found == 0) != fresh {
			t.Errorf("fresh %v: %d keys, %v", fresh, found, err)
		}
	}
}

// What was kept holds until reset, also when the memory grows for what comes after it.
func TestScratch(t *testing.T) {
	var s scratch
	for range 3 {
		s.reset()
		var kept [][]byte
		for i := range 40 {
			kept = append(kept, s.keep(append(s.room(), bytes.Repeat([]byte{byte(i)}, 50*i)...)))
		}
		for i, b := range kept {
			if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, 50*i)) {
				t.Fatalf("record %d was written over", i)
			}
		}
	}
	s.keep(append(s.room(), make([]byte, 2*scratchMax)...))
	if s.reset(); cap(s.buffer) > scratchMax {
		t.Errorf("%d bytes are kept after a large row", cap(s.buffer))
	}
}
