package elasticsearch_test

import (
	"bytes"
	"context"
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
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
	"github.com/sluice-cdc/sluice/testbed"
)

// httpMax is the largest request that the servers of the tests take, below bulk_bytes, so that halving is met.
const httpMax = 2 << 20

// engines are started at their first use, once, and stopped when all tests are done.
var engines = map[testbed.SearchKind]*engine{testbed.Elasticsearch: {}, testbed.OpenSearch: {}}

type engine struct {
	once   sync.Once
	server *testbed.Search
	missed error // it cannot be had here
	failed error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, e := range engines {
		e.once.Do(func() {}) // waits for a start that is under way
		if e.server != nil {
			if err := e.server.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// start starts the engine, unless it is started.
func start(kind testbed.SearchKind) *engine {
	e := engines[kind]
	e.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if e.missed = testbed.Available(ctx, string(kind)); e.missed != nil {
			return
		}
		e.server, e.failed = testbed.StartSearch(ctx, testbed.SearchOptions{Kind: kind, Settings: map[string]string{
			"http.max_content_length": fmt.Sprintf("%db", httpMax), "action.destructive_requires_name": "false"}})
	})
	return e
}

func serverOf(t testing.TB, kind testbed.SearchKind) *testbed.Search {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a Java machine")
	}
	e := start(kind)
	if e.missed != nil {
		t.Skipf("no %s to test with: %v", kind, e.missed)
	}
	if e.failed != nil {
		t.Fatal(e.failed)
	}
	return e.server
}

// onBoth runs the test on each engine.
func onBoth(t *testing.T, test func(t *testing.T, p *place)) {
	if !testing.Short() {
		go start(testbed.OpenSearch) // beside the other's start and work
	}
	for _, kind := range []testbed.SearchKind{testbed.Elasticsearch, testbed.OpenSearch} {
		t.Run(string(kind), func(t *testing.T) { test(t, newPlace(t, kind)) })
	}
}

var places atomic.Int64

// place is the indexes of one test, told from others by a prefix.
type place struct {
	t      testing.TB
	base   string
	prefix string
	config elasticsearch.Config
}

func newPlace(t testing.TB, kind testbed.SearchKind) *place {
	t.Helper()
	p := &place{t: t, base: serverOf(t, kind).URL(), prefix: fmt.Sprintf("p%d-", places.Add(1))}
	p.config = elasticsearch.Default()
	p.config.URL, p.config.CreateIndexes, p.config.Index = p.base, true, p.prefix+"{db}.{table}"
	t.Cleanup(func() { p.request("DELETE", "/"+p.prefix+"*", "") })
	return p
}

func (p *place) open() *elasticsearch.Target { return open(p.t, p.config) }

func open(t testing.TB, c elasticsearch.Config) *elasticsearch.Target {
	t.Helper()
	target, err := elasticsearch.New(c, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	return target
}

// prepared opens a target that has seen the table.
func (p *place) prepared(tables ...*change.Table) *elasticsearch.Target {
	p.t.Helper()
	target := p.open()
	p.t.Cleanup(func() { target.Close() })
	if err := target.Prepare(p.t.Context(), "g", "src", tables); err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return target
}

// request makes a request of its own, and returns the status and the answer.
func (p *place) request(method, path, body string) (int, map[string]any) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
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
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if len(text) > 0 && d.Decode(&answer) != nil {
		p.t.Fatalf("%s %s: %s", method, path, text)
	}
	return response.StatusCode, answer
}

// must makes a request that succeeds.
func (p *place) must(method, path, body string) map[string]any {
	p.t.Helper()
	status, answer := p.request(method, path, body)
	if status >= 300 {
		p.t.Fatalf("%s %s: HTTP %d %v", method, path, status, answer)
	}
	return answer
}

// count returns how many documents match the query string.
func (p *place) count(index, query string) int {
	p.t.Helper()
	p.must("POST", "/"+index+"/_refresh", "")
	n, err := p.must("POST", "/"+index+"/_count", `{"query":`+query+`}`)["count"].(json.Number).Int64()
	if err != nil {
		p.t.Fatal(err)
	}
	return int(n)
}

const matchAll = `{"match_all":{}}`

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
func scan(t testing.TB, target sink.Scanner, of *change.Table, keys ...[]change.Value) map[string]sink.Row {
	t.Helper()
	rows := make(map[string]sink.Row)
	err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of, Keys: keys}, func(r sink.Row) error {
		key := ""
		for _, k := range of.Key {
			key += r.Values[k].String() + " "
		}
		if _, twice := rows[key]; twice {
			t.Errorf("row %s is there twice", key)
		}
		rows[strings.TrimSpace(key)] = r
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
