package binlog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
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

// server is a running server with a database of the test's own.
type server struct {
	*testbed.MySQL
	t     *testing.T
	db    *sql.DB // as the user "app", in the database
	name  string  // of the database
	facts *mysql.Facts
}

// start returns the version's shared server.
func start(t *testing.T, version testbed.MySQLVersion) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server")
	}
	servers.Lock()
	defer servers.Unlock()
	running := servers.running[version]
	if running == nil {
		var err error
		if running, err = testbed.StartMySQL(context.Background(), testbed.MySQLOptions{Version: version, Log: t.Logf}); err != nil {
			t.Fatal(err)
		}
		if servers.running == nil {
			servers.running = map[testbed.MySQLVersion]*testbed.MySQL{}
		}
		servers.running[version] = running
	}
	return attach(t, running)
}

func attach(t *testing.T, running *testbed.MySQL) *server {
	t.Helper()
	s := &server{MySQL: running, t: t, name: fmt.Sprintf("d%d", time.Now().UnixNano()%1e9)}
	if err := running.Exec(t.Context(), "CREATE DATABASE "+s.name); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.db, err = running.Open("app", s.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	if s.facts, err = mysql.ReadFacts(t.Context(), s.db); err != nil {
		t.Fatal(err)
	}
	return s
}

// session runs statements one after the other in one connection, which is closed after them: older servers
// let nobody else end an XA transaction before.
func (s *server) session(statements ...string) {
	s.t.Helper()
	conn, err := s.db.Conn(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range statements {
		_, err := conn.ExecContext(s.t.Context(), statement)
		for tries := 0; mysql.ErrorNumber(err) == errorUnknownXID && tries < 50; tries++ {
			time.Sleep(20 * time.Millisecond) // the session that prepared it is still being closed
			_, err = conn.ExecContext(s.t.Context(), statement)
		}
		if err != nil {
			s.t.Fatalf("%s: %v", statement, err)
		}
	}
	// The pool would hand the session's settings on.
	if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		s.t.Fatal(err)
	}
}

const errorUnknownXID = 1397

// end returns where the binlog ends, and what is executed.
func (s *server) end() (change.Position, *gtid.Set) {
	s.t.Helper()
	file, offset, executed, err := s.facts.BinlogStatus(s.t.Context(), s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	return change.Position{File: file, Offset: offset}, executed
}

// config is how a source's account reads the server.
func (s *server) config() Config {
	return Config{
		MySQL:    mysql.Config{Address: s.Address(), User: "cdc", Password: "cdc"},
		ServerID: mysql.ServerID(s.t.Name()), Facts: s.facts, Heartbeat: 100 * time.Millisecond,
		XASpillDir: s.t.TempDir(),
	}
}

// read reads from there to the end of the binlog as it is now.
func (s *server) read(cfg Config, from From) []*Event {
	s.t.Helper()
	var events []*Event
	s.follow(cfg, from, func(e *Event) { events = append(events, e) })
	return events
}

var errEnough = errors.New("enough")

// follow reads from there and stops at the end of the binlog as it was at the beginning.
func (s *server) follow(cfg Config, from From, handle func(*Event)) {
	s.t.Helper()
	end, _ := s.end()
	ctx, cancel := context.WithTimeout(s.t.Context(), 50*time.Second)
	defer cancel()
	last := change.Position{}
	err := New(cfg).Run(ctx, from, func(e *Event) error {
		if e.Position.Compare(last) < 0 {
			s.t.Errorf("%s takes the position from %s back to %s", e.Kind, last, e.Position)
		}
		last = e.Position
		handle(e)
		if last.Compare(end) >= 0 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		s.t.Fatalf("the stream ended at %s, before %s: %v", last, end, err)
	}
	if last != end {
		s.t.Errorf("the stream is at %s, the server at %s", last, end)
	}
}
