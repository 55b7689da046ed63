package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
)

// plainUsers is a table that its owner will have no columns added to.
const plainUsers = "CREATE TABLE $DB.users (id BIGINT AUTO_INCREMENT PRIMARY KEY, email VARCHAR(50) NOT NULL UNIQUE, seat INT, n INT NOT NULL) " +
	"CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"

// sidePlace is one shard with that table, and a side table to be made beside it.
func sidePlace(t *testing.T) *place {
	p := newPlace(t, 1)
	inSideTables(p)
	p.in(plainUsers)
	p.config.Unique = map[string][]string{"shop.users": {"email"}}
	return p
}

// lines returns the side tables' lines of users, by id.
func (p *place) lines() []string {
	p.t.Helper()
	lines := p.eachShard("SELECT id, _sluice_version, _sluice_source FROM $DB._sluice_version_users")
	slices.SortFunc(lines, func(a, b string) int {
		var x, y int
		fmt.Sscan(strings.Replace(a, "|", " ", 1), &x)
		fmt.Sscan(strings.Replace(b, "|", " ", 1), &y)
		return x - y
	})
	return lines
}

// The table stays as it was, rows that it had before have no version and give way to whatever comes, and others' columns keep what they hold.
func TestSideTableLeavesTheTableAlone(t *testing.T) {
	p := sidePlace(t)
	p.in("ALTER TABLE $DB.users ADD COLUMN note VARCHAR(20) DEFAULT 'none'",
		"INSERT INTO $DB.users (id, email, seat, n, note) VALUES (1, 'before', 1, 1, 'theirs'), (2, 'x', 2, 2, 'theirs'), (3, 'c', 3, 3, 'theirs')")
	before := p.eachShard("SHOW CREATE TABLE $DB.users")
	s, tg := newTeller(users("utf8mb4_general_ci"), 1), p.opened()
	s.write(nil, user(1, "a", 1, 1))
	s.write(nil, user(4, "x", 4, 4)) // takes the value of 2, which has no version
	s.write(user(3, "c", 3, 3), nil)
	s.deliver(t, tg, 10)
	same(t, p.eachShard("SELECT id, email, seat, n, note FROM $DB.users ORDER BY id"), []string{"1|a|1|1|theirs", "4|x|4|4|none"})
	same(t, p.lines(), s.lines(10))
	if after := p.eachShard("SHOW CREATE TABLE $DB.users"); withoutCounter(after[0]) != withoutCounter(before[0]) {
		t.Errorf("the table was\n%s\nand is\n%s", before[0], after[0])
	}
	debts, err := tg.Debts(t.Context(), group)
	if err != nil || len(debts) != 1 || debts[0].Key != "id=2" {
		t.Errorf("debts %+v, %v; want one of id=2, which was deleted in trust that its next change comes", debts, err)
	}
	s.write(nil, user(2, "b", 2, 2))
	s.deliver(t, tg, 10)
	noDebts(t, tg)
	same(t, scan(t, tg, sink.Scan{Source: source, Table: s.table}), []string{show(user(1, "a", 1, 1)), show(user(2, "b", 2, 2)), show(user(4, "x", 4, 4))})
}

// withoutCounter takes out where AUTO_INCREMENT has got to.
func withoutCounter(ddl string) string {
	if at := strings.Index(ddl, " AUTO_INCREMENT="); at >= 0 {
		_, rest, _ := strings.Cut(ddl[at+1:], " ")
		return ddl[:at+1] + rest
	}
	return ddl
}

// Without create_tables the side table's statement is told, by doctor too, and it helps; so does the one that makes it follow its table's key.
func TestSideTableByHand(t *testing.T) {
	p := sidePlace(t)
	p.config.CreateTables = false
	s := newTeller(users("utf8mb4_general_ci"), 1)
	s.write(nil, user(1, "a", 1, 1))
	mend := func(what string) {
		t.Helper()
		var problem *change.Problem
		err := p.opened().Prepare(t.Context(), group, source, []*change.Table{s.table})
		if !errors.As(err, &problem) || problem.Kind != change.Poison || !strings.Contains(problem.What, what) {
			t.Fatalf("got %v, want a poison: %s", err, what)
		}
		findings, err := p.opened().Check(t.Context(), group, []*change.Table{s.table})
		if err != nil || !slices.ContainsFunc(findings, func(f sink.Finding) bool { return f.Level == sink.Wrong && f.Mend == problem.Mend }) {
			t.Errorf("doctor does not say so: %+v, %v", findings, err)
		}
		statement, _, _ := strings.Cut(problem.Mend, ";")
		p.exec(statement)
	}
	mend("does not exist")
	s.deliver(t, p.opened(), 10)
	p.in("ALTER TABLE $DB.users MODIFY id INT") // narrower than the source's: the key's type is compared by kind
	mend("as BIGINT, its table as INT")
	s.write(nil, user(2, "b", 2, 2))
	s.deliver(t, p.opened(), 10)
	same(t, p.lines(), s.lines(10))
	p.in("ALTER TABLE $DB._sluice_version_users DROP COLUMN _sluice_source")
	mend("has other columns")
	findings, err := p.opened().Check(t.Context(), group, []*change.Table{s.table})
	if err != nil || !slices.ContainsFunc(findings, func(f sink.Finding) bool { return f.Level == sink.Wrong }) {
		t.Errorf("doctor, of a side table that is gone: %+v, %v", findings, err)
	}
}

