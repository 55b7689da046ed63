package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
	"github.com/sluice-cdc/sluice/testbed"
)

// serverVersion is the server that the tests run on: SLUICE_TEST_MYSQL=8.0 or mariadb-10.11 for another.
func serverVersion() testbed.MySQLVersion {
	return testbed.MySQLVersion(os.Getenv("SLUICE_TEST_MYSQL"))
}

// running returns the one server that all tests of the package share, and starts it at the first call; each test has databases of its own.
var running = sync.OnceValue(func() *testbed.MySQL {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s, err := testbed.StartMySQL(ctx, testbed.MySQLOptions{Version: serverVersion(), Flags: []string{"innodb-buffer-pool-size=128M"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "no MySQL to test with:", err)
		os.Exit(1)
	}
	stopRunning = s.Stop
	return s
})

var stopRunning = func() error { return nil }

func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopRunning(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

var databases atomic.Int64

// place is a set of shards for one test.
type place struct {
	t      testing.TB
	db     *sql.DB
	shards []target.Shard
	config target.Config
}

func newPlace(t testing.TB, shards int) *place {
	t.Helper()
	db, err := running().Open("root", "")
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, db: db}
	for i := range shards {
		name := fmt.Sprintf("t%d_s%d", databases.Add(1), i)
		p.exec("CREATE DATABASE " + name + " CHARACTER SET utf8mb4")
		p.shards = append(p.shards, target.Shard{Name: "s" + strconv.Itoa(i), Database: name,
			Config: server.Config{Address: running().Address(), User: "app", Password: "app", TLS: "off"}})
	}
	if running().Flavor == testbed.MySQL97 { // the password needs TLS until the server has it in its cache
		for i := range p.shards {
			p.shards[i].TLS = "prefer"
		}
	}
	p.config = target.Config{Shards: p.shards, CreateTables: true}
	t.Cleanup(func() {
		for _, s := range p.shards {
			p.exec("DROP DATABASE " + s.Database)
		}
		db.Close()
	})
	return p
}

// eachWay runs a test with the versions in the tables' columns, and with them in side tables.
func eachWay(t *testing.T, run func(t *testing.T, way func(*place))) {
	t.Run("columns", func(t *testing.T) { run(t, func(*place) {}) })
	t.Run("side table", func(t *testing.T) { run(t, inSideTables) })
}

func inSideTables(p *place) { p.config.SideTables = []string{"*.*"} }

func (p *place) exec(statements ...string) {
	p.t.Helper()
	for _, s := range statements {
		if _, err := p.db.ExecContext(context.Background(), s); err != nil {
			p.t.Fatalf("%s: %v", s, err)
		}
	}
}

// in runs statements with the first %s replaced by each shard's database.
func (p *place) in(statements ...string) {
	p.t.Helper()
	for _, s := range p.shards {
		for _, statement := range statements {
			p.exec(strings.ReplaceAll(statement, "$DB", s.Database))
		}
	}
}

// query returns the rows as text, columns joined by |, rows in the statement's order.
func (p *place) query(statement string) []string {
	p.t.Helper()
	rows, err := p.db.QueryContext(context.Background(), statement)
	if err != nil {
		p.t.Fatalf("%s: %v", statement, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		p.t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		fields := make([]sql.NullString, len(columns))
		pointers := make([]any, len(columns))
		for i := range fields {
			pointers[i] = &fields[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			p.t.Fatal(err)
		}
		texts := make([]string, len(fields))
		for i, f := range fields {
			if texts[i] = f.String; !f.Valid {
				texts[i] = "NULL"
			}
		}
		out = append(out, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		p.t.Fatal(err)
	}
	return out
}

// eachShard returns the rows of a query in each shard's database, $DB, one shard after the other.
func (p *place) eachShard(statement string) (rows []string) {
	p.t.Helper()
	for _, s := range p.shards {
		rows = append(rows, p.query(strings.ReplaceAll(statement, "$DB", s.Database))...)
	}
	return rows
}

func (p *place) open() *target.Target {
	p.t.Helper()
	tg, err := target.New(p.config, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
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
