package handler

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/sinktest"
	"github.com/sluice-cdc/sluice/testbed"
)

// server is started at its first use, once, and stopped when all tests are done.
var server struct {
	once   sync.Once
	mysql  *testbed.MySQL
	missed error
	failed error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.mysql != nil {
		if err := server.mysql.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var databases atomic.Int64

// newDatabase is a new, empty database.
func newDatabase(t testing.TB) (name string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a server")
	}
	server.once.Do(func() {
		if server.missed = testbed.Available(context.Background(), "mysql-9.7"); server.missed == nil {
			server.mysql, server.failed = testbed.StartMySQL(context.Background(), testbed.MySQLOptions{})
		}
	})
	if server.missed != nil {
		t.Skipf("no MySQL to test with: %v", server.missed)
	}
	if server.failed != nil {
		t.Fatal(server.failed)
	}
	name = fmt.Sprintf("h%d", databases.Add(1))
	db := open(t, "")
	defer db.Close()
	must(t, db, "CREATE DATABASE "+name)
	return name
}

func open(t testing.TB, name string) *sql.DB {
	t.Helper()
	db, err := server.mysql.Open("app", name)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func must(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// keeper is a Transaction whose function keeps rows, with their versions, so that the suite can read them back.
type keeper struct{ *Transaction }

func keep(ctx context.Context, tx *sql.Tx, batch []*Event) error {
	for _, e := range batch {
		var have int64
		err := tx.QueryRowContext(ctx, "SELECT version FROM kept WHERE k = ? FOR UPDATE", e.change.Key).Scan(&have)
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return err
		case have >= int64(e.Version()):
			continue
		case e.Deleted():
			_, err = tx.ExecContext(ctx, "DELETE FROM kept WHERE k = ?", e.change.Key)
		default:
			var names []string
			for _, c := range e.change.Table.Columns {
				names = append(names, c.Name)
			}
			var text bytes.Buffer
			if err := gob.NewEncoder(&text).Encode(sink.Row{Columns: names, Values: e.change.After, Version: e.Version()}); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, "REPLACE INTO kept VALUES (?, ?, ?)", e.change.Key, int64(e.Version()), text.Bytes())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	rows, err := k.db.QueryContext(ctx, "SELECT kept FROM kept")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text []byte
		var row sink.Row
		if err := rows.Scan(&text); err != nil {
			return err
		}
		if err := gob.NewDecoder(bytes.NewReader(text)).Decode(&row); err != nil {
			return err
		}
		for len(row.Values) < len(r.Table.Columns) { // a column that was added later
			row.Columns = append(row.Columns, r.Table.Columns[len(row.Values)].Name)
			row.Values = append(row.Values, change.Value{})
		}
		if err := each(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// TestTransactionSuite: results in a database pass the suite on a real server.
func TestTransactionSuite(t *testing.T) {
	newDatabase(t)
	sinktest.Run(t, sinktest.Options{Histories: 15, New: func(t testing.TB, _ sinktest.Spec) func() sink.Target {
		name := newDatabase(t)
		db := open(t, name)
		defer db.Close()
		must(t, db, "CREATE TABLE kept (k VARBINARY(700) PRIMARY KEY, version BIGINT NOT NULL, kept LONGBLOB NOT NULL)")
		return func() sink.Target {
			return &keeper{InTransaction(open(t, name), keep, TransactionOptions{Results: []string{"kept"}})}
		}
	}})
}

// counter is a transaction target that counts changes: redelivery shows.
func counter(t *testing.T) (db *sql.DB, target *Transaction, epoch int64) {
	t.Helper()
	db = open(t, newDatabase(t))
	target = InTransaction(db, func(ctx context.Context, tx *sql.Tx, batch []*Event) error {
		for _, e := range batch {
			if e.New("status").String() == "bad" {
				return e.Refuse(errors.New("a bad order"))
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO counted VALUES (?, 1) ON DUPLICATE KEY UPDATE n = n + 1", e.Key("id").String()); err != nil {
				return err
			}
			if e.New("status").String() == "late" {
				return errors.New("the service is away")
			}
		}
		return nil
	}, TransactionOptions{Results: []string{"counted"}, Create: []string{"CREATE TABLE IF NOT EXISTS counted (k BIGINT PRIMARY KEY, n BIGINT NOT NULL)"}})
	t.Cleanup(func() { target.Close() })
	_, epoch, _, err := target.Assign(t.Context(), "g", part)
	if err != nil {
		t.Fatal(err)
	}
	return db, target, epoch
}

func sum(t *testing.T, db *sql.DB) (n int64) {
	t.Helper()
	if err := db.QueryRow("SELECT COALESCE(SUM(n), 0) FROM counted").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEachChangeOnce: a batch that comes again, in part, by a late owner or after a failure counts once.
func TestEachChangeOnce(t *testing.T) {
	db, target, epoch := counter(t)
	ctx := t.Context()
	apply := func(epoch, from, next int64, status string) error {
		var changes []sink.Change
		for o := from; o < next; o++ {
			changes = append(changes, of(change.Create, o, o, nil, row(o, status)))
		}
		b := batch(from, next, changes...)
		b.Epoch, b.ThroughMillis = epoch, next
		return target.Apply(ctx, b)
	}
	step := func(what string, err error, lost bool, want int64) {
		t.Helper()
		var l *sink.OwnershipLost
		if errors.As(err, &l) != lost || !lost && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := sum(t, db); got != want {
			t.Errorf("%s: counted %d, want %d", what, got, want)
		}
	}
	step("the first", apply(epoch, 0, 3, "a"), false, 3)
	step("the same again", apply(epoch, 0, 3, "a"), false, 3)
	step("a longer one that begins as it did", apply(epoch, 0, 5, "a"), false, 5)
	step("a gap", apply(epoch, 7, 9, "a"), true, 5)
	if err := apply(epoch, 5, 7, "late"); change.SeverityOf(err) != change.Retry {
		t.Errorf("a failure: %v", err)
	}
	step("what was done before a failure is rolled back", nil, false, 5)
	var refused *sink.Refused
	if err := apply(epoch, 5, 7, "bad"); !errors.As(err, &refused) || refused.Offset != 5 || !strings.Contains(err.Error(), "key id=5") {
		t.Errorf("a refusal: %v", err)
	}
	next, second, found, err := target.Assign(ctx, "g", part)
	if err != nil || next != 5 || second <= epoch || !found {
		t.Fatalf("assign gave %d, epoch %d, %v, %v", next, second, found, err)
	}
	step("a late owner", apply(epoch, 5, 7, "a"), true, 5)
	step("the new owner", apply(second, 5, 7, "a"), false, 7)
	positions, err := target.Positions(ctx, "g")
	if err != nil || len(positions) != 1 || positions[0] != (sink.Position{Partition: part, Next: 7, Epoch: second, ThroughMillis: 7}) {
		t.Errorf("positions %+v, %v", positions, err)
	}
	b := batch(7, 7)
	b.Epoch, b.ThroughMillis = second, 99
	if err := target.Apply(ctx, b); err != nil {
		t.Error(err)
	}
	if positions, _ = target.Positions(ctx, "g"); positions[0].ThroughMillis != 99 || positions[0].Next != 7 {
		t.Errorf("T alone: %+v", positions)
	}
}

func TestReplay(t *testing.T) {
	db, target, epoch := counter(t)
	ctx := t.Context()
	b := batch(0, 1, of(change.Create, 0, 1, nil, row(1, "a")))
	b.Epoch = epoch
	if err := target.Apply(ctx, b); err != nil {
		t.Fatal(err)
	}
	if names, err := target.Occupied(ctx, "src", []*change.Table{orders}); err != nil || len(names) != 1 {
		t.Errorf("occupied: %v, %v", names, err)
	}
	other := part
	other.Topic = "src.shop.users"
	if _, _, _, err := target.Assign(ctx, "g", other); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Positions(ctx, "g"); err != nil { // as the command does
		t.Fatal(err)
	}
	if err := target.Empty(ctx, "src", []*change.Table{orders}); change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), "src.shop.users") {
		t.Errorf("emptied for one of two topics: %v", err)
	}
	users := &change.Table{TableName: change.TableName{DB: "shop", Name: "users"}}
	if err := target.Empty(ctx, "src", []*change.Table{orders, users}); err != nil || sum(t, db) != 0 {
		t.Errorf("emptied: %v, %d", err, sum(t, db))
	}
	if err := target.SetProgress(ctx, "g", []sink.Reset{{Partition: part, Next: 0, ThroughMillis: -5}}); err != nil {
		t.Fatal(err)
	}
	var lost *sink.OwnershipLost
	if err := target.Apply(ctx, b); !errors.As(err, &lost) {
		t.Errorf("an owner from before the replay: %v", err)
	}
	for name, err := range map[string]error{
		"occupied": func() error {
			_, err := InTransaction(db, nil, TransactionOptions{}).Occupied(ctx, "src", nil)
			return err
		}(),
		"empty": InTransaction(db, nil, TransactionOptions{}).Empty(ctx, "src", nil),
	} {
		if change.SeverityOf(err) != change.Configuration {
			t.Errorf("%s without results: %v", name, err)
		}
	}
}

// TestLax: a server whose sessions would bend NULL to 0 keeps out a late owner all the same.
func TestLax(t *testing.T) {
	db, target, epoch := counter(t)
	must(t, db, "SET GLOBAL sql_mode = ''")
	defer must(t, db, "SET GLOBAL sql_mode = DEFAULT")
	db.SetMaxIdleConns(0) // new sessions from here on
	b := batch(0, 1, of(change.Create, 0, 1, nil, row(1, "a")))
	b.Epoch = epoch - 1
	var lost *sink.OwnershipLost
	if err := target.Apply(t.Context(), b); !errors.As(err, &lost) || sum(t, db) != 0 {
		t.Errorf("%v, counted %d", err, sum(t, db))
	}
}

// TestServerGoesAway: kill -9 of the server while batches are applied; each change is counted once in the end.
func TestServerGoesAway(t *testing.T) {
	newDatabase(t)
	m, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Stop() })
	db, err := m.Open("app", "")
	if err != nil {
		t.Fatal(err)
	}
	must(t, db, "CREATE DATABASE d", "CREATE TABLE d.counted (k BIGINT PRIMARY KEY, n BIGINT NOT NULL)")
	db.Close()
	if db, err = m.Open("app", "d"); err != nil {
		t.Fatal(err)
	}
	target := InTransaction(db, func(ctx context.Context, tx *sql.Tx, batch []*Event) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO counted VALUES (1, 1) ON DUPLICATE KEY UPDATE n = n + 1")
		return err
	}, TransactionOptions{})
	defer target.Close()
	_, epoch, _, err := target.Assign(t.Context(), "g", part)
	if err != nil {
		t.Fatal(err)
	}
	const batches = 300
	go func() {
		time.Sleep(100 * time.Millisecond)
		m.Kill()
		m.Start(context.Background())
	}()
	retries, end := 0, time.Now().Add(10*time.Minute)
	for o := int64(0); o < batches; {
		b := batch(o, o+1, of(change.Create, o, o, nil, row(o, "a")))
		b.Epoch = epoch
		err := target.Apply(t.Context(), b)
		if err != nil && (change.SeverityOf(err) != change.Retry || time.Now().After(end)) {
			t.Fatal(err)
		}
		if err != nil {
			retries++
			time.Sleep(20 * time.Millisecond)
			continue
		}
		o++
		time.Sleep(2 * time.Millisecond)
	}
	if n := sum(t, db); n != batches || retries == 0 {
		t.Errorf("counted %d of %d, %d retries", n, batches, retries)
	}
}

func TestWaitVisible(t *testing.T) {
	db := open(t, newDatabase(t))
	defer db.Close()
	var done string
	if err := db.QueryRow("SELECT @@global.gtid_executed").Scan(&done); err != nil {
		t.Fatal(err)
	}
	event := func(gtid, snapshot string) *Event {
		c := of(change.Create, 0, 1, nil, row(1, "a"))
		c.Origin.GTID, c.Origin.Snapshot = gtid, snapshot
		return &Event{change: &c, batch: batch(0, 1)}
	}
	uuid, _, _ := strings.Cut(done, ":")
	for name, c := range map[string]struct {
		e    *Event
		want change.Severity
		ok   bool
	}{
		"visible": {event(done, "false"), 0, true}, "crawled": {event("", "incremental"), 0, true},
		"not yet": {event(uuid+":999999", "false"), change.Retry, false}, "no GTID": {event("", "false"), change.Configuration, false},
		"MariaDB": {event("0-1-5", "false"), change.Configuration, false},
	} {
		if err := WaitVisible(t.Context(), db, c.e, 200*time.Millisecond); (err == nil) != c.ok || err != nil && change.SeverityOf(err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
