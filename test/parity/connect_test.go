package parity

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// peer is a table copy that Debezium's JDBC sink keeps from our topics.
type peer struct {
	t       *testing.T
	connect *testbed.Connect
	source  *sql.DB
	target  *sql.DB
}

// jdbcSink is the sink's configuration. What our topics ask of it is that it reads what is committed, and only that, and takes their headers as bytes.
func jdbcSink(target *testbed.MySQL) map[string]string {
	return map[string]string{
		"connector.class":                       "io.debezium.connector.jdbc.JdbcSinkConnector",
		"topics.regex":                          `shop\.shop\..*`,
		"tasks.max":                             "2",
		"consumer.override.isolation.level":     "read_committed",
		"consumer.override.auto.offset.reset":   "earliest",
		"consumer.override.metadata.max.age.ms": "1000", // new topics are found by then
		"connection.url":                        "jdbc:mysql://" + target.Address() + "/shop",
		"connection.username":                   "app",
		"connection.password":                   "app",
		"insert.mode":                           "upsert",
		"delete.enabled":                        "true",
		// Connect's default takes a header for text and finds lists in some versions, at which Debezium's sink ends.
		"header.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
		"primary.key.mode": "record_key",
		"schema.evolution": "none",
		// shop.shop.orders is the table orders.
		"transforms":                   "table",
		"transforms.table.type":        "org.apache.kafka.connect.transforms.RegexRouter",
		"transforms.table.regex":       `shop\.shop\.(.*)`,
		"transforms.table.replacement": "$1",
	}
}

// equal waits until each table at the target is the source's, row by row and byte by byte. On a busy machine that takes Debezium's sink
// minutes: it has failed once nothing at all has moved for the time given.
func (p *peer) equal(patience time.Duration, tables ...string) {
	p.t.Helper()
	var last string
	moved := time.Now()
	for len(tables) > 0 {
		var state strings.Builder
		var left []string
		for _, table := range tables {
			if rows, difference := p.compare(table); difference == "" {
				p.t.Logf("%s: %d rows, differences 0", table, rows)
			} else {
				left = append(left, table)
				state.WriteString(difference)
			}
		}
		if err := p.connect.Failed(p.t.Context(), "copy"); err != nil {
			p.t.Fatal(err)
		}
		if state.String() != last {
			last, moved = state.String(), time.Now()
		}
		if len(left) > 0 && time.Since(moved) > patience {
			p.t.Fatalf("nothing has moved for %s:\n%s", patience, last)
		}
		tables = left
		time.Sleep(300 * time.Millisecond)
	}
}

// compare returns the rows of a table at the source, and what differs at the target, or nothing.
func (p *peer) compare(table string) (rows int, difference string) {
	source, target := rig.Place{Name: "source", DB: p.source, Database: "shop"}, rig.Place{Name: "target", DB: p.target, Database: "shop"}
	c, err := rig.Compare(p.t.Context(), source, []rig.Place{target}, table)
	switch {
	case err != nil:
		return 0, fmt.Sprintf("%s: %v\n", table, err)
	case c.Differences > 0:
		return c.Source, fmt.Sprintf("%+v\n", *c)
	}
	return c.Source, ""
}

