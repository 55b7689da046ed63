package binlog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/testbed"
)

// story tells events in a line each, without idle ones. GTIDs are told as their number relative to the first.
func story(t *testing.T, events []*Event) []string {
	t.Helper()
	var lines []string
	var walker Walker
	for _, e := range events {
		switch e.Kind {
		case Idle:
			continue
		case Rows:
			rows := 0
			if err := walker.Walk(e, func(_, _ []rowimage.Cell, _ []byte) error { rows++; return nil }); err != nil {
				t.Error(err)
			}
			lines = append(lines, fmt.Sprintf("rows %s %s %d%s", e.Table.Name, e.Rows.Op, rows, told(" xid ", e.XID)))
		case Statement:
			lines = append(lines, fmt.Sprintf("statement %s", e.Parsed.Verb))
		default:
			lines = append(lines, e.Kind.String()+told(" tag ", e.GTID.Tag)+told(" xid ", e.XID))
		}
	}
	return lines
}

func told(label, text string) string {
	if text == "" {
		return ""
	}
	return label + text
}

// TestStory reads every kind of transaction, plain and compressed.
func TestStory(t *testing.T) {
	s := start(t, testbed.MySQL97)
	for _, compression := range []string{"OFF", "ON"} {
		t.Run("compression "+compression, func(t *testing.T) {
			s := attach(t, s.MySQL)
			_, executed := s.end()
			s.session(
				"SET binlog_transaction_compression = "+compression,
				"CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))",
				"INSERT INTO t VALUES (1, 'a'), (2, 'b')",
				"BEGIN", "UPDATE t SET v = 'c' WHERE id = 1", "DELETE FROM t WHERE id = 2", "COMMIT",
				"SET gtid_next = 'AUTOMATIC:red'", "INSERT INTO t VALUES (3, 'x')", "SET gtid_next = 'AUTOMATIC'",
				"XA START 'one'", "INSERT INTO t VALUES (10, 'xa')", "XA END 'one'", "XA PREPARE 'one'",
				"INSERT INTO t VALUES (11, 'between')",
				"XA COMMIT 'one'",
				"XA START 'two', 'b', 7", "INSERT INTO t VALUES (12, 'xa')", "XA END 'two', 'b', 7", "XA PREPARE 'two', 'b', 7",
				"XA ROLLBACK 'two', 'b', 7",
				"XA START 'three'", "INSERT INTO t VALUES (13, 'xa')", "XA END 'three'", "XA COMMIT 'three' ONE PHASE",
				"FLUSH BINARY LOGS",
				"CREATE TABLE u SELECT * FROM t", "TRUNCATE TABLE u", "ALTER TABLE t ADD COLUMN w INT", "DROP TABLE u",
				"BEGIN", "INSERT INTO t VALUES (20, 'a', 1)", "SAVEPOINT s", "INSERT INTO t VALUES (21, 'a', 1)", "ROLLBACK TO s", "COMMIT",
			)
			want := strings.Split(strings.TrimSpace(`
begin
statement CREATE TABLE
commit
begin
rows t c 2
commit
begin
rows t u 1
rows t d 1
commit
begin tag red
rows t c 1
commit tag red
begin
prepared xid X'6f6e65',X'',1
begin
rows t c 1
commit
begin
rows t c 1 xid X'6f6e65',X'',1
commit xid X'6f6e65',X'',1
begin
prepared xid X'74776f',X'62',7
begin
dropped xid X'74776f',X'62',7
begin
rows t c 1 xid X'7468726565',X'',1
commit xid X'7468726565',X'',1
begin
statement CREATE TABLE
rows u c 5
commit
begin
statement TRUNCATE TABLE
commit
begin
statement ALTER TABLE
commit
begin
statement DROP TABLE
commit
begin
rows t c 1
commit
`), "\n")
			events := s.read(s.config(), From{GTID: executed})
			if diff := cmp.Diff(want, story(t, events)); diff != "" {
				t.Errorf("want -, got +\n%s", diff)
			}
			all := executed.Clone()
			for _, e := range events {
				if e.Kind == Begin {
					e.GTID.AddTo(all)
				}
			}
			if _, now := s.end(); !now.Equal(all) {
				t.Errorf("delivered %s\nexecuted  %s", all, now)
			}
		})
	}
}

// TestPositions compares the position after each transaction with what the server says its end is.
func TestPositions(t *testing.T) {
	s := start(t, testbed.MySQL97)
	_, executed := s.end()
	var ends []change.Position
	run := func(statements ...string) {
		s.session(statements...)
		end, _ := s.end()
		ends = append(ends, end)
	}
	run("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)")
	run("INSERT INTO t VALUES (1, REPEAT('x', 100000))")
	run("SET binlog_transaction_compression = ON", "INSERT INTO t VALUES (2, REPEAT('x', 100000))")
	run("INSERT INTO t VALUES (9, REPEAT('x', 17000000))") // more than a packet of the protocol holds
	run("FLUSH BINARY LOGS")
	run("SET gtid_next = 'AUTOMATIC:blue'", "INSERT INTO t VALUES (3, REPEAT('x', 100000))")
	run("SET SESSION binlog_transaction_compression = ON", "XA START 'p'", "INSERT INTO t VALUES (4, REPEAT('x', 100000))", "XA END 'p'", "XA PREPARE 'p'")
	run("XA COMMIT 'p'")
	seen := map[change.Position]bool{}
	for _, e := range s.read(s.config(), From{GTID: executed}) {
		if e.Kind != Begin && e.Kind != Rows {
			seen[e.Position] = true
		}
		if e.Kind == Begin && e.Start.Compare(e.Position) >= 0 {
			t.Errorf("begin at %s, which starts at %s", e.Position, e.Start)
		}
	}
	for i, end := range ends {
		if !seen[end] {
			t.Errorf("step %d ended at %s: no event has this position", i+1, end)
		}
	}
}

func parseSet(t *testing.T, text string) *gtid.Set {
	t.Helper()
	set, err := gtid.Parse(gtid.MySQL, text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
