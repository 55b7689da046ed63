package binlog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/testbed"
)

func TestMariaDBStory(t *testing.T) {
	s := start(t, testbed.MariaDB1011)
	_, executed := s.end()
	s.session(
		"CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(1000))",
		"INSERT INTO t VALUES (1, 'a'), (2, 'b')",
		"BEGIN", "UPDATE t SET v = 'c' WHERE id = 1", "DELETE FROM t WHERE id = 2", "COMMIT",
		"XA START 'one'", "INSERT INTO t VALUES (10, 'xa')", "XA END 'one'", "XA PREPARE 'one'",
		"XA COMMIT 'one'",
		"XA START 'two', 'b', 7", "INSERT INTO t VALUES (12, 'xa')", "XA END 'two', 'b', 7", "XA PREPARE 'two', 'b', 7",
		"XA ROLLBACK 'two', 'b', 7",
		"XA START 'three'", "INSERT INTO t VALUES (13, 'xa')", "XA END 'three'", "XA COMMIT 'three' ONE PHASE",
		"FLUSH BINARY LOGS",
		"CREATE TABLE u SELECT * FROM t", "TRUNCATE TABLE u", "ALTER TABLE t ADD COLUMN w INT", "DROP TABLE u",
		"INSERT INTO t VALUES (20, REPEAT('a', 1000), 1)",
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
begin xid X'6f6e65',X'',1
prepared xid X'6f6e65',X'',1
begin xid X'6f6e65',X'',1
rows t c 1 xid X'6f6e65',X'',1
commit xid X'6f6e65',X'',1
begin xid X'74776f',X'62',7
prepared xid X'74776f',X'62',7
begin xid X'74776f',X'62',7
dropped xid X'74776f',X'62',7
begin
rows t c 1
commit
begin
statement CREATE TABLE
rows u c 3
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
}

// TestMariaDBOpenXA reads the rows of a transaction that was prepared before the place to begin.
func TestMariaDBOpenXA(t *testing.T) {
	s := start(t, testbed.MariaDB1011)
	_, executed := s.end()
	s.session("CREATE TABLE t (id INT PRIMARY KEY)",
		"XA START 'm1'", "INSERT INTO t VALUES (1)", "XA END 'm1'", "XA PREPARE 'm1'")
	s.session("INSERT INTO t VALUES (2)")
	from := resumePoint(s.read(s.config(), From{GTID: executed}), executed)
	s.session("INSERT INTO t VALUES (3)", "XA COMMIT 'm1'")
	want := []string{"begin", "rows t c 1", "commit",
		"begin xid X'6d31',X'',1", "rows t c 1 xid X'6d31',X'',1", "commit xid X'6d31',X'',1"}
	if diff := cmp.Diff(want, story(t, s.read(s.config(), from))); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}
