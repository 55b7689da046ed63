package system

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
	"github.com/sluice-cdc/sluice/verify"
)

// clickHousePage is a sink's config: the mode is its group too.
const clickHousePage = `group: %s
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
clickhouse: {url: %q, database: copy, mode: %[1]s, create_tables: true, insert_wait: 300ms}
sources: {shop: {address: %[5]q, user: cdc, password: cdc}}
`

// clickHouseBed is a shop, and a server with its copy and its history.
type clickHouseBed struct {
	*bed
	db     *sql.DB
	server *testbed.ClickHouse
	pages  map[string]string // by mode
}

// TestClickHouseWalk: MySQL, the local broker, two sinks as processes, one that keeps the state and one that keeps the history, both killed again and
// again while the shop is written to; the server is killed once. In the end every row is compared: by verify, and by SQL on both sides that knows
// nothing of the sink's code. Then the copy is emptied and filled anew from the log alone.
func TestClickHouseWalk(t *testing.T) {
	needs(t, "mysql-9.7", "clickhouse")
	b := &clickHouseBed{bed: newBed(t), pages: make(map[string]string)}
	m, db := b.mysql(testbed.MySQLOptions{})
	b.db = db
	shop := rig.Shop{Database: "shop", Rows: size(3_000, 200_000)}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	server, err := testbed.StartClickHouse(t.Context(), testbed.ClickHouseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	b.server = server
	b.source(m, "")
	var sinks []*rig.Process
	for _, mode := range []string{"state", "history"} {
		b.pages[mode] = b.file(mode+".yaml", fmt.Sprintf(clickHousePage, mode, b.broker, b.registry, server.URL(), m.Address()))
		sinks = append(sinks, b.start(mode, "sluice-sink-clickhouse", "", []string{"--config", b.pages[mode]}))
	}
	w := &rig.Writer{DB: db, Shop: shop, Connections: size(4, 16), PerSecond: size(300, 1000), Seed: seed(t)}
	// Killed faster than session_timeout, members that are gone hold up those that join.
	length, kills := size(9*time.Second, 2*time.Minute), size(1, 10)
	crash := time.AfterFunc(length/3, func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Error(err)
		}
	})
	b.underFire(w, length, kills, sinks...)
	crash.Stop()
	t.Logf("%d rows, %d changes, %d kills of each sink, one of the server", shop.Rows, w.Changes(), kills)
	b.equal("state")
	b.equal("history")
	b.once()

	if err := sinks[0].Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	b.sluice(0, "state", "replay", "--to", "beginning", "--empty")
	if n := b.ask("SELECT count() FROM copy.shop_orders"); n != "0" {
		t.Errorf("replay --empty leaves %s rows", n)
	}
	if err := sinks[0].Start(); err != nil {
		t.Fatal(err)
	}
	b.equal("state")
	b.planted()
}

// sluice runs a command of one of the sinks and returns what it prints.
func (b *clickHouseBed) sluice(want int, mode string, args ...string) string {
	b.t.Helper()
	cmd := exec.Command(binary(b.t, "sluice-sink-clickhouse", ""), append(args, "--config", b.pages[mode])...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.t.Fatalf("%v: exit %d, want %d (%v)\n%s%s", args, code, want, err, out.String(), errs.String())
	}
	return out.String()
}

func (b *clickHouseBed) ask(statement string) string {
	b.t.Helper()
	said, err := b.server.Query(b.t.Context(), statement)
	if err != nil {
		b.t.Fatalf("%s: %v", statement, err)
	}
	return said
}

// equal waits until all is applied, and compares in both ways.
func (b *clickHouseBed) equal(mode string) {
	b.t.Helper()
	b.sluice(0, mode, "wait", "--now", "--timeout", size("180s", "60m"))
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(0, mode, "verify", "-o", "json")), report); err != nil {
		b.t.Fatal(err)
	}
	rows := int64(0)
	for _, r := range report.Tables {
		if rows += r.SourceRows; r.SourceRows != r.TargetRows || r.SourceRows == 0 {
			b.t.Errorf("verify: %s has %d rows, in ClickHouse %d", r.Table, r.SourceRows, r.TargetRows)
		}
	}
	if len(report.Tables) != 4 {
		b.t.Errorf("verify compared %d tables, want 4", len(report.Tables))
	}
	compared := 0
	if mode == "state" {
		for _, table := range clickHouseTables {
			compared += b.tableEqual(table)
		}
	}
	b.t.Logf("%s: verify: %d rows, differences 0; compared by SQL: %d", mode, rows, compared)
}

