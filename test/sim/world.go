package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/test/history"
)

// setting is what a history's world is, apart from what happens in it.
type setting struct {
	target targetKind
	loses  bool // failovers may lose transactions
	silent bool // statements change rows without row events, and tables stop
	loose  bool // sinks put records into the dead letters, and are told to read again
	filled bool // rows are there before the source begins
	mutant Mutant
}

// world is one history as it runs.
type world struct {
	setting
	db       *server
	broker   *broker
	sessions [2]*session
	group    *group
	checker  *history.Checker // nil where history was lost or silent, which the binlog cannot tell
	given    bool             // a crawl of the whole table was given up
	dead     string           // keys of records that are in the dead letters
	story    *strings.Builder // nil: nobody listens
	failed   error
	acts     int
}

// partitions is kafka's choice for each key.
var partitions = func() (all [keyCount]int) {
	for key := range all {
		all[key] = int(kafka.Partition(bodies[key], partitionCount))
	}
	return all
}()

var historyKeys = func() (all [keyCount]history.Key) {
	for key := range all {
		all[key] = history.Key{Table: table.TableName, Body: string(bodies[key])}
	}
	return all
}()

func newWorld(s setting) *world {
	w := &world{setting: s, db: newServer(), broker: &broker{unfenced: s.mutant == NoFence}}
	w.group = newGroup(w, s.target)
	if s.filled {
		for key := range keyCount - 1 {
			w.db.first[key] = w.db.fresh(key%2, key%(codeCount+1))
		}
		w.db.tip, w.db.shown = w.db.first, w.db.first
	}
	if !s.loses && !s.silent {
		w.checker = history.New(history.Options{Tombstones: true, Holders: true})
	}
	return w
}

func (w *world) has(m Mutant) bool { return w.mutant == m }

// tell adds a line to the story.
func (w *world) tell(format string, args ...any) {
	if w.story != nil {
		fmt.Fprintf(w.story, "%4d  %s\n", w.acts, fmt.Sprintf(format, args...))
	}
}

func (w *world) fail(err error) {
	if w.failed == nil {
		w.failed = err
	}
}

// run does a program, lets everything come to rest, and says what is wrong.
func (w *world) run(program []act) error {
	for i, a := range program {
		w.acts = i
		w.do(a)
	}
	w.acts = len(program)
	w.tell("everything comes to rest")
	w.rest()
	if w.failed == nil {
		w.failed = w.compare()
	}
	return w.failed
}

// do does one act, as far as it can be done now.
func (w *world) do(a act) {
	s := w.sessions[a.a%2]
	if s == nil || s.dead {
		s = w.sessions[1-a.a%2] // most of the time there is one
	}
	switch a.kind {
	case writeAct, silentAct, showAct, executeAct:
		w.server(a)
	case startAct:
		w.start(int(a.a)%2, a.b%16 == 1)
	case failAct:
		w.failover(a)
	case sinkAct:
		p := int(a.b) % partitionCount
		who := w.group.owner[p]
		if a.a%4 == 1 { // one that may have owned it
			who = memberCount - 1 - who
		}
		w.group.work(who, p, a)
	case commitAct:
		p := int(a.b) % partitionCount
		w.group.commit(w.group.owner[p], p)
	case moveAct:
		w.group.move(int(a.b)%partitionCount, int(a.a)%memberCount, a.c%4 == 1)
	case replayAct:
		if w.loose {
			w.group.replay(int(a.b)%partitionCount, int64(a.c))
		}
	case killAct:
		w.group.kill(int(a.a) % memberCount)
	case compactAct:
		p := int(a.a) % partitionCount
		if n := w.broker.compact(p, int64(a.b)%5); n > 0 {
			w.tell("the broker compacts partition %d below %d: %d records go", p, w.broker.horizon[p], n)
		}
	default:
		if s != nil && !s.dead {
			s.do(a)
		}
	}
}

// start starts a source in a place that is free. Beside one that is alive it is started by mistake, and seldom.
func (w *world) start(place int, mistake bool) {
	for i, s := range w.sessions {
		if s != nil && !s.dead && (i == place || !mistake) {
			return
		}
	}
	w.sessions[place] = w.newSession(fmt.Sprint("source ", place))
}

func (w *world) server(a act) {
	switch a.kind {
	case writeAct:
		w.describe(w.db.write(a))
	case silentAct:
		if w.silent {
			w.describe(w.db.change(a))
		}
	case showAct:
		if t := w.db.show(int(a.b)); t != nil {
			w.tell("%s is shown", t)
		}
	default:
		if t := w.db.execute(int(a.b)); t != nil {
			w.tell("%s is executed", t)
		}
	}
}

// do does an act of a source's.
func (s *session) do(a act) {
	switch {
	case a.kind == killSourceAct:
		s.end("it is killed")
	case s.stage != running:
		s.begin()
	case a.kind == streamAct:
		s.stream()
	case a.kind == crawlAct:
		s.crawl(int(a.c), int(a.b)%(rangeCount+1))
	case a.kind == sendAct && !s.ending:
		s.send(1 + int(a.b)%3)
	case a.kind == flushAct && !s.ending:
		s.flush()
	case a.kind == endAct, a.kind == flushAct:
		s.commit(int(a.b) % 40)
	case s.ending:
	case a.kind == againAct && len(s.jobs) < 3 && len(s.cp.crawls) < crawlsMax:
		s.again([...]string{"", "", "", "0", "1", "12", "23", "03"}[a.b%8])
	case a.kind == cancelAct && len(s.jobs) > 0:
		j := s.jobs[int(a.b)%len(s.jobs)]
		s.w.given = s.w.given || s.record(j.id).Sweep
		s.giveUp(j, crawl.Cancelled)
	case a.kind == stopAct && s.w.silent && !s.cp.stopped:
		s.stop()
	}
}

