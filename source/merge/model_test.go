package merge

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// The model is a server, a stream and some crawl workers, one step of one of them at a time. It holds what
// makes the crawl hard: the server hands a transaction to the binlog reader BEFORE a SELECT shows it, shows
// it before its GTID is executed, and lets transactions on different rows become visible in any order.

const (
	modelKeys    = 6
	modelWorkers = 3
	modelSteps   = 250
)

// model is one run. Keys are 0 to modelKeys-1, a value of 0 is "no row".
type model struct {
	pick      func(n int, what string) int
	withoutD  bool // leave step 2 out
	lateTouch bool // a wrong merge: keys carried between Open and Read are not remembered

	// The server.
	binlog   []transaction // position n is after binlog[n-1]
	visible  [modelKeys]int
	shown    []bool // by transaction: a SELECT shows it
	executed []bool // by transaction: its GTID is in gtid_executed
	locked   [modelKeys]bool
	value    int

	// The stream and the topic.
	merger    *Merger
	delivered int
	topic     [modelKeys]int // the log, newest record of each key wins
	inTopic   [modelKeys]bool

	workers [modelWorkers]worker
}

// transaction moves or changes rows: after it, key[i] holds value[i].
type transaction struct {
	keys   []int
	values []int
}

// worker reads the keys from to to-1 again and again until they are published once.
type worker struct {
	from, to int
	step     int // the next one of R4's steps
	id       WindowID
	d        int // the transactions delivered when the window was opened: D
	rows     []Row
	done     bool
}

func newModel(pick func(n int, what string) int) *model {
	m := &model{pick: pick, merger: New(Limits{})}
	for key := range m.visible { // what was there before the stream began; the topic knows nothing of it
		if pick(2, "exists") == 1 {
			m.value++
			m.visible[key] = m.value
		}
	}
	width := modelKeys / modelWorkers
	for i := range m.workers {
		m.workers[i] = worker{from: i * width, to: (i + 1) * width}
	}
	return m
}

// run takes random steps, then lets everything come to its end, and says what is wrong with the topic.
func (m *model) run() error {
	for range modelSteps {
		switch m.pick(12, "step") {
		case 0, 1:
			m.write()
		case 2, 3:
			m.show()
		case 4, 5:
			m.execute()
		case 6, 7, 8:
			m.deliver()
		case 9:
			if m.pick(40, "restart") == 0 {
				m.restart()
			}
			if m.pick(20, "ddl") == 0 {
				m.merger.Invalidate(modelTable)
			}
		default:
			m.work(m.pick(modelWorkers, "worker"))
		}
	}
	for m.unfinished() {
		m.show()
		m.execute()
		m.deliver()
		for i := range m.workers {
			m.work(i)
		}
	}
	return m.compare()
}

func (m *model) unfinished() bool {
	for i := range m.workers {
		if !m.workers[i].done {
			return true
		}
	}
	return m.delivered < len(m.binlog) || slices.Contains(m.shown, false) || slices.Contains(m.executed, false)
}

// compare: what is in the topic is the table. A key that was never carried nor read has no row.
func (m *model) compare() error {
	for key, want := range m.visible {
		if got := m.topic[key]; got != want || (want != 0 && !m.inTopic[key]) {
			return fmt.Errorf("key %d: the table holds %d, the topic %d", key, want, got)
		}
	}
	if bytes, waiting := m.merger.Bytes(), m.merger.Waiting(); bytes != 0 || waiting != 0 {
		return fmt.Errorf("%d bytes and %d chunks were left behind", bytes, waiting)
	}
	return nil
}

// write commits a transaction as far as the binlog. Its rows are locked until a SELECT shows it.
func (m *model) write() {
	key := m.pick(modelKeys, "key")
	tx := transaction{keys: []int{key}, values: []int{0}}
	switch m.pick(4, "kind") {
	case 0: // delete
	case 1: // the row moves to another key
		tx.keys = append(tx.keys, (key+1+m.pick(modelKeys-1, "to"))%modelKeys)
		m.value++
		tx.values = append(tx.values, m.value)
	default:
		m.value++
		tx.values[0] = m.value
	}
	for _, key := range tx.keys {
		if m.locked[key] {
			return
		}
	}
	for _, key := range tx.keys {
		m.locked[key] = true
	}
	m.binlog = append(m.binlog, tx)
	m.shown = append(m.shown, false)
	m.executed = append(m.executed, false)
}

