package sim

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/test/history"
)

const (
	keyCount  = 4
	codeCount = 3 // values of the UNIQUE column, 1 to 3; 0 is NULL
)

// row is a row of the one table: who it belongs to (which decides its shard), a UNIQUE code, and a number that no two
// states share. Rows are never written to.
type row struct{ user, code, n int }

// state is the table: nil where there is no row.
type state [keyCount]*row

var table = &change.Table{
	TableName: change.TableName{DB: "shop", Name: "orders"},
	Columns: []change.Column{
		{Name: "id", Type: change.BigInt}, {Name: "user", Type: change.BigInt},
		{Name: "code", Type: change.BigInt, Nullable: true}, {Name: "n", Type: change.BigInt},
	},
	Key: []int{0},
}

// bodies are the keys' Avro bodies: a long is a zigzag varint.
var bodies = func() (all [keyCount][]byte) {
	for i := range all {
		all[i] = binary.AppendVarint(nil, int64(i))
	}
	return all
}()

func (r *row) values(key int) []change.Value {
	if r == nil {
		return nil
	}
	code := change.IntValue(int64(r.code))
	if r.code == 0 {
		code = change.Value{}
	}
	return []change.Value{change.IntValue(int64(key)), change.IntValue(int64(r.user)), code, change.IntValue(int64(r.n))}
}

// content is the row as package history compares it.
func (r *row) content() history.Row {
	if r == nil {
		return ""
	}
	return history.Row([]byte{'u', byte('0' + r.user), 'c', byte('0' + r.code), '#', byte('0' + r.n/1000%10), byte('0' + r.n/100%10),
		byte('0' + r.n/10%10), byte('0' + r.n%10)})
}

func (r *row) String() string {
	if r == nil {
		return "nothing"
	}
	return fmt.Sprintf("(user %d, code %d, n %d)", r.user, r.code, r.n)
}

// rowEvent is one row of a rows event. A key below 0 is none.
type rowEvent struct {
	beforeKey, afterKey int
	before, after       *row
}

// transaction is committed: it is in the binlog.
type transaction struct {
	sid             [16]byte
	gno             int64
	micros          int64 // commit time; it jumps
	rows            []rowEvent
	silent          []rowEvent // what a statement changes (TRUNCATE, EXCHANGE PARTITION): the binlog has the statement alone
	shown, executed bool
}

func (t *transaction) String() string { return fmt.Sprintf("%d-%d", t.sid[0], t.gno) }

// server is the database. Its binlog hands a transaction out before a SELECT shows it, shows it before its GTID is
// executed, and lets transactions on different rows become visible in any order.
type server struct {
	generation byte // counts failovers
	gno        int64
	clock      int64
	first      state // before the binlog
	tip        state // after all of the binlog
	shown      state
	binlog     []*transaction
	all        *gtid.Set // of the binlog
	executed   *gtid.Set
	counter    int // the last row's n
}

func newServer() *server {
	return &server{generation: 1, clock: 1_000_000, all: gtid.New(gtid.MySQL), executed: gtid.New(gtid.MySQL)}
}

// position is the place after so many transactions.
func (s *server) position(n int) change.Position {
	return change.Position{File: "binlog.00000" + string('0'+s.generation), Offset: uint64(n)}
}

// build is a transaction in the making.
type build struct {
	s    *server
	now  state
	rows []rowEvent
	bad  bool // a key or value is taken
}

// put writes a row, or deletes it when next is nil, at the key to; from is where it was, below 0 where it is new.
func (b *build) put(from, to int, next *row) {
	e := rowEvent{beforeKey: from, afterKey: to, after: next}
	if from >= 0 {
		e.before = b.now[from]
		b.now[from] = nil
	}
	if next == nil {
		e.afterKey = -1
	} else {
		b.bad = b.bad || b.now[to] != nil
		for _, other := range b.now {
			b.bad = b.bad || other != nil && other.code != 0 && other.code == next.code
		}
		b.now[to] = next
	}
	b.rows = append(b.rows, e)
}

func (s *server) fresh(user, code int) *row {
	s.counter++
	return &row{user: user, code: code, n: s.counter}
}

// holds reports whether the transaction has changed the key, or a row with the code.
func (t *transaction) holds(key, code int) bool {
	for _, e := range t.rows {
		if e.beforeKey == key || e.afterKey == key {
			return true
		}
		if code != 0 && (e.before != nil && e.before.code == code || e.after != nil && e.after.code == code) {
			return true
		}
	}
	return false
}

// meets reports whether the transactions have a row or a code in common: one has waited for the other's locks.
func (t *transaction) meets(o *transaction) bool {
	for _, e := range t.rows {
		if e.before != nil && o.holds(e.beforeKey, e.before.code) || e.after != nil && o.holds(e.afterKey, e.after.code) {
			return true
		}
	}
	return false
}

