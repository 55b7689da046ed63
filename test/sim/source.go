package sim

import (
	"bytes"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/source/merge"
)

// session is one life of a source, from taking the transactional id to whatever ends it.
type session struct {
	w     *world
	name  string
	stage stage
	dead  bool
	epoch int
	lost  bool // history was given up

	cp         *checkpoint // as it will be with the next commit
	began      *gtid.Set   // where it began, where there was no checkpoint
	generation byte        // of the server that it is connected to
	delivered  *gtid.Set   // published, and the transaction in progress
	next       int         // index in the binlog of the transaction that is next, or in progress
	begun      bool
	row        int  // rows met of it
	stated     bool // the statement that it is was met
	skip       int  // of these, published by an earlier session
	passed     int  // transactions that the stream has passed: its position

	merger *merge.Merger
	doubts crawl.Doubts
	jobs   []*job  // the crawls that are not over
	chunks []chunk // that wait for their high marks

	txn     *kafkaTxn
	pending []*record // of the open Kafka transaction, not sent yet
	ending  bool      // all is sent, with the checkpoint
	told    []*worker // whose chunks are published once the transaction is committed
}

type stage uint8

const (
	starting stage = iota
	fenced
	running
)

func (w *world) newSession(name string) *session { return &session{w: w, name: name} }

// begin takes a start's next step.
func (s *session) begin() {
	first, second := s.takeID, s.load
	if s.w.has(ReadBeforeFence) {
		first, second = s.load, s.takeID
	}
	switch s.stage {
	case starting:
		first()
		s.stage = fenced
	case fenced:
		second()
		if s.connect() {
			s.stage = running
			s.open()
		}
	}
}

func (s *session) takeID() {
	if s.epoch == 0 {
		s.epoch = s.w.broker.fence()
		s.txn = &kafkaTxn{epoch: s.epoch, owner: s}
		s.w.tell("%s takes the transactional id, epoch %d", s.name, s.epoch)
	}
}

// load reads the checkpoint.
func (s *session) load() {
	if s.cp != nil {
		return
	}
	if saved := s.w.broker.saved; saved != nil {
		s.cp = saved.clone()
	} else { // it starts at now: what is there is the crawl's
		s.cp = &checkpoint{published: s.w.db.executed.Clone(), fresh: true}
		s.began = s.cp.published.Clone()
	}
	s.w.tell("%s reads the checkpoint: published %s and %d rows more", s.name, s.cp.published, s.cp.rows)
}

// connect holds what was published against what the server has executed: false: wait.
func (s *session) connect() bool {
	s.delivered = s.cp.published.Clone()
	if t := s.cp.partly; t != nil {
		s.delivered.AddRaw(t.sid, "", t.gno)
	}
	if !s.w.has(NoSubset) {
		missing := s.delivered.Minus(s.w.db.executed)
		lost := missing.Minus(s.w.db.all)
		if !lost.Empty() {
			s.acceptLoss(lost)
		} else if !missing.Empty() {
			return false // not in the engine yet
		}
	}
	s.generation = s.w.db.generation
	s.merger = merge.New(merge.Limits{})
	return true
}

// acceptLoss goes on without transactions that a failover lost, as the operator has accepted.
func (s *session) acceptLoss(lost *gtid.Set) {
	s.lost = true
	s.cp.published, s.delivered = s.cp.published.Minus(lost), s.delivered.Minus(lost)
	if t := s.cp.partly; t != nil && lost.ContainsRaw(t.sid, "", t.gno) {
		s.cp.partly, s.cp.rows = nil, 0
	}
	s.w.tell("%s lacks %s and goes on without", s.name, lost)
}

// open takes up the crawls of the checkpoint, and asks for those that are needed.
func (s *session) open() {
	for i := range s.cp.crawls {
		p := &s.cp.crawls[i]
		if !s.w.has(DoubtForgotten) {
			s.note(p)
		}
		if !crawl.Ended(p.State) {
			s.jobs = append(s.jobs, &job{id: p.ID})
		}
	}
	switch {
	case s.cp.stopped:
	case s.lost:
		s.recrawl("history was lost")
	case len(s.cp.crawls) == 0:
		s.wish("the table is new")
	case !s.cp.crawled && len(s.jobs) == 0:
		s.recrawl("it was never crawled to the end")
	}
}

// again is a person's command: a crawl of the whole table, or of keys. A stopped table is taken up again, and then it is whole.
func (s *session) again(keys string) {
	if keys == "" || s.cp.stopped {
		s.cp.stopped = false
		s.recrawl("a person asks for it")
		return
	}
	s.recrawlKeys(keys, "a person asks for it")
}

// stop ends the publishing of the table. Its crawls fail.
func (s *session) stop() {
	s.w.tell("%s: the table stops", s.name)
	s.cp.stopped = true
	s.merger.Invalidate(table.TableName)
	for len(s.jobs) > 0 {
		s.giveUp(s.jobs[0], crawl.Failed)
	}
}

// end ends the session: its memory is gone.
func (s *session) end(why string) {
	s.dead = true
	s.w.tell("%s ends: %s", s.name, why)
}

// stream takes the next event, or a heartbeat, and publishes what is due.
func (s *session) stream() {
	if s.ending {
		return // commit waits for Kafka
	}
	if s.generation != s.w.db.generation {
		s.end("the connection broke")
		return
	}
	s.event()
	s.publishDue()
}

