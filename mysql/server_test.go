package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/testbed"
)

// servers are started at the first test that asks for them, and ended by TestMain.
var servers struct {
	sync.Mutex
	// Mutex guards the following.
	running map[testbed.MySQLVersion]*testbed.MySQL
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, server := range servers.running {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var versions = []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011}

func start(t *testing.T, version testbed.MySQLVersion) *testbed.MySQL {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	servers.Lock()
	defer servers.Unlock()
	if running := servers.running[version]; running != nil {
		return running
	}
	// 8.0.15 comes without the key exchange that the test bed's certificates need, and keeps those it made.
	running, err := testbed.StartMySQL(context.Background(), testbed.MySQLOptions{
		Version: version, TLS: version != testbed.MySQL80, Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	if servers.running == nil {
		servers.running = map[testbed.MySQLVersion]*testbed.MySQL{}
	}
	servers.running[version] = running
	return running
}

func open(t *testing.T, server *testbed.MySQL, user string) (*sql.DB, *Facts) {
	t.Helper()
	db, err := Connect(t.Context(), Config{Address: server.Address(), User: user, Password: Secret(user)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	facts, err := ReadFacts(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return db, facts
}

func exec(t *testing.T, server *testbed.MySQL, statements ...string) {
	t.Helper()
	if err := server.Exec(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
}

func TestFactsAndPreflight(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			server := start(t, version)
			db, facts := open(t, server, "cdc")
			if facts.Version == "" || facts.ServerID != server.ServerID || facts.Port != server.Port {
				t.Errorf("%+v", facts)
			}
			if (facts.Flavor == gtid.MariaDB) != version.IsMariaDB() || (facts.ServerUUID == "") != version.IsMariaDB() {
				t.Errorf("flavor %s, UUID %q", facts.Flavor, facts.ServerUUID)
			}
			if facts.CascadesLogged() != (version == testbed.MySQL97) {
				t.Errorf("cascades logged: %v", facts.CascadesLogged())
			}
			for _, finding := range Preflight(facts) {
				if !finding.Warning {
					t.Errorf("%s", change.Explain(&finding.Problem))
				}
			}
			file, offset, executed, err := facts.BinlogStatus(t.Context(), db)
			if err != nil || file == "" || offset < 4 {
				t.Errorf("status: %s:%d %v", file, offset, err)
			}
			again, err := facts.Executed(t.Context(), db)
			if err != nil || !again.Equal(executed) {
				t.Errorf("executed %s and %s, %v", executed, again, err)
			}
			if purged, err := facts.Purged(t.Context(), db); err != nil || !executed.Contains(purged) {
				t.Errorf("purged %s, %v", purged, err)
			}
		})
	}
}

func TestPreflightFindings(t *testing.T) {
	good := Facts{
		Version: "9.7.4", Major: 9, Minor: 7, Patch: 4, ServerID: 1, GTIDMode: true, LogBin: true, BinlogFormat: "ROW",
		RowImage: "FULL", RowMetadata: "FULL", SyncBinlog: 1, FlushLog: 1, ExpireSeconds: 2592000, LogUpdates: true,
	}
	for _, c := range []struct {
		what  string
		spoil func(*Facts)
		want  string
	}{
		{"good", func(*Facts) {}, ""},
		{"no binlog", func(f *Facts) { f.LogBin = false }, "error: the server writes no binlog"},
		{"format", func(f *Facts) { f.BinlogFormat = "MIXED" }, "error: binlog_format is MIXED"},
		{"image", func(f *Facts) { f.RowImage = "MINIMAL" }, "error: binlog_row_image is MINIMAL"},
		{"metadata", func(f *Facts) { f.RowMetadata = "MINIMAL" }, "error: binlog_row_metadata is MINIMAL"},
		{"old", func(f *Facts) { f.RowMetadata, f.Major = "", 5 },
			"error: MySQL before 8.0.1 is not supported; error: the server has no binlog_row_metadata"},
		{"json", func(f *Facts) { f.RowValueOptions = "PARTIAL_JSON" }, "warning: binlog_row_value_options is PARTIAL_JSON"},
		{"gtid", func(f *Facts) { f.GTIDMode = false }, "warning: gtid_mode is not ON"},
		{"sync", func(f *Facts) { f.SyncBinlog = 0 }, "warning: sync_binlog is 0"},
		{"flush", func(f *Facts) { f.FlushLog = 2 }, "warning: innodb_flush_log_at_trx_commit is 2"},
		{"retention", func(f *Facts) { f.ExpireSeconds = 3600 }, "warning: the binlog is kept for 1h0m0s only"},
		{"server id", func(f *Facts) { f.ServerID = 0 }, "error: server_id is 0"},
		{"filter", func(f *Facts) { f.BinlogDoDB = "a" }, "warning: the binlog is filtered: binlog_do_db = a"},
		{"replica", func(f *Facts) { f.ReadOnly, f.LogUpdates = true, false },
			"error: the server seems to be a replica and does not log what it applies"},
	} {
		facts := good
		c.spoil(&facts)
		if got := summary(Preflight(&facts)); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.what, got, c.want)
		}
	}
	facts := good
	facts.RowMetadata = "MINIMAL"
	if got := Preflight(&facts)[0].Mend; got != "SET PERSIST binlog_row_metadata = 'FULL'" {
		t.Errorf("MySQL: %s", got)
	}
	facts.Flavor, facts.Major, facts.Minor = gtid.MariaDB, 10, 11
	if got := Preflight(&facts)[0].Mend; !strings.HasPrefix(got, "SET GLOBAL binlog_row_metadata = 'FULL'") || !strings.Contains(got, "[mysqld]") {
		t.Errorf("MariaDB: %s", got)
	}
}

func summary(findings []Finding) string {
	var lines []string
	for _, finding := range findings {
		level := "error"
		if finding.Warning {
			level = "warning"
		}
		lines = append(lines, level+": "+finding.What)
		if finding.Mend == "" || finding.Why == "" {
			lines = append(lines, "(says not why, or not what helps)")
		}
	}
	return strings.Join(lines, "; ")
}

func TestGrants(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			server := start(t, version)
			exec(t, server, "CREATE DATABASE IF NOT EXISTS g", "CREATE TABLE IF NOT EXISTS g.t (id INT)",
				"CREATE USER IF NOT EXISTS 'poor'@'%' IDENTIFIED BY 'poor'", "GRANT USAGE ON *.* TO 'poor'@'%'")
			tables := []change.TableName{{DB: "g", Name: "t"}}
			db, facts := open(t, server, "cdc")
			if findings, err := CheckGrants(t.Context(), db, facts, tables); err != nil || len(findings) > 0 {
				t.Errorf("cdc: %s, %v", summary(findings), err)
			}
			db, facts = open(t, server, "poor")
			findings, err := CheckGrants(t.Context(), db, facts, tables)
			client := "REPLICATION CLIENT"
			if version.IsMariaDB() {
				client = "BINLOG MONITOR"
			}
			want := "error: the user lacks the privilege " + client +
				"; error: the user lacks the privilege REPLICATION SLAVE; error: the user lacks the privilege SELECT"
			if got := summary(findings); err != nil || got != want {
				t.Errorf("poor:\ngot  %s, %v\nwant %s", got, err, want)
			}
			for _, f := range findings { // the remedy, word by word
				exec(t, server, f.Mend)
			}
			db, facts = open(t, server, "poor")
			if findings, err = CheckGrants(t.Context(), db, facts, tables); err != nil || len(findings) > 0 {
				t.Errorf("poor, after what was advised: %s, %v", summary(findings), err)
			}
			exec(t, server, "DROP USER 'poor'@'%'")
		})
	}
}

