package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
)

func orders(alter ...func(*change.Table)) *change.Table {
	t := &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}, Columns: []change.Column{
		{Name: "id", Type: change.Int}, {Name: "total", Type: change.BigInt}, {Name: "note", Type: change.Int},
	}, Key: []int{0}}
	for _, a := range alter {
		a(t)
	}
	return t
}

func valueText(t *testing.T, table *change.Table) string {
	t.Helper()
	text, err := schema.Value(table, "p.shop.orders", schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// local starts the local registry behind a counter of requests.
func local(t *testing.T) (*Client, *atomic.Int64) {
	t.Helper()
	r, err := localregistry.Start(t.Context(), localregistry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	var requests atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		requests.Add(1)
		if !strings.HasPrefix(req.URL.Path, "/apis/ccompat/v7/") { // as Apicurio's
			http.NotFound(w, req)
			return
		}
		http.StripPrefix("/apis/ccompat/v7", reverse(r.URL())).ServeHTTP(w, req)
	}))
	t.Cleanup(proxy.Close)
	return open(t, Options{URL: proxy.URL + "/apis/ccompat/v7"}), &requests
}

func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c.pauses = []time.Duration{time.Millisecond, time.Millisecond}
	return c
}

func TestRegisterAndRead(t *testing.T) {
	c, requests := local(t)
	ctx := t.Context()
	text := valueText(t, orders())
	id, err := c.Register(ctx, "p.shop.orders-value", text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Schema(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	p, err := schema.Parse(got)
	if err != nil || p.Table.TableName != orders().TableName {
		t.Fatalf("parsed %+v, %v", p, err)
	}
	before := requests.Load()
	for range 3 {
		again, err := c.Register(ctx, "p.shop.orders-value", text)
		if err != nil || again != id {
			t.Errorf("registered again: %d, %v; want %d", again, err, id)
		}
		if same, err := c.Schema(ctx, id); err != nil || same != got {
			t.Errorf("read again: %v", err)
		}
	}
	if n := requests.Load() - before; n != 0 {
		t.Errorf("%d requests for what is known", n)
	}
	latest, latestID, err := c.Latest(ctx, "p.shop.orders-value")
	if err != nil || latestID != id || latest == "" {
		t.Errorf("latest: %d, %v", latestID, err)
	}
	if text, _, err := c.Latest(ctx, "nothing"); text != "" || err != nil {
		t.Errorf("latest of nothing: %q, %v", text, err)
	}
}

func TestIncompatibleSchema(t *testing.T) {
	c, _ := local(t)
	ctx, subject := t.Context(), "p.shop.orders-value"
	if _, err := c.Register(ctx, subject, valueText(t, orders())); err != nil {
		t.Fatal(err)
	}
	added := orders(func(t *change.Table) { t.Columns = append(t.Columns, change.Column{Name: "n", Type: change.Int}) })
	if _, err := c.Register(ctx, subject, valueText(t, added)); err != nil {
		t.Fatalf("ADD COLUMN NOT NULL: %v", err)
	}
	narrowed := valueText(t, orders(func(t *change.Table) { t.Columns[1].Type = change.Int }))
	_, err := c.Register(ctx, subject, narrowed)
	if err == nil || change.SeverityOf(err) != change.Poison {
		t.Fatalf("got %v", err)
	}
	said := change.Explain(err)
	for _, want := range []string{"column total: bigint not null -> int not null", "column n dropped", "sluice schema accept shop.orders"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in\n%s", want, said)
		}
	}
	id, err := c.Accept(ctx, subject, narrowed)
	if err != nil || id == 0 {
		t.Fatalf("accept: %d, %v", id, err)
	}
	if again, err := c.Register(ctx, subject, narrowed); err != nil || again != id {
		t.Errorf("after accept: %d, %v; want %d", again, err, id)
	}
	// The level is back: the next wrong one is refused again.
	if _, err := c.Register(ctx, subject, valueText(t, orders(func(t *change.Table) { t.Columns[1].Type = change.JSON }))); change.SeverityOf(err) != change.Poison {
		t.Errorf("after accept the level let all pass: %v", err)
	}
}

// TestConflictWithNothing: a registry that has just started refuses to register what it has, or has not read yet. That is no incompatible
// schema, and passes.
func TestConflictWithNothing(t *testing.T) {
	text := valueText(t, orders())
	other := valueText(t, orders(func(t *change.Table) { t.Columns[1].Type = change.Int }))
	var inItsForm bytes.Buffer
	if err := json.Indent(&inItsForm, []byte(text), "", " "); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		latest string
		want   change.Severity
	}{
		"none":     {"", change.Retry},
		"the same": {inItsForm.String(), change.Retry},
		"another":  {other, change.Poison},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			switch {
			case req.Method == http.MethodPost:
				w.WriteHeader(http.StatusConflict)
				fmt.Fprint(w, `{"error_code":409,"message":"An artifact with ID 'x' in group 'null' already exists."}`)
			case c.latest == "":
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"error_code":40401,"message":"Subject not found."}`)
			default:
				_ = json.NewEncoder(w).Encode(map[string]any{"subject": "x", "version": 1, "id": 7, "schema": c.latest})
			}
		}))
		client := open(t, Options{URL: server.URL})
		if _, err := client.Register(t.Context(), "p.shop.orders-value", text); change.SeverityOf(err) != c.want {
			t.Errorf("%s: %v is %v, want %v", name, err, change.SeverityOf(err), c.want)
		}
		server.Close()
	}
}

func TestAcceptGivesTheSubjectItsOwnLevelBack(t *testing.T) {
	c, _ := local(t)
	ctx, subject := t.Context(), "p.shop.orders-value"
	if err := c.setLevel(ctx, subject, 7); err != nil { // FULL_TRANSITIVE
		t.Fatal(err)
	}
	if _, err := c.Accept(ctx, subject, valueText(t, orders())); err != nil {
		t.Fatal(err)
	}
	if level, err := c.level(ctx, subject); err != nil || level != 7 {
		t.Errorf("level is %v, %v", level, err)
	}
}

// TestFailures: each answer's kind, and that what may pass is tried again.
func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		status, fails int
		want          change.Severity
		requests      int64
		succeeds      bool
	}{
		"down for a moment": {503, 2, 0, 3, true},
		"down":              {503, 99, change.Retry, 3, false},
		"busy":              {429, 99, change.Retry, 3, false},
		"no rights":         {401, 99, change.Configuration, 1, false},
		"forbidden":         {403, 99, change.Configuration, 1, false},
		"wrong path":        {404, 99, change.Configuration, 1, false},
		"invalid schema":    {422, 99, change.Poison, 1, false},
	} {
		var requests atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if user, password, _ := req.BasicAuth(); user != "u" || password != "pässword" {
				t.Errorf("%s: authentication %q %q", name, user, password)
			}
			if int(requests.Add(1)) <= c.fails {
				w.WriteHeader(c.status)
				fmt.Fprintf(w, `{"error_code":%d,"message":"no"}`, c.status)
				return
			}
			fmt.Fprint(w, `{"id":7}`)
		}))
		client := open(t, Options{URL: server.URL, User: "u", Password: "pässword"})
		id, err := client.Register(t.Context(), "s", `"string"`)
		if requests.Load() != c.requests {
			t.Errorf("%s: %d requests, want %d", name, requests.Load(), c.requests)
		}
		switch {
		case c.succeeds && (err != nil || id != 7):
			t.Errorf("%s: %d, %v", name, id, err)
		case !c.succeeds && (err == nil || change.SeverityOf(err) != c.want):
			t.Errorf("%s: %v is of kind %s, want %s", name, err, change.SeverityOf(err), c.want)
		}
		server.Close()
		if c.succeeds {
			continue
		}
		if _, err := client.Register(t.Context(), "s", `"string"`); change.SeverityOf(err) != change.Retry {
			t.Errorf("unreachable: %v", err)
		}
	}
}

func TestUnknownSchemaID(t *testing.T) {
	c, _ := local(t)
	if _, err := c.Schema(t.Context(), 4711); change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), "4711") {
		t.Errorf("got %v", err)
	}
}

// TestCancelledWhileWaiting: the pauses between tries end with the context.
func TestCancelledWhileWaiting(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer server.Close()
	c := open(t, Options{URL: server.URL})
	c.pauses = []time.Duration{time.Hour}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Register(ctx, "s", `"string"`); change.SeverityOf(err) != change.Retry {
		t.Errorf("got %v", err)
	}
}

func TestSecondAddressIsAsked(t *testing.T) {
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":9}`) }))
	defer up.Close()
	id, err := open(t, Options{URL: down.URL + ", " + up.URL}).Register(t.Context(), "s", `"string"`)
	if err != nil || id != 9 {
		t.Errorf("got %d, %v", id, err)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"id":3}`) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig
	if id, err := open(t, Options{URL: server.URL, TLS: roots}).Register(t.Context(), "s", `"string"`); err != nil || id != 3 {
		t.Errorf("got %d, %v", id, err)
	}
	if _, err := open(t, Options{URL: server.URL}).Register(t.Context(), "s", `"string"`); change.SeverityOf(err) != change.Retry {
		t.Errorf("an unknown certificate was taken: %v", err)
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	for _, address := range []string{"", "registry:8081", "ftp://registry", "http://", "http://user:hidden@registry", "http://ok,", "http://\x7f hidden"} {
		_, err := New(Options{URL: address})
		if change.SeverityOf(err) != change.Configuration || strings.Contains(change.Explain(err), "hidden") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	o := Options{URL: "http://r", User: "u", Password: "hidden"}
	if s := fmt.Sprintf("%v %+v %#v %s", o, o, o, o); strings.Contains(s, "hidden") {
		t.Error(s)
	}
}

func TestFrame(t *testing.T) {
	for _, id := range []int{0, 1, 258, 1<<32 - 1} {
		framed := append(AppendFrame([]byte("x"), id), "body"...)
		if len(framed) != 1+FrameBytes+4 {
			t.Errorf("framed in %d bytes", len(framed))
		}
		got, body, err := ReadFrame(framed[1:])
		if err != nil || got != id || string(body) != "body" {
			t.Errorf("id %d: got %d, %q, %v", id, got, body, err)
		}
	}
	for _, bad := range []string{"", "\x00\x00\x00\x00", "\x01\x00\x00\x00\x01body", `{"before":null}`} {
		if _, _, err := ReadFrame([]byte(bad)); err == nil || change.SeverityOf(err) != change.Poison {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// reverse passes requests on.
func reverse(address string) http.Handler {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return httputil.NewSingleHostReverseProxy(u)
}

// TestCheck tells of an address that cannot be one before anything is asked, and never repeats it, since it may hold a password.
func TestCheck(t *testing.T) {
	for text, want := range map[string]string{
		"http://a:8081":                        "",
		"https://a/api/ccompat/v7, http://b:1": "",
		"":                                     "missing",
		"a:8081":                               "http://host:8081",
		"http://a,b:8081":                      "http://host:8081",
		"http://u:secret@a:8081":               "user and password",
	} {
		got := ""
		if err := Check(text); err != nil {
			got = err.Error()
		}
		if want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %q", text, got)
		}
	}
}
