package system

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// postgresShop is the shop as somebody makes it at the target who wants its UNIQUE keys there too. The sink adds its two columns.
var postgresShop = []string{
	`CREATE SCHEMA shop AUTHORIZATION app`,
	`CREATE TABLE shop.customers (id numeric(20) PRIMARY KEY, email varchar(80) NOT NULL UNIQUE, name varchar(60), city varchar(40), credit numeric(12,2) NOT NULL,
	  vip bit(1) NOT NULL, born date, created_at timestamp(3) NOT NULL)`,
	`CREATE TABLE shop.orders (id bigint PRIMARY KEY, user_id int NOT NULL, code varchar(24) NOT NULL UNIQUE, status text NOT NULL, total numeric(12,2) NOT NULL,
	  note text, tags text NOT NULL, detail json, updated_at timestamptz(6) NOT NULL)`,
	`CREATE TABLE shop.order_items (order_id bigint, line_no int, sku varchar(20) NOT NULL, qty int NOT NULL, price double precision NOT NULL, PRIMARY KEY (order_id, line_no))`,
	`CREATE TABLE shop.products (sku varchar(20) PRIMARY KEY, title varchar(100) NOT NULL, shelf int UNIQUE, weight real, image bytea, stock int NOT NULL)`,
	`ALTER TABLE shop.customers OWNER TO app`, `ALTER TABLE shop.orders OWNER TO app`, `ALTER TABLE shop.order_items OWNER TO app`, `ALTER TABLE shop.products OWNER TO app`,
}

// postgres starts a server.
func (b *bed) postgres() (*testbed.Postgres, *pgconn.PgConn) {
	b.t.Helper()
	s, err := testbed.StartPostgres(b.t.Context(), testbed.PostgresOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { s.Stop() })
	conn, err := pgconn.Connect(b.t.Context(), s.URL()+"&timezone=UTC")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close(context.Background()) })
	return s, conn
}

func (b *bed) postgresConfig(group string, s *testbed.Postgres, more string) string {
	return b.file(group+".yaml", fmt.Sprintf(`group: %s
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
retry_stopped: 1s
postgres:
  address: %q
  database: app
  user: app
  create_tables: true
%s`, group, b.broker, b.registry, s.Address(), more))
}

// TestPostgres goes from MySQL to PostgreSQL under live DML, with the sink killed on the way. In the end all rows are equal by verify and
// by a comparison of our own; what is then planted is found and repaired; and a replay fills the emptied tables again.
func TestPostgres(t *testing.T) {
	needs(t, "mysql-9.7", "postgres")
	b := &verifyBed{bed: newBed(t), shop: rig.Shop{Database: "shop", Rows: size(10_000, 200_000)}}
	if full() {
		b.bed = realBed(t)
	}
	b.m, b.source = b.mysql(testbed.MySQLOptions{})
	if err := b.shop.Load(t.Context(), b.source); err != nil {
		t.Fatal(err)
	}
	s, conn := b.postgres()
	if err := s.Exec(t.Context(), postgresShop...); err != nil {
		t.Fatal(err)
	}
	b.bed.source(b.m, "")
	b.more(b.postgresConfig("pg", s, "  unique: {shop.customers: [customers_email_key], shop.orders: [orders_code_key], shop.products: [products_shelf_key]}\n"), "")
	b.sink = b.start("pg", "sluice-sink-postgres", "", []string{"--config", b.config})

	w := &rig.Writer{DB: b.source, Shop: b.shop, Connections: size(8, 32), PerSecond: size(800, 3000), Seed: seed(t)}
	b.underFire(w, size(6*time.Second, 2*time.Minute), size(1, 10), b.sink)
	t.Logf("%d rows, %d changes, %d kills of the sink", b.shop.Rows, w.Changes(), size(1, 10))
	b.postgresApplied()
	b.postgresEqual(conn)
	if _, found := b.verified(0, "verify"); len(found) > 0 {
		t.Errorf("verify finds %q", found)
	}

	for _, statement := range []string{
		`UPDATE shop.customers SET name = name || ' ' WHERE id = (SELECT min(id) FROM shop.customers)`,
		`UPDATE shop.orders SET detail = '[]', _sluice_version = _sluice_version - 1 WHERE id = (SELECT min(id) FROM shop.orders)`,
		`DELETE FROM shop.order_items WHERE (order_id, line_no) = (SELECT order_id, line_no FROM shop.order_items LIMIT 1)`,
		`INSERT INTO shop.products (sku, title, stock, _sluice_version) VALUES ('nobody''s', 'x', 1, 5)`,
	} {
		if results, err := conn.Exec(t.Context(), statement).ReadAll(); err != nil || results[0].CommandTag.RowsAffected() != 1 {
			t.Fatalf("%s: %v, %v", statement, results, err)
		}
	}
	if _, found := b.verified(3, "verify"); len(found) != 4 {
		t.Errorf("verify finds %q, want the four that were planted", found)
	}
	if _, left := b.verified(0, "repair"); len(left) > 0 {
		t.Errorf("repair leaves %q", left)
	}
	b.postgresEqual(conn)

	if err := b.sink.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := b.run("replay", "--config", b.config, "--to", "beginning", "--empty"); code != 0 {
		t.Fatalf("replay: exit %d\n%s%s", code, out, errs)
	}
	if left := query(t, conn, "SELECT count(*) FROM shop.customers"); left[0] != "0" {
		t.Errorf("after replay --empty there are %s customers", left[0])
	}
	if err := b.sink.Start(); err != nil {
		t.Fatal(err)
	}
	b.postgresApplied()
	b.postgresEqual(conn)
}

