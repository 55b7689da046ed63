package system

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// shapeTables are the source's tables. What no reader of the topics may see has the word hush in it.
var shapeTables = []string{
	"CREATE DATABASE shop",
	`CREATE TABLE shop.customers (id INT PRIMARY KEY, email VARCHAR(60), phone VARCHAR(20) CHARACTER SET latin1, country CHAR(2) NOT NULL,
		note TEXT, amount DECIMAL(10,2) NOT NULL)`,
	`CREATE TABLE shop.orders (id INT PRIMARY KEY, user_id INT NOT NULL, status VARCHAR(8) NOT NULL, total DECIMAL(8,2), secret VARCHAR(20))`,
	"CREATE TABLE shop.clicks (id INT PRIMARY KEY, v VARCHAR(10))",
	"CREATE TABLE shop.views (id INT PRIMARY KEY, v VARCHAR(10))",
}

// shapeRules are the source's rules for them.
const shapeRules = `  - match: shop.customers
    where: country != 'XX'
    columns: {email: {hash: {salt: pepper}}, phone: {mask: {keep_last: 2}}, note: {drop: true}}
`

// shapePage is what the sink's page says of them.
const shapePage = `shape:
  - table: shop.customers
    where: country in ['DE', 'FR']
    to: people
    columns: {amount: {cast: "decimal(14,4)"}, country: {rename: land}, phone: {rename: tel}}
    add: {origin: {from: source}}
  - table: shop.orders
    to: {orders_open: "status != 'PAID'", orders_paid: "status == 'PAID'"}
    columns: {secret: {drop: true}, total: {cast: varchar(12)}}
    add: {cents: {expr: "int(float(total ?? '0') * 100 + 0.5)", type: bigint}}
  - {table: shop.clicks, to: events, add: {origin: {from: table}}, key: [origin, id]}
  - {table: shop.views, to: events, add: {origin: {from: table}}, key: [origin, id]}
routes:
  - {table: shop.people, by: land, rule: hash}
  - {table: "shop.orders_*", by: user_id, rule: modulus}
  - {table: shop.events, by: id, rule: modulus}
`

// shapeQueries say in SQL, which has nothing to do with all of this, what each table of the target holds.
var shapeQueries = map[string][2]string{
	"people": {`SELECT CONCAT_WS('|', id, IFNULL(SHA2(CONCAT('pepper', email), 256), 'NULL'), IFNULL(CONCAT(REPEAT('*', CHAR_LENGTH(phone) - 2), RIGHT(phone, 2)), 'NULL'),
		country, CAST(amount AS DECIMAL(14,4)), 'shop') FROM shop.customers WHERE country IN ('DE', 'FR')`,
		"SELECT CONCAT_WS('|', id, IFNULL(email, 'NULL'), IFNULL(tel, 'NULL'), land, amount, origin) FROM shop.people"},
	"orders_open": {"SELECT CONCAT_WS('|', id, user_id, status, IFNULL(total, 'NULL'), CAST(IFNULL(total, 0) * 100 AS SIGNED)) FROM shop.orders WHERE status <> 'PAID'",
		"SELECT CONCAT_WS('|', id, user_id, status, IFNULL(total, 'NULL'), cents) FROM shop.orders_open"},
	"orders_paid": {"SELECT CONCAT_WS('|', id, user_id, status, IFNULL(total, 'NULL'), CAST(IFNULL(total, 0) * 100 AS SIGNED)) FROM shop.orders WHERE status = 'PAID'",
		"SELECT CONCAT_WS('|', id, user_id, status, IFNULL(total, 'NULL'), cents) FROM shop.orders_paid"},
	"events": {"SELECT CONCAT_WS('|', 'clicks', id, v) FROM shop.clicks UNION ALL SELECT CONCAT_WS('|', 'views', id, v) FROM shop.views",
		"SELECT CONCAT_WS('|', origin, id, v) FROM shop.events"},
}

