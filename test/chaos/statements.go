package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// transaction is what a session does at once.
type transaction struct {
	statements []string
	whole      bool // all of it or nothing: a statement that fails ends it
	each       bool // each statement must change one row, else all of it is rolled back
}

// play draws what one session does. The same random numbers give the same wishes; what comes of them depends on the others.
type play struct {
	settings Settings
	size     size
	random   *rand.Rand
	types    []typed
}

func newPlay(s Settings, random *rand.Rand) *play {
	return &play{settings: s, size: s.size(), random: random, types: s.typed()}
}

// next draws a transaction.
func (p *play) next() transaction {
	switch d := p.random.IntN(100); {
	case d < 12:
		return transaction{statements: p.transfer(), whole: true, each: true}
	case d < 14:
		return transaction{statements: p.reopen(), whole: true, each: true}
	case d < 18:
		return transaction{statements: p.swap(), whole: true}
	case d < 23:
		return transaction{statements: []string{p.wide()}}
	case d < 70:
		return transaction{statements: []string{p.single()}}
	}
	t := transaction{}
	for range 2 + p.random.IntN(3) {
		t.statements = append(t.statements, p.single())
	}
	return t
}

// single draws one statement that may stand alone.
func (p *play) single() string {
	switch d := p.random.IntN(100); {
	case d < 40:
		return p.onA()
	case d < 65:
		return p.onB()
	case d < 82:
		return p.onMany()
	case d < 90:
		return p.onTypes()
	}
	return p.onFamily()
}

// wide draws a statement over so many rows that they fill several events of the binlog, as a nightly job would.
func (p *play) wide() string {
	no := 1 + p.random.IntN(p.size.a)
	switch p.random.IntN(8) {
	case 0: // most of them are there already
		return "INSERT IGNORE INTO a VALUES " + tuples(p.rows(p.few(400), p.size.a), func(no int) string {
			return fmt.Sprintf("(%d,%d,0,'%s')", no, 1+p.random.IntN(p.size.a), p.text())
		})
	case 1:
		return fmt.Sprintf("DELETE FROM a WHERE no BETWEEN %d AND %d", no, no+p.few(100))
	case 2, 3: // each moves to another shard
		id := 1 + p.random.IntN(p.size.accounts)
		return fmt.Sprintf("UPDATE accounts SET home = home + 1, moves = moves + 1 WHERE id BETWEEN %d AND %d", id, id+p.few(300))
	case 4, 5:
		no := 1 + p.random.IntN(p.size.b)
		return fmt.Sprintf("UPDATE b SET update_cnt = update_cnt + 1, random_val = '%s' WHERE no BETWEEN %d AND %d", p.text(), no, no+p.few(400))
	}
	return fmt.Sprintf("UPDATE a SET update_cnt = update_cnt + 1, random_val = '%s' WHERE no BETWEEN %d AND %d", p.text(), no, no+p.few(400))
}

// few draws how many rows a statement is for.
func (p *play) few(most int) int { return 1 + p.random.IntN(most) }

