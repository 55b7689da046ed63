package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/webhook"
)

const secret = "a secret of the tests"

// receiver is an HTTP server that is told of changes. It keeps every request, and the rows as somebody would who applies them,
// newest wins.
type receiver struct {
	t      testing.TB
	server *httptest.Server

	mu       sync.Mutex // guards the following
	requests []told
	rows     map[string]row // by source, table and key
	now, max int            // requests under way; the most that there were

	// answer says what to answer to a request, before it counts as accepted. nil: 200.
	answer func(told) (status int, header map[string]string)
	delay  time.Duration
}

// told is one request as it came.
type told struct {
	at     time.Time
	path   string
	header http.Header
	body   []byte
	key    string // of the row, as JSON; empty where the body is no envelope
	status int    // what was answered
}

func (r *told) id() string { return r.header.Get("Webhook-Id") }

func (r *told) version() int64 {
	v, err := strconv.ParseInt(r.header.Get("Sluice-Version"), 10, 64)
	if err != nil {
		panic(err)
	}
	return v
}

type row struct {
	version int64
	values  map[string]json.RawMessage // nil: deleted
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t, rows: make(map[string]row)}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) serve(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // cut off
	}
	got := told{at: time.Now(), path: request.URL.Path, header: request.Header, body: body, status: 200}
	if err := verified(request.Header, body); err != nil {
		r.t.Error(err)
	}
	var e struct {
		Source, DB, Table, Op string
		Version               int64
		Key                   json.RawMessage
		After                 map[string]json.RawMessage
	}
	if json.Unmarshal(body, &e) == nil && len(e.Key) > 0 {
		got.key = string(e.Key)
	}
	r.mu.Lock()
	r.now++
	r.max = max(r.max, r.now)
	answer, delay := r.answer, r.delay
	r.mu.Unlock()
	time.Sleep(delay)
	var header map[string]string
	if answer != nil {
		got.status, header = answer(got)
	}
	r.mu.Lock()
	r.now--
	r.requests = append(r.requests, got)
	if at := e.Source + "." + e.DB + "." + e.Table + " " + got.key; got.status < 300 && got.key != "" && e.Version > r.rows[at].version {
		r.rows[at] = row{e.Version, e.After}
	}
	r.mu.Unlock()
	for name, value := range header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(got.status)
	fmt.Fprint(w, "said by the receiver")
}

// verified holds a signature against what the docs say of it.
func verified(header http.Header, body []byte) error {
	mac := hmac.New(sha256.New, []byte(secret))
	io.WriteString(mac, header.Get("Webhook-Id")+"."+header.Get("Webhook-Timestamp")+"."+string(body))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); header.Get("Webhook-Signature") != want {
		return fmt.Errorf("the signature is %q, want %q", header.Get("Webhook-Signature"), want)
	}
	sent, err := strconv.ParseInt(header.Get("Webhook-Timestamp"), 10, 64)
	if age := time.Since(time.Unix(sent, 0)); err != nil || age < -time.Minute || age > time.Minute {
		return fmt.Errorf("the timestamp is %q", header.Get("Webhook-Timestamp"))
	}
	return nil
}

