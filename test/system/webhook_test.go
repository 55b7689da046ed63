package system

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

const webhookSecret = "0123456789abcdef"

// payments are written by one writer an id, each write with a number of its own, so that the writer knows which writes are special
// and in what order.
type payments struct {
	t   *testing.T
	db  *sql.DB
	seq atomic.Int64

	mu   sync.Mutex
	want map[write]bool // the writes that paid
}

// write is one change of one row.
type write struct{ id, seq int64 }

const paymentsTable = `CREATE TABLE shop.payments (id BIGINT NOT NULL PRIMARY KEY, status VARCHAR(10), seq BIGINT NOT NULL, note VARCHAR(60) NOT NULL)`

// load makes rows that are there before the source, every third of them paid.
func (p *payments) load(rows int) {
	p.t.Helper()
	exec1(p.t, p.db, "CREATE DATABASE IF NOT EXISTS shop", paymentsTable, "SET SESSION cte_max_recursion_depth = 100000000")
	for from := 0; from < rows; from += 5000 {
		exec1(p.t, p.db, fmt.Sprintf(`INSERT INTO shop.payments SELECT n, IF(n %% 3, 'NEW', 'PAID'), 0, REPEAT('é"\\', n %% 9)
			FROM (WITH RECURSIVE seq(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM seq WHERE n < %d) SELECT n FROM seq) AS s`, from+1, min(from+5000, rows)))
	}
}

// writer does transactions over the ids that are its own (id % writers), some of which are rolled back, until ctx ends. Rows above
// limit are its alone; those below may be paid by payAll.
func (p *payments) writer(ctx context.Context, n, writers int64, r *rand.Rand) error {
	state := make(map[int64]string) // of the rows that are there
	for ctx.Err() == nil {
		tx, err := p.db.Begin()
		if err != nil {
			return err
		}
		before, want := make(map[int64]string), []write(nil)
		for id, status := range state {
			before[id] = status
		}
		for range 1 + r.IntN(8) {
			w := write{id: 1_000_000 + n + writers*r.Int64N(40), seq: p.seq.Add(1)}
			was, there := state[w.id]
			to := []string{"NEW", "PAID", "SENT", ""}[r.IntN(4)]
			null := sql.NullString{String: to, Valid: to != ""}
			switch {
			case !there:
				_, err = tx.Exec("INSERT INTO shop.payments VALUES (?, ?, ?, 'written')", w.id, null, w.seq)
				state[w.id] = to
			case r.IntN(5) == 0:
				_, err = tx.Exec("DELETE FROM shop.payments WHERE id = ?", w.id)
				delete(state, w.id)
				to = ""
			default:
				_, err = tx.Exec("UPDATE shop.payments SET status = ?, seq = ? WHERE id = ?", null, w.seq, w.id)
				state[w.id] = to
			}
			if err != nil {
				return err
			}
			if to == "PAID" && was != "PAID" {
				want = append(want, w)
			}
		}
		if r.IntN(5) == 0 {
			state = before
			if err := tx.Rollback(); err != nil {
				return err
			}
			continue
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		p.note(want...)
		time.Sleep(time.Duration(r.IntN(size(40, 10))) * time.Millisecond)
	}
	return nil
}

func (p *payments) note(want ...write) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range want {
		p.want[w] = true
	}
}

// payAll pays the first rows, many in one statement.
func (p *payments) payAll(rows int) error {
	const chunk = 500
	for from := 1; from <= rows; from += chunk {
		seq := p.seq.Add(1)
		through := min(from+chunk-1, rows)
		if _, err := p.db.Exec("UPDATE shop.payments SET status = 'PAID', seq = ? WHERE id BETWEEN ? AND ?", seq, from, through); err != nil {
			return err
		}
		for id := from; id <= through; id++ {
			if id%3 != 0 {
				p.note(write{int64(id), seq})
			}
		}
		time.Sleep(size(20*time.Millisecond, 5*time.Millisecond))
	}
	return nil
}

