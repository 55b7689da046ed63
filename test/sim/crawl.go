package sim

import (
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/source/merge"
)

const rangeCount = 2 // each of two keys, each with a worker of its own

// The steps of a chunk, by what is next.
const (
	idleStep = iota
	openStep
	selectStep
	markStep
	waitStep
	toldStep // published; the Kafka transaction is not committed yet
)

// job is a crawl at work: its ranges, and when all are published the sweep, which is one chunk of named keys. A crawl of keys that a
// person has named is that chunk alone.
type job struct {
	id      string
	workers [rangeCount + 1]worker
}

// sweeper is the index of the worker of the sweep.
const sweeper = rangeCount

// worker takes one range, or the sweep, through R4's steps until it is published.
type worker struct {
	step  int
	id    merge.WindowID
	d     *gtid.Set
	fresh bool           // as the table was when the window was opened
	keys  [keyCount]bool // that are asked for by name
	rows  []merge.Row
}

// chunk waits for its high mark, and is published even if its crawl is over by then.
type chunk struct {
	id    merge.WindowID
	job   *job
	part  int
	fresh bool
}

// recrawl asks for a crawl over the top, with a sweep for what is gone.
func (s *session) recrawl(why string) {
	s.cp.fresh = false
	s.wish(why)
}

// recrawlKeys asks for a crawl of keys by name: what "211" names are the keys 2 and 1.
func (s *session) recrawlKeys(keys, why string) {
	s.cp.fresh = false
	s.ask(crawl.Progress{Keys: keys}, why)
}

// wish asks for a crawl of the whole table.
func (s *session) wish(why string) {
	s.ask(crawl.Progress{Sweep: true, Ranges: make([]crawl.Range, rangeCount)}, why)
}

// ask makes the record of a crawl durable with the open Kafka transaction.
func (s *session) ask(p crawl.Progress, why string) {
	s.cp.version = s.cp.version.Next(0)
	p.ID, p.Started, p.State = fmt.Sprint(s.cp.version), s.cp.version, crawl.Running
	s.cp.crawls = append(s.cp.crawls, p)
	s.note(&p)
	s.jobs = append(s.jobs, &job{id: p.ID})
	s.w.tell("%s: crawl %s is wanted: %s", s.name, p.ID, why)
}

// note does what the source's table does with a crawl's record.
func (s *session) note(p *crawl.Progress) {
	if s.cp.fresh {
		return
	}
	given := *p
	if s.w.has(DoubtCancelled) && crawl.Ended(p.State) {
		given.Sweep = p.State == crawl.Done
	}
	s.doubts.Note(&given)
}

// record returns a crawl's record in the checkpoint.
func (s *session) record(id string) *crawl.Progress {
	for i := range s.cp.crawls {
		if s.cp.crawls[i].ID == id {
			return &s.cp.crawls[i]
		}
	}
	panic("no crawl " + id)
}

// finish ends a crawl.
func (s *session) finish(j *job, state string) {
	p := s.record(j.id)
	p.State, p.Ranges = state, nil
	if state == crawl.Done && p.Sweep && !s.cp.crawled {
		s.cp.crawled, s.cp.fresh = true, false
	}
	s.note(p)
	for i, other := range s.jobs {
		if other == j {
			s.jobs = append(s.jobs[:i:i], s.jobs[i+1:]...)
			break
		}
	}
	s.w.tell("%s: crawl %s is %s", s.name, j.id, state)
}

// giveUp ends a crawl before it is done. A chunk that waits may still be published.
func (s *session) giveUp(j *job, state string) {
	for i := range j.workers {
		if step := j.workers[i].step; step == selectStep || step == markStep {
			s.merger.Discard(j.workers[i].id)
		}
	}
	s.finish(j, state)
}