// texts reads the one text that each row of a query has, from all servers, sorted.
func texts(t testing.TB, query string, servers ...*sql.DB) (all []string) {
	t.Helper()
	for _, db := range servers {
		rows, err := db.QueryContext(context.Background(), query)
		if mysql.ErrorNumber(err) == mysql.ErrorNoSuchTable {
			continue // not made yet
		}
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			all = append(all, text)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(all)
	return all
}

// writeShapes changes the tables until ctx ends: rows come to pass filters and pass them no more, and move between tables and shards.
func writeShapes(ctx context.Context, t testing.TB, db *sql.DB, r *rand.Rand) (changes int) {
	countries, states := []string{"DE", "FR", "IT", "XX"}, []string{"NEW", "PAID", "SENT"}
	for ctx.Err() == nil {
		id, country := r.IntN(200), countries[r.IntN(len(countries))]
		email, phone := fmt.Sprintf("'hush%d@example.org'", r.IntN(50)), fmt.Sprintf("'(0)301%04d'", r.IntN(10000))
		if r.IntN(5) == 0 {
			email, phone = "NULL", "NULL"
		}
		statement := ""
		switch r.IntN(7) {
		case 0, 1:
			statement = fmt.Sprintf("REPLACE INTO shop.customers VALUES (%d, %s, %s, '%s', 'hush, %s', %d.50)", id, email, phone, country, country, r.IntN(100))
		case 2:
			statement = fmt.Sprintf("UPDATE shop.customers SET country = '%s', email = %s WHERE id BETWEEN %d AND %[3]d + 5", country, email, id)
		case 3:
			statement = fmt.Sprintf("UPDATE IGNORE shop.customers SET id = %d WHERE id = %d", r.IntN(200), id)
		case 4:
			statement = fmt.Sprintf("REPLACE INTO shop.orders VALUES (%d, %d, '%s', IF(%d %% 5, %d.25, NULL), 'hush')", id, r.IntN(50), states[r.IntN(3)], id, r.IntN(500))
		case 5:
			statement = fmt.Sprintf("DELETE FROM shop.%s WHERE id BETWEEN %d AND %[2]d + 2", []string{"customers", "orders", "clicks", "views"}[r.IntN(4)], id)
		default:
			statement = fmt.Sprintf("REPLACE INTO shop.%s VALUES (%d, 'v%d')", []string{"clicks", "views"}[r.IntN(2)], id, r.IntN(100))
		}
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
			return changes
		}
		changes++
	}
	return changes
}

// shapeBed is the source and a sink of two shards.
type shapeBed struct {
	*bed
	m      *testbed.MySQL
	db     *sql.DB
	shards []*sql.DB
	page   string
}

func newShapeBed(t *testing.T) *shapeBed {
	b := &shapeBed{bed: newBed(t)}
	b.m, b.db = b.mysql(testbed.MySQLOptions{})
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	m1, db1 := b.mysql(testbed.MySQLOptions{})
	b.shards = []*sql.DB{db0, db1}
	exec1(t, db0, "CREATE DATABASE shop")
	exec1(t, db1, "CREATE DATABASE shop")
	exec1(t, b.db, shapeTables...)
	exec1(t, b.db, `INSERT INTO shop.customers SELECT n, CONCAT('hush', n, '@example.org'), CONCAT('(0)301', n), ELT(1 + n % 4, 'DE', 'FR', 'IT', 'XX'), 'hush', n / 4
		FROM (WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < 900) SELECT n FROM seq) AS s`)
	b.page = b.file("shape.yaml", fmt.Sprintf(`group: shape
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
sources: {shop: {address: %q, user: cdc, password: cdc, hash: {shop.customers.email: {salt: pepper}}}}
mysql:
  create_tables: true
  shards:
    - {name: s0, address: %q, user: app, password: app, database: shop}
    - {name: s1, address: %q, user: app, password: app, database: shop}
%s`, b.broker, b.registry, b.m.Address(), m0.Address(), m1.Address(), shapePage))
	return b
}

// sourcePage writes the source's page with a rule for customers.
func (b *shapeBed) sourcePage(rule string) string {
	b.t.Helper()
	config := b.sourceConfig(b.m, "")
	return b.file("source.yaml", strings.Replace(readFile(b.t, config), "tables:\n", "tables:\n"+rule, 1))
}

// equal compares each table with what SQL says, for as long as it takes the sink to get there.
func (b *shapeBed) equal(where string, tables ...string) {
	b.t.Helper()
	for _, table := range tables {
		query := shapeQueries[table]
		want := texts(b.t, strings.Replace(query[0], "IN ('DE', 'FR')", where, 1), b.db)
		var got []string
		for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if got = texts(b.t, query[1], b.shards...); slices.Equal(got, want) {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			b.t.Errorf("%s (-source +shards):\n%.2000s", table, diff)
		}
		b.t.Logf("%s: %d rows", table, len(want))
	}
}

// hush fails where the topic has something in it that must not be.
func (b *shapeBed) hush(never ...string) {
	b.t.Helper()
	n := 0
	b.eachRecord("customers", func(r *kgo.Record) {
		n++
		for _, word := range never {
			if bytes.Contains(r.Value, []byte(word)) {
				b.t.Errorf("offset %d of the topic has %q in it", r.Offset, word)
			}
		}
	})
	b.t.Logf("%d records in the topic of customers", n)
}