// telling is what a receiver was told, in order, what it did not answer or refused to take too.
type telling struct {
	write
	event    string // the id
	accepted bool   // it was taken: the answer may have been lost all the same
}

// flakyReceiver takes events, and fails in every way that there is.
type flakyReceiver struct {
	t      testing.TB
	server *httptest.Server
	faulty atomic.Bool

	mu   sync.Mutex
	told []telling
}

func newFlakyReceiver(t testing.TB) *flakyReceiver {
	f := &flakyReceiver{t: t}
	f.faulty.Store(true)
	f.server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.server.Close)
	return f
}

func (f *flakyReceiver) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	id := r.Header.Get("Webhook-Id")
	mac := hmac.New(sha256.New, []byte(webhookSecret))
	fmt.Fprintf(mac, "%s.%s.%s", id, r.Header.Get("Webhook-Timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("Webhook-Signature") != want {
		f.t.Errorf("the signature is %q, want %q", r.Header.Get("Webhook-Signature"), want)
	}
	var e struct {
		ID            string
		Op            string
		Before, After *struct {
			ID, Seq int64
			Status  *string
		}
	}
	if err := json.Unmarshal(body, &e); err != nil || e.After == nil || e.ID != id {
		f.t.Errorf("the body is %s (%v), its id %s", body, err, id)
		return
	}
	if paid := func(s *string) bool { return s != nil && *s == "PAID" }; !paid(e.After.Status) || e.Before != nil && paid(e.Before.Status) || e.Op != "c" && e.Op != "u" {
		f.t.Errorf("told of %s", body)
	}
	take := func(accepted bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.told = append(f.told, telling{write{e.After.ID, e.After.Seq}, id, accepted})
	}
	fault := 100
	if f.faulty.Load() {
		fault = rand.IntN(40)
	}
	switch fault {
	case 0, 1:
		take(false)
		w.WriteHeader([]int{500, 502, 503, 504}[rand.IntN(4)])
	case 2:
		take(false)
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(429)
	case 3:
		take(false)
		select { // the sink gives up first
		case <-r.Context().Done():
		case <-time.After(3 * time.Second):
		}
	case 4:
		take(false)
		panic(http.ErrAbortHandler)
	case 5:
		take(true) // and nobody learns of it
		panic(http.ErrAbortHandler)
	default:
		take(true)
		w.WriteHeader(204)
	}
}

// count returns how many requests came.
func (f *flakyReceiver) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.told)
}

// missing returns how many of the writes were not taken yet.
func (f *flakyReceiver) missing(p *payments) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := make(map[write]bool, len(f.told))
	for _, x := range f.told {
		if x.accepted {
			taken[x.write] = true
		}
	}
	n := 0
	for w := range p.want {
		if !taken[w] {
			n++
		}
	}
	return n
}

// check holds all that was told against what the writers know: nothing else was told, each write has one id and no two have the same,
// and of one row nothing was told before all that came before it was taken.
func (f *flakyReceiver) check(p *payments) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	order := make(map[int64][]int64) // by row: the special writes in order
	p.mu.Lock()
	for w := range p.want {
		order[w.id] = append(order[w.id], w.seq)
	}
	defer p.mu.Unlock()
	ids, owners := make(map[write]string), make(map[string]write)
	taken := make(map[write]bool)
	again := 0
	for _, x := range f.told {
		if !p.want[x.write] {
			f.t.Errorf("row %d was told of by write %d, which is not special", x.id, x.seq)
		}
		if id, known := ids[x.write]; known && id != x.event {
			f.t.Errorf("write %d of row %d has the ids %s and %s", x.seq, x.id, id, x.event)
		}
		if w, known := owners[x.event]; known && w != x.write {
			f.t.Errorf("the id %s is of two writes", x.event)
		}
		ids[x.write], owners[x.event] = x.event, x.write
		for _, seq := range order[x.id] {
			if seq < x.seq && !taken[write{x.id, seq}] {
				f.t.Errorf("row %d: write %d was told of before write %d was taken", x.id, x.seq, seq)
			}
		}
		if taken[x.write] {
			again++
		}
		taken[x.write] = taken[x.write] || x.accepted
	}
	f.t.Logf("%d special writes, %d requests, %d of them of what was taken already", len(p.want), len(f.told), again)
}

