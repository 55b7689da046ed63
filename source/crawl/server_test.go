package crawl

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/testbed"
)

// kind is a server with its settings.
type kind struct {
	version testbed.MySQLVersion
	flags   string // one flag, or none
}

var (
	newest  = kind{version: testbed.MySQLNewest}
	noGTIDs = kind{version: testbed.MySQLNewest, flags: "gtid_mode=OFF"}
	mariaDB = kind{version: testbed.MariaDB1011}
	mysql80 = kind{version: testbed.MySQL80}
)

// servers are started at the first test that asks for them, and ended by TestMain.
var servers struct {
	sync.Mutex
	// Mutex guards the following.
	running map[kind]*testbed.MySQL
	made    int // databases
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, server := range servers.running {
		if err := server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// server is a running server with a database of the test's own.
type server struct {
	*testbed.MySQL
	t     *testing.T
	db    *sql.DB // as a user that may do everything, in the database
	reads *sql.DB // as the source
	name  string  // of the database
	facts *mysql.Facts
}

// start returns the shared server of that kind.
func start(t *testing.T, k kind) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	servers.Lock()
	defer servers.Unlock()
	running := servers.running[k]
	if running == nil {
		o := testbed.MySQLOptions{Version: k.version, Log: t.Logf}
		if k.flags != "" {
			o.Flags = []string{"enforce_gtid_consistency=OFF", k.flags}
		}
		var err error
		if running, err = testbed.StartMySQL(context.Background(), o); err != nil {
			t.Fatal(err)
		}
		if servers.running == nil {
			servers.running = map[kind]*testbed.MySQL{}
		}
		servers.running[k] = running
	}
	servers.made++
	return attach(t, running, fmt.Sprintf("d%d", servers.made))
}

func attach(t *testing.T, running *testbed.MySQL, name string) *server {
	t.Helper()
	s := &server{MySQL: running, t: t, name: name}
	if err := running.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.db, err = running.Open("app", name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	s.reads, err = mysql.Open(s.source(), mysql.Options{Variables: mysql.ReadVariables()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.reads.Close() })
	if s.facts, err = mysql.ReadFacts(t.Context(), s.reads); err != nil {
		t.Fatal(err)
	}
	return s
}

// source is how a source's account reaches the server.
func (s *server) source() mysql.Config {
	return mysql.Config{Address: s.Address(), User: "cdc", Password: "cdc"}
}

func (s *server) exec(statements ...string) {
	s.t.Helper()
	for _, statement := range statements {
		if _, err := s.db.ExecContext(s.t.Context(), statement); err != nil {
			s.t.Fatalf("%.300s: %v", statement, err)
		}
	}
}

func (s *server) table(name string) change.TableName {
	return change.TableName{DB: s.name, Name: name}
}

// numbers inserts rows whose expressions may use n, from 1 to rows.
func (s *server) numbers(table string, rows int, expressions string) {
	s.t.Helper()
	const digits = "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5" +
		" UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	s.exec(fmt.Sprintf("INSERT INTO %s SELECT %s FROM (SELECT 1 + a.d + 10*b.d + 100*c.d + 1000*e.d + 10000*f.d AS n"+
		" FROM %s a, %s b, %s c, %s e, %s f) x WHERE n <= %d", table, expressions, digits, digits, digits, digits, digits, rows))
}

// session returns a crawl's session, connected.
func (s *server) session() *session {
	s.t.Helper()
	c := &session{db: s.reads, facts: s.facts, locking: !waits(s.facts)}
	if err := c.connect(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.close)
	return c
}

// shape loads a table's.
func (s *server) shape(name string, key ...string) *shape {
	s.t.Helper()
	t, extras, err := mysql.LoadTable(s.t.Context(), s.reads, s.facts, s.table(name), key)
	if err != nil {
		s.t.Fatal(err)
	}
	sh, err := newShape(t, extras)
	if err != nil {
		s.t.Fatal(err)
	}
	return sh
}

// eventually waits for a condition, for 30 seconds at most.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

// unlogged changes rows so that the binlog does not say so.
func (s *server) unlogged(statements ...string) {
	s.t.Helper()
	all := append([]string{"SET SESSION sql_log_bin = 0", "USE " + s.name}, statements...)
	if err := s.Exec(s.t.Context(), all...); err != nil {
		s.t.Fatal(err)
	}
}
