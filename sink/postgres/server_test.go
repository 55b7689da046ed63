package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/postgres"
	"github.com/sluice-cdc/sluice/testbed"
)

// running is the one server that the tests of the package share; each test has schemas of its own.
var running *testbed.Postgres

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := testbed.Available(ctx, "postgres"); err != nil {
		fmt.Fprintln(os.Stderr, "no PostgreSQL to test with:", err)
		return 1
	}
	s, err := testbed.StartPostgres(ctx, testbed.PostgresOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "no PostgreSQL to test with:", err)
		return 1
	}
	defer s.Stop()
	running = s
	return m.Run()
}

var schemas atomic.Int64

// place is where one test writes: schemas of its own.
type place struct {
	t      testing.TB
	conn   *pgconn.PgConn
	config target.Config
	data   string // the schema of the tables
}

func newPlace(t testing.TB) *place { return placeOn(t, running) }

func placeOn(t testing.TB, server *testbed.Postgres) *place {
	t.Helper()
	n := schemas.Add(1)
	conn, err := pgconn.Connect(context.Background(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, conn: conn, config: target.Default(), data: fmt.Sprintf("t%d", n)}
	p.config.Address, p.config.Database, p.config.User, p.config.TLS = server.Address(), "app", "app", "off"
	p.config.Table, p.config.Schema, p.config.CreateTables = p.data+".{table}", fmt.Sprintf("own%d", n), true
	t.Cleanup(func() {
		conn.Close(context.Background())
		if again, err := pgconn.Connect(context.Background(), server.URL()); err == nil {
			_, err := again.Exec(context.Background(), "DROP SCHEMA IF EXISTS "+p.data+" CASCADE; DROP SCHEMA IF EXISTS "+p.config.Schema+" CASCADE").ReadAll()
			if err != nil {
				t.Error(err)
			}
			again.Close(context.Background())
		}
	})
	return p
}

// exec runs statements with $S for the schema of the tables and $O for the target's own.
func (p *place) exec(statements ...string) {
	p.t.Helper()
	for _, s := range statements {
		if _, err := p.conn.Exec(context.Background(), p.named(s)).ReadAll(); err != nil {
			p.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (p *place) named(statement string) string {
	return strings.NewReplacer("$S", p.data, "$O", p.config.Schema).Replace(statement)
}

// query returns the rows as text, columns joined by |.
func (p *place) query(statement string) []string {
	p.t.Helper()
	results, err := p.conn.Exec(context.Background(), p.named(statement)).ReadAll()
	if err != nil {
		p.t.Fatalf("%s: %v", statement, err)
	}
	var out []string
	for _, row := range results[len(results)-1].Rows {
		fields := make([]string, len(row))
		for i, f := range row {
			if fields[i] = string(f); f == nil {
				fields[i] = "NULL"
			}
		}
		out = append(out, strings.Join(fields, "|"))
	}
	return out
}

func (p *place) open() *target.Target {
	p.t.Helper()
	p.config.Check(func(path, problem string) { p.t.Fatalf("%s: %s", path, problem) })
	tg, err := target.New(p.config, sink.Setup{Group: group, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return tg
}

// opened is open, closed by the test's end.
func (p *place) opened() *target.Target {
	tg := p.open()
	p.t.Cleanup(func() { tg.Close() })
	return tg
}

// problemOf fails unless the error is a whole problem of the kind: what, why or mend is there.
func problemOf(t testing.TB, err error, kind change.Severity, want ...string) *change.Problem {
	t.Helper()
	var p *change.Problem
	if !errors.As(err, &p) || p.Kind != kind {
		t.Fatalf("got %v, want a problem of kind %v", err, kind)
	}
	if p.What == "" || p.Why == "" || p.Mend == "" {
		t.Errorf("the problem is not whole: %+v", p)
	}
	for _, text := range want {
		if !strings.Contains(change.Explain(err), text) {
			t.Errorf("the error does not say %q:\n%s", text, change.Explain(err))
		}
	}
	return p
}
