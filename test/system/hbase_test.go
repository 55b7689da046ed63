package system

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
	"github.com/sluice-cdc/sluice/verify"
)

// hbasePage is the sink's config: a table with salted row keys, and one whose keys are turned round.
const hbasePage = `group: rows
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
retry_stopped: 1s
hbase:
  url: %q
  create_tables: true
  tables: [{match: "shop.orders", salt: 16}, {match: "shop.products", row_key: "{sku:reverse}"}]
sources: {shop: {address: %q, user: cdc, password: cdc}}
`

// hbaseBed is a shop, and a server with its rows.
type hbaseBed struct {
	*bed
	db     *sql.DB
	server *testbed.HBase
	config string
}

// TestHBaseWalk: MySQL, the local broker, the sink as a process that is killed again and again while the shop is written to. In the end,
// after a major compaction, every row is compared: by verify, and by a comparison that knows nothing of the sink's code. At full size the
// tables are then emptied and filled anew from the log alone.
func TestHBaseWalk(t *testing.T) {
	needs(t, "mysql-9.7", "hbase")
	b := &hbaseBed{bed: newBed(t)}
	m, db := b.mysql(testbed.MySQLOptions{})
	b.db = db
	shop := rig.Shop{Database: "shop", Rows: size(3_000, 200_000)}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	server, err := testbed.StartHBase(t.Context(), testbed.HBaseOptions{HeapMB: size(320, 1024), Settings: map[string]string{"hbase.rest.scan.fetchsize": "500", "hbase.client.pause": "20"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	b.server = server
	b.source(m, "")
	b.config = b.file("hbase.yaml", fmt.Sprintf(hbasePage, b.broker, b.registry, server.URL(), m.Address()))
	sink := b.start("hbase", "sluice-sink-hbase", "", []string{"--config", b.config})

	w := &rig.Writer{DB: db, Shop: shop, Connections: size(4, 16), PerSecond: size(300, 1000), Seed: seed(t)}
	length, kills := size(5*time.Second, 2*time.Minute), size(1, 10)
	b.underFire(w, length, kills, sink)
	t.Logf("%d rows, %d changes, %d kills of the sink", shop.Rows, w.Changes(), kills)
	b.applied()
	for _, table := range hbaseTables {
		if err := server.Admin(t.Context(), "major-compact", "shop."+table.name); err != nil {
			t.Fatal(err)
		}
	}
	b.equal()
	b.planted()

	if !full() { // sink/hbase empties tables in its own tests
		return
	}
	if err := sink.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	b.sluice(0, "replay", "--to", "beginning", "--empty")
	if left := b.rows("orders"); len(left) != 0 {
		t.Errorf("replay --empty leaves %d orders", len(left))
	}
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	b.applied()
	b.equal()
}

// sluice runs a command of the sink and returns what it prints.
func (b *hbaseBed) sluice(want int, args ...string) string {
	b.t.Helper()
	cmd := exec.Command(binary(b.t, "sluice-sink-hbase", ""), append(args, "--config", b.config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.t.Fatalf("%v: exit %d, want %d (%v)\n%s%s", args, code, want, err, out.String(), errs.String())
	}
	return out.String()
}

func (b *hbaseBed) applied() {
	b.t.Helper()
	b.sluice(0, "wait", "--now", "--timeout", size("180s", "60m"))
}

// equal compares in both ways.
func (b *hbaseBed) equal() {
	b.t.Helper()
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(0, "verify", "-o", "json")), report); err != nil {
		b.t.Fatal(err)
	}
	rows := int64(0)
	for _, r := range report.Tables {
		if rows += r.SourceRows; r.SourceRows != r.TargetRows || r.SourceRows == 0 {
			b.t.Errorf("verify: %s has %d rows, in HBase %d", r.Table, r.SourceRows, r.TargetRows)
		}
	}
	if len(report.Tables) != len(hbaseTables) {
		b.t.Errorf("verify compared %d tables, want %d", len(report.Tables), len(hbaseTables))
	}
	compared := 0
	for _, table := range hbaseTables {
		compared += b.tableEqual(table)
	}
	b.t.Logf("verify: %d rows, differences 0; compared by hand: %d", rows, compared)
}

// hbaseTable is what a table's rows should be in HBase, said in SQL: the row key, and the text of each cell.
type hbaseTable struct {
	name, key string
	columns   []string // each as name=expression
}

var hbaseTables = []hbaseTable{
	{"customers", "LPAD(id, 20, '0')", []string{"id=id", "email=email", "name=name", "city=city", "credit=credit", "vip=vip+0", "born=born", "created_at=created_at"}},
	{"orders", "CONCAT(LOWER(LPAD(HEX(CRC32(LPAD(id, 19, '0')) MOD 16), 2, '0')), LPAD(id, 19, '0'))",
		[]string{"id=id", "user_id=user_id", "code=code", "status=status", "total=total", "note=note", "tags=tags", "detail=detail", "updated_at=updated_at"}},
	{"order_items", "CONCAT(LPAD(order_id, 19, '0'), ':', LPAD(line_no, 5, '0'))", []string{"order_id=order_id", "line_no=line_no", "sku=sku", "qty=qty"}},
	{"products", "REVERSE(sku)", []string{"sku=sku", "title=title", "shelf=shelf", "image=image", "stock=stock"}},
}

// tableEqual holds each row of MySQL against its row in HBase, and counts the rows.
func (b *hbaseBed) tableEqual(table hbaseTable) int {
	b.t.Helper()
	there := b.rows(table.name)
	expressions := []string{table.key}
	var names []string
	for _, c := range table.columns {
		name, expression, _ := strings.Cut(c, "=")
		names, expressions = append(names, name), append(expressions, expression)
	}
	conn, err := b.db.Conn(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(b.t.Context(), "SET time_zone = '+00:00'"); err != nil {
		b.t.Fatal(err)
	}
	rows, err := conn.QueryContext(b.t.Context(), fmt.Sprintf("SELECT %s FROM shop.%s", strings.Join(expressions, ", "), table.name))
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	values := make([]sql.NullString, len(expressions))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	n := 0
	for ; rows.Next(); n++ {
		if err := rows.Scan(into...); err != nil {
			b.t.Fatal(err)
		}
		cells := there[values[0].String]
		var nulls []string
		if list, has := strings.CutPrefix(cells["_sluice"], "row "); has {
			if err := json.Unmarshal([]byte(list), &nulls); err != nil {
				b.t.Fatal(err)
			}
		}
		for i, name := range names {
			got := cells[name]
			for _, null := range nulls {
				if null == name {
					got += "NULL"
				}
			}
			if want := textOrNull(values[i+1]); got != want {
				b.t.Errorf("%s %q: %s is %q, want %q", table.name, values[0].String, name, got, want)
			}
		}
	}
	if len(there) != n || rows.Err() != nil {
		b.t.Errorf("%s has %d rows (%v), in HBase %d", table.name, n, rows.Err(), len(there))
	}
	return n
}

// rows returns a table's rows as people read them, by the filter that the docs give: the cells of each row key by qualifier.
func (b *hbaseBed) rows(table string) map[string]map[string]string {
	b.t.Helper()
	filter := url.QueryEscape("SingleColumnValueFilter('d','_sluice',=,'binaryprefix:row')")
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.server.URL()+"/shop."+table+"/*?filter="+filter, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	for range 3 { // {"Row":[
		if _, err := decoder.Token(); err != nil {
			b.t.Fatal(err)
		}
	}
	all := make(map[string]map[string]string)
	for decoder.More() {
		var row struct {
			Key  []byte `json:"key"`
			Cell []struct {
				Column []byte `json:"column"`
				Value  []byte `json:"$"`
			}
		}
		if err := decoder.Decode(&row); err != nil {
			b.t.Fatal(err)
		}
		cells := make(map[string]string)
		for _, c := range row.Cell {
			cells[strings.TrimPrefix(string(c.Column), "d:")] = string(c.Value)
		}
		all[string(row.Key)] = cells
	}
	return all
}

// planted makes differences by hand, as somebody would who knows that timestamps decide: verify finds them, and repair mends them by way of
// the source.
func (b *hbaseBed) planted() {
	b.t.Helper()
	var order int64
	var key, gone string
	if err := b.db.QueryRow("SELECT MIN(id) FROM shop.orders").Scan(&order); err != nil {
		b.t.Fatal(err)
	}
	by := "SELECT " + hbaseTables[1].key + " FROM shop.orders ORDER BY id "
	if err := b.db.QueryRow(by + "LIMIT 1").Scan(&key); err != nil {
		b.t.Fatal(err)
	}
	if err := b.db.QueryRow(by + "DESC LIMIT 1").Scan(&gone); err != nil {
		b.t.Fatal(err)
	}
	b.ask(http.MethodPut, "/shop.orders/"+key+"/d:note/"+b.version(key), "bent")
	b.ask(http.MethodDelete, "/shop.orders/"+gone+"/d/"+b.version(gone), "")
	const nobody = "999999999"
	var extra string
	if err := b.db.QueryRow("SELECT " + strings.ReplaceAll(hbaseTables[1].key, "id", nobody)).Scan(&extra); err != nil {
		b.t.Fatal(err)
	}
	b.ask(http.MethodPut, "/shop.orders/"+extra+"/d:id/5", nobody)
	report := &verify.Report{}
	if err := json.Unmarshal([]byte(b.sluice(3, "verify", "-o", "json", "--table", "shop.orders")), report); err != nil {
		b.t.Fatal(err)
	}
	if n := report.Tables[0].Differences; n != 3 {
		b.t.Errorf("verify finds %d differences, want 3: %+v", n, report.Tables[0].Rows)
	}
	b.ask(http.MethodDelete, "/shop.orders/"+extra+"/d/5", "")
	b.sluice(0, "repair", "--table", "shop.orders")
}

// version is the version of an order, as its timestamp says.
func (b *hbaseBed) version(key string) string {
	return b.ask(http.MethodGet, "/shop.orders/"+key+"/d:_sluice", "").Get("X-Timestamp")
}

// ask makes a request that succeeds.
func (b *hbaseBed) ask(method, path, body string) http.Header {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL()+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Header.Set("Accept", "application/octet-stream")
	request.Header.Set("X-Timestamp", path[strings.LastIndexByte(path, '/')+1:])
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.t.Fatalf("%s %s: %s", method, path, response.Status)
	}
	return response.Header
}