// TestWebhook: MySQL, source, Kafka and the webhook's sink, which is killed again and again while rows are written, told to a
// receiver that fails in every way. Then the log is read again: nothing is told twice unless it is asked for.
func TestWebhook(t *testing.T) {
	needs(t, "mysql-9.7")
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	rows := size(2_000, 200_000)
	p := &payments{t: t, db: db, want: make(map[write]bool)}
	p.load(rows)
	b.source(m, "")
	f := newFlakyReceiver(t)
	config := b.file("paid.yaml", fmt.Sprintf(`group: paid
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.payments"]
session_timeout: 6s
batch: {max_rows: 200}
webhook:
  hooks:
    - {name: paid, tables: ["shop.payments"], condition: "before.status != 'PAID' && after.status == 'PAID'",
       url: "%s/paid", secret: %q, timeout: 500ms, concurrency: 16, retry_first: 5ms, retry_max: 200ms, circuit_pause: 20ms, circuit_max: 100ms}
`, b.broker, b.registry, f.server.URL, webhookSecret))
	sink := b.start("paid", "sluice-sink-webhook", "", []string{"--config", config})

	sluice := binary(t, "sluice", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	r := rand.New(rand.NewPCG(seed(t), 5))
	var writing sync.WaitGroup
	failed := make(chan error, 5)
	for n := range int64(4) {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(n)))
		writing.Go(func() { failed <- p.writer(ctx, n, 4, own) })
	}
	writing.Go(func() { failed <- p.payAll(rows) })
	// A crawl over the top: its rows are no events, and changes meanwhile are, though what they say of before is doubted.
	if out, err := exec.Command(sluice, "crawl", "start", "--config", b.dir+"/source.yaml", "shop.payments").CombinedOutput(); err != nil {
		t.Fatalf("crawl start: %v\n%s", err, out)
	}
	for range size(1, 10) { // a killed one is a member until its session ends: only then the next has the partitions
		at := f.count()
		eventually(t, time.Minute, "the sink is at work", func() bool { return f.count() > at+50 })
		if err := sink.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := sink.Start(); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Until(began.Add(size(8*time.Second, 3*time.Minute))))
	cancel()
	writing.Wait()
	for range 5 {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, size(time.Minute, 20*time.Minute), "every special write was told", func() bool { return f.missing(p) == 0 && b.unread("paid") == 0 })
	f.check(p)
	f.faulty.Store(false)
	p.replays(b, f, func() error { return sink.Stop(20 * time.Second) }, sink.Start, config)
}

// replays reads the log again, twice.
func (p *payments) replays(b *bed, f *flakyReceiver, stop, start func() error, config string) {
	t := p.t
	t.Helper()
	for _, again := range []bool{false, true} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		args := []string{"replay", "--config", config, "--to", "beginning"}
		if again {
			args = append(args, "--resend")
		}
		if out, err := exec.Command(binary(t, "sluice-sink-webhook", ""), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		before := f.count()
		if err := start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, size(time.Minute, 20*time.Minute), "the log was read again", func() bool { return b.unread("paid") == 0 })
		want := 0
		if again {
			want = len(p.want)
		}
		if got := f.count() - before; got != want {
			t.Errorf("%v: %d events were told again, want %d", args, got, want)
		}
	}
	told := make(map[string]write)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.told {
		if w, known := told[x.event]; known && w != x.write {
			t.Errorf("the id %s is of two writes", x.event)
		}
		told[x.event] = x.write
	}
	if len(told) != len(p.want) {
		t.Errorf("%d ids of %d special writes", len(told), len(p.want))
	}
}