// What others do to the table leaves lines without rows. They say nothing: an older change than the line is written.
func TestLinesWithoutRows(t *testing.T) {
	p := sidePlace(t)
	s, tg := newTeller(users("utf8mb4_general_ci"), 2), p.opened()
	for i := range 40 {
		s.write(nil, user(i, fmt.Sprintf("u%d", i), i, 1))
	}
	s.write(user(7, "u7", 7, 1), user(7, "u7", 7, 2))
	s.deliver(t, tg, 10)
	again := func(statement string) {
		t.Helper()
		p.in(statement, "UPDATE $DB._sluice_progress SET _sluice_next=-1")
		s.deliver(t, p.opened(), 7)
		same(t, p.eachShard("SELECT COUNT(*), SUM(n) FROM $DB.users"), []string{"40|41"})
		same(t, p.lines(), s.lines(40))
	}
	again("TRUNCATE TABLE $DB.users")
	again("DELETE FROM $DB.users WHERE id IN (7, 8, 30)")
	again("UPDATE $DB.users SET id=id WHERE FALSE") // all is stale
	again("DELETE FROM $DB._sluice_version_users WHERE id < 20")
}

// Versions that stand elsewhere are as none: a table is not written the other way until somebody says so.
func TestSideTableAndColumnsDoNotMix(t *testing.T) {
	p := sidePlace(t)
	schema := []*change.Table{users("utf8mb4_general_ci")}
	if err := p.opened().Prepare(t.Context(), group, source, schema); err != nil {
		t.Fatal(change.Explain(err))
	}
	p.config.SideTables = []string{"shop.orders"}
	if err := p.opened().Prepare(t.Context(), group, source, schema); err == nil || change.SeverityOf(err) != change.Configuration {
		t.Errorf("got %v, want a refusal", err)
	}
	p.config.Adopt = true
	if err := p.opened().Prepare(t.Context(), group, source, schema); err != nil {
		t.Error(change.Explain(err))
	}
}

