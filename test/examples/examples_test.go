// Package examples runs the programs of examples/, and those that a user would write, as processes of their own: MySQL, the real
// source, a local broker; under writes, killed on the way; and compares what they leave behind with what the database says.
package examples

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// bed is a database that is captured into a local broker.
type bed struct {
	t                     *testing.T
	dir, broker, registry string
	mysql                 *testbed.MySQL
	db                    *sql.DB
}

const users = 60

// newBed starts all of it, with a few rows: some orders are paid already.
func newBed(t *testing.T) *bed {
	t.Helper()
	if err := testbed.Available(t.Context(), "mysql-9.7"); err != nil {
		t.Skipf("mysql-9.7: %v", err)
	}
	b := &bed{t: t, dir: t.TempDir()}
	broker, err := localbroker.Start(t.Context(), localbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	registry, err := localregistry.Start(t.Context(), localregistry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	b.broker, b.registry = broker.Address(), registry.URL()
	if b.mysql, err = testbed.StartMySQL(t.Context(), testbed.MySQLOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.mysql.Stop() })
	if b.db, err = b.mysql.Open("app", ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.db.Close() })
	b.exec("CREATE DATABASE shop", "CREATE DATABASE results",
		"CREATE TABLE shop.users (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, city VARCHAR(40))",
		"CREATE TABLE shop.orders (id BIGINT PRIMARY KEY, user_id BIGINT NOT NULL, status VARCHAR(10) NOT NULL, cents BIGINT NOT NULL, KEY (user_id))")
	for id := range users {
		b.exec(fmt.Sprintf("INSERT INTO shop.users VALUES (%d, 'name %d', 'city')", id, id))
		b.exec(fmt.Sprintf("INSERT INTO shop.orders VALUES (%d, %d, '%s', %d)", id, id, []string{"NEW", "PAID"}[id%2], id*100))
	}
	page := b.file("source.yaml", fmt.Sprintf("name: shop\nmysql: {address: %q, user: cdc, password: cdc}\nkafka: {brokers: [%q], registry: %q, partitions: 4, replication: 1}\ntables: [{match: \"shop.*\"}]\n",
		b.mysql.Address(), b.broker, b.registry))
	b.build("./cmd/sluice-source", "./cmd/sluice", "./examples/...")
	b.start("source", "sluice-source", "--config", page)
	return b
}