func TestConnectionProblems(t *testing.T) {
	server := start(t, testbed.MySQL97)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := silent.Addr().String()
	silent.Close()
	missing := filepath.Join(t.TempDir(), "missing")
	good := Config{Address: server.Address(), User: "cdc", Password: "cdc", TLS: TLSVerify, TLSCA: server.CAFile}
	for _, c := range []struct {
		name  string
		spoil func(*Config)
		kind  change.Severity
		want  string
	}{
		{"password", func(c *Config) { c.Password = "wrong" }, change.Configuration, `the server refuses user "cdc"`},
		{"user", func(c *Config) { c.User = "nobody" }, change.Configuration, `the server refuses user "nobody"`},
		{"port", func(c *Config) { c.Address = address }, change.Retry, "the server cannot be reached"},
		{"host", func(c *Config) { c.Address = "no-such-host.invalid:3306" }, change.Retry, `host "no-such-host.invalid" cannot be found`},
		{"authority", func(c *Config) { c.TLSCA = "" }, change.Configuration, "the server's certificate cannot be trusted"},
		{"mode", func(c *Config) { c.TLS = "yes" }, change.Configuration, `tls: "yes" is not one of off, prefer, require, verify`},
		{"CA file", func(c *Config) { c.TLSCA = missing }, change.Configuration, "tls_ca cannot be read"},
		{"password file", func(c *Config) { c.Password, c.PasswordFile = "", missing }, change.Configuration, "the password file cannot be read"},
	} {
		cfg := good
		c.spoil(&cfg)
		_, err := Connect(t.Context(), cfg, Options{})
		var problem *change.Problem
		if !errors.As(err, &problem) || problem.Kind != c.kind || problem.What != c.want || problem.Mend == "" {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	_, err = Connect(ctx, good, Options{})
	if resume := server.Resume(); resume != nil {
		t.Fatal(resume)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's deadline: %v", err)
	}
}

// TestTLSAndPasswords connects a user that the server's cache of passwords does not know yet, in each mode:
// over plain TCP caching_sha2_password needs the server's public key then.
func TestTLSAndPasswords(t *testing.T) {
	for _, version := range versions {
		server := start(t, version)
		for i, mode := range []string{"", TLSOff, TLSPrefer, TLSRequire, TLSVerify} {
			t.Run(fmt.Sprintf("%s/%q", version, mode), func(t *testing.T) {
				user := fmt.Sprintf("fresh%d", i)
				password := fmt.Sprintf("secret-%d", i)
				exec(t, server, fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", user, password))
				file := filepath.Join(t.TempDir(), "password")
				if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				cfg := Config{Address: server.Address(), User: user, PasswordFile: file, TLS: mode}
				if mode == TLSVerify || mode == TLSRequire {
					cfg.TLSCA = server.CAFile
				}
				if version == testbed.MySQL80 && mode == TLSRequire {
					cfg.TLSCA = filepath.Join(server.DataDir, "ca.pem")
				}
				if version == testbed.MySQL80 && mode == TLSVerify {
					t.Skip("the certificate that 8.0.15 makes for itself has no host name")
				}
				db, err := Connect(t.Context(), cfg, Options{})
				if err != nil {
					t.Fatal(change.Explain(err))
				}
				defer db.Close()
				var name, cipher string
				if err := db.QueryRow("SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil {
					t.Fatal(err)
				}
				if (cipher == "") != (mode == TLSOff) {
					t.Errorf("cipher %q", cipher)
				}
			})
		}
	}
}

func TestSession(t *testing.T) {
	for _, version := range versions {
		server := start(t, version)
		db, err := Connect(t.Context(), Config{Address: server.Address(), User: "cdc", Password: "cdc"},
			Options{Variables: ReadVariables(), Database: "information_schema", MaxConnections: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var zone, mode, database string
		var charset sql.NullString
		if err := db.QueryRow("SELECT @@time_zone, @@sql_mode, @@character_set_results, DATABASE()").Scan(&zone, &mode, &charset, &database); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(zone, mode, charset.Valid, database); got != "+00:00falseinformation_schema" {
			t.Errorf("%s: %s", version, got)
		}
	}
}

// TestLiterals sends every byte through both kinds of literals, with and without NO_BACKSLASH_ESCAPES.
func TestLiterals(t *testing.T) {
	server := start(t, testbed.MySQL97)
	var every []byte
	for i := range 256 {
		every = append(every, byte(i))
	}
	for _, mode := range []string{"''", "'NO_BACKSLASH_ESCAPES'", "'ANSI_QUOTES'"} {
		db, err := Connect(t.Context(), Config{Address: server.Address(), User: "cdc", Password: "cdc"},
			Options{Variables: map[string]string{"sql_mode": mode}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		for _, value := range [][]byte{nil, []byte("x"), every} {
			var got []byte
			if err := db.QueryRow(string(AppendLiteral([]byte("SELECT "), value))).Scan(&got); err != nil || !slices.Equal(got, value) {
				t.Errorf("%s: %q came back as %q, %v", mode, value, got, err)
			}
		}
		for _, text := range []string{"", "it's", `a\b`, `\'; DROP`, "\x00", "日本 😀", `"q"`, "`"} {
			var got string
			if err := db.QueryRow("SELECT " + QuoteString(text)).Scan(&got); err != nil || got != text {
				t.Errorf("%s: %q came back as %q, %v", mode, text, got, err)
			}
			if text == "" || text == "\x00" {
				continue
			}
			if err := db.QueryRow("SELECT 1 AS " + QuoteName(text) + " LIMIT 1").Scan(&got); err != nil {
				t.Errorf("%s: name %q: %v", mode, text, err)
			}
		}
	}
}

func TestOpenXA(t *testing.T) {
	for _, version := range versions {
		server := start(t, version)
		exec(t, server, "CREATE DATABASE IF NOT EXISTS x", "CREATE TABLE IF NOT EXISTS x.t (id INT PRIMARY KEY)",
			"XA START 'a\\'b', 'c', 5", "INSERT INTO x.t VALUES (1)", "XA END 'a\\'b', 'c', 5", "XA PREPARE 'a\\'b', 'c', 5")
		db, facts := open(t, server, "cdc")
		got, err := OpenXA(t.Context(), db, facts)
		if diff := cmp.Diff([]string{"X'612762',X'63',5"}, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", version, err, diff)
		}
		err = server.Exec(t.Context(), "XA ROLLBACK X'612762',X'63',5")
		for i := 0; err != nil && i < 50; i++ { // until the session that prepared it is closed
			time.Sleep(20 * time.Millisecond)
			err = server.Exec(t.Context(), "XA ROLLBACK X'612762',X'63',5")
		}
		if err != nil {
			t.Error(err)
		}
	}
}
