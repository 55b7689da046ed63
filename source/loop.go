package source

import (
	"context"
	"log/slog"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/fault"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/source/merge"
	"github.com/sluice-cdc/sluice/source/publish"
)

// loop is the one goroutine that owns a session's state. Each turn takes one event or one call, and commits when
// nothing more is at hand or the open Kafka transaction is large enough: so transactions are large when the source
// is behind and immediate when it has caught up.
type loop struct {
	cfg    *Config
	accept *Accept
	log    *slog.Logger
	pub    *publish.Publisher

	queue  *queue
	calls  chan func(context.Context) error // run in the loop, so that nothing here needs a lock
	over   chan struct{}                    // closed when the loop has ended
	lookup lookup                           // how the loop learns of tables: registry, topics
	exists func(context.Context, change.TableName) (bool, error)

	position  change.Position
	published *gtid.Set // transactions taken in whole, open XA PREPAREs among them; nil without GTIDs
	delivered *gtid.Set // those, and the one in progress
	version   change.Version
	identity  kafka.ServerIdentity
	txn       transaction
	resumed   []kafka.InTransaction // transactions that an earlier session published in part and that have not come again yet

	tables     map[change.TableName]*table
	merger     *merge.Merger
	windows    map[merge.WindowID]int // the value schema with which an open window's rows are written
	waiting    map[merge.WindowID]*chunk
	openXA     map[string]*kafka.XAState
	crawls     starter
	walker     binlog.Walker
	scratch    scratch
	boundaries *boundaries // nil: no transaction metadata
	dirty      bool        // something moved that the checkpoint does not say yet
	committed  time.Time
	commitTook time.Duration // the last one
	then       []func()      // told after the next commit
	chunks     chunked       // what of the open Kafka transaction is of crawls
	patience   *time.Timer   // strikes when a transaction of a crawl's rows has been open for long enough
	rowInEvent int32         // index of the row in the event that is being taken
	now        int64         // clock, milliseconds since 1970; looked at once an event
	behind     time.Duration // how long ago the event at hand was committed at the server
	stats      *Stats
}

// transaction is the server's transaction that is being delivered.
type transaction struct {
	open         bool
	gtid         binlog.GTID
	start        change.Position // before its first event
	commitMicros int64           // 0 where no believable time is known
	thread       uint32
	rows         binlog.RowChecksum // raw rows met so far, over all tables, before any filter
	tables       map[change.TableName]struct{}
	skip         *kafka.InTransaction // rows below skip.Row were published by an earlier session
	order        int64                // of change events published, for the transaction block
	orders       map[change.TableName]int64
	begun        bool // the transaction topic has its BEGIN
}

// chunked counts what chunks have put into the open Kafka transaction.
type chunked struct{ records, told int }

// close ends the transaction. The map is kept for the next one.
func (x *transaction) close() {
	clear(x.tables)
	*x = transaction{tables: x.tables}
}

// trickle is how long the loop waits for the rest of a transaction that arrives in pieces before it commits the part
// that is here. It is no wait for anything but the next packet, and it bounds how long a Kafka transaction stays open.
const trickle = 2 * time.Millisecond

// run takes events and calls until ctx ends or something fails.
func (l *loop) run(ctx context.Context) error {
	idle := time.NewTicker(200 * time.Millisecond)
	defer idle.Stop()
	l.patience = time.NewTimer(time.Hour)
	defer l.patience.Stop()
	for {
		select {
		case ev := <-l.queue.events:
			if err := l.take(ctx, ev); err != nil {
				return err
			}
		case f := <-l.calls:
			if err := f(ctx); err != nil {
				return err
			}
		case <-idle.C:
		case <-l.patience.C:
		case <-ctx.Done():
			return l.drain(ctx)
		}
		if err := l.settle(ctx); err != nil {
			return err
		}
	}
}

// drain commits what is at hand on the way out. What is not committed is published again by the next session, not lost.
func (l *loop) drain(ctx context.Context) error {
	if err := l.commit(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// lastCommit is how long a commit may take when the session is ending.
const lastCommit = 10 * time.Second

// lasting returns a context that ends some time after ctx does: a commit that has begun should come to its end, or the
// transaction stays open and holds up every reader until the next start.
func lasting(ctx context.Context, after time.Duration) (context.Context, func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(after, cancel) })
	return longer, func() { stop(); cancel() }
}

// settle commits when it is time: when nothing more is at hand, or what is open has grown large or old. So transactions are
// large when the source is behind and immediate when it has caught up, and a busy stream never holds a change back for long.
func (l *loop) settle(ctx context.Context) error {
	for {
		open := openFor(l.cfg.Limits.TransactionAge, l.commitTook, l.behind)
		switch {
		case l.pub.Bytes() >= l.cfg.Limits.TransactionBytes, l.pub.Bytes() > 0 && l.pub.Age() >= open:
			return l.commit(ctx)
		case l.dirty && time.Since(l.committed) >= l.cfg.Limits.CheckpointEvery:
			// Also while nothing of a long backlog is of a captured table: a checkpoint's record alone opens a transaction,
			// which the brokers would give up.
			return l.commit(ctx)
		case len(l.queue.events) > 0 || len(l.calls) > 0:
			return nil
		case l.pub.Bytes() == 0 && len(l.then) == 0:
			return nil
		case l.moreChunks():
			l.patience.Reset(open - l.pub.Age())
			return nil
		case !l.txn.open || l.txn.rows.Rows == 0:
			return l.commit(ctx)
		}
		more, err := l.await(ctx)
		if err != nil {
			return err
		}
		if !more {
			return l.commit(ctx)
		}
	}
}

