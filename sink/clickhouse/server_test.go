package clickhouse_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/clickhouse"
	"github.com/sluice-cdc/sluice/testbed"
)

// server is what both engines are to the tests.
type server interface {
	URL() string
	Query(ctx context.Context, statement string) (string, error)
	Start(ctx context.Context) error
	Kill() error
	Pause() error
	Resume() error
	Running() bool
	Stop() error
}

// The engines: an old server, and the engine of a new one without its server.
const (
	old    = "clickhouse"
	modern = "chdb"
)

type engine struct {
	once   sync.Once
	server server
	missed error // it cannot be had here
	failed error
}

// engines are started at their first use, once, and stopped when all tests are done.
var engines = map[string]*engine{old: {}, modern: {}}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, e := range engines {
		if e.server != nil {
			if err := e.server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

func startServer(ctx context.Context, name, password string) (server, error) {
	if name == old {
		return testbed.StartClickHouse(ctx, testbed.ClickHouseOptions{Password: password})
	}
	return testbed.StartChDB(ctx, testbed.ChDBOptions{Password: password})
}

func serverOf(t testing.TB, name string) server {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a server")
	}
	e := engines[name]
	e.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if e.missed = testbed.Available(ctx, name); e.missed == nil {
			e.server, e.failed = startServer(ctx, name, "")
		}
	})
	if e.missed != nil {
		t.Skipf("no %s to test with: %v", name, e.missed)
	}
	if e.failed != nil {
		t.Fatal(e.failed)
	}
	return e.server
}

// onBoth runs the test on each engine.
func onBoth(t *testing.T, test func(t *testing.T, p *place)) {
	for _, name := range []string{old, modern} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, newPlace(t, name)) })
	}
}

var places atomic.Int64

// place is the database of one test.
type place struct {
	t      testing.TB
	engine string
	server server
	config clickhouse.Config
}

func newPlace(t testing.TB, name string) *place {
	t.Helper()
	return placeOn(t, name, serverOf(t, name))
}

func placeOn(t testing.TB, name string, s server) *place {
	t.Helper()
	p := &place{t: t, engine: name, server: s, config: clickhouse.Default()}
	p.config.URL, p.config.Database, p.config.CreateTables = s.URL(), fmt.Sprintf("p%d", places.Add(1)), true
	p.config.InsertWait = 0
	t.Cleanup(func() {
		if s.Running() {
			if _, err := s.Query(context.Background(), "DROP DATABASE IF EXISTS "+p.config.Database); err != nil {
				t.Errorf("drop the test's database: %v", err)
			}
		}
	})
	return p
}

// target is what both modes can.
type target interface {
	sink.Target
	sink.Preparer
	sink.Checker
	sink.Scanner
	sink.Emptier
}

func (p *place) open() target {
	p.t.Helper()
	p.config.Check(func(path, problem string) { p.t.Errorf("%s: %s", path, problem) })
	opened, err := clickhouse.New(p.config, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return opened.(target)
}

// prepared opens a target that has seen the tables.
func (p *place) prepared(tables ...*change.Table) target {
	p.t.Helper()
	opened := p.open()
	p.t.Cleanup(func() { opened.Close() })
	if err := opened.Prepare(p.t.Context(), "g", "src", tables); err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return opened
}

// query runs a statement of the test's own; its database is $.
func (p *place) query(statement string) string {
	p.t.Helper()
	said, err := p.server.Query(p.t.Context(), strings.ReplaceAll(statement, "$", p.config.Database))
	if err != nil {
		p.t.Fatalf("%s: %v", statement, err)
	}
	return said
}

// says fails unless the statement's answer is this one.
func (p *place) says(statement, want string) {
	p.t.Helper()
	if got := p.query(statement); got != want {
		p.t.Errorf("%s\nsays %q, want %q", statement, got, want)
	}
}

// table makes a table of that name with the key id and the columns.
func table(name string, columns ...change.Column) *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0},
		Columns: append([]change.Column{{Name: "id", Type: change.BigInt}}, columns...)}
}

var note = change.Column{Name: "note", Type: change.LongText, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"}

func row(id int64, values ...change.Value) []change.Value {
	return append([]change.Value{change.IntValue(id)}, values...)
}

func text(s string) change.Value { return change.StringValue(s) }

// put is a row that exists since version v; drop is one that is gone since then.
func put(t *change.Table, v change.Version, image []change.Value) sink.Change {
	return keyed(sink.Change{Op: change.Create, Table: t, After: image, Version: v, Offset: int64(v), Bytes: 100}, image)
}

func drop(t *change.Table, v change.Version, image []change.Value) sink.Change {
	return keyed(sink.Change{Op: change.Delete, Table: t, Before: image, TrustedBefore: true, Version: v, Offset: int64(v), Bytes: 100}, image)
}

func keyed(c sink.Change, image []change.Value) sink.Change {
	c.KeyNames = c.Table.KeyNames()
	for _, k := range c.Table.Key {
		c.KeyValues = append(c.KeyValues, image[k])
		c.Key = append(append(c.Key, image[k].String()...), 0)
	}
	return c
}

func batch(changes ...sink.Change) *sink.Batch {
	b := &sink.Batch{Group: "g", Changes: changes, From: changes[0].Offset, Next: changes[len(changes)-1].Offset + 1}
	b.Source, b.Topic, b.Count = "src", "src."+changes[0].Table.String(), 4
	for i := range changes {
		b.Bytes += changes[i].Bytes
	}
	return b
}

func apply(t testing.TB, target sink.Target, changes ...sink.Change) {
	t.Helper()
	if err := target.Apply(t.Context(), batch(changes...)); err != nil {
		t.Fatal(change.Explain(err))
	}
}

// scan returns the rows by their key as text.
func scan(t testing.TB, target sink.Scanner, of *change.Table, keys ...[]change.Value) map[string]sink.Row {
	t.Helper()
	return scanned(t, target, sink.Scan{Source: "src", Table: of, Keys: keys})
}

func scanned(t testing.TB, target sink.Scanner, r sink.Scan) map[string]sink.Row {
	t.Helper()
	rows := make(map[string]sink.Row)
	err := target.Scan(t.Context(), r, func(found sink.Row) error {
		key := ""
		for _, k := range r.Table.Key {
			key += found.Values[k].String() + " "
		}
		found.Values = append([]change.Value(nil), found.Values...)
		if _, twice := rows[key]; twice {
			t.Errorf("row %s is there twice", key)
		}
		rows[strings.TrimSpace(key)] = found
		return nil
	})
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	return rows
}

// problemOf fails unless err is a Problem of that kind whose text, remedy included, has all the words.
func problemOf(t testing.TB, err error, kind change.Severity, words ...string) {
	t.Helper()
	said := "nothing"
	if err != nil {
		said = change.Explain(err)
	}
	if err == nil || change.SeverityOf(err) != kind {
		t.Errorf("got %s (kind %s), want a problem of kind %s", said, change.SeverityOf(err), kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("the problem\n%s\nshould say %q", said, w)
		}
	}
}