// program runs one of the sink's commands and returns what it says.
func (b *shapeBed) program(args ...string) (string, error) {
	command := exec.CommandContext(b.t.Context(), binary(b.t, "sluice-sink-mysql", ""), append(args, "--config", b.page)...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// TestShape takes four tables through every kind of shape there is, at the source and at a sink of two shards, under fire: rows are
// left out and columns hidden before Kafka, and one table is filtered and renamed, one split, and two become one at the target. At the end
// SQL says what should be there, verify finds no difference, and finds one that is made.
func TestShape(t *testing.T) {
	b := newShapeBed(t)
	config := b.sourcePage(shapeRules)
	source := b.start("source", "sluice-source", "", []string{"--config", config})
	sink := b.start("sink", "sluice-sink-mysql", "", []string{"--config", b.page})
	ctx, cancel := context.WithTimeout(t.Context(), size(6*time.Second, time.Minute))
	defer cancel()
	var writing sync.WaitGroup
	changes := make([]int, 3)
	for i := range changes {
		writing.Go(func() { changes[i] = writeShapes(ctx, t, b.db, rand.New(rand.NewPCG(seed(t), uint64(i)))) })
	}
	b.says(sink, 30*time.Second, "table=shop.people") // killed while it joins, it would leave the group waiting for it a minute
	for _, p := range []*rig.Process{source, sink} {
		time.Sleep(size(1500*time.Millisecond, 20*time.Second))
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
		if err := p.Start(); err != nil {
			t.Error(err)
		}
	}
	writing.Wait()
	t.Logf("%d changes", changes[0]+changes[1]+changes[2])
	b.equal("IN ('DE', 'FR')", "people", "orders_open", "orders_paid", "events")
	b.hush("hush", "@example.org", "(0)301", "\x02\x04XX") // the last as Avro writes the country
	if out, err := b.program("verify"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	b.explained()
	b.mended()
}

// explained asks why a row is where it is.
func (b *shapeBed) explained() {
	b.t.Helper()
	out, err := b.program("route", "explain", "--table", "shop.orders", "--row", `{"id": 7, "user_id": 3, "status": "PAID", "total": "1.50"}`)
	want := []string{"where status != 'PAID': false", "not in shop.orders_open: a row that is there is deleted", "where status == 'PAID': true", "column secret: dropped",
		"int(float(total ?? '0') * 100 + 0.5) = 150", "user_id = 3, modulus 2 -> s1", "in s1: key id=7"}
	for _, w := range want {
		if !strings.Contains(out, w) {
			b.t.Errorf("route explain (%v) does not say %q:\n%s", err, w, out)
		}
	}
	if out, err := b.program("route", "explain", "-o", "json", "--sample", "5"); err != nil || !strings.Contains(out, `"table": "shop.people"`) {
		b.t.Errorf("route explain: %v\n%s", err, out)
	}
}

// mended makes a difference in each table of the target, which verify finds and repair mends.
func (b *shapeBed) mended() {
	b.t.Helper()
	for _, statement := range []string{
		"UPDATE shop.people SET email = 'nobody' ORDER BY id LIMIT 1", "INSERT INTO shop.orders_open (id, user_id, status, cents) VALUES (100001, 2, 'NEW', 0)",
		"DELETE FROM shop.orders_paid ORDER BY id LIMIT 1", "UPDATE shop.events SET v = 'other' WHERE origin = 'views' ORDER BY id LIMIT 1",
	} {
		exec1(b.t, b.shards[0], statement)
	}
	out, err := b.program("repair")
	if err != nil {
		b.t.Errorf("repair: %v\n%s", err, out)
	}
	b.equal("IN ('DE', 'FR')", "people", "orders_open", "orders_paid", "events")
	if out, err = b.program("verify"); err != nil {
		b.t.Errorf("verify after repair: %v\n%s", err, out)
	}
}

// TestShapeChangesAtSource has the source let out other rows and other columns than before: what its topic has and should not is taken out, what is
// missing comes, without anybody asking for it.
func TestShapeChangesAtSource(t *testing.T) {
	b := newShapeBed(t)
	source := b.start("source", "sluice-source", "", []string{"--config", b.sourcePage(shapeRules)})
	b.start("sink", "sluice-sink-mysql", "", []string{"--config", b.page})
	b.equal("IN ('DE', 'FR')", "people")
	if err := source.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	exec1(t, b.db, "UPDATE shop.customers SET country = 'DE' WHERE id < 40")
	b.sourcePage(strings.Replace(shapeRules, "!= 'XX'", "!= 'DE'", 1))
	if err := source.Start(); err != nil {
		t.Fatal(err)
	}
	b.equal("IN ('FR')", "people")
	exec1(t, b.db, "UPDATE shop.customers SET country = IF(country = 'DE', 'FR', 'DE') WHERE id BETWEEN 100 AND 140")
	b.equal("IN ('FR')", "people")
	if out, err := b.program("verify"); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}
