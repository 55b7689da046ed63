package crawl

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/source/merge"
	"github.com/sluice-cdc/sluice/testbed"
)

// TestWaitsForVisibility hangs a commit between the binlog and the engine, as semi-sync replication does: the
// stream has carried the change, a SELECT does not show it. The crawl waits, says so, and publishes the
// change's row or nothing.
func TestWaitsForVisibility(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	running, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { running.Stop() })
	s := attach(t, running, "d")
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1), (2, 1)")
	if err := s.Exec(t.Context(), "INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
		"SET GLOBAL rpl_semi_sync_source_timeout = 3600000, GLOBAL rpl_semi_sync_source_wait_no_replica = 1"); err != nil {
		t.Skipf("this server has no semi-sync: %v", err)
	}
	st := follow(t, s)
	if err := s.Exec(t.Context(), "SET GLOBAL rpl_semi_sync_source_enabled = 1"); err != nil {
		t.Fatal(err)
	}
	hanging := make(chan error, 1)
	go func() {
		_, err := s.db.ExecContext(context.Background(), "UPDATE t SET v = 2 WHERE id = 1")
		hanging <- err
	}()
	eventually(t, "the stream has carried the update", func() bool {
		st.mu.Lock()
		defer st.mu.Unlock()
		return len(st.known(s.table("t")).carried) == 1
	})
	var v int
	if err := s.db.QueryRow("SELECT v FROM t WHERE id = 1").Scan(&v); err != nil || v != 1 {
		t.Fatalf("v is %d, %v: the commit does not hang", v, err)
	}
	m := st.manager(nil)
	id := st.begin(m, Request{Table: s.table("t")})
	defer st.run(m)()
	eventually(t, "the wait is reported", func() bool { return strings.Contains(m.List()[0].Note, "still waiting") || st.published() > 0 })
	if n := st.published(); n != 0 {
		t.Errorf("%d chunks were published while the commit hangs", n)
	}
	if err := s.Exec(t.Context(), "SET GLOBAL rpl_semi_sync_source_enabled = 0"); err != nil {
		t.Fatal(err)
	}
	if err := <-hanging; err != nil {
		t.Fatal(err)
	}
	if p := st.over(m, id); p.State != Done {
		t.Fatalf("%s: %s", p.State, p.Reason)
	}
	st.compare(s.table("t"))
}

// TestStarvedByLock: without GTIDs rows are read with a lock, which a long transaction holds. It is reported,
// other tables go on, and the chunk gets through when the lock is free.
func TestStarvedByLock(t *testing.T) {
	s := start(t, noGTIDs)
	s.exec("CREATE TABLE locked (id INT PRIMARY KEY, v INT)", "CREATE TABLE open (id INT PRIMARY KEY, v INT)")
	s.numbers("locked", 3000, "n, n")
	s.numbers("open", 3000, "n, n")
	st := follow(t, s)
	long, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Rollback()
	if _, err := long.Exec("UPDATE locked SET v = 7 WHERE id = 5"); err != nil {
		t.Fatal(err)
	}
	m := st.manager(nil)
	for _, table := range []string{"locked", "open"} {
		st.begin(m, Request{Table: s.table(table), ID: table})
	}
	defer st.run(m)()
	eventually(t, "the other table is done, and the starved one reported", func() bool {
		list := m.List()
		return list[1].State == Done && strings.Contains(list[0].Note, "tried")
	})
	t.Log(m.List()[0].Line())
	if err := long.Commit(); err != nil {
		t.Fatal(err)
	}
	if p := st.over(m, "locked"); p.State != Done {
		t.Errorf("%s: %s", p.State, p.Reason)
	}
	st.compare(s.table("locked"))
}

// TestFailures: each fault ends its own crawl with what mends it, and no other.
func TestFailures(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE good (id INT PRIMARY KEY)", "INSERT INTO good VALUES (1)",
		"CREATE TABLE nokey (id INT)", "CREATE TABLE floats (id DOUBLE PRIMARY KEY)")
	st := follow(t, s)
	m := st.manager(nil)
	for _, table := range []string{"good", "nokey", "floats", "missing"} {
		st.begin(m, Request{Table: s.table(table), ID: table})
	}
	st.begin(m, Request{Table: s.table("good"), ID: "keys", Keys: `["x"]`})
	defer st.run(m)()
	st.over(m, "good")
	for _, status := range m.List() {
		want := map[string]string{
			"good": "", "nokey": "no key", "floats": "is double", "missing": "does not exist", "keys": `keys[0]: column id: "x" is no int`,
		}[status.ID]
		if want == "" {
			if status.State != Done {
				t.Errorf("%s: %s: %s", status.ID, status.State, status.Reason)
			}
			continue
		}
		if status.State != Failed || !strings.Contains(status.Reason, want) {
			t.Errorf("%s: %s: %q does not say %q", status.ID, status.State, status.Reason, want)
		}
	}
}

