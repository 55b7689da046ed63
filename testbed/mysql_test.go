package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

var allMySQL = []MySQLVersion{MySQL97, MySQL80, MariaDB1011}

// startMySQL starts a server for a test and stops it after it.
func startMySQL(t *testing.T, o MySQLOptions) *MySQL {
	t.Helper()
	o.Log = t.Logf
	m, err := StartMySQL(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		if exists(m.dir) || m.Running() {
			t.Errorf("Stop left %s, running %t", m.dir, m.Running())
		}
	})
	return m
}

func mustExec(t *testing.T, m *MySQL, statements ...string) {
	t.Helper()
	if err := m.Exec(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
}

// open opens a pool over TCP for the test's life.
func open(t *testing.T, m *MySQL, user string) *sql.DB {
	t.Helper()
	db, err := m.Open(user, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func query(t *testing.T, m *MySQL, user, query string) string {
	t.Helper()
	var value string
	if err := open(t, m, user).QueryRowContext(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%s as %s: %v", query, user, err)
	}
	return value
}

// TestMySQL runs all versions side by side: each is asked for what a source
// needs and killed in the middle of its life.
func TestMySQL(t *testing.T) {
	t.Parallel()
	for _, version := range allMySQL {
		t.Run(version.cacheName(), func(t *testing.T) {
			t.Parallel()
			m := startMySQL(t, MySQLOptions{Version: version})
			mustExec(t, m, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v TEXT)", "INSERT INTO d.t VALUES (1,'a'),(2,'b')")
			testSettings(t, m)
			testSourcePrivileges(t, m)
			testKillAndStart(t, m)
			testShutdownAndStart(t, m)
		})
	}
}

func testSettings(t *testing.T, m *MySQL) {
	settings := map[string]string{
		"log_bin": "1", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL",
		"log_slave_updates": "1", "sync_binlog": "0", "innodb_flush_log_at_trx_commit": "2",
	}
	if m.Flavor.MySQL9Words() {
		delete(settings, "log_slave_updates")
		settings["log_replica_updates"] = "1"
	}
	if !m.Flavor.IsMariaDB() {
		settings["gtid_mode"] = "ON"
	}
	for name, want := range settings {
		if got := query(t, m, "app", "SELECT @@GLOBAL."+name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// The server's own words for its version are longer: 10.11.18-MariaDB-0+deb12u1-log.
	if got := query(t, m, "root", "SELECT VERSION()"); !strings.HasPrefix(got, m.Version) {
		t.Errorf("the server says it is %s, Version says %s", got, m.Version)
	}
}

// testSourcePrivileges does as cdc what a source does, and what it must not.
func testSourcePrivileges(t *testing.T, m *MySQL) {
	statements := []string{"SELECT * FROM d.t", "XA RECOVER"}
	switch {
	case m.Flavor.IsMariaDB():
		statements = append(statements, "SHOW MASTER STATUS", "SELECT @@GLOBAL.gtid_binlog_pos", "SELECT * FROM d.t LOCK IN SHARE MODE")
	case m.Flavor.MySQL9Words():
		statements = append(statements, "SHOW BINARY LOG STATUS", "SHOW BINARY LOGS", "SELECT * FROM d.t LOCK IN SHARE MODE",
			"SELECT WAIT_FOR_EXECUTED_GTID_SET(@@GLOBAL.gtid_executed, 1)")
	default:
		statements = append(statements, "SHOW MASTER STATUS", "SELECT WAIT_FOR_EXECUTED_GTID_SET(@@GLOBAL.gtid_executed, 1)")
	}
	db := open(t, m, "cdc")
	for _, statement := range statements {
		rows, err := db.QueryContext(t.Context(), statement)
		if err != nil {
			t.Errorf("as cdc: %s: %v", statement, err)
			continue
		}
		rows.Close()
	}
	if _, err := db.ExecContext(t.Context(), "DELETE FROM d.t"); err == nil {
		t.Error("cdc may write")
	}
}

func testKillAndStart(t *testing.T, m *MySQL) {
	pid, port := m.Pid(), m.Port
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("pid %d is still there after Kill: %v", pid, err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.Port != port || m.Pid() == pid || m.Pid() == 0 {
		t.Errorf("started again as pid %d on port %d, was pid %d on port %d", m.Pid(), m.Port, pid, port)
	}
	for _, user := range []string{"root", "app", "cdc"} {
		if got := query(t, m, user, "SELECT COUNT(*) FROM d.t"); got != "2" {
			t.Errorf("%s counts %s rows after the kill, want 2", user, got)
		}
	}
	if err := m.Start(t.Context()); err == nil {
		t.Error("a running server was started")
	}
}

func testShutdownAndStart(t *testing.T, m *MySQL) {
	if err := m.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if err := m.Pause(); err == nil {
		t.Error("a server that is down was paused")
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := query(t, m, "app", "SELECT COUNT(*) FROM d.t"); got != "2" {
		t.Errorf("%s rows after a shutdown, want 2", got)
	}
}

func TestMySQLPause(t *testing.T) {
	t.Parallel()
	m := startMySQL(t, MySQLOptions{Durable: true, Flags: []string{"max_allowed_packet=64M", "--gtid-mode=OFF", "enforce_gtid_consistency=OFF"}})
	if got := query(t, m, "root", "SELECT CONCAT_WS(' ', @@sync_binlog, @@innodb_flush_log_at_trx_commit, @@gtid_mode, @@max_allowed_packet)"); got != "1 1 OFF 67108864" {
		t.Errorf("the settings are %s", got)
	}
	if err := m.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := m.answers(ctx); err == nil {
		t.Error("a paused server answers")
	}
	if err := m.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := m.answers(t.Context()); err != nil {
		t.Errorf("a resumed server does not answer: %v", err)
	}
	// Stop, in the cleanup, must get through to a paused server too.
	if err := m.Pause(); err != nil {
		t.Fatal(err)
	}
}

func TestMySQLCertificate(t *testing.T) {
	t.Parallel()
	for _, version := range []MySQLVersion{MySQL97, MariaDB1011} {
		t.Run(version.cacheName(), func(t *testing.T) {
			t.Parallel()
			m := startMySQL(t, MySQLOptions{Version: version, TLS: true})
			pem, err := os.ReadFile(m.CAFile)
			if err != nil {
				t.Fatal(err)
			}
			authorities := x509.NewCertPool()
			authorities.AppendCertsFromPEM(pem)
			for name, test := range map[string]struct {
				pool *x509.CertPool
				ok   bool
			}{"its own authority": {authorities, true}, "no authority": {x509.NewCertPool(), false}} {
				config := m.Config("cdc")
				config.TLS = &tls.Config{RootCAs: test.pool, ServerName: "127.0.0.1"}
				connector, err := mysql.NewConnector(config)
				if err != nil {
					t.Fatal(err)
				}
				db := sql.OpenDB(connector)
				if err := db.PingContext(t.Context()); (err == nil) != test.ok {
					t.Errorf("with %s: %v", name, err)
				}
				db.Close()
			}
		})
	}
}

func TestReplicate(t *testing.T) {
	t.Parallel()
	for _, version := range allMySQL {
		t.Run(version.cacheName(), func(t *testing.T) {
			t.Parallel()
			source := startMySQL(t, MySQLOptions{Version: version})
			replica := startMySQL(t, MySQLOptions{Version: version})
			mustExec(t, source, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
			if err := Replicate(t.Context(), source, replica); err != nil {
				t.Fatal(err)
			}
			mustExec(t, source, "INSERT INTO d.t VALUES (2)")
			if err := WaitForReplica(t.Context(), source, replica); err != nil {
				t.Fatal(err)
			}
			if got := query(t, replica, "app", "SELECT GROUP_CONCAT(id ORDER BY id) FROM d.t"); got != "1,2" {
				t.Errorf("the replica has rows %s, want 1,2", got)
			}
		})
	}
}

// TestMySQLTool reads a binlog by the mysqlbinlog that came with the server.
func TestMySQLTool(t *testing.T) {
	t.Parallel()
	m := startMySQL(t, MySQLOptions{})
	mustExec(t, m, "CREATE DATABASE seen_in_the_binlog")
	cmd, err := m.Tool("mysqlbinlog", m.DataDir+"/binlog.000001")
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "CREATE DATABASE seen_in_the_binlog") {
		t.Errorf("mysqlbinlog: %v\n%s", err, output)
	}
}

func TestStartAfterStop(t *testing.T) {
	t.Parallel()
	// A folder whose path is too long for a socket.
	parent := t.TempDir() + "/" + strings.Repeat("long/", 20)
	m, err := StartMySQL(t.Context(), MySQLOptions{Dir: parent, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	socket := m.Socket
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(); err != nil {
		t.Errorf("the second Stop: %v", err)
	}
	if err := m.Start(t.Context()); err == nil {
		t.Error("a server without data was started")
	}
	if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 || exists(socket) {
		t.Errorf("Stop left %v, socket %t, %v", entries, exists(socket), err)
	}
}

func TestStartSaysWhy(t *testing.T) {
	t.Parallel()
	_, err := StartMySQL(t.Context(), MySQLOptions{Flags: []string{"no-such-flag=1"}})
	if err == nil || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("the error does not show the server's log: %v", err)
	}
}