// carried are the types that Debezium's JDBC sink writes as they were, each with two values at its edges. What it bends or ends at is in
// docs/comparison.md.
var carried = []struct{ kind, one, other string }{
	{"TINYINT", "127", "-128"},
	{"TINYINT UNSIGNED", "255", "0"},
	{"SMALLINT UNSIGNED", "65535", "0"},
	{"MEDIUMINT", "8388607", "-8388608"},
	{"INT UNSIGNED", "4294967295", "0"},
	{"BIGINT", "9223372036854775807", "-9223372036854775808"},
	{"BIGINT UNSIGNED", "18446744073709551615", "0"},
	{"FLOAT", "0.1", "-1e-38"},
	{"DOUBLE", "1.7976931348623157e308", "4.9e-324"},
	{"DECIMAL(65,30)", "99999999999999999999999999999999999.999999999999999999999999999999", "-0.000000000000000000000000000001"},
	{"DECIMAL(9,0)", "999999999", "-999999999"},
	{"BIT(1)", "1", "0"},
	{"YEAR", "2155", "1901"},
	{"DATE", "'9999-12-31'", "'0001-01-01'"},
	{"TIME(6)", "'23:59:59.999999'", "'00:00:00.000001'"},
	{"DATETIME(3)", "'9999-12-31 23:59:59.999'", "'0001-01-01 00:00:00'"},
	{"DATETIME(6)", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'"},
	{"TIMESTAMP(6) NULL", "'2038-01-19 03:14:07.499999'", "'1970-01-01 00:00:01'"},
	{"CHAR(5) CHARACTER SET gbk", "'汉字'", "''"},
	{"VARCHAR(40)", `'é€ 日本 😀 \\ \0'`, "'trailing  '"},
	{"BINARY(8)", "x'0001020304050600'", "x'00'"},
	{"BLOB", "REPEAT(x'ff00', 999)", "''"},
	{"MEDIUMTEXT", "REPEAT('日', 9999)", "''"},
	{"ENUM('a','é')", "'é'", "'a'"},
	{"SET('x','y')", "'x,y'", "''"},
	{"JSON", `'{"a": [1, 2.5, null, "😀"]}'`, "'null'"},
	{"POINT", "ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(-1 0)')"},
	{"GEOMETRY", "ST_GeomFromText('LINESTRING(0 0, 1 2)')", "ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')"},
	{"VECTOR(2)", "TO_VECTOR('[1,-0]')", "TO_VECTOR('[0.1,3e38]')"},
}

// carriedTable is shop.carried; carriedRows gives it three rows from an id on: NULLs, the one and the other values.
func carriedTable() string {
	var columns strings.Builder
	for i, c := range carried {
		fmt.Fprintf(&columns, ", c%d %s", i, c.kind)
	}
	return "CREATE TABLE shop.carried (id INT NOT NULL PRIMARY KEY" + columns.String() + ")"
}

func carriedRows(id int) []string {
	one, other := make([]string, len(carried)), make([]string, len(carried))
	for i, c := range carried {
		one[i], other[i] = c.one, c.other
	}
	return []string{
		fmt.Sprintf("INSERT INTO shop.carried (id) VALUES (%d)", id),
		fmt.Sprintf("INSERT INTO shop.carried VALUES (%d, %s)", id+1, strings.Join(one, ", ")),
		fmt.Sprintf("INSERT INTO shop.carried VALUES (%d, %s)", id+2, strings.Join(other, ", ")),
	}
}

// TestDebeziumSink has Debezium's JDBC sink fill a MySQL from our topics, reading what is committed: rows by the crawl and by the
// stream, updates, deletes, changes of keys, and a source that is killed in the middle. In the end a table is truncated: deletes of
// which nobody knows what the row was.
//
// What Debezium's sink cannot do is left out of the target: it has neither versions nor an order between partitions, so secondary UNIQUE
// keys whose values change hands would have it overwrite other rows, and keys are told apart byte by byte, as in the topics.
func TestDebeziumSink(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts Java machines")
	}
	broker, schemas, m := servers(t, "connect")
	p := &peer{t: t, source: open(t, m)}
	target, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Stop() })
	p.target = open(t, target)
	shop := rig.Shop{Database: "shop", Rows: size(3000, 200_000)}
	if err := shop.Load(t.Context(), p.source); err != nil {
		t.Fatal(err)
	}
	if err := shop.Empty(t.Context(), p.target); err != nil {
		t.Fatal(err)
	}
	const bytewise = " CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL"
	exec1(t, p.target, "ALTER TABLE shop.customers DROP KEY email", "ALTER TABLE shop.orders DROP KEY code",
		"ALTER TABLE shop.products DROP KEY shelf, MODIFY sku VARCHAR(20)"+bytewise)
	utc(t, target, carriedTable())
	utc(t, m, append([]string{carriedTable()}, carriedRows(1)...)...)
	source := startSource(t, broker.Address(), schemas.URL(), m)
	p.connect, err = testbed.StartConnect(t.Context(), testbed.ConnectOptions{Kafka: broker.Address(), Registry: schemas})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.connect.Stop() })
	if err := p.connect.Put(t.Context(), "copy", jdbcSink(target)); err != nil {
		t.Fatal(err)
	}
	w := &rig.Writer{DB: p.source, Shop: shop, Connections: 8, PerSecond: size(500, 2000), Seed: seed(t)}
	ctx, cancel := context.WithTimeout(t.Context(), size(8*time.Second, 3*time.Minute))
	defer cancel()
	written := make(chan error, 1)
	go func() { written <- w.Run(ctx) }()
	time.Sleep(size(4*time.Second, 90*time.Second))
	if err := source.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := source.Start(); err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	utc(t, m, append(carriedRows(11), "UPDATE shop.carried a JOIN shop.carried b ON a.id = 12 AND b.id = 13 SET a.c0 = b.c0, a.c9 = b.c9, a.c20 = NULL",
		"UPDATE shop.carried SET id = 21 WHERE id = 13", "DELETE FROM shop.carried WHERE id = 2")...)
	t.Logf("%d changes, source killed once; Kafka Connect %s, JDBC sink %s", w.Changes(), p.connect.Version, p.connect.JDBCSink)
	p.equal(size(time.Minute, 3*time.Minute), append([]string{"carried"}, rig.ShopTables...)...)
	exec1(t, p.source, "TRUNCATE TABLE shop.order_items", "INSERT INTO shop.order_items VALUES (1, 1, 'after', 1, 0.5)")
	p.equal(size(time.Minute, 3*time.Minute), "order_items")
}

// startSource starts sluice-source as a process of its own, which can be killed.
func startSource(t *testing.T, broker, registry string, m *testbed.MySQL) *rig.Process {
	t.Helper()
	dir := t.TempDir()
	program, err := rig.Build(dir, "sluice-source", "")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "source.yaml")
	page := fmt.Sprintf(`name: shop
mysql: {address: %q, user: cdc, password: cdc}
kafka: {brokers: [%q], registry: %q, partitions: 4, replication: 1}
tables:
  - {match: "shop.*"}
`, m.Address(), broker, registry)
	if err := os.WriteFile(config, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	p := rig.New("source", filepath.Join(dir, "source.log"), program, []string{"--config", config})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(20 * time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the end of the source's log:\n%s", p.LogTail(30))
		}
	})
	return p
}

func open(t *testing.T, m *testbed.MySQL) *sql.DB {
	t.Helper()
	db, err := m.Open("app", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// utc runs statements with TIMESTAMPs in UTC.
func utc(t *testing.T, m *testbed.MySQL, statements ...string) {
	t.Helper()
	if err := m.Exec(t.Context(), append([]string{"SET time_zone = '+00:00'"}, statements...)...); err != nil {
		t.Fatal(err)
	}
}

func exec1(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%.100s: %v", s, err)
		}
	}
}

// size returns the small or, with SLUICE_FULL, the full size.
func size[T any](small, full T) T {
	if slices.Contains([]string{"", "0"}, os.Getenv("SLUICE_FULL")) {
		return small
	}
	return full
}

// seed returns the seed of this run, $SLUICE_SEED or a fixed one, and says which.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := uint64(20261127)
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SLUICE_SEED=%q: %v", text, err)
		}
		s = n
	}
	t.Logf("SLUICE_SEED=%d", s)
	return s
}