// TestDenied names the GRANT.
func TestDenied(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
	st := follow(t, s)
	if err := s.Exec(t.Context(), "CREATE USER denied IDENTIFIED BY 'denied'", "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO denied",
		"GRANT INSERT ON "+s.name+".t TO denied"); err != nil {
		t.Fatal(err)
	}
	db, err := mysql.Open(mysql.Config{Address: s.Address(), User: "denied", Password: "denied"}, mysql.Options{Variables: mysql.ReadVariables()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	m, err := New(Config{Facts: s.facts}, db, st)
	if err != nil {
		t.Fatal(err)
	}
	id := st.begin(m, Request{Table: s.table("t")})
	defer st.run(m)()
	if p := st.over(m, id); p.State != Failed || !strings.Contains(p.Mend, "GRANT SELECT ON") {
		t.Errorf("%s: %s", p.State, p.Reason)
	}
}

// TestDroppedMeanwhile drops the table in the middle of its crawl.
func TestDroppedMeanwhile(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	s.numbers("t", 20000, "n, n")
	st := follow(t, s)
	m := st.manager(func(c *Config) { c.Bytes = 10 << 10 })
	id := st.begin(m, Request{Table: s.table("t")})
	defer st.run(m)()
	eventually(t, "chunks are published", func() bool { return st.published() > 5 })
	s.exec("DROP TABLE t")
	if p := st.over(m, id); p.State != Failed || !strings.Contains(p.Reason, "does not exist") {
		t.Errorf("%s: %s", p.State, p.Reason)
	}
}

// TestConnectionsLost kills the crawl's connections again and again.
func TestConnectionsLost(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	s.numbers("t", 30000, "n, n")
	st := follow(t, s)
	m := st.manager(func(c *Config) { c.Bytes = 10 << 10 })
	id := st.begin(m, Request{Table: s.table("t"), ID: "t"})
	defer st.run(m)()
	eventually(t, "the stream reads", s.streams) // before that its connection looks like one that reads rows
	// And before it has the table's definition, which it loads by the same account: an error of the stream ends the crawls.
	eventually(t, "a chunk is published", func() bool { return st.published() > 0 })
	if !m.Busy() {
		t.Fatal("the crawl was over before anything was killed")
	}
	for kills, end := 0, time.Now().Add(time.Minute); m.Busy() && !t.Failed(); kills++ {
		if time.Now().After(end) {
			t.Fatal("the crawl is not over within a minute")
		}
		if kills < 20 {
			s.killReads()
		}
		time.Sleep(20 * time.Millisecond)
	}
	if p := st.over(m, id); p.State != Done {
		t.Fatalf("%s: %s", p.State, p.Reason)
	}
	st.once("t", 30000)
}

// streams reports whether the source's account reads the binlog.
func (s *server) streams() bool {
	var n int
	err := s.db.QueryRow("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'cdc' AND COMMAND = 'Binlog Dump GTID'").Scan(&n)
	return err == nil && n > 0
}

// killReads kills the sessions of the source's account that read rows.
func (s *server) killReads() {
	rows, err := s.db.Query("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = 'cdc' AND COMMAND <> 'Binlog Dump GTID'")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err == nil {
			_, _ = s.db.Exec(fmt.Sprintf("KILL %d", id)) // it may be gone already
		}
	}
}

// TestOtherServer: the stream's server is not the one that the pool leads to.
func TestOtherServer(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
	st := follow(t, s)
	facts := *s.facts
	facts.ServerUUID = "00000000-0000-0000-0000-000000000001"
	s.facts = &facts
	m := st.manager(nil)
	st.begin(m, Request{Table: s.table("t")})
	defer st.run(m)()
	eventually(t, "it is reported", func() bool { return strings.Contains(m.List()[0].Note, errOtherServer.Error()) })
	if st.published() != 0 {
		t.Error("a chunk was published")
	}
}

// TestCancel ends a crawl that hangs, and one that works.
func TestCancel(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	s.numbers("t", 50000, "n, n")
	st := follow(t, s)
	m := st.manager(func(c *Config) {
		c.Bytes = 4 << 10
		c.Pace = func(ctx context.Context) error { // a load that never goes down
			<-ctx.Done()
			return ctx.Err()
		}
	})
	id := st.begin(m, Request{Table: s.table("t")})
	defer st.run(m)()
	eventually(t, "it runs", func() bool { return m.List()[0].State == Running })
	if err := m.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	st.mu.Lock()
	p := st.records[id]
	st.mu.Unlock()
	if p.State != Cancelled {
		t.Errorf("the record says %s", p.State)
	}
	if err := m.Cancel(t.Context(), id); err == nil {
		t.Error("cancelled twice")
	}
	if err := m.Cancel(t.Context(), "nobody"); err == nil {
		t.Error("cancelled nobody")
	}
}

// TestKeyless: tables that can't be read in pieces are refused with what mends it.
func TestKeyless(t *testing.T) {
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}, Columns: []change.Column{{Name: "a", Type: change.Int}}}
	if _, err := newShape(table, &mysql.TableExtras{}); err == nil || !strings.Contains(change.Explain(err), "ADD PRIMARY KEY") {
		t.Errorf("%v", err)
	}
	table.Key = []int{0}
	nullable := []mysql.Unique{{Name: "u", Columns: []int{0}, Nullable: true}}
	if _, err := newShape(table, &mysql.TableExtras{Uniques: nullable}); err == nil || !strings.Contains(change.Explain(err), "ADD UNIQUE (a)") {
		t.Errorf("%v", err)
	}
}

