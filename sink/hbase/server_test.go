package hbase_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/hbase"
	"github.com/sluice-cdc/sluice/testbed"
)

// engine is started at its first use, once, and stopped when all tests are done.
var engine struct {
	once   sync.Once
	server *testbed.HBase
	missed error // it cannot be had here
	failed error
}

func TestMain(m *testing.M) {
	code := m.Run()
	engine.once.Do(func() {}) // waits for a start that is under way
	if engine.server != nil {
		if err := engine.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func serverOf(t testing.TB) *testbed.HBase {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a Java machine")
	}
	engine.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if engine.missed = testbed.Available(ctx, "hbase"); engine.missed != nil {
			return
		}
		engine.server, engine.failed = testbed.StartHBase(ctx, testbed.HBaseOptions{Settings: map[string]string{
			"hbase.client.keyvalue.maxsize": fmt.Sprint(cellMax), "hbase.client.retries.number": "3", "hbase.client.pause": "20"}})
	})
	if engine.missed != nil {
		t.Skipf("no HBase to test with: %v", engine.missed)
	}
	if engine.failed != nil {
		t.Fatal(engine.failed)
	}
	return engine.server
}

// cellMax is the largest cell that the server of the tests takes.
const cellMax = 1 << 20

var places atomic.Int64

// place is the tables of one test, told from others by a prefix.
type place struct {
	t      testing.TB
	server *testbed.HBase
	config hbase.Config
}

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{t: t, server: serverOf(t)}
	p.config = hbase.Default()
	p.config.URL, p.config.CreateTables, p.config.Table = p.server.URL(), true, fmt.Sprintf("p%d-{db}.{table}", places.Add(1))
	return p
}

func (p *place) open() *hbase.Target { return open(p.t, p.config) }

func open(t testing.TB, c hbase.Config) *hbase.Target {
	t.Helper()
	target, err := hbase.New(c, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	return target
}

// prepared opens a target that has seen the tables.
func (p *place) prepared(tables ...*change.Table) *hbase.Target {
	p.t.Helper()
	target := p.open()
	p.t.Cleanup(func() { target.Close() })
	if err := target.Prepare(p.t.Context(), "g", "src", tables); err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return target
}

// name is what a table is called in HBase.
func (p *place) name(of *change.Table) string {
	return hbase.TableName(&p.config, "src", of.TableName)
}

// admin does what the gateway cannot.
func (p *place) admin(command, table string, lines ...string) {
	p.t.Helper()
	if err := p.server.Admin(p.t.Context(), command, table, lines...); err != nil {
		p.t.Fatal(err)
	}
}

// request makes a request of its own in the gateway's JSON, and returns the status and the answer.
func (p *place) request(method, path, body string) (int, map[string]any) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.server.URL()+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	answer := make(map[string]any)
	if response.StatusCode < 300 && len(text) > 0 && json.Unmarshal(text, &answer) != nil {
		p.t.Fatalf("%s %s: %s", method, path, text)
	}
	return response.StatusCode, answer
}

// put writes one cell by hand.
func (p *place) put(table, key, column, value string, timestamp int64) {
	p.t.Helper()
	b := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	body := fmt.Sprintf(`{"Row":[{"key":%q,"Cell":[{"column":%q,"timestamp":%d,"$":%q}]}]}`, b(key), b(column), timestamp, b(value))
	if status, _ := p.request("PUT", "/"+table+"/x", body); status != 200 {
		p.t.Fatalf("the put gave %d", status)
	}
}

// cells returns a table's cells as a reader who knows nothing of Sluice sees them, by "key column", with their timestamps.
func (p *place) cells(table string) map[string]string {
	p.t.Helper()
	found := make(map[string]string)
	_, answer := p.request("GET", "/"+table+"/*", "")
	rows, _ := answer["Row"].([]any)
	plain := func(v any) string {
		text, err := base64.StdEncoding.DecodeString(v.(string))
		if err != nil {
			p.t.Fatal(err)
		}
		return string(text)
	}
	for _, r := range rows {
		r := r.(map[string]any)
		for _, c := range r["Cell"].([]any) {
			c := c.(map[string]any)
			found[plain(r["key"])+" "+plain(c["column"])] = fmt.Sprintf("%s@%.0f", plain(c["$"]), c["timestamp"])
		}
	}
	return found
}

// table makes a table of that name with the key id and the columns.
func table(name string, columns ...change.Column) *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0},
		Columns: append([]change.Column{{Name: "id", Type: change.BigInt}}, columns...)}
}

var note = change.Column{Name: "note", Type: change.VarChar, Length: 100, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"}

func row(id int64, values ...change.Value) []change.Value {
	return append([]change.Value{change.IntValue(id)}, values...)
}

// put is a row that exists since version v; drop is one that is gone since then.
func put(t *change.Table, v change.Version, image []change.Value) sink.Change {
	c := sink.Change{Op: change.Create, Table: t, After: image, Version: v, Offset: int64(v), Bytes: 100}
	return keyed(c, image)
}

func drop(t *change.Table, v change.Version, image []change.Value) sink.Change {
	c := sink.Change{Op: change.Delete, Table: t, Before: image, TrustedBefore: true, Version: v, Offset: int64(v), Bytes: 100}
	return keyed(c, image)
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
	b := &sink.Batch{Group: "g", Changes: changes}
	b.Source, b.Topic = "src", "src."+changes[0].Table.String()
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
func scan(t testing.TB, target sink.Scanner, request sink.Scan) map[string]sink.Row {
	t.Helper()
	rows := make(map[string]sink.Row)
	request.Source = "src"
	err := target.Scan(t.Context(), request, func(r sink.Row) error {
		key := ""
		for _, k := range request.Table.Key {
			key += r.Values[k].String() + " "
		}
		key = strings.TrimSpace(key)
		if _, twice := rows[key]; twice {
			t.Errorf("row %s is there twice", key)
		}
		rows[key] = r
		return nil
	})
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	return rows
}

// texts returns the rows of a table as text, by their key.
func texts(t testing.TB, target sink.Scanner, of *change.Table) map[string]string {
	t.Helper()
	found := make(map[string]string)
	for key, r := range scan(t, target, sink.Scan{Table: of}) {
		var values []string
		for _, v := range r.Values {
			values = append(values, v.String())
		}
		found[key] = fmt.Sprintf("%s@%d", strings.Join(values, ","), r.Version)
	}
	return found
}

// problemOf fails unless err is a Problem of that kind whose text, remedy included, has all the words.
func problemOf(t testing.TB, err error, kind change.Severity, words ...string) {
	t.Helper()
	text := "nothing"
	if err != nil {
		text = change.Explain(err)
	}
	if err == nil || change.SeverityOf(err) != kind {
		t.Errorf("got %s (kind %s), want a problem of kind %s", text, change.SeverityOf(err), kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("the problem\n%s\nshould say %q", text, w)
		}
	}
}