// cutOff applies the rest of a partition's log, and kills the session when it waits for a lock that the statement takes.
func (p *place) cutOff(s *teller, tg *target.Target, lock string) {
	p.t.Helper()
	next, epoch, _, err := tg.Assign(p.t.Context(), group, s.identity(0))
	if err != nil {
		p.t.Fatal(err)
	}
	holder, err := p.db.BeginTx(p.t.Context(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer holder.Rollback()
	if _, err := holder.ExecContext(p.t.Context(), strings.ReplaceAll(lock, "$DB", p.shards[0].Database)); err != nil {
		p.t.Fatalf("%s: %v", lock, err)
	}
	applied := make(chan error, 1)
	go func() {
		applied <- tg.Apply(context.Background(), s.batch(0, max(next, 0), int64(len(s.logs[0])), epoch))
	}()
	session := ""
	for end := time.Now().Add(30 * time.Second); session == ""; time.Sleep(20 * time.Millisecond) {
		for _, line := range p.query("SHOW PROCESSLIST") { // information_schema cannot show a statement with binary literals
			if f := strings.Split(line, "|"); f[1] == "app" && f[4] == "Query" && f[5] != "0" {
				session = f[0]
			}
		}
		if time.Now().After(end) {
			p.t.Fatal("no session of the sink waits")
		}
	}
	p.exec("KILL " + session)
	if err := <-applied; change.SeverityOf(err) != change.Retry {
		p.t.Fatalf("the batch that was cut off gave %v", err)
	}
}

// A transaction that dies between a row and its line leaves neither, and no progress: the next process does both.
func TestCutOffBetweenRowAndLine(t *testing.T) {
	a, b := user(1, "a", 1, 1), user(2, "b", 2, 1)
	for _, test := range []struct {
		name, lock string
		write      func(s *teller)
		want       []string
	}{
		{"the line is written, the row is not", "UPDATE $DB.users SET n=n WHERE id=1",
			func(s *teller) { s.write(a, user(1, "a", 1, 9)); s.write(nil, user(3, "c", 3, 1)) }, []string{"1|a|1|9", "2|b|2|1", "3|c|3|1"}},
		{"one line is written, the next is not", "SELECT * FROM $DB._sluice_version_users WHERE id=2 FOR UPDATE",
			func(s *teller) { s.write(a, user(1, "a", 1, 9)); s.write(b, user(2, "b", 2, 9)) }, []string{"1|a|1|9", "2|b|2|9"}},
		{"the row is to be deleted", "SELECT * FROM $DB.users WHERE id=1 FOR UPDATE",
			func(s *teller) { s.write(b, user(2, "b", 2, 9)); s.write(a, nil) }, []string{"2|b|2|9"}},
		{"its line is to be deleted", "SELECT * FROM $DB._sluice_version_users WHERE id=1 FOR UPDATE",
			func(s *teller) { s.write(b, user(2, "b", 2, 9)); s.write(a, nil) }, []string{"2|b|2|9"}},
		{"the row meets another", "SELECT * FROM $DB.users WHERE id=1 FOR UPDATE",
			func(s *teller) { s.write(nil, user(4, "a", 4, 1)); s.write(b, user(2, "b", 2, 9)) }, []string{"2|b|2|9", "4|a|4|1"}},
		{"the holder of a unique value is deleted with its line, the row is not written", "SELECT * FROM $DB._sluice_debt FOR UPDATE",
			func(s *teller) { s.write(nil, user(4, "a", 4, 1)); s.write(b, user(2, "b", 2, 9)) }, []string{"2|b|2|9", "4|a|4|1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := sidePlace(t)
			s, tg := newTeller(users("utf8mb4_general_ci"), 1), p.opened()
			s.write(nil, a)
			s.write(nil, b)
			s.deliver(t, tg, 10)
			rows, lines := p.inShard(0), p.lines()
			test.write(s)
			p.cutOff(s, tg, test.lock)
			same(t, p.inShard(0), rows)
			same(t, p.lines(), lines)
			s.deliver(t, p.opened(), 10)
			same(t, p.inShard(0), test.want)
			var ids []string
			for _, line := range p.lines() {
				ids = append(ids, line[:2]+fmt.Sprint(slices.Contains(s.lines(10), line)))
			}
			var all []string
			for _, row := range test.want {
				all = append(all, row[:2]+"true")
			}
			same(t, ids, all)
		})
	}
}

// The statement for a batch reads no more rows than the batch has, of neither table.
func TestSideTableIsFoundByKey(t *testing.T) {
	p := sidePlace(t)
	s, tg := newTeller(users("utf8mb4_general_ci"), 1), p.opened()
	for i := range 3000 {
		s.write(nil, user(i, fmt.Sprintf("u%d", i), i, 1))
	}
	s.deliver(t, tg, 500)
	read := func() (n int) {
		fmt.Sscan(strings.TrimPrefix(p.query("SHOW GLOBAL STATUS LIKE 'Innodb_rows_read'")[0], "Innodb_rows_read|"), &n)
		return n
	}
	p.in("ANALYZE TABLE $DB.users, $DB._sluice_version_users")
	for i := range 20 {
		s.write(user(i, fmt.Sprintf("u%d", i), i, 1), nil)
		s.write(user(100+i, fmt.Sprintf("u%d", 100+i), 100+i, 1), user(100+i, fmt.Sprintf("v%d", i), 100+i, 2))
	}
	before := read()
	s.deliver(t, tg, 100)
	if n := read() - before; n > 1000 {
		t.Errorf("%d rows were read for 40 changes", n)
	}
	same(t, p.lines(), s.lines(3000))
}

// What the configuration cannot mean is refused.
func TestSideTablesRefused(t *testing.T) {
	one := []target.Shard{{Name: "s0", Database: "a"}}
	for _, test := range []struct {
		config target.Config
		want   string
	}{
		{target.Config{Shards: one, SideTables: []string{"orders"}}, `side_tables[0]: "orders": want database.table`},
		{target.Config{Shards: one, SideTables: []string{"shop.*"}, Mode: target.ModeOverwrite}, "side_tables hold versions"},
	} {
		_, err := target.New(test.config, sink.Setup{})
		if err == nil || change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
	}
}

// Each table has its own, whatever its name's length, and moves take the versions along.
func TestSideTableNames(t *testing.T) {
	p := newPlace(t, 2)
	inSideTables(p)
	p.config.Routes = []route.Spec{{Table: "shop.*", By: "seat", Rule: route.RuleSpec{Name: "modulus"}}}
	tg := p.opened()
	long := strings.Repeat("x", 50)
	for i, name := range []string{long + "_one", long + "_two", strings.Repeat("n", 48)} {
		table := users("utf8mb4_general_ci")
		table.Name = name
		s := newTeller(table, 1)
		s.write(nil, user(1, "a", 1, 1))
		s.write(user(1, "a", 1, 1), user(1, "a", 2, i))
		s.deliver(t, tg, 1)
		same(t, p.eachShard("SELECT id, seat, n FROM $DB.`"+name+"`"), []string{fmt.Sprintf("1|2|%d", i)})
	}
	names := p.query("SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA='" + p.shards[0].Database +
		"' AND TABLE_NAME LIKE '\\_sluice\\_version\\_%'")
	slices.Sort(names)
	short := "_sluice_version_" + strings.Repeat("x", 31) + "_"
	if len(names) != 3 || names[0] != "_sluice_version_"+strings.Repeat("n", 48) || !strings.HasPrefix(names[1], short) || !strings.HasPrefix(names[2], short) {
		t.Errorf("side tables %q", names)
	}
}