func (b *bed) exec(statements ...string) {
	b.t.Helper()
	for _, s := range statements {
		if _, err := b.db.ExecContext(context.Background(), s); err != nil {
			b.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (b *bed) file(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// build compiles packages of the module.
func (b *bed) build(packages ...string) {
	b.t.Helper()
	cmd := exec.Command("go", append([]string{"build", "-o", b.dir + "/"}, packages...)...)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("go build %v: %v\n%s", packages, err, out)
	}
}

// start starts a program of the bed's folder.
func (b *bed) start(name, program string, args ...string) *rig.Process {
	b.t.Helper()
	p := rig.New(name, filepath.Join(b.dir, name+".log"), filepath.Join(b.dir, program), args)
	if err := p.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := p.Stop(time.Minute); err != nil {
			b.t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(p.Log(), "DATA RACE") || strings.Contains(p.Log(), "panic:") || b.t.Failed() {
			b.t.Errorf("--- the end of %s's log\n%s", name, p.LogTail(12))
		}
	})
	return p
}

// page writes the page of a sink.
func (b *bed) page(name, topics, more string) string {
	return b.file(name+".yaml", fmt.Sprintf("group: %s\nkafka: {brokers: [%q], registry: %q}\ntopics: [%s]\nsession_timeout: 6s\nretry_stopped: 1s\nsources: {shop: {address: %q, user: cdc, password: cdc}}\n%s",
		name, b.broker, b.registry, topics, b.mysql.Address(), more))
}

// example starts a program of examples/.
func (b *bed) example(name, topics, more string) (p *rig.Process, page string) {
	page = b.page(name, topics, more)
	return b.start(name, name, "--config", page), page
}

// caughtUp waits until the program has applied what the source shows now.
func (b *bed) caughtUp(program, page string) {
	b.t.Helper()
	cmd := exec.Command(filepath.Join(b.dir, program), "wait", "--config", page, "--now", "--timeout", "3m")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("%s wait: %v\n%s", program, err, out)
	}
}

// write changes the rows for a while, from some connections, and returns how many orders have become paid.
func (b *bed) write(length time.Duration) (paid int64) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), length)
	defer cancel()
	var count atomic.Int64
	var wg sync.WaitGroup
	for n := range 4 {
		r := rand.New(rand.NewPCG(7, uint64(n)))
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := b.change(r, &count); err != nil {
					b.t.Error(err)
					return
				}
				time.Sleep(4 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return count.Load()
}

// change is one random change of the shop.
func (b *bed) change(r *rand.Rand, paid *atomic.Int64) error {
	id, user := r.IntN(400), r.IntN(users)
	statement, pays := "", false
	switch r.IntN(8) {
	case 0:
		statement, pays = fmt.Sprintf("UPDATE shop.orders SET status = 'PAID' WHERE id = %d AND status <> 'PAID'", id), true
	case 1:
		statement = fmt.Sprintf("UPDATE shop.orders SET status = 'NEW', cents = %d WHERE id = %d", r.IntN(10_000), id)
	case 2:
		statement = fmt.Sprintf("UPDATE shop.orders SET user_id = %d WHERE id = %d", user, id)
	case 3:
		statement = fmt.Sprintf("DELETE FROM shop.orders WHERE id = %d", id)
	case 4:
		statement = fmt.Sprintf("UPDATE shop.users SET name = 'name %d', city = NULL WHERE id = %d", r.IntN(1000), user)
	case 5:
		statement = fmt.Sprintf("DELETE FROM shop.users WHERE id = %d", user)
	case 6:
		statement = fmt.Sprintf("INSERT IGNORE INTO shop.users VALUES (%d, 'back %d', 'town %d')", user, r.IntN(1000), r.IntN(9))
	default:
		statement = fmt.Sprintf("INSERT IGNORE INTO shop.orders VALUES (%d, %d, 'NEW', %d)", id, user, r.IntN(10_000))
	}
	result, err := b.db.ExecContext(context.Background(), statement)
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	if n, _ := result.RowsAffected(); pays {
		paid.Add(n)
	}
	return nil
}

// rows reads a result as text by its first column; NULL is "NULL".
func (b *bed) rows(query string) map[string]string {
	b.t.Helper()
	rows, err := b.db.QueryContext(context.Background(), query)
	if err != nil {
		b.t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	out := make(map[string]string)
	values := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			b.t.Fatal(err)
		}
		var texts []string
		for i, v := range values {
			if !v.Valid {
				v.String = "NULL"
			}
			texts = append(texts, columns[i]+"="+v.String)
		}
		out[values[0].String] = strings.Join(texts, " ")
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// documents reads the documents that an alias shows, as text by id, with the fields that are named.
func (b *bed) documents(search, alias string, fields ...string) map[string]string {
	b.t.Helper()
	if answer, err := http.Post(search+"/"+alias+"/_refresh", "", nil); err == nil {
		answer.Body.Close()
	}
	answer, err := http.Get(search + "/" + alias + "/_search?size=10000")
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	var found struct {
		Hits struct {
			Hits []struct {
				Source map[string]any `json:"_source"`
			}
		}
	}
	d := json.NewDecoder(answer.Body)
	d.UseNumber()
	if err := d.Decode(&found); err != nil {
		b.t.Fatal(err)
	}
	out := make(map[string]string)
	for _, hit := range found.Hits.Hits {
		var texts []string
		for _, f := range fields {
			v := hit.Source[f]
			if v == nil {
				v = "NULL"
			}
			texts = append(texts, fmt.Sprintf("%s=%v", f, v))
		}
		out[fmt.Sprint(hit.Source[fields[0]])] = strings.Join(texts, " ")
	}
	return out
}

func (b *bed) equal(what string, got, want map[string]string) {
	b.t.Helper()
	shown := 0
	for k, w := range want {
		if got[k] != w && shown < 5 {
			shown++
			b.t.Errorf("%s: %q, want %q", what, got[k], w)
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok && shown < 5 {
			shown++
			b.t.Errorf("%s: %q should not be there", what, g)
		}
	}
	b.t.Logf("%s: %d rows, want %d", what, len(got), len(want))
}

// receiver is the service that push tells: it fails now and then, and remembers ids.
type receiver struct {
	mu    sync.Mutex // guards the following
	ids   map[string]bool
	calls int
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var body map[string]any
	text, _ := io.ReadAll(q.Body)
	err := json.Unmarshal(text, &body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.calls%10 == 0 {
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	if err != nil || body["order"] == nil || body["user"] == nil || body["at"] == nil {
		http.Error(w, "bad", http.StatusTeapot) // is tried again, and so seen
		return
	}
	r.ids[q.Header.Get("Idempotency-Key")] = true
}

func (r *receiver) told() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ids)
}

// oracle is the service that enrich asks: it is slow, and counts how often it is asked at once.
type oracle struct{ now, most, calls atomic.Int64 }

func (o *oracle) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	n := o.now.Add(1)
	defer o.now.Add(-1)
	for most := o.most.Load(); n > most && !o.most.CompareAndSwap(most, n); most = o.most.Load() {
	}
	time.Sleep(10 * time.Millisecond)
	if o.calls.Add(1)%20 == 0 {
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	name := q.URL.Query().Get("name")
	json.NewEncoder(w).Encode(map[string]any{"greeting": "hello " + name, "score": len(name)})
}

// TestExamples runs the four examples beside each other over one log, kills each of them twice under writes, and compares.
func TestExamples(t *testing.T) {
	b := newBed(t)
	if err := testbed.Available(t.Context(), string(testbed.Elasticsearch)); err != nil {
		t.Skipf("elasticsearch: %v", err)
	}
	search, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { search.Stop() })
	told := &receiver{ids: make(map[string]bool)}
	receiving := httptest.NewServer(told)
	t.Cleanup(receiving.Close)
	asked := &oracle{}
	asking := httptest.NewServer(asked)
	t.Cleanup(asking.Close)

	index := fmt.Sprintf("elasticsearch: {url: %q, create_indexes: true}\n", search.URL())
	var procs []*rig.Process
	pages := make(map[string]string)
	for name, more := range map[string]string{
		"push":     fmt.Sprintf("push: {url: %q}\nhandler: {parallel: 4}\n", receiving.URL),
		"enrich":   fmt.Sprintf("enrich: {url: %q}\nhandler: {parallel: 4, state_only: true}\nparallel: 2\n", asking.URL) + index,
		"join":     fmt.Sprintf("join: {source: \"app:app@tcp(%s)/shop\"}\n", b.mysql.Address()) + index,
		"counters": fmt.Sprintf("counters: {results: \"app:app@tcp(%s)/results\"}\n", b.mysql.Address()),
	} {
		topics := `"shop.shop.*"`
		if name == "counters" {
			topics = `"shop.shop.orders"`
		}
		p, page := b.example(name, topics, more)
		procs, pages[name] = append(procs, p), page
	}
	b.caughtUp("push", pages["push"])
	if n := told.told(); n != 0 {
		t.Errorf("%d orders that were paid before are told of", n)
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for range 2 {
			for _, p := range procs { // the group must have noticed the last death of each before its next: session_timeout
				time.Sleep(2 * time.Second)
				p.Kill()
				p.Start()
			}
		}
	}()
	paid := b.write(17 * time.Second)
	<-killed
	for name, page := range pages {
		b.caughtUp(name, page)
	}
	b.equal("counters", b.rows("SELECT user_id, orders, cents FROM results.per_user WHERE orders <> 0 OR cents <> 0"),
		b.rows("SELECT user_id, COUNT(*) AS orders, SUM(cents) AS cents FROM shop.orders GROUP BY user_id"))
	b.equal("join", b.documents(search.URL(), "shop.docs.orders", "id", "status", "cents", "user_name", "user_city"),
		b.rows("SELECT o.id, o.status, o.cents, u.name AS user_name, u.city AS user_city FROM shop.orders o LEFT JOIN shop.users u ON u.id = o.user_id"))
	b.equal("enrich", b.documents(search.URL(), "shop.docs.profiles", "id", "name", "greeting"), b.rows("SELECT id, name, CONCAT('hello ', name) AS greeting FROM shop.users"))
	if n := int64(told.told()); n != paid || paid == 0 {
		t.Errorf("push: told of %d orders, %d were paid", n, paid)
	}
	if most := asked.most.Load(); most > 8 || most < 3 {
		t.Errorf("enrich: the service was asked %d at once, want at most 8, and not one after the other", most)
	}
	t.Logf("push: %d orders paid, %d calls; enrich: %d calls, %d at once", paid, told.calls, asked.calls.Load(), asked.most.Load())
}