// set changes the receiver's ways.
func (r *receiver) set(delay time.Duration, answer func(told) (int, map[string]string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay, r.answer = delay, answer
}

// all returns the requests so far.
func (r *receiver) all() []told {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// accepted returns the requests that were accepted.
func (r *receiver) accepted() []told {
	return slices.DeleteFunc(r.all(), func(x told) bool { return x.status >= 300 })
}

// hook is a hook of the receiver with everything told, and short pauses.
func (r *receiver) hook(name string) webhook.Hook {
	var h webhook.Hook
	h.SetDefaults()
	h.Name, h.URL, h.Secret = name, r.server.URL+"/"+name, secret
	h.Tables, h.Ops = []string{"*"}, []string{"c", "u", "d", "r", "tombstone"}
	h.RetryFirst, h.RetryMax = time.Millisecond, 20*time.Millisecond
	h.CircuitPause, h.CircuitMax = 5*time.Millisecond, 40*time.Millisecond
	return h
}

func open(t testing.TB, hooks ...webhook.Hook) *webhook.Target {
	t.Helper()
	c := webhook.Config{Hooks: hooks}
	problems := func(path, problem string) { t.Errorf("%s: %s", path, problem) }
	c.Check(problems)
	for i := range hooks {
		hooks[i].Check(problems)
	}
	target, err := webhook.New(c, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	return target
}

// readable is the target with its receiver, which can be read.
type readable struct {
	*webhook.Target
	from *receiver
}

func (r readable) Scan(_ context.Context, s sink.Scan, each func(sink.Row) error) error {
	r.from.mu.Lock()
	defer r.from.mu.Unlock()
	for at, held := range r.from.rows {
		if !strings.HasPrefix(at, s.Source+"."+s.Table.String()+" ") || held.values == nil {
			continue
		}
		out := sink.Row{Version: change.Version(held.version)}
		for i := range s.Table.Columns {
			c := &s.Table.Columns[i]
			v, err := valueOf(c, held.values[c.Name])
			if err != nil {
				return fmt.Errorf("%s of %s: %w", c.Name, at, err)
			}
			out.Columns, out.Values = append(out.Columns, c.Name), append(out.Values, v)
		}
		if err := each(out); err != nil {
			return err
		}
	}
	return nil
}

// valueOf reads a value of the envelope as its documentation says.
func valueOf(c *change.Column, raw json.RawMessage) (change.Value, error) {
	text := string(raw)
	if raw == nil || text == "null" && c.Type != change.JSON {
		return change.Value{}, nil
	}
	switch {
	case c.Type.Integer() && c.Unsigned:
		n, err := strconv.ParseUint(text, 10, 64)
		return change.UintValue(n), err
	case c.Type.Integer() || c.Type == change.Year:
		n, err := strconv.ParseInt(text, 10, 64)
		return change.IntValue(n), err
	case c.Type == change.Float:
		f, err := strconv.ParseFloat(text, 32)
		return change.Float32Value(float32(f)), err
	case c.Type == change.Double:
		f, err := strconv.ParseFloat(text, 64)
		return change.Float64Value(f), err
	case c.Type == change.JSON:
		return change.StringValue(text), nil
	case c.Type == change.Bit:
		n, err := strconv.ParseUint(text, 10, 64)
		return change.RawValue(binary.BigEndian.AppendUint64(nil, n)[8-(c.Length+7)/8:]), err
	case c.Type == change.Vector:
		var floats []float32
		err := json.Unmarshal(raw, &floats)
		var b bytes.Buffer
		err = errors.Join(err, binary.Write(&b, binary.LittleEndian, floats))
		return change.RawValue(b.Bytes()), err
	case c.Type.Opaque() || c.Type == change.Geometry:
		var b []byte
		err := json.Unmarshal(raw, &b)
		return change.RawValue(b), err
	}
	var s string
	err := json.Unmarshal(raw, &s)
	if c.Type == change.DateTime || c.Type == change.Timestamp {
		s = strings.TrimSuffix(strings.Replace(s, "T", " ", 1), "Z")
	}
	return change.StringValue(s), err
}

// orders is the tests' table.
var orders = &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}, Key: []int{0}, Columns: []change.Column{
	{Name: "id", Type: change.BigInt},
	{Name: "status", Type: change.VarChar, Length: 20, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
	{Name: "total", Type: change.Decimal, Precision: 10, Scale: 2, Nullable: true},
}}

func order(id int64, status string) []change.Value {
	return []change.Value{change.IntValue(id), change.StringValue(status), change.StringValue("12.50")}
}

// changed is one change of an order; its offset is its version.
func changed(op change.Op, v change.Version, before, after []change.Value) sink.Change {
	image := after
	if image == nil {
		image = before
	}
	return sink.Change{Op: op, Table: orders, KeyNames: orders.KeyNames(), KeyValues: image[:1], Key: []byte(image[0].String()), Before: before,
		After: after, TrustedBefore: true, Version: v, Offset: int64(v), Bytes: 100, Origin: sink.Origin{CommitMillis: 1_700_000_000_000 + int64(v)}}
}

func created(v change.Version, id int64, status string) sink.Change {
	return changed(change.Create, v, nil, order(id, status))
}

func updated(v change.Version, id int64, from, to string) sink.Change {
	return changed(change.Update, v, order(id, from), order(id, to))
}

// batch is what comes of the changes, from the offset of the first one.
func batch(changes ...sink.Change) *sink.Batch {
	b := &sink.Batch{Group: "g", Changes: changes, From: changes[0].Offset, Next: changes[len(changes)-1].Offset + 1}
	b.Source, b.Topic, b.Count = "src", "src.shop.orders", 1
	return b
}

// problemOf fails unless err is a Problem of that kind whose text, remedy included, has all the words, and none of the receiver's
// address but its host.
func problemOf(t testing.TB, err error, kind change.Severity, words ...string) {
	t.Helper()
	if err == nil || change.SeverityOf(err) != kind {
		t.Errorf("got %v (kind %s), want a problem of kind %s", err, change.SeverityOf(err), kind)
		return
	}
	text := change.Explain(err)
	for _, w := range append(words, "why", "mend") {
		if !strings.Contains(text, w) {
			t.Errorf("the problem\n%s\nshould say %q", text, w)
		}
	}
	if strings.Contains(text, "/paid") {
		t.Errorf("the problem shows the address, which may be a secret:\n%s", text)
	}
}

// must applies until it is done, as the runtime does.
func must(t testing.TB, target sink.Target, b *sink.Batch) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		err := target.Apply(t.Context(), b)
		if err == nil {
			return
		}
		if change.SeverityOf(err) != change.Retry {
			t.Fatal(change.Explain(err))
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("not applied within 10 s")
}