func (s *session) event() {
	log := s.w.db.binlog
	for s.row == 0 && !s.begun && s.next < len(log) && s.cp.published.ContainsRaw(log[s.next].sid, "", log[s.next].gno) {
		s.next++ // a dump by GTID leaves it out
	}
	if !s.begun {
		s.passed = s.next
	}
	switch {
	case s.next == len(log):
	case !s.begun:
		t := log[s.next]
		s.begun, s.row, s.skip = true, 0, 0
		s.delivered.AddRaw(t.sid, "", t.gno)
		if p := s.cp.partly; p != nil && p.sid == t.sid && p.gno == t.gno {
			s.skip = s.cp.rows
		}
	case log[s.next].silent != nil && !s.stated:
		s.stated = true
		s.w.tell("%s meets the statement %s", s.name, log[s.next])
		s.merger.Invalidate(table.TableName)
		if !s.cp.stopped {
			s.recrawl("a statement changes rows without row events")
		}
	case log[s.next].silent != nil:
		s.whole(log[s.next])
	default:
		t := log[s.next]
		if s.row >= s.skip && !s.cp.stopped {
			s.emit(t, t.rows[s.row])
		}
		s.row++
		if s.row < len(t.rows) {
			if s.row >= s.skip {
				s.cp.partly, s.cp.rows = t, s.row
			}
			return
		}
		s.whole(t)
	}
}

// whole notes that all of a transaction is taken in.
func (s *session) whole(t *transaction) {
	s.cp.published.AddRaw(t.sid, "", t.gno)
	s.cp.partly, s.cp.rows = nil, 0
	s.next++
	s.begun, s.stated, s.row = false, false, 0
	s.passed = s.next
}

// emit publishes one row's change; a changed key is a delete of the old one and a create of the new one.
func (s *session) emit(t *transaction, e rowEvent) {
	switch {
	case e.beforeKey < 0:
		s.add(&record{key: e.afterKey, op: change.Create, after: e.after}, t.micros)
	case e.beforeKey == e.afterKey:
		s.add(&record{key: e.afterKey, op: change.Update, before: e.before, after: e.after}, t.micros)
	default:
		s.addDelete(&record{key: e.beforeKey, op: change.Delete, before: e.before}, t.micros)
		if e.afterKey >= 0 {
			s.add(&record{key: e.afterKey, op: change.Create, after: e.after}, t.micros)
		}
	}
	for _, key := range []int{e.beforeKey, e.afterKey} {
		if key >= 0 {
			s.touch(key)
		}
	}
}

func (s *session) touch(key int) {
	waiting := s.merger.Waiting() > 0
	if waiting && s.w.has(NoStrike) || !waiting && s.w.has(NoRemember) {
		return
	}
	s.merger.Touch(table.TableName, bodies[key])
}

// add gives a record its version. Commit times that are no good are 0.
func (s *session) add(r *record, micros int64) {
	s.cp.version = s.cp.version.Next(micros)
	r.version = s.cp.version
	r.doubted = s.doubts.Any() && !s.w.has(DoubtUnsaid)
	s.pending = append(s.pending, r)
	s.w.tell("  %s: %s", s.name, r)
}

func (s *session) addDelete(r *record, micros int64) {
	s.add(r, micros)
	s.pending = append(s.pending, &record{key: r.key, op: change.Delete, tombstone: true, crawled: r.crawled, version: r.version})
}

// publishDue publishes the chunks whose high mark the stream has passed.
func (s *session) publishDue() {
	for _, due := range s.merger.Due(s.w.db.position(s.passed)) {
		c := s.taken(due.ID)
		for _, r := range due.Rows {
			key := keyOf(r.Key)
			if r.Delete {
				s.addDelete(&record{key: key, op: change.Delete, crawled: true}, 0)
			} else {
				s.add(&record{key: key, op: change.Read, crawled: true, fresh: c.fresh, after: decode(r.Value)}, 0)
			}
		}
		p := s.record(c.job.id)
		switch {
		case crawl.Ended(p.State): // it was given up meanwhile
		case c.part == sweeper:
			p.State = crawl.Sweeping
		default:
			p.Ranges[c.part].Done = true
		}
		w := &c.job.workers[c.part]
		w.step = toldStep
		s.told = append(s.told, w)
	}
}

// taken returns the chunk that was due.
func (s *session) taken(id merge.WindowID) chunk {
	for i, c := range s.chunks {
		if c.id == id {
			s.chunks = append(s.chunks[:i:i], s.chunks[i+1:]...)
			return c
		}
	}
	panic("a chunk that nobody waits for")
}

func keyOf(body []byte) int {
	for i := range bodies {
		if bytes.Equal(bodies[i], body) {
			return i
		}
	}
	panic("an unknown key")
}

// send produces some of what is pending.
func (s *session) send(n int) {
	n = min(n, len(s.pending))
	for _, r := range s.pending[:n] {
		if !s.w.broker.produce(s.txn, r) {
			s.end("it is fenced")
			return
		}
	}
	s.pending = s.pending[n:]
}

// flush sends all, and the checkpoint that covers it.
func (s *session) flush() {
	if s.ending {
		return
	}
	if s.send(len(s.pending)); s.dead {
		return
	}
	s.ending = true
	s.txn.saved = s.cp.clone()
	if s.w.has(CheckpointApart) {
		s.w.broker.save(s.txn)
	}
	s.w.tell("%s has sent all, and the checkpoint", s.name)
}

// commit ends the Kafka transaction. The request may get lost, or its answer: then nobody knows, and all memory goes.
func (s *session) commit(luck int) {
	if !s.ending {
		return
	}
	if luck == 1 {
		s.end("EndTxn got lost")
		return
	}
	if !s.w.broker.commit(s.txn) {
		s.end("it is fenced")
		return
	}
	s.w.tell("%s commits", s.name)
	if luck == 2 {
		s.end("the answer to EndTxn got lost")
		return
	}
	s.txn, s.ending = &kafkaTxn{epoch: s.epoch, owner: s}, false
	for _, w := range s.told {
		w.step = idleStep
	}
	s.told = nil
}