// TestStart refuses what makes no sense and takes the same command once.
func TestStart(t *testing.T) {
	m, err := New(Config{Facts: &mysql.Facts{}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	table := change.TableName{DB: "shop", Name: "orders"}
	for _, r := range []Request{
		{Table: table, Where: "a = 1", Keys: "[1]"},
		{Table: table, Where: "a = 1)"},
		{Table: table, Sweep: true}, // no topic to read
	} {
		if _, err := m.Start(t.Context(), r); change.SeverityOf(err) != change.Poison || err == nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for range 2 {
		if p, err := m.Start(t.Context(), Request{ID: "x", Table: table}); err != nil || p.State != Planning || p.ID != "x" {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if n := len(m.List()); n != 1 {
		t.Errorf("%d crawls", n)
	}
}

// brokenStream cannot make anything durable.
type brokenStream struct{ Stream }

var errBroken = errors.New("the stream is broken")

func (brokenStream) Finish(context.Context, Progress) error { return errBroken }

// TestStreamFails: the stream's own error ends Run, with all its goroutines; what is about one table does not.
func TestStreamFails(t *testing.T) {
	m, err := New(Config{Facts: &mysql.Facts{}}, nil, brokenStream{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Start(t.Context(), Request{Table: change.TableName{DB: "shop", Name: "orders"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("Run: %v", err)
	}
	for _, err := range []error{errBroken, fmt.Errorf("open: %w", sql.ErrConnDone)} {
		var own streamError
		if !errors.As(fromStream(err), &own) {
			t.Errorf("%v is not taken for the stream's", err)
		}
	}
	for _, err := range []error{&change.Problem{Kind: change.Poison}, fmt.Errorf("load: %w", sql.ErrNoRows)} {
		var own streamError
		if errors.As(fromStream(err), &own) {
			t.Errorf("%v is taken for the stream's", err)
		}
	}
}

// TestWindowFull: a window that remembers too many keys is thrown away, and smaller chunks get through.
func TestWindowFull(t *testing.T) {
	s := start(t, newest)
	s.exec("CREATE TABLE t (id INT PRIMARY KEY, v INT)")
	s.numbers("t", 3000, "n, 0")
	st := follow(t, s)
	st.merger = merge.New(merge.Limits{Bytes: 60 << 10})
	discards := 0
	st.beforeRead = func(name tableName, rows []merge.Row) { // the busier, the larger the chunk
		if len(rows) > 100 {
			discards++
			s.exec(fmt.Sprintf("UPDATE t SET v = v + 1 WHERE id <= %d", 2000))
			st.caughtUp()
		}
	}
	m := st.manager(func(c *Config) { c.Workers = 1 })
	id := st.begin(m, Request{Table: s.table("t")})
	defer st.run(m)()
	if p := st.over(m, id); p.State != Done {
		t.Fatalf("%s: %s", p.State, p.Reason)
	}
	if discards < 2 {
		t.Errorf("%d chunks met a full window", discards)
	}
	st.compare(s.table("t"))
}