// show makes one of the transactions visible, not always the oldest (binlog_order_commits=OFF).
func (m *model) show() {
	i, ok := m.oneOf(m.shown, nil)
	if !ok {
		return
	}
	m.shown[i] = true
	for j, key := range m.binlog[i].keys {
		m.visible[key] = m.binlog[i].values[j]
		m.locked[key] = false
	}
}

// execute adds one of the visible transactions to gtid_executed.
func (m *model) execute() {
	if i, ok := m.oneOf(m.executed, m.shown); ok {
		m.executed[i] = true
	}
}

// oneOf picks an index that is not done and is ready.
func (m *model) oneOf(done, ready []bool) (int, bool) {
	var open []int
	for i := range done {
		if !done[i] && (ready == nil || ready[i]) {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return 0, false
	}
	return open[m.pick(len(open), "transaction")], true
}

// deliver hands the next transaction to the stream, which publishes it and then what is due.
func (m *model) deliver() {
	if m.delivered < len(m.binlog) {
		tx := m.binlog[m.delivered]
		for i, key := range tx.keys {
			if !m.lateTouch || m.merger.Waiting() > 0 {
				m.merger.Touch(modelTable, keyOf(key))
			}
			m.publish(key, tx.values[i])
		}
		m.delivered++
	}
	for _, due := range m.merger.Due(at(int64(m.delivered))) {
		for _, row := range due.Rows {
			var key, value int
			fmt.Sscan(string(row.Key), &key)
			if !row.Delete {
				fmt.Sscan(string(row.Value), &value)
			}
			m.publish(key, value)
		}
		for i := range m.workers {
			if w := &m.workers[i]; w.step == 3 && w.id == due.ID {
				w.done = true
			}
		}
	}
}

func (m *model) publish(key, value int) { m.topic[key], m.inTopic[key] = value, true }

// restart loses all memory. What was published stays, and is what the stream resumes from: a delivered
// transaction may still be invisible.
func (m *model) restart() {
	m.merger = New(Limits{})
	for i := range m.workers {
		m.workers[i].step, m.workers[i].rows = 0, nil
	}
}

var modelTable = change.TableName{DB: "shop", Name: "orders"}

func keyOf(key int) []byte { return fmt.Append(nil, key) }

// work takes one worker's next step if it can be taken now.
func (m *model) work(i int) {
	w := &m.workers[i]
	switch {
	case w.done:
	case w.step == 0:
		if m.allExecuted(m.delivered) { // step 1: so that the window is short
			w.step = 1
		}
	case w.step == 1:
		w.id, w.d, w.step = m.merger.Open(modelTable), m.delivered, 2
	case w.step == 2:
		if m.withoutD || m.allExecuted(w.d) {
			m.selectRows(w)
		}
	default:
		if phase, _ := m.merger.State(w.id); phase == Discarded {
			m.merger.Discard(w.id)
			w.step = 0
		}
	}
}

// selectRows is steps 3 and 4. The chunk is one of named keys: what is not there is said to be gone.
func (m *model) selectRows(w *worker) {
	if len(w.rows) == 0 {
		for key := w.from; key < w.to; key++ {
			if value := m.visible[key]; value != 0 {
				w.rows = append(w.rows, Row{Key: keyOf(key), Value: keyOf(value)})
			} else {
				w.rows = append(w.rows, Row{Key: keyOf(key), Delete: true})
			}
		}
		if m.pick(2, "time passes") == 1 {
			return // between the SELECT and the high mark
		}
	}
	err := m.merger.Read(w.id, w.rows, at(int64(len(m.binlog))))
	w.rows, w.step = nil, 3
	if err != nil {
		m.merger.Discard(w.id)
		w.step = 0
	}
}

func (m *model) allExecuted(first int) bool {
	return !slices.Contains(m.executed[:first], false)
}

// TestModel: the topic equals the table, whatever happens in whatever order.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) })
		if err := m.run(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestModelFindsMistakes shows that the model can tell: with a part of the rule left out, some runs end
// with a wrong topic.
func TestModelFindsMistakes(t *testing.T) {
	const runs = 3000
	for name, spoil := range map[string]func(*model){
		"step 2 left out":                     func(m *model) { m.withoutD = true },
		"keys not remembered before the rows": func(m *model) { m.lateTouch = true },
	} {
		wrong := 0
		for seed := range uint64(runs) {
			m := newModel(seeded(seed))
			spoil(m)
			if m.run() != nil {
				wrong++
			}
		}
		t.Logf("%s: %d of %d runs wrong", name, wrong, runs)
		if wrong == 0 {
			t.Errorf("%s: no run of %d was wrong; the model does not see it", name, runs)
		}
	}
	for seed := range uint64(runs) {
		if err := newModel(seeded(seed)).run(); err != nil {
			t.Fatalf("seed %d, nothing left out: %v", seed, err)
		}
	}
}

func seeded(seed uint64) func(int, string) int {
	random := rand.New(rand.NewPCG(seed, 1))
	return func(n int, _ string) int { return random.IntN(n) }
}

// TestWindowsAgainstPlainSets compares the shared memory of a table's windows with one plain set a window.
func TestWindowsAgainstPlainSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Limits{})
		plain := map[WindowID]map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			ids := slices.Sorted(maps.Keys(plain))
			switch step := rapid.IntRange(0, 5).Draw(t, "step"); {
			case step == 0 || len(ids) == 0:
				plain[m.Open(modelTable)] = map[string]bool{}
			case step == 1:
				id := rapid.SampledFrom(ids).Draw(t, "window")
				checkWindow(t, m, id, plain[id])
				delete(plain, id)
			default:
				key := rapid.StringMatching("[a-f]").Draw(t, "key")
				m.Touch(modelTable, []byte(key))
				for _, set := range plain {
					set[key] = true
				}
			}
		}
		for _, id := range slices.Sorted(maps.Keys(plain)) {
			checkWindow(t, m, id, plain[id])
		}
		if m.Bytes() != 0 || m.Watched(modelTable) {
			t.Fatalf("%d bytes left", m.Bytes())
		}
	})
}