// clickHouseTables are what is compared of each table, the same in both servers' SQL where no other is given. (An old server has no date before
// 1970: its text stands in _sluice_exact. And it prints 1970-01-01 as 0000-00-00.)
var clickHouseTables = []struct{ name, mysql, clickhouse string }{
	{"customers", "CONCAT_WS('|', id, email, IFNULL(CONVERT(name USING utf8mb4), 'NULL'), IFNULL(city, 'NULL'), credit, IFNULL(born, 'NULL'), created_at)",
		"concat(toString(id), '|', email, '|', ifNull(name, 'NULL'), '|', ifNull(city, 'NULL'), '|', toString(credit), '|', " +
			"multiIf(visitParamExtractString(_sluice_exact, 'born') != '', visitParamExtractString(_sluice_exact, 'born'), born = toDate(0), '1970-01-01', ifNull(toString(born), 'NULL')), '|', created_at)"},
	{"orders", "CONCAT_WS('|', id, user_id, code, status, total, IFNULL(note, 'NULL'), tags, IFNULL(CAST(detail AS CHAR), 'NULL'), updated_at)",
		"concat(toString(id), '|', toString(user_id), '|', code, '|', status, '|', toString(total), '|', ifNull(note, 'NULL'), '|', tags, '|', ifNull(detail, 'NULL'), '|', updated_at)"},
	{"order_items", "CONCAT_WS('|', order_id, line_no, sku, qty)", "concat(toString(order_id), '|', toString(line_no), '|', sku, '|', toString(qty))"},
	{"products", "CONCAT_WS('|', sku, title, IFNULL(shelf, 'NULL'), IFNULL(HEX(image), 'NULL'), stock)",
		"concat(sku, '|', title, '|', ifNull(toString(shelf), 'NULL'), '|', ifNull(hex(image), 'NULL'), '|', toString(stock))"},
}

// tableEqual holds each row of MySQL against ClickHouse's, as both print them.
func (b *clickHouseBed) tableEqual(table struct{ name, mysql, clickhouse string }) int {
	b.t.Helper()
	there := make(map[string]int)
	for line := range strings.SplitSeq(b.ask(fmt.Sprintf("SELECT hex(%s) FROM copy.shop_%s FINAL WHERE _sluice_deleted = 0", table.clickhouse, table.name)), "\n") {
		there[line]++
	}
	conn, err := b.db.Conn(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(b.t.Context(), "SET time_zone = '+00:00', NAMES utf8mb4"); err != nil {
		b.t.Fatal(err)
	}
	rows, err := conn.QueryContext(b.t.Context(), fmt.Sprintf("SELECT HEX(%s) FROM shop.%s", table.mysql, table.name))
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	n, missing := 0, 0
	for ; rows.Next(); n++ {
		var row string
		if err := rows.Scan(&row); err != nil {
			b.t.Fatal(err)
		}
		if there[row]--; there[row] < 0 {
			if missing++; missing < 4 {
				b.t.Errorf("%s: ClickHouse has no row %s", table.name, row)
			}
		}
	}
	left := 0
	for row, count := range there {
		if count > 0 {
			if left++; left < 4 {
				b.t.Errorf("%s: only ClickHouse has %s", table.name, row)
			}
		}
	}
	if rows.Err() != nil || n == 0 || missing+left > 0 {
		b.t.Errorf("%s: %d rows (%v), %d missing, %d only there", table.name, n, rows.Err(), missing, left)
	}
	return n
}

// once says of the history that each record is there once, and that what it says of each row hangs together: a row's before is the after that the
// change before it left.
func (b *clickHouseBed) once() {
	b.t.Helper()
	for _, table := range clickHouseTables {
		from := " FROM copy.shop_" + table.name + "_history FINAL"
		if said := b.ask("SELECT count() - count(DISTINCT kafka_topic, kafka_partition, kafka_offset)" + from); said != "0" {
			b.t.Errorf("%s: %s records are there twice", table.name, said)
		}
		broken := b.ask("SELECT count() FROM (SELECT key, groupArray(before) AS befores, groupArray(after) AS afters, groupArray(op) AS ops FROM (SELECT *" + from +
			" WHERE op != 'tombstone' ORDER BY version) GROUP BY key) ARRAY JOIN arrayPopFront(befores) AS b, arrayPopBack(afters) AS a, arrayPopFront(ops) AS o WHERE o = 'u' AND a != b")
		if broken != "0" {
			b.t.Errorf("%s: %s changes do not follow from the one before", table.name, broken)
		}
	}
	b.t.Logf("history: %s changes of orders", b.ask("SELECT count() FROM copy.shop_orders_history FINAL"))
}

// planted makes differences by hand: verify finds them, and repair mends them by way of the source.
func (b *clickHouseBed) planted() {
	b.t.Helper()
	columns := "id, user_id, code, status, total, note, tags, detail, updated_at"
	for _, change := range []string{ // with the version of the row, which counts for no newer one
		"SELECT id, user_id, code, status, total, 'bent', tags, detail, updated_at, _sluice_version, 0, _sluice_exact FROM copy.shop_orders FINAL WHERE id = (SELECT min(id) FROM copy.shop_orders FINAL WHERE _sluice_deleted = 0)",
		"SELECT " + columns + ", _sluice_version, 1, _sluice_exact FROM copy.shop_orders FINAL WHERE id = (SELECT max(id) FROM copy.shop_orders FINAL WHERE _sluice_deleted = 0)",
	} {
		b.ask("INSERT INTO copy.shop_orders (" + columns + ", _sluice_version, _sluice_deleted, _sluice_exact) " + change)
	}
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(3, "state", "verify", "-o", "json", "--table", "shop.orders")), report); err != nil {
		b.t.Fatal(err)
	}
	if n := report.Tables[0].Differences; n != 2 {
		b.t.Errorf("verify finds %d differences, want 2: %+v", n, report.Tables[0].Rows)
	}
	b.sluice(0, "state", "repair", "--table", "shop.orders")
	b.sluice(0, "state", "verify", "--table", "shop.orders")
}