// moreChunks reports whether the open transaction has nothing but rows of crawls, while other chunks are being read: nobody is kept waiting
// when they come along, and commits are fewer.
func (l *loop) moreChunks() bool {
	return l.chunks.records > 0 && len(l.windows) > 0 && l.pub.Records() == l.chunks.records && len(l.then) == l.chunks.told
}

// These bound how long a transaction is kept open because a commit was slow, and because the source is behind: readers see nothing of it before.
const (
	openForMax    = time.Second
	openBehindMax = 250 * time.Millisecond
)

// openFor returns how long a transaction may be open while more is at hand: the configured age, or as long as the last commit took, for
// nothing is published while one goes on. Where the broker is slow, half of the time at least is for rows. A source that is behind
// makes a reader wait a tenth longer than it does anyway, for fewer commits. It is pure.
func openFor(age, commitTook, behind time.Duration) time.Duration {
	return max(age, min(commitTook, openForMax), min(behind/10, openBehindMax))
}

// await takes the next event of a transaction that arrives in pieces, if it comes soon.
func (l *loop) await(ctx context.Context) (more bool, err error) {
	timer := time.NewTimer(trickle)
	defer timer.Stop()
	select {
	case ev := <-l.queue.events:
		return true, l.take(ctx, ev)
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// take handles one event of the stream, then publishes the chunks whose high mark it has passed.
func (l *loop) take(ctx context.Context, ev *binlog.Event) error {
	l.queue.took(ev)
	fault.Point("source/before-publish")
	if err := l.event(ctx, ev); err != nil {
		return err
	}
	if ev.Position.File != "" {
		// A new file counts as progress: where file and offset say where to go on, the old one may be purged.
		l.dirty = l.dirty || ev.Kind != binlog.Idle || ev.Position.File != l.position.File
		l.position = ev.Position
	}
	l.stats.seen(ev, len(l.queue.events))
	if l.merger.Waiting() == 0 {
		return nil
	}
	for _, due := range l.merger.Due(l.position) {
		if err := l.publishChunk(ctx, due); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) event(ctx context.Context, ev *binlog.Event) error {
	switch ev.Kind {
	case binlog.Begin:
		l.begin(ev)
	case binlog.Rows:
		return l.rows(ctx, ev)
	case binlog.Statement:
		return l.statement(ctx, ev)
	case binlog.Commit:
		return l.end(ev)
	case binlog.Prepared, binlog.Dropped, binlog.UnknownXA:
		return l.xa(ev)
	}
	return nil
}

// begin notes the transaction. Its GTID counts as delivered from here: a window that is opened in the middle of it
// must wait until all of it is visible.
func (l *loop) begin(ev *binlog.Event) {
	l.txn.close()
	l.txn = transaction{open: true, gtid: ev.GTID, start: ev.Start, commitMicros: l.believe(ev), thread: ev.Thread, tables: l.txn.tables}
	if l.txn.tables == nil {
		l.txn.tables = make(map[change.TableName]struct{})
	}
	if l.delivered != nil && !mutant.OpenNotDelivered {
		ev.GTID.AddTo(l.delivered)
	}
	for i := range l.resumed {
		if r := l.resumed[i]; r.GTID == ev.GTID.String() && (r.GTID != "" || r.File == ev.Start.File && r.Offset == ev.Start.Offset) {
			l.txn.skip = &r
			l.resumed = append(l.resumed[:i:i], l.resumed[i+1:]...)
			break
		}
	}
}

// believe returns the commit time in microseconds, or 0 when it lies further ahead of our clock than a clock may: one
// wrong clock must not push the versions of years ahead of every other write.
func (l *loop) believe(ev *binlog.Event) int64 {
	micros := ev.CommitMicros
	if micros == 0 {
		micros = int64(ev.Timestamp) * 1_000_000
	}
	if ahead := time.Until(time.UnixMicro(micros)); ahead > l.cfg.Limits.ClockAhead && !mutant.FarClock {
		l.stats.clockAhead(ahead)
		return 0
	}
	return micros
}

// end closes the transaction. Rows that should have been skipped but never came mean that this is not the transaction
// that was published in part.
func (l *loop) end(ev *binlog.Event) error {
	if l.txn.skip != nil {
		if err := l.differs("it has fewer rows than were published"); err != nil {
			return err
		}
	}
	if err := l.endMetadata(); err != nil {
		return err
	}
	if l.published != nil {
		ev.GTID.AddTo(l.published)
		if mutant.OpenNotDelivered {
			ev.GTID.AddTo(l.delivered)
		}
	}
	if ev.XID != "" {
		if err := l.forgetXA(ev.XID); err != nil {
			return err
		}
	}
	l.txn.close()
	return nil
}

// differs is called when the transaction that came again is not the one that was published in part: rows of it may be
// missing or twice in the topics, so its tables are crawled over the top.
func (l *loop) differs(how string) error {
	l.log.Warn("a transaction published in part came again in another form; its tables are crawled",
		"gtid", l.txn.gtid.String(), "reason", how)
	names := l.txn.tables
	for _, t := range l.txn.skip.Tables {
		names[t] = struct{}{}
	}
	l.txn.skip = nil
	for name := range names {
		if t := l.tables[name]; t != nil && t.live() {
			if err := l.recrawl(t, "a transaction came in another form after a failover"); err != nil {
				return err
			}
		}
	}
	return nil
}

// xa handles the ends of XA transactions. A prepared one's rows are held by the reader; its GTID counts as published,
// and the checkpoint remembers that it is open so that a resumed stream gets it again.
func (l *loop) xa(ev *binlog.Event) error {
	if ev.Kind == binlog.UnknownXA { // its Commit follows
		if err := l.recrawlAll("XA COMMIT of a transaction whose rows were prepared before this source began"); err != nil {
			return err
		}
		return l.forgetXA(ev.XID)
	}
	if l.published != nil {
		ev.GTID.AddTo(l.published)
		ev.GTID.AddTo(l.delivered)
	}
	l.txn.close()
	if ev.Kind == binlog.Prepared {
		x := &kafka.XAState{
			XID: ev.XID, GTID: ev.GTID.String(), File: ev.Start.File, Offset: ev.Start.Offset,
			Millis: time.Now().UnixMilli(),
		}
		l.openXA[ev.XID] = x
		l.dirty = true
		return l.pub.Set(x)
	}
	return l.forgetXA(ev.XID)
}

func (l *loop) forgetXA(xid string) error {
	x := l.openXA[xid]
	if x == nil {
		return nil
	}
	delete(l.openXA, xid)
	l.dirty = true
	return l.pub.Delete(x)
}

// commit ends the Kafka transaction with the checkpoint that covers it. Any error means that the outcome is unknown:
// the caller gives up the session and everything it remembers.
func (l *loop) commit(ctx context.Context) error {
	ctx, cancel := lasting(ctx, lastCommit)
	defer cancel()
	if err := l.pub.Set(l.state()); err != nil {
		return err
	}
	began := time.Now()
	if err := l.pub.Commit(ctx); err != nil {
		return err
	}
	fault.Point("source/after-commit")
	l.dirty, l.committed = false, time.Now()
	l.commitTook = l.committed.Sub(began)
	l.stats.committed(l.position, l.version)
	l.chunks = chunked{}
	told := l.then
	l.then = nil
	for _, f := range told {
		f()
	}
	return nil
}

// state returns the checkpoint's position record as of now.
func (l *loop) state() *kafka.PositionState {
	s := &kafka.PositionState{
		File: l.position.File, Offset: l.position.Offset, Version: l.version, Server: l.identity,
		Millis: time.Now().UnixMilli(), InTransaction: append([]kafka.InTransaction(nil), l.resumed...),
	}
	if l.published != nil {
		s.GTID, s.GTIDs = l.published.String(), true
	}
	switch t := &l.txn; {
	case t.open && t.skip != nil: // still within what an earlier session published
		s.InTransaction = append(s.InTransaction, *t.skip)
	case t.open && t.rows.Rows > 0:
		in := kafka.InTransaction{
			GTID: t.gtid.String(), File: t.start.File, Offset: t.start.Offset, Row: t.rows.Rows, Checksum: t.rows.Sum,
		}
		for name := range t.tables {
			in.Tables = append(in.Tables, name)
		}
		s.InTransaction = append(s.InTransaction, in)
	}
	if l.published == nil && l.txn.open { // without GTIDs reading resumes before the transaction
		s.File, s.Offset = l.txn.start.File, l.txn.start.Offset
	}
	return s
}

// call runs f in the loop and returns its error. It is how everything outside the loop looks at or changes its state.
func (l *loop) call(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	run := func(c context.Context) error {
		err := f(c)
		done <- err
		if change.SeverityOf(err) == change.Poison || err == nil {
			return nil
		}
		return err
	}
	select {
	case l.calls <- run:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// scratch is the memory in which the records of one change are encoded, before the publisher copies them.
type scratch struct {
	buffer []byte
	from   int // where the record at hand begins
}

// room returns a slice to append to, behind what was kept.
func (s *scratch) room() []byte {
	s.from = len(s.buffer)
	return s.buffer
}

// keep takes what was appended to the slice of room and returns it. It holds until reset, also when the buffer grows meanwhile.
func (s *scratch) keep(b []byte) []byte {
	s.buffer = b
	return b[s.from:len(b):len(b)]
}

// reset gives all of it back. A row of many megabytes is not kept in mind.
func (s *scratch) reset() {
	if cap(s.buffer) > scratchMax {
		s.buffer = nil
	}
	s.buffer = s.buffer[:0]
}

const scratchMax = 1 << 20