// write commits a transaction as far as the binlog, if no lock is in its way.
func (s *server) write(a act) *transaction {
	b := &build{s: s, now: s.tip}
	key, other := int(a.b)%keyCount, (int(a.b)+1+int(a.c)%(keyCount-1))%keyCount
	user, code := int(a.c)%2, int(a.d)%(codeCount+1)
	b.statement(int(a.a)%8, key, other, user, code)
	if int(a.a)/8%6 == 1 { // a second statement in the same transaction
		b.statement(int(a.d)/4%8, other, key, 1-user, int(a.c)%(codeCount+1))
	}
	if b.bad || len(b.rows) == 0 {
		return nil
	}
	t := &transaction{sid: [16]byte{s.generation}, gno: s.gno + 1, micros: s.clock + int64(a.d)*10, rows: b.rows}
	for _, o := range s.binlog {
		if !o.shown && t.meets(o) {
			return nil // it waits for a lock, so it is not made now
		}
	}
	s.gno, s.clock = t.gno, t.micros
	if a.d%16 == 3 {
		t.micros -= 2000 // SET timestamp, or a clock that was set back
	}
	s.tip = b.now
	s.binlog = append(s.binlog, t)
	s.all.AddRaw(t.sid, "", t.gno)
	return t
}

// change commits a statement that changes rows without row events. Its metadata lock waits for all who have changed the table until
// their commits are over, and lets nobody see the table before its own is.
func (s *server) change(a act) *transaction {
	for _, o := range s.binlog {
		if !o.executed {
			return nil
		}
	}
	b := &build{s: s, now: s.tip}
	for key, was := range s.tip { // each row as it was, moved, another one, or gone
		what := int(a.b) >> (2 * key) % 4
		switch {
		case a.a%4 == 0 && was != nil:
			b.put(key, -1, nil) // TRUNCATE
		case a.a%4 == 0 || what == 0:
		case was == nil:
			b.put(-1, key, s.fresh(int(a.c)>>key%2, 0))
		case what == 1:
			b.put(key, -1, nil)
		default:
			b.put(key, key, s.fresh(1-was.user, was.code))
		}
	}
	if len(b.rows) == 0 {
		return nil
	}
	s.gno++
	t := &transaction{sid: [16]byte{s.generation}, gno: s.gno, micros: s.clock, silent: b.rows, shown: true, executed: true}
	s.tip, s.shown = b.now, b.now
	s.binlog = append(s.binlog, t)
	s.all.AddRaw(t.sid, "", t.gno)
	s.executed.AddRaw(t.sid, "", t.gno)
	return t
}

func (b *build) statement(kind, key, other, user, code int) {
	was, that := b.now[key], b.now[other]
	switch {
	case was == nil: // insert
		b.put(-1, key, b.s.fresh(user, code))
	case kind == 0 || kind == 6: // delete
		b.put(key, -1, nil)
	case kind == 1 && that == nil: // the key changes
		b.put(key, other, b.s.fresh(was.user, was.code))
	case kind == 2 && that != nil: // the code goes to another row, as NULL in between
		b.put(key, key, b.s.fresh(was.user, 0))
		b.put(other, other, b.s.fresh(that.user, was.code))
	case kind == 3 && that != nil: // two rows exchange their codes
		b.put(key, key, b.s.fresh(was.user, 0))
		b.put(other, other, b.s.fresh(that.user, was.code))
		b.put(key, key, b.s.fresh(was.user, that.code))
	case kind == 4: // the row moves to another shard
		b.put(key, key, b.s.fresh(1-was.user, was.code))
	case kind == 5: // deleted and made anew
		b.put(key, -1, nil)
		b.put(-1, key, b.s.fresh(user, code))
	default:
		b.put(key, key, b.s.fresh(user, code))
	}
}

// nth returns the n-th transaction, counted around, for which ok holds.
func (s *server) nth(n int, ok func(*transaction) bool) *transaction {
	var all []*transaction
	for _, t := range s.binlog {
		if ok(t) {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[n%len(all)]
}

// show makes a transaction visible, not always the oldest (binlog_order_commits=OFF).
func (s *server) show(n int) *transaction {
	t := s.nth(n, func(t *transaction) bool { return !t.shown })
	if t != nil {
		t.shown = true
		s.shown.apply(t)
	}
	return t
}

// execute puts the GTID of a visible transaction into gtid_executed: in any order too, but not before one whose locks it has
// waited for.
func (s *server) execute(n int) *transaction {
	t := s.nth(n, func(t *transaction) bool {
		if !t.shown || t.executed {
			return false
		}
		for _, o := range s.binlog {
			if o == t {
				break
			}
			if !o.executed && t.meets(o) {
				return false
			}
		}
		return true
	})
	if t != nil {
		t.executed = true
		s.executed.AddRaw(t.sid, "", t.gno)
	}
	return t
}

func (st *state) apply(t *transaction) {
	for _, e := range slices.Concat(t.rows, t.silent) {
		if e.beforeKey >= 0 {
			st[e.beforeKey] = nil
		}
		if e.afterKey >= 0 {
			st[e.afterKey] = e.after
		}
	}
}

// fail promotes a replica that lacks the last few transactions, and returns these.
func (s *server) fail(lose int) (lost []*transaction) {
	kept := max(len(s.binlog)-lose, 0)
	lost = s.binlog[kept:]
	s.binlog = s.binlog[:kept:kept]
	s.generation++
	s.tip, s.all = s.first, gtid.New(gtid.MySQL)
	for _, t := range s.binlog {
		t.shown, t.executed = true, true
		s.tip.apply(t)
		s.all.AddRaw(t.sid, "", t.gno)
	}
	s.shown, s.executed = s.tip, s.all.Clone()
	return lost
}
