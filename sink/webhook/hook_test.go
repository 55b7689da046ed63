package webhook_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/webhook"
)

// TestWhatIsTold: by op, condition, time, and what is known of the row before.
func TestWhatIsTold(t *testing.T) {
	read := changed(change.Read, 3, nil, order(3, "PAID"))
	read.Origin.Snapshot = "incremental"
	found := changed(change.Delete, 4, []change.Value{change.IntValue(4), {}, {}}, nil)
	found.Origin.Snapshot = "incremental"
	doubted := updated(5, 5, "NEW", "PAID")
	doubted.TrustedBefore = false // where a target may hold the row is not known; what the row was is
	stone := changed(change.Delete, 6, order(6, "PAID"), nil)
	stone.Before, stone.Tombstone = nil, true
	gone := changed(change.Delete, 7, order(7, "PAID"), nil)
	all := []sink.Change{created(1, 1, "PAID"), updated(2, 2, "PAID", "PAID"), read, found, doubted, stone, gone}
	ops := func(words ...string) func(*webhook.Hook) { return func(h *webhook.Hook) { h.Ops = words } }
	when := func(condition string) func(*webhook.Hook) { return func(h *webhook.Hook) { h.Condition = condition } }
	for _, c := range []struct {
		name string
		with func(*webhook.Hook)
		want []int64
	}{
		{"the ops that hold by default", func(h *webhook.Hook) { var d webhook.Hook; d.SetDefaults(); h.Ops = d.Ops }, []int64{1, 2, 4, 5, 7}},
		{"creates", ops("c"), []int64{1}},
		{"crawled rows", ops("r"), []int64{3}},
		{"tombstones", ops("tombstone"), []int64{6}},
		{"what was paid", when(paidOnly), []int64{1, 5}},
		{"a before that is not known makes nothing true", when("before.status != 'PAID'"), []int64{1, 5}},
		{"nor its negation", when("!(before.status == 'PAID')"), []int64{1, 5}},
		{"nor its absence", when("before == nil"), []int64{1}},
		{"nor anything beside it", when("before == nil || true"), []int64{1, 2, 5, 7}},
		{"what does not ask for it is told", when("after.status == 'PAID'"), []int64{1, 2, 3, 5}},
		{"deletes", when("op == 'd'"), []int64{4, 6, 7}},
		{"since", func(h *webhook.Hook) { h.Since = time.UnixMicro(5) }, []int64{5, 6, 7}},
	} {
		r := newReceiver(t)
		h := r.hook("paid")
		h.Concurrency = 1
		c.with(&h)
		must(t, open(t, h), batch(all...))
		if diff := cmp.Diff(c.want, versions(r.accepted())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestSignature holds the signature against the example that the libraries of Standard Webhooks are tested with.
func TestSignature(t *testing.T) {
	key, err := webhook.DecodeSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if got := webhook.Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)); got != want {
		t.Errorf("the signature is %s, want %s", got, want)
	}
}

func TestHeadersMethodAndSecretFile(t *testing.T) {
	r := newReceiver(t)
	h := r.hook("paid")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.Secret, h.SecretFile, h.Method = "", file, "PUT"
	h.Headers = map[string]kafka.Secret{"authorization": "Bearer t"}
	h.Text, h.ContentType = "paid: {{.Key.id}}", "text/csv"
	must(t, open(t, h), batch(created(5, 1, "x")))
	got := r.accepted()[0].header
	for name, want := range map[string]string{"Authorization": "Bearer t", "Content-Type": "text/csv", "User-Agent": "sluice-sink-webhook", "Sluice-Hook": "paid",
		"Sluice-Topic": "src.shop.orders", "Sluice-Op": "c", "Sluice-Version": "5", "Sluice-Attempt": "1", "Sluice-Replayed": "", "Content-Length": "7"} {
		if got.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.Get(name), want)
		}
	}
	for text, words := range map[string]string{"": "is empty", "whsec_???": "base64"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := webhook.New(webhook.Config{Hooks: []webhook.Hook{h}}, sink.Setup{})
		if change.SeverityOf(err) != change.Configuration || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "???") {
			t.Errorf("the secret %q gave %v", text, err)
		}
	}
}

// TestTLS: the receiver's certificate is verified, by the authority that the page names.
func TestTLS(t *testing.T) {
	r := newReceiver(t)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	h := r.hook("paid")
	h.URL = secure.URL + "/paid"
	h.RetryFirst, h.RetryMax = 3*time.Second, 3*time.Second
	problemOf(t, open(t, h).Apply(t.Context(), batch(created(1, 1, "x"))), change.Retry, "certificate")
	if found, _ := open(t, h).Check(t.Context(), "g", nil); found[0].Level != sink.Wrong {
		t.Errorf("doctor says %s", sayFindings(found))
	}
	h.TLSCA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(h.TLSCA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, open(t, h), batch(created(1, 1, "x")))
	if found, _ := open(t, h).Check(t.Context(), "g", []*change.Table{orders}); found[0].Level != sink.Good || found[1].Level != sink.Good {
		t.Errorf("doctor says %s", sayFindings(found))
	}
}