// crawlsMax is how many crawls a person asks for at most, with those that come by themselves.
const crawlsMax = 6

func (w *world) failover(a act) {
	lose := 0
	if w.loses {
		lose = int(a.b) % 4
	}
	lost := w.db.fail(lose)
	w.tell("failover: %d transactions are lost %v", len(lost), lost)
}

// restMax bounds the steps to rest; a world that needs more hangs.
const restMax = 4000

// rest starts everything anew and lets it run until nothing moves.
func (w *world) rest() {
	for w.db.show(0) != nil || w.db.execute(0) != nil {
	}
	for i := range w.sessions {
		if w.sessions[i] != nil {
			w.sessions[i].end("it is stopped")
			w.sessions[i].dead = true
		}
	}
	s := w.newSession("source")
	steps := 0
	for ; steps < restMax && !(s.idle() && !w.given && w.dead == ""); steps++ {
		if s.dead {
			s = w.newSession("source")
		}
		switch { // people mend what they have done, or left undone
		case s.stage != running:
		case s.cp.stopped, w.given && s.idle():
			s.again("")
			w.given = false
		case w.dead != "" && s.idle():
			s.again(w.dead)
			w.dead = ""
		}
		s.settle()
	}
	for who := range w.group.members {
		w.group.kill(who)
	}
	for p := range partitionCount {
		w.group.owner[p] = 0
		for m := &w.group.members[0].parts[p]; steps < restMax && (!m.begun || m.next < w.broker.ends[p]); steps++ {
			w.group.work(0, p, act{c: 3})
		}
	}
	if steps == restMax {
		w.fail(fmt.Errorf("it does not come to rest"))
	}
}

// idle reports whether all is published.
func (s *session) idle() bool {
	return s.stage == running && !s.dead && s.next == len(s.w.db.binlog) && len(s.pending) == 0 && !s.ending &&
		len(s.jobs) == 0 && !s.cp.stopped
}

// settle takes one round of everything that a source does.
func (s *session) settle() {
	if s.stage != running {
		s.begin()
		return
	}
	s.stream()
	for i := range rangeCount + 1 {
		for which := range s.jobs {
			if !s.dead {
				s.crawl(which, i)
			}
		}
	}
	if !s.dead {
		s.flush()
	}
	if !s.dead {
		s.commit(0)
	}
}

// compare holds topic and target against the table, and then asks the checker about the way there.
func (w *world) compare() error {
	for key, r := range w.broker.newest() {
		var got *row
		if r != nil {
			got = r.after
		}
		if want := w.db.tip[key]; got.content() != want.content() {
			return fmt.Errorf("key %d: the table holds %s, the topic %s", key, want, got)
		}
	}
	if err := w.group.compare(&w.db.tip); err != nil {
		return err
	}
	return w.judge()
}

// judge tells the checker the binlog and the topic.
func (w *world) judge() error {
	if w.checker == nil {
		return nil
	}
	for _, t := range w.db.binlog {
		if w.broker.began != nil && w.broker.began.ContainsRaw(t.sid, "", t.gno) {
			continue // of the time before the source
		}
		for _, e := range t.rows {
			w.truth(t, e)
		}
	}
	for p, log := range w.broker.written {
		for _, r := range log {
			if r.key < 0 || r.txn.open || r.txn.aborted {
				continue
			}
			w.checker.Record(history.Record{
				Key: historyKeys[r.key], Partition: int32(p), Offset: r.offset, Op: r.op, Tombstone: r.tombstone, Crawled: r.crawled,
				Version: r.version, Before: r.before.content(), After: r.after.content(),
			})
		}
	}
	if faults := w.checker.Check(); len(faults) > 0 {
		return fmt.Errorf("%s", faults[0])
	}
	return nil
}

func (w *world) truth(t *transaction, e rowEvent) {
	event := func(key int, op change.Op, before, after *row) {
		if key >= 0 {
			w.checker.Event(history.Event{Key: historyKeys[key], Op: op, Before: before.content(), After: after.content(), Where: t.String()})
		}
	}
	switch {
	case e.beforeKey < 0:
		event(e.afterKey, change.Create, nil, e.after)
	case e.beforeKey == e.afterKey:
		event(e.afterKey, change.Update, e.before, e.after)
	default:
		event(e.beforeKey, change.Delete, e.before, nil)
		event(e.afterKey, change.Create, nil, e.after)
	}
}

func (w *world) describe(t *transaction) {
	if t == nil || w.story == nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "transaction %s:", t)
	if t.silent != nil {
		b.WriteString(" without row events:")
	}
	for _, e := range slices.Concat(t.rows, t.silent) {
		switch {
		case e.beforeKey < 0:
			fmt.Fprintf(&b, " insert %d %s;", e.afterKey, e.after)
		case e.afterKey < 0:
			fmt.Fprintf(&b, " delete %d %s;", e.beforeKey, e.before)
		default:
			fmt.Fprintf(&b, " update %d to %d %s;", e.beforeKey, e.afterKey, e.after)
		}
	}
	w.tell("%s", &b)
}

// String is the record in the story.
func (r *record) String() string {
	return fmt.Sprintf("%s of key %d: %s, version %d", r.op, r.key, r.after, r.version)
}

// draw makes one history: a seed says all of it.
func draw(seed uint64, m Mutant) (setting, []act) {
	r := rand.New(rand.NewPCG(seed, 7))
	s := setting{target: targetKind(r.IntN(int(targetKinds))), loses: r.IntN(4) == 0, silent: r.IntN(4) == 0, loose: r.IntN(8) == 0, filled: r.IntN(2) == 0, mutant: m}
	m.matters(&s)
	return s, generate(r, 40+r.IntN(400))
}