// rows draws so many different numbers of a domain, in order: statements that lock in one order meet fewer deadlocks, and
// there are enough of them as it is.
func (p *play) rows(n, domain int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = 1 + p.random.IntN(domain)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (p *play) text() string { return fmt.Sprintf("r%x", p.random.Uint64()) }

func tuples(rows []int, tuple func(int) string) string {
	list := make([]string, len(rows))
	for i, n := range rows {
		list[i] = tuple(n)
	}
	return strings.Join(list, ",")
}

// onA is the ancestor's play on a: PRIMARY KEY (no), UNIQUE (uk); rows move by uk.
func (p *play) onA() string {
	domain := p.size.a
	no := 1 + p.random.IntN(domain)
	tuple := func(no int) string { return fmt.Sprintf("(%d,%d,0,'%s')", no, 1+p.random.IntN(domain), p.text()) }
	switch p.random.IntN(12) {
	case 0:
		return "INSERT INTO a VALUES " + tuples(p.rows(p.few(3), domain), tuple)
	case 1, 2:
		return "INSERT IGNORE INTO a VALUES " + tuples(p.rows(p.few(16), domain), tuple)
	case 3:
		return "INSERT INTO a VALUES " + tuples(p.rows(p.few(10), domain), tuple) + " ON DUPLICATE KEY UPDATE update_cnt = update_cnt + 1, random_val = VALUES(random_val)"
	case 4:
		return "INSERT INTO a VALUES " + tuple(no) + " ON DUPLICATE KEY UPDATE uk = VALUES(uk), update_cnt = update_cnt + 1"
	case 5:
		return "REPLACE INTO a VALUES " + tuples(p.rows(p.few(5), domain), tuple)
	case 6, 7:
		return fmt.Sprintf("UPDATE a SET update_cnt = update_cnt + 1, random_val = '%s' WHERE no BETWEEN %d AND %d", p.text(), no, no+p.few(30))
	case 8:
		return fmt.Sprintf("UPDATE a SET uk = -uk WHERE no BETWEEN %d AND %d", no, no+p.few(8))
	case 9:
		return fmt.Sprintf("UPDATE a SET uk = %d WHERE no = %d", 1+p.random.IntN(domain), no)
	case 10:
		return fmt.Sprintf("UPDATE a SET no = %d WHERE no = %d", 1+p.random.IntN(domain), no)
	}
	return fmt.Sprintf("DELETE FROM a WHERE no BETWEEN %d AND %d", no, no+p.few(8))
}

// onB is the same on b: PRIMARY KEY (no, seq), UNIQUE (uk).
func (p *play) onB() string {
	domain := p.size.b
	no, seq := 1+p.random.IntN(domain), p.random.IntN(3)
	tuple := func(no int) string {
		return fmt.Sprintf("(%d,%d,%d,0,'%s')", no, p.random.IntN(3), 1+p.random.IntN(2*domain), p.text())
	}
	switch p.random.IntN(10) {
	case 0:
		return "INSERT INTO b VALUES " + tuples(p.rows(p.few(3), domain), tuple)
	case 1, 2:
		return "INSERT IGNORE INTO b VALUES " + tuples(p.rows(p.few(16), domain), tuple)
	case 3:
		return "INSERT INTO b VALUES " + tuples(p.rows(p.few(10), domain), tuple) + " ON DUPLICATE KEY UPDATE update_cnt = update_cnt + 1, random_val = VALUES(random_val)"
	case 4:
		return "REPLACE INTO b VALUES " + tuples(p.rows(p.few(6), domain), tuple)
	case 5, 6:
		return fmt.Sprintf("UPDATE b SET update_cnt = update_cnt + 1, random_val = '%s' WHERE no BETWEEN %d AND %d", p.text(), no, no+p.few(20))
	case 7: // the first column of the key moves the row
		return fmt.Sprintf("UPDATE b SET no = %d, seq = %d WHERE no = %d AND seq = %d", 1+p.random.IntN(domain), p.random.IntN(3), no, seq)
	case 8:
		return fmt.Sprintf("UPDATE b SET seq = seq + 3 WHERE no = %d AND seq < 3 ORDER BY seq DESC", no)
	}
	return fmt.Sprintf("DELETE FROM b WHERE no BETWEEN %d AND %d", no, no+p.few(7))
}

// onMany is on rows with five unique keys each of which may be NULL, over few values: they collide and change hands all the time.
func (p *play) onMany() string {
	domain := p.size.many
	id := 1 + p.random.IntN(domain)
	value := func() string {
		if p.random.IntN(3) == 0 {
			return "NULL"
		}
		return fmt.Sprint(1 + p.random.IntN(domain))
	}
	tuple := func(id int) string {
		third := value()
		if third != "NULL" {
			third = "'v" + third + "'"
		}
		return fmt.Sprintf("(%d,%d,%s,%s,%s,%d,%d,%d,0)", id, p.random.IntN(1000), value(), value(), third, 1+p.random.IntN(2*domain), p.random.IntN(100), p.random.IntN(100))
	}
	switch p.random.IntN(9) {
	case 0:
		return "INSERT INTO many VALUES " + tuple(id)
	case 1:
		return "INSERT IGNORE INTO many VALUES " + tuples(p.rows(p.few(8), domain), tuple)
	case 2:
		return "INSERT INTO many VALUES " + tuples(p.rows(p.few(4), domain), tuple) + " ON DUPLICATE KEY UPDATE n = n + 1, u2 = NULL"
	case 3:
		return "REPLACE INTO many VALUES " + tuples(p.rows(p.few(3), domain), tuple)
	case 4:
		return fmt.Sprintf("UPDATE many SET u1 = %s, n = n + 1 WHERE id = %d", value(), id)
	case 5:
		return fmt.Sprintf("UPDATE IGNORE many SET u5 = %d, home = home + 1 WHERE id BETWEEN %d AND %d", p.random.IntN(100), id, id+p.few(6))
	case 6: // the value goes to whoever has the row, the home with it
		return fmt.Sprintf("UPDATE many SET home = home + 1, n = n + 1 WHERE u2 = %d", 1+p.random.IntN(domain))
	case 7:
		return fmt.Sprintf("UPDATE many SET id = %d WHERE id = %d", 1+p.random.IntN(domain), id)
	}
	return fmt.Sprintf("DELETE FROM many WHERE id BETWEEN %d AND %d", id, id+p.random.IntN(3))
}

// onTypes changes rows of all column types.
func (p *play) onTypes() string {
	domain := p.size.types
	id := 1 + p.random.IntN(domain)
	switch p.random.IntN(5) {
	case 0:
		return "INSERT IGNORE INTO types VALUES " + typedRow(p.types, id, p.random.IntN)
	case 1:
		return "REPLACE INTO types VALUES " + typedRow(p.types, id, p.random.IntN)
	case 2:
		return fmt.Sprintf("DELETE FROM types WHERE id = %d", id)
	}
	set := []string{"home = home + 1"}
	for range p.few(5) {
		c := p.types[p.random.IntN(len(p.types))]
		set = append(set, c.name+" = "+c.values[p.random.IntN(len(c.values))])
	}
	return fmt.Sprintf("UPDATE types SET %s WHERE id BETWEEN %d AND %d", strings.Join(set, ", "), id, id+p.random.IntN(3))
}

// onFamily changes parents, which changes or deletes their children, where the binlog holds what foreign keys do.
func (p *play) onFamily() string {
	domain := p.size.parents
	id, other := 1+p.random.IntN(domain), 1+p.random.IntN(domain)
	switch p.random.IntN(9) {
	case 0, 1:
		return fmt.Sprintf("INSERT IGNORE INTO parents VALUES (%d,%d,'%s')", id, other, p.text())
	case 2, 3:
		return "INSERT IGNORE INTO children VALUES " + tuples(p.rows(p.few(4), 3*domain), func(n int) string { return fmt.Sprintf("(%d,%d,%d,0)", n, id, other) })
	case 4:
		return fmt.Sprintf("DELETE FROM parents WHERE id = %d", id)
	case 5:
		return fmt.Sprintf("UPDATE parents SET id = %d WHERE id = %d", other, id)
	case 6:
		return fmt.Sprintf("UPDATE parents SET code = %d, note = '%s' WHERE id = %d", other, p.text(), id)
	case 7:
		return fmt.Sprintf("UPDATE children SET parent = NULL, n = n + 1 WHERE parent = %d", id)
	}
	return fmt.Sprintf("UPDATE children SET n = n + 1, code = NULL WHERE id BETWEEN %d AND %d", id, id+p.few(5))
}

// transfer moves money between several accounts; each of them moves to another shard by it.
func (p *play) transfer() []string {
	ids := p.rows(2+p.random.IntN(3), p.size.accounts)
	var statements []string
	sum := 0
	for i, id := range ids {
		amount := p.random.IntN(201) - 100
		if i == len(ids)-1 {
			amount = -sum
		}
		sum += amount
		statements = append(statements, fmt.Sprintf("UPDATE accounts SET balance = balance + %d, home = home + 1, moves = moves + 1 WHERE id = %d", amount, id))
	}
	return statements
}

// reopen closes an account and opens it again under a number in between that nobody else has: a delete and a create of the same
// key in one transaction, with all its money.
func (p *play) reopen() []string {
	id := 1 + p.random.IntN(p.size.accounts)
	return []string{
		fmt.Sprintf("UPDATE accounts SET id = -%d WHERE id = %d", id, id),
		fmt.Sprintf("UPDATE accounts SET id = %d, home = home + 1 WHERE id = -%d", id, id),
	}
}

// swap lets two rows change their unique values.
func (p *play) swap() []string {
	if p.random.IntN(2) == 0 {
		pair := p.rows(2, p.size.a)
		return swapOf("a", "no", "uk", "-2000000000 - no", pair)
	}
	pair := p.rows(2, p.size.many)
	return swapOf("many", "id", "u4", "-2000000000 - id", pair)
}

func swapOf(table, key, column, between string, pair []int) []string {
	one, two := pair[0], pair[len(pair)-1]
	return []string{
		fmt.Sprintf("SELECT MAX(IF(%[2]s = %[4]d, %[3]s, NULL)), MAX(IF(%[2]s = %[5]d, %[3]s, NULL)) INTO @one, @two FROM %[1]s WHERE %[2]s IN (%[4]d, %[5]d)", table, key, column, one, two),
		fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = %d AND @two IS NOT NULL", table, column, between, key, one),
		fmt.Sprintf("UPDATE %s SET %s = @one WHERE %s = %d AND @one IS NOT NULL", table, column, key, two),
		fmt.Sprintf("UPDATE %s SET %s = @two WHERE %s = %d AND @two IS NOT NULL", table, column, key, one),
	}
}
