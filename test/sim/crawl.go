package sim

import (
	"github.com/sluice-cdc/sluice/mysql/gtid"
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
)

// allDone is a round of the crawl that is over.
var allDone = [rangeCount]bool{true, true}

// worker takes one range through R4's steps until it is published once a round.
type worker struct {
	step  int
	id    merge.WindowID
	d     *gtid.Set
	rows  []merge.Row
	swept [keyCount]bool // keys whose newest record was a put of the time before the crawl
}

// crawl takes a worker's next step, if it can be taken now.
func (s *session) crawl(i int) {
	if s.ending || s.generation != s.w.db.generation {
		return
	}
	w, db := &s.workers[i], s.w.db
	switch w.step {
	case idleStep:
		if s.cp.done[i] {
			return
		}
		w.swept = s.before()
		if db.executed.Contains(s.delivered) || s.w.has(NoWait) { // step 1's wait, so that the window is short
			w.step = openStep
		}
	case openStep: // step 1
		w.id, w.d, w.step = s.merger.Open(table.TableName), s.delivered.Clone(), selectStep
		s.w.tell("%s opens a window for range %d, D is %s", s.name, i, w.d)
	case selectStep: // steps 2 and 3
		if db.executed.Contains(w.d) || s.w.has(NoWait) {
			w.rows, w.step = s.selectRows(i), markStep
		}
	case markStep: // step 4
		s.mark(i)
	case waitStep: // step 5 is the stream's; what was thrown away begins anew
		if phase, _ := s.merger.State(w.id); phase == merge.Discarded {
			s.merger.Discard(w.id)
			w.step = idleStep
		}
	}
}

// before reads the topic for the sweep: which keys' newest record is a put older than the crawl.
func (s *session) before() (swept [keyCount]bool) {
	for key, r := range s.w.broker.newest() {
		swept[key] = r != nil && r.after != nil && r.version < s.cp.since
	}
	return swept
}

// selectRows is one SELECT: the range's rows, and of the keys that the sweep asks for those that are gone.
func (s *session) selectRows(i int) (rows []merge.Row) {
	for key := i * keyCount / rangeCount; key < (i+1)*keyCount/rangeCount; key++ {
		row := s.w.db.shown[key]
		switch {
		case row != nil:
			rows = append(rows, merge.Row{Key: bodies[key], Value: encode(row)})
		case s.workers[i].swept[key]:
			rows = append(rows, merge.Row{Key: bodies[key], Delete: true})
		}
		s.w.tell("%s: SELECT of key %d shows %s", s.name, key, row)
	}
	return rows
}

func (s *session) mark(i int) {
	w, db := &s.workers[i], s.w.db
	high := len(db.binlog)
	if s.w.has(HighExecuted) {
		for high = 0; high < len(db.binlog) && db.binlog[high].executed; high++ {
		}
	}
	s.w.tell("%s: range %d's high mark is %d", s.name, i, high)
	if err := s.merger.Read(w.id, w.rows, db.position(high)); err != nil {
		s.merger.Discard(w.id)
		w.step, w.rows = idleStep, nil
		return
	}
	w.step, w.rows = waitStep, nil
	s.publishDue()
}

func encode(r *row) []byte { return []byte{byte(r.user), byte(r.code), byte(r.n >> 8), byte(r.n)} }

func decode(b []byte) *row {
	return &row{user: int(b[0]), code: int(b[1]), n: int(b[2])<<8 | int(b[3])}
}