// TestPostgresEveryType takes each column type at its edges to PostgreSQL: nothing differs but what the configuration has changed, which
// verify expects.
func TestPostgresEveryType(t *testing.T) {
	needs(t, "mysql-9.7", "postgres")
	b := &verifyBed{bed: newBed(t)}
	var fill func(string)
	var pairs []string
	b.m, b.source, fill, pairs = typedBed(b.bed)
	s, _ := b.postgres()
	config := b.sourceConfig(b.m, "")
	b.bed.source(b.m, "")
	b.settled(config, time.Minute)
	fill("_made")
	b.more(b.postgresConfig("types", s, "  zero_dates: to_null\n  text_nul: remove\n"), "")
	b.sink = b.start("types", "sluice-sink-postgres", "", []string{"--config", b.config})
	report, found := b.verified(0, "verify")
	rows := int64(0)
	for _, r := range report.Tables {
		rows += r.TargetRows
	}
	if len(found) > 0 || len(report.Tables) != 2*len(pairs) || rows == 0 {
		t.Errorf("%d tables, %d rows; these differ: %q", len(report.Tables), rows, found)
	}
	t.Logf("%d tables, %d rows are the same", len(report.Tables), rows)
}

// postgresApplied waits until all that is committed at the source is applied.
func (b *verifyBed) postgresApplied() {
	b.t.Helper()
	if code, out, errs := b.run("wait", "--config", b.config, "--now", "--timeout", size("1m", "30m")); code != 0 {
		b.t.Fatalf("wait: exit %d\n%s%s", code, out, errs)
	}
}

// postgresEqual compares every table of the shop by reading both servers.
func (b *verifyBed) postgresEqual(conn *pgconn.PgConn) {
	b.t.Helper()
	for _, table := range []struct{ name, mysql, postgres string }{
		{"customers", "id, email, name, city, credit, HEX(vip), born, created_at",
			"id, email, name, city, credit, vip, born, to_char(created_at, 'YYYY-MM-DD HH24:MI:SS.MS')"},
		{"orders", "id, user_id, code, status, total, note, tags, detail, updated_at",
			"id, user_id, code, status, total, note, tags, detail, to_char(updated_at, 'YYYY-MM-DD HH24:MI:SS.US')"},
		{"order_items", "order_id, line_no, sku, qty, HEX(sku), FORMAT(price, 12, 'en_US')",
			"order_id, line_no, sku, qty, upper(encode(sku::bytea, 'hex')), to_char(price::numeric, 'FM999,999,999,990.000000000000')"},
		{"products", "sku, title, shelf, weight * 1e0, HEX(image), stock", "sku, title, shelf, weight::float8, upper(encode(image, 'hex')), stock"},
	} {
		want, err := selectText(b.source, "SELECT "+table.mysql+" FROM shop."+table.name)
		if err != nil {
			b.t.Fatal(err)
		}
		got := query(b.t, conn, "SELECT "+table.postgres+" FROM shop."+table.name)
		slices.Sort(want)
		slices.Sort(got)
		if slices.Equal(want, got) {
			b.t.Logf("%s: %d rows, differences 0", table.name, len(want))
			continue
		}
		diff := cmp.Diff(want, got)
		b.t.Errorf("%s: %d rows at the source, %d at the target; -source +target:\n%.1500s", table.name, len(want), len(got), diff)
	}
}

// selectText reads rows as text, as query does.
func selectText(db *sql.DB, statement string) ([]string, error) {
	rows, err := db.Query(statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	fields, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range fields {
		into[i] = &fields[i]
	}
	var out []string
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([][]byte, len(fields))
		for i, f := range fields {
			row[i] = f
		}
		out = append(out, rowText(row))
	}
	return out, rows.Err()
}

// query reads rows of PostgreSQL as text.
func query(t testing.TB, conn *pgconn.PgConn, statement string) []string {
	t.Helper()
	results, err := conn.Exec(context.Background(), statement).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	out := make([]string, len(results[0].Rows))
	for i, row := range results[0].Rows {
		out[i] = rowText(row)
	}
	return out
}

// rowText joins fields; numbers with a fraction are written without the zeros at the end.
func rowText(fields [][]byte) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte('|')
		}
		if f == nil {
			b.WriteString("NULL")
			continue
		}
		if _, err := strconv.ParseFloat(string(f), 64); err == nil && bytes.IndexByte(f, '.') >= 0 {
			f = bytes.TrimRight(bytes.TrimRight(f, "0"), ".")
		}
		b.Write(f)
	}
	return b.String()
}