// crawl takes a worker's next step, if it can be taken now.
func (s *session) crawl(which, i int) {
	if s.ending || len(s.jobs) == 0 || s.generation != s.w.db.generation {
		return
	}
	j := s.jobs[which%len(s.jobs)]
	p := s.record(j.id)
	w, db := &j.workers[i], s.w.db
	switch w.step {
	case idleStep:
		if i == sweeper {
			s.beginKeys(j, p)
		} else if p.Keys == "" && !p.Ranges[i].Done && s.caughtUp() {
			w.step = openStep
		}
	case openStep: // step 1
		w.id, w.d, w.step = s.merger.Open(table.TableName), s.delivered.Clone(), selectStep
		w.fresh = s.cp.fresh
		s.w.tell("%s opens a window for crawl %s, part %d, D is %s", s.name, j.id, i, w.d)
	case selectStep: // steps 2 and 3
		if db.executed.Contains(w.d) || s.w.has(NoWait) {
			w.rows, w.step = s.selectRows(i, w, p), markStep
		}
	case markStep: // step 4
		s.mark(j, i)
	case waitStep: // step 5 is the stream's; what was thrown away begins anew
		if phase, _ := s.merger.State(w.id); phase == merge.Discarded {
			s.merger.Discard(w.id)
			w.step = idleStep
		}
	}
}

// caughtUp is step 1's wait, so that the window is short.
func (s *session) caughtUp() bool {
	return s.w.db.executed.Contains(s.delivered) || s.w.has(NoWait)
}

// beginKeys begins the chunk of named keys once all ranges are published. Those of a sweep come from the topic: keys whose newest
// record is a put older than the crawl.
func (s *session) beginKeys(j *job, p *crawl.Progress) {
	for i, r := range p.Ranges {
		if !r.Done || j.workers[i].step != idleStep {
			return
		}
	}
	if p.State == crawl.Sweeping { // the keys are looked up
		s.finish(j, crawl.Done)
		return
	}
	w, found := &j.workers[sweeper], false
	for key, r := range s.w.broker.newest() {
		w.keys[key] = r != nil && r.after != nil && r.version < p.Started
		if p.Keys != "" {
			w.keys[key] = strings.Contains(p.Keys, fmt.Sprint(key))
		}
		found = found || w.keys[key]
	}
	if !found {
		p.State = crawl.Sweeping
	} else if s.caughtUp() {
		w.step = openStep
	}
}

// selectRows is one SELECT: the range's rows, or the named keys. Of a sweep's keys only those that are gone are news.
func (s *session) selectRows(i int, w *worker, p *crawl.Progress) (rows []merge.Row) {
	for key, row := range s.w.db.shown {
		switch {
		case i == sweeper && !w.keys[key], i != sweeper && key*rangeCount/keyCount != i:
			continue
		case i == sweeper && row == nil:
			rows = append(rows, merge.Row{Key: bodies[key], Delete: true})
		case (i != sweeper || p.Keys != "") && row != nil:
			rows = append(rows, merge.Row{Key: bodies[key], Value: encode(row)})
		}
		s.w.tell("%s: SELECT of key %d shows %s", s.name, key, row)
	}
	return rows
}

func (s *session) mark(j *job, i int) {
	w, db := &j.workers[i], s.w.db
	high := len(db.binlog)
	if s.w.has(HighExecuted) {
		for high = 0; high < len(db.binlog) && db.binlog[high].executed; high++ {
		}
	}
	s.w.tell("%s: part %d's high mark is %d", s.name, i, high)
	if err := s.merger.Read(w.id, w.rows, db.position(high)); err != nil {
		s.merger.Discard(w.id)
		w.step, w.rows = idleStep, nil
		return
	}
	w.step, w.rows = waitStep, nil
	s.chunks = append(s.chunks, chunk{id: w.id, job: j, part: i, fresh: w.fresh})
	s.publishDue()
}

func encode(r *row) []byte { return []byte{byte(r.user), byte(r.code), byte(r.n >> 8), byte(r.n)} }

func decode(b []byte) *row {
	return &row{user: int(b[0]), code: int(b[1]), n: int(b[2])<<8 | int(b[3])}
}