func TestCheckOfHooks(t *testing.T) {
	r := newReceiver(t)
	h := r.hook("paid")
	h.URL, h.Secret, h.Tables = "http://127.0.0.1:1/paid", "", []string{"crm.*"}
	found, err := open(t, h).Check(t.Context(), "g", []*change.Table{orders})
	if err != nil || len(found) != 3 || found[0].Level != sink.Wrong || found[1].Level != sink.Warning || found[2].Level != sink.Warning {
		t.Errorf("doctor says %s (%v)", sayFindings(found), err)
	}
	if n := len(r.all()); n != 0 {
		t.Errorf("doctor made %d requests", n)
	}
}

func TestFloor(t *testing.T) {
	target := open(t, newReceiver(t).hook("paid"))
	if got := target.Floor(sink.LogSettings{Compacted: true, MinCompactionLag: time.Hour, DeleteRetention: time.Hour}); got != time.Hour {
		t.Errorf("the floor is %s, want min.compaction.lag", got)
	}
	if got := target.Floor(sink.LogSettings{MinCompactionLag: time.Hour}); got != 0 {
		t.Errorf("the floor of a log that is not compacted is %s", got)
	}
}

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, " 0 ": 0, "-1": 0, "soon": 0, "99999999": time.Hour,
		"Fri, 20 Nov 2026 09:00:30 GMT": 30 * time.Second, "Fri, 20 Nov 2026 08:00:00 GMT": 0, "Sat, 21 Nov 2026 09:00:00 GMT": time.Hour} {
		if got := webhook.RetryAfter(text, now); got != want {
			t.Errorf("Retry-After: %s is %s, want %s", text, got, want)
		}
	}
}

func TestConfigProblems(t *testing.T) {
	problems := func(change func(*webhook.Hook)) []string {
		var h webhook.Hook
		h.SetDefaults()
		h.Name, h.URL, h.Tables = "paid", "https://hooks.example.org/x", []string{"shop.orders"}
		change(&h)
		var found []string
		h.Check(func(path, _ string) { found = append(found, path) })
		return found
	}
	for _, c := range []struct {
		change func(*webhook.Hook)
		want   []string
	}{
		{func(*webhook.Hook) {}, nil},
		{func(h *webhook.Hook) { h.Name, h.Tables, h.Ops = "", nil, nil }, []string{"name", "tables", "ops"}},
		{func(h *webhook.Hook) { h.Tables, h.Ops = []string{"orders", "/(/", ""}, []string{"x"} }, []string{"tables[0]", "tables[1]", "tables[2]", "ops[0]"}},
		{func(h *webhook.Hook) { h.Condition = "after.total >" }, []string{"condition"}},
		{func(h *webhook.Hook) { h.URL, h.Method = "http://u:p@host/", "GET" }, []string{"url", "method"}},
		{func(h *webhook.Hook) { h.Headers = map[string]kafka.Secret{"a b": ""} }, []string{"headers.a b"}},
		{func(h *webhook.Hook) { h.Headers = map[string]kafka.Secret{"X": "a\nb"} }, []string{"headers.X"}},
		{func(h *webhook.Hook) { h.Headers = map[string]kafka.Secret{"webhook-id": "x"} }, []string{"headers.webhook-id"}},
		{func(h *webhook.Hook) { h.Secret, h.SecretFile = "a", "b" }, []string{"secret_file"}},
		{func(h *webhook.Hook) { h.JSON, h.Text = "1", "2" }, []string{"text"}},
		{func(h *webhook.Hook) { h.JSON = "{{.After" }, []string{"json"}},
		{func(h *webhook.Hook) { h.ContentType = "text/plain" }, []string{"content_type"}},
		{func(h *webhook.Hook) { h.Timeout, h.Concurrency, h.MaxBody = 0, 0, 0 }, []string{"timeout", "concurrency", "max_body"}},
		{func(h *webhook.Hook) { h.RetryFirst, h.RetryMax = 0, -1 }, []string{"retry_first", "retry_max"}},
		{func(h *webhook.Hook) { h.CircuitFailures, h.CircuitPause, h.CircuitMax = 0, 0, -1 }, []string{"circuit_failures", "circuit_pause", "circuit_max"}},
	} {
		if diff := cmp.Diff(c.want, problems(c.change)); diff != "" {
			t.Errorf("problems (-want +got):\n%s", diff)
		}
	}
	var found []string
	c := webhook.Config{Hooks: []webhook.Hook{{Name: "a"}, {Name: "a"}}}
	c.Check(func(path, _ string) { found = append(found, path) })
	(&webhook.Config{}).Check(func(path, _ string) { found = append(found, path) })
	if diff := cmp.Diff([]string{"hooks[1].name", "hooks"}, found); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
