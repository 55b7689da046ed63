package binlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/testbed"
)

// fresh starts a server of the test's own.
func fresh(t *testing.T, version testbed.MySQLVersion, flags ...string) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	running, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Version: version, Flags: flags, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	return attach(t, running)
}

// TestCascades is what mysql.Facts.CascadesLogged is believed for (R12).
func TestCascades(t *testing.T) {
	for name, s := range map[string]*server{
		"9.7": start(t, testbed.MySQL97), "8.0": start(t, testbed.MySQL80), "MariaDB": start(t, testbed.MariaDB1011),
		"9.7 native": fresh(t, testbed.MySQL97, "innodb_native_foreign_keys=ON"),
	} {
		s.t = t
		s.session("CREATE TABLE p (id INT PRIMARY KEY)", "CREATE TABLE c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE)",
			"INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1, 1)")
		_, executed := s.end()
		s.session("DELETE FROM p")
		got := strings.Contains(strings.Join(story(t, s.read(s.config(), From{GTID: executed})), "\n"), "rows c d 1")
		if got != s.facts.CascadesLogged() {
			t.Errorf("%s: the cascade is in the binlog: %v, believed: %v", name, got, s.facts.CascadesLogged())
		}
	}
}

// TestAnonymous reads a server without GTIDs, from the begin of a file and from each place between transactions.
func TestAnonymous(t *testing.T) {
	s := fresh(t, testbed.MySQL97, "gtid_mode=OFF", "enforce_gtid_consistency=OFF", "binlog_checksum=NONE")
	begin, _ := s.end()
	s.session("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
	s.session("XA START 'a'", "INSERT INTO t VALUES (2)", "XA END 'a'", "XA PREPARE 'a'")
	s.session("INSERT INTO t VALUES (3)", "FLUSH BINARY LOGS", "SET binlog_transaction_compression = ON", "INSERT INTO t VALUES (4)", "XA COMMIT 'a'",
		"INSERT INTO t VALUES (5)")
	all := s.read(s.config(), From{File: begin.File, Offset: begin.Offset})
	want := story(t, all)
	if len(want) != 20 || !strings.HasPrefix(want[3], "begin") {
		t.Errorf("%q", want)
	}
	seen := map[string]bool{}
	for i := range all {
		from := resumePoint(all[:i], nil)
		key := fmt.Sprint(from)
		if from.File == "" || seen[key] {
			continue
		}
		seen[key] = true
		rest := story(t, s.read(s.config(), from))
		told := len(story(t, all[:i]))
		for told > 0 && !strings.HasPrefix(want[told-1], "commit") && !strings.HasPrefix(want[told-1], "prepared") {
			told-- // a transaction that was not over comes again from its begin
		}
		if diff := cmp.Diff(want[told:], rest); diff != "" {
			t.Errorf("from %+v: want -, got +\n%s", from, diff)
		}
	}
}

// TestStatementFormat is DML that was logged as a statement: it stops a source.
func TestStatementFormat(t *testing.T) {
	s := start(t, testbed.MySQL97)
	s.session("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	_, executed := s.end()
	s.db.SetMaxOpenConns(4)
	if err := s.Exec(t.Context(), "USE "+s.name, "SET binlog_format = 'STATEMENT'", "INSERT INTO t VALUES (1, 1)"); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.read(s.config(), From{GTID: executed}) {
		if e.Kind == Statement {
			if !e.Parsed.DML || e.Query != "INSERT INTO t VALUES (1, 1)" || e.QueryDB != s.name || e.Thread == 0 {
				t.Errorf("%+v", e)
			}
			return
		}
	}
	t.Error("the statement was not told")
}

// TestCharsets is DDL in a charset whose characters hold backslashes, and in latin1.
func TestCharsets(t *testing.T) {
	s := start(t, testbed.MySQL97)
	_, executed := s.end()
	s.session("SET NAMES gbk", "CREATE TABLE g (id INT PRIMARY KEY) COMMENT '\x95\x5c'", "SET NAMES latin1", "CREATE TABLE `\xe9` (id INT PRIMARY KEY)",
		"SET sql_mode = 'NO_BACKSLASH_ESCAPES'", `CREATE TABLE h (id INT PRIMARY KEY) COMMENT '\'`)
	var names []string
	for _, e := range s.read(s.config(), From{GTID: executed}) {
		if e.Kind == Statement {
			names = append(names, fmt.Sprint(e.Parsed.Tables))
		}
	}
	want := []string{"[" + s.name + ".g]", "[" + s.name + ".é]", "[" + s.name + ".h]"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

// TestUnwanted has the rows of other tables delivered as such, to be counted, and the checksum the same
// however the rows are cut into events.
func TestUnwanted(t *testing.T) {
	s := start(t, testbed.MySQL97)
	s.session("CREATE TABLE a (id INT PRIMARY KEY, v INT)", "CREATE TABLE b (id INT PRIMARY KEY)")
	sums := map[int]RowChecksum{}
	const insert = "INSERT INTO a SELECT id, v FROM JSON_TABLE(CONCAT('[1', REPEAT(',1', 4999), ']'), '$[*]' COLUMNS(id FOR ORDINALITY, v INT PATH '$')) j"
	for cut, inserts := range [][]string{
		{insert}, // events of 8 KB
		{insert + " WHERE id <= 7", insert + " WHERE id = 8", insert + " WHERE id > 8"},
	} {
		if err := s.Exec(t.Context(), "USE "+s.name, "DELETE FROM a", "DELETE FROM b"); err != nil {
			t.Fatal(err)
		}
		_, executed := s.end()
		s.session(slices.Concat([]string{"BEGIN"}, inserts, []string{"INSERT INTO b VALUES (1)", "UPDATE a SET v = 2 WHERE id < 10", "COMMIT"})...)
		cfg := s.config()
		cfg.Wanted = func(name change.TableName) bool { return name.Name == "a" }
		var sum RowChecksum
		var walker Walker
		for _, e := range s.read(cfg, From{GTID: executed}) {
			if e.Kind != Rows {
				continue
			}
			if e.Wanted != (e.Table.Name == "a") {
				t.Errorf("%s is wanted: %v", e.Table, e.Wanted)
			}
			if err := walker.Walk(e, func(_, _ []rowimage.Cell, raw []byte) error { sum.Add(e, raw); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		sums[cut] = sum
	}
	if sums[0] != sums[1] || sums[0].Rows != 5000+1+9 {
		t.Errorf("%+v", sums)
	}
}

// TestStop ends Run while the server is idle, by the context, and leaves nothing running.
func TestStop(t *testing.T) {
	s := start(t, testbed.MySQL97)
	_, executed := s.end()
	ignore := goleak.IgnoreCurrent()
	cfg := s.config()
	cfg.Heartbeat = 10 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	begun := time.Now()
	err := New(cfg).Run(ctx, From{GTID: executed}, func(*Event) error { return nil })
	if !errors.Is(err, context.Canceled) || time.Since(begun) > 2*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
	goleak.VerifyNone(t, ignore)
}

// TestSilentServer gives up a server that does not answer any more, and one that cannot be reached.
func TestSilentServer(t *testing.T) {
	s := fresh(t, testbed.MySQL97)
	_, executed := s.end()
	cfg := s.config()
	cfg.ReadTimeout = 500 * time.Millisecond
	paused := false
	err := New(cfg).Run(t.Context(), From{GTID: executed}, func(*Event) error {
		if !paused {
			paused = true
			return s.Pause()
		}
		return nil
	})
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if change.SeverityOf(err) != change.Retry {
		t.Errorf("a paused server: %v", err)
	}
	cfg.MySQL.Password = "wrong"
	if err := New(cfg).Run(t.Context(), From{GTID: executed}, nil); change.SeverityOf(err) != change.Configuration {
		t.Errorf("a wrong password: %v", err)
	}
	cfg = s.config()
	own := errors.New("own")
	if err := New(cfg).Run(t.Context(), From{GTID: executed}, func(*Event) error { return own }); err != own {
		t.Errorf("the handler's error: %v", err)
	}
	more := From{GTID: executed.Union(parseSet(t, s.facts.ServerUUID+":1-99999"))}
	if err := New(cfg).Run(t.Context(), more, func(*Event) error { return own }); change.SeverityOf(err) != change.Configuration {
		t.Errorf("more than the server has: %v", err)
	}
}

// TestConnections reads as users that the server's cache of passwords does not know yet, in each TLS mode.
func TestConnections(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011} {
		s := start(t, version)
		for i, mode := range []string{"", mysql.TLSOff, mysql.TLSRequire} {
			if mode == mysql.TLSRequire && version == testbed.MariaDB1011 {
				continue // it has no certificate
			}
			user := fmt.Sprintf("reader%d", i)
			if err := s.Exec(t.Context(), fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY 'secret'", user),
				fmt.Sprintf("GRANT REPLICATION SLAVE ON *.* TO '%s'@'%%'", user)); err != nil {
				t.Fatal(err)
			}
			_, executed := s.end()
			cfg := s.config()
			cfg.MySQL = mysql.Config{Address: s.Address(), User: user, Password: "secret", TLS: mode}
			s.read(cfg, From{GTID: executed})
		}
	}
	s := start(t, testbed.MySQL97)
	cfg := s.config()
	cfg.MySQL.TLS = mysql.TLSVerify
	_, executed := s.end()
	err := New(cfg).Run(t.Context(), From{GTID: executed}, func(*Event) error { return nil })
	if change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody knows: %v", err)
	}
	cfg = s.config()
	cfg.MySQL.User, cfg.MySQL.Password = "nobody", "x"
	err = New(cfg).Run(t.Context(), From{GTID: executed}, func(*Event) error { return nil })
	if change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), "refuses user") {
		t.Errorf("a wrong user: %v", err)
	}
}

// TestEmptyXA is an XA transaction that wrote nothing: its end must not be taken for one of unknown rows.
func TestEmptyXA(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011} {
		s := start(t, version)
		s.session("CREATE TABLE t (id INT PRIMARY KEY)")
		_, executed := s.end()
		s.session("XA START 'e'", "SELECT * FROM t", "XA END 'e'", "XA PREPARE 'e'", "XA COMMIT 'e'",
			"XA START 'f'", "XA END 'f'", "XA PREPARE 'f'", "XA ROLLBACK 'f'", "INSERT INTO t VALUES (1)")
		told := strings.Join(story(t, s.read(s.config(), From{GTID: executed})), "; ")
		t.Logf("%s: %s", version, told)
		if strings.Contains(told, "unknown") {
			t.Errorf("%s: %s", version, told)
		}
	}
}