func checkWindow(t *rapid.T, m *Merger, id WindowID, carried map[string]bool) {
	var rows []Row
	var want []string
	for c := 'a'; c <= 'f'; c++ {
		rows = append(rows, Row{Key: []byte(string(c))})
		if !carried[string(c)] {
			want = append(want, string(c))
		}
	}
	if err := m.Read(id, rows, at(1)); err != nil {
		t.Fatal(err)
	}
	due := m.Due(at(1))
	if len(due) != 1 || due[0].ID != id {
		t.Fatalf("due: %v", due)
	}
	var got []string
	for _, r := range due[0].Rows {
		got = append(got, string(r.Key))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("window %d: left %v, want %v", id, got, want)
	}
}

// BenchmarkTouch has the stream carry keys of a table with windows open on it, and with chunks that wait for their mark.
func BenchmarkTouch(b *testing.B) {
	keys := make([][]byte, 1<<12)
	for i := range keys {
		keys[i] = fmt.Append(nil, "key", i)
	}
	for _, c := range []struct{ windows, waiting int }{{0, 0}, {1, 0}, {4, 0}, {0, 4}} {
		b.Run(fmt.Sprint(c.windows, "windows", c.waiting, "waiting"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				m := touchMerger(b, c.windows, c.waiting)
				b.StartTimer()
				for _, key := range keys {
					m.Touch(modelTable, key)
					m.Due(at(1))
				}
			}
			b.ReportMetric(float64(len(keys)), "rows/op")
		})
	}
}

func touchMerger(b *testing.B, windows, waiting int) *Merger {
	m := New(Limits{})
	for range waiting {
		if err := m.Read(m.Open(modelTable), []Row{{Key: []byte("no such key")}}, at(2)); err != nil {
			b.Fatal(err)
		}
	}
	for range windows {
		m.Open(modelTable)
	}
	return m
}
