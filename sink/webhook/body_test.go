package webhook_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/webhook"
)

// bodies returns the bodies that the changes give.
func bodies(t *testing.T, with func(*webhook.Hook), changes ...sink.Change) []string {
	t.Helper()
	r := newReceiver(t)
	h := r.hook("paid")
	if with != nil {
		with(&h)
	}
	must(t, open(t, h), batch(changes...))
	var all []string
	for _, x := range r.accepted() {
		all = append(all, string(x.body))
	}
	return all
}

// TestEnvelope: the envelope is a format that receivers depend on.
func TestEnvelope(t *testing.T) {
	u := updated(7, 1, "NEW", "<PAID> \"é\"\u2028")
	u.Origin.GTID = "3e11fa47-71ca-11e1-9e33-c80aa9429562:23"
	d := changed(change.Delete, 9, order(1, "PAID"), nil)
	d.Origin.Transaction = "tx-5"
	found := changed(change.Delete, 10, []change.Value{change.IntValue(2), {}, {}}, nil) // by a crawl: no more than the key is known
	found.Origin.Snapshot, found.TrustedBefore = "incremental", false
	read := changed(change.Read, 11, nil, order(3, "PAID"))
	read.Origin.Snapshot = "true"
	stone := changed(change.Delete, 12, order(4, "PAID"), nil)
	stone.Before, stone.Tombstone, stone.Origin = nil, true, sink.Origin{}
	got := bodies(t, func(h *webhook.Hook) { h.Concurrency = 1 }, u, d, found, read, stone)
	const rest = `"topic":"src.shop.orders","partition":0,"offset":`
	want := []string{
		`"op":"u","source":"src","db":"shop","table":"orders","key":{"id":1},"before":{"id":1,"status":"NEW","total":"12.50"},` +
			`"after":{"id":1,"status":"<PAID> \"é\"\u2028","total":"12.50"},"version":7,"commit_time":"2023-11-14T22:13:20.007Z",` +
			`"transaction":"3e11fa47-71ca-11e1-9e33-c80aa9429562:23","snapshot":null,` + rest + `7}`,
		`"op":"d","source":"src","db":"shop","table":"orders","key":{"id":1},"before":{"id":1,"status":"PAID","total":"12.50"},"after":null,` +
			`"version":9,"commit_time":"2023-11-14T22:13:20.009Z","transaction":"tx-5","snapshot":null,` + rest + `9}`,
		`"op":"d","source":"src","db":"shop","table":"orders","key":{"id":2},"before":null,"after":null,` +
			`"version":10,"commit_time":"2023-11-14T22:13:20.010Z","transaction":null,"snapshot":"incremental",` + rest + `10}`,
		`"op":"r","source":"src","db":"shop","table":"orders","key":{"id":3},"before":null,"after":{"id":3,"status":"PAID","total":"12.50"},` +
			`"version":11,"commit_time":"2023-11-14T22:13:20.011Z","transaction":null,"snapshot":"true",` + rest + `11}`,
		`"op":"d","source":"src","db":"shop","table":"orders","key":{"id":4},"before":null,"after":null,` +
			`"version":12,"commit_time":null,"transaction":null,"snapshot":null,` + rest + `12}`,
	}
	for i := range got {
		start, body, _ := strings.Cut(got[i], `"hook":"paid",`)
		if !strings.HasPrefix(start, `{"id":"evt_`) || len(start) != len(`{"id":"evt_",`)+24 {
			t.Errorf("the body begins with %s", start)
		}
		got[i] = body
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

var documents = &change.Table{TableName: change.TableName{DB: "shop", Name: "documents"}, Key: []int{0}, Columns: []change.Column{
	{Name: "id", Type: change.BigInt, Unsigned: true}, {Name: "doc", Type: change.JSON, Nullable: true}, {Name: "flag", Type: change.Bit, Length: 1},
	{Name: "blob", Type: change.Blob}, {Name: "ratio", Type: change.Float}, {Name: "at", Type: change.Timestamp, Scale: 3}, {Name: "vec", Type: change.Vector, Length: 2}}}

func documentChange(doc string) sink.Change {
	c := created(5, 1, "")
	c.Table = documents
	c.KeyValues = []change.Value{change.UintValue(math.MaxUint64)}
	c.After = []change.Value{c.KeyValues[0], change.StringValue(doc), change.RawValue([]byte{1}), change.RawValue([]byte{0xff, 0}),
		change.Float32Value(0.1), change.StringValue("2026-01-02 03:04:05.678"), change.RawValue([]byte{0, 0, 128, 63, 0, 0, 0, 192})}
	return c
}

// TestEnvelopeOfJSON: a JSON column is in the body as it is, spaces, large numbers and all.
func TestEnvelopeOfJSON(t *testing.T) {
	got := bodies(t, nil, documentChange(`{"k": [1, 18446744073709551615, 1.50], "t": "<é>"}`))
	const want = `"after":{"id":18446744073709551615,"doc":{"k": [1, 18446744073709551615, 1.50], "t": "<é>"},"flag":true,"blob":"/wA=","ratio":0.1,` +
		`"at":"2026-01-02T03:04:05.678Z","vec":[1,-2]}`
	if len(got) != 1 || !strings.Contains(got[0], want) || !json.Valid([]byte(got[0])) {
		t.Errorf("bodies are %s", got)
	}
}

func TestTemplates(t *testing.T) {
	evil := "a\"b\\\n</script>{{.ID}}é"
	for _, c := range []struct {
		json, text string
		change     sink.Change
		want       string
	}{
		{json: `{"id": {{.After.id}}, "status": {{.After.status}}, "was": {{.Before.status}}, "n": {{len .After.status}}}`, change: created(5, 1, evil),
			want: `{"id": 1, "status": "a\"b\\\n</script>{{.ID}}é", "was": null, "n": 23}`},
		{json: `{"text": {{printf "order %v: %s" .After.id .After.status}}}`, change: created(5, 1, evil), want: `{"text": "order 1: a\"b\\\n</script>{{.ID}}é"}`},
		{json: `{"row": {{.After}}, "op": {{.Op}}, "v": {{.Version}}}`, change: created(5, 1, "x"),
			want: `{"row": {"id":1,"status":"x","total":"12.50"}, "op": "c", "v": 5}`},
		{json: `[{{range $i, $v := .Key}}{{$v}}{{end}}, {{if eq .After.status "x"}}true{{else}}false{{end}}, {{raw "12"}}]`, change: created(5, 1, "x"), want: `[1, true, 12]`},
		{json: `{{with .After}}{{.status | json}}{{end}}`, change: created(5, 1, "x"), want: `"x"`},
		{json: `{"doc": {{.After.doc}}}`, change: documentChange(`{"a": 1}`), want: `{"doc": {"a": 1}}`},
		{text: "{{.Table}} {{.Key.id}}: {{.Before.status}} to {{.After.status}}", change: updated(5, 1, "a", evil), want: "orders 1: a to " + evil},
	} {
		got := bodies(t, func(h *webhook.Hook) { h.JSON, h.Text = c.json, c.text }, c.change)
		if diff := cmp.Diff([]string{c.want}, got); diff != "" {
			t.Errorf("%s%s (-want +got):\n%s", c.json, c.text, diff)
		}
	}
}

// TestBadBodies: what cannot be said is refused, with the event named.
func TestBadBodies(t *testing.T) {
	bent := created(5, 1, "\xff\xfe")
	infinite := documentChange("{}")
	infinite.After[6] = change.RawValue([]byte{0, 0, 128, 127, 0, 0, 0, 0})
	for _, c := range []struct {
		with   func(*webhook.Hook)
		change sink.Change
		words  string
	}{
		{func(h *webhook.Hook) {}, bent, "status: the text is not UTF-8"},
		{func(h *webhook.Hook) { h.JSON = "{{.After.status}}" }, bent, "status: the text is not UTF-8"},
		{func(h *webhook.Hook) {}, infinite, "vec: the number is not finite"},
		{func(h *webhook.Hook) {}, documentChange("{"), "doc: the text is not JSON"},
		{func(h *webhook.Hook) {}, created(5, 1, strings.Repeat("x", 2000)), "max_body"},
		{func(h *webhook.Hook) { h.Text = "{{.After.status}}" }, created(5, 1, strings.Repeat("x", 2000)), "max_body"},
		{func(h *webhook.Hook) { h.JSON = `{"a": {{.After.id}}` }, created(5, 1, "x"), "is not JSON"},
		{func(h *webhook.Hook) { h.Text = `{{index .After.status 99}}` }, created(5, 1, "x"), "out of range"},
		{func(h *webhook.Hook) { h.Condition = "lower(after.status) == 'x'" }, changed(change.Create, 5, nil, make([]change.Value, 3)), "condition"},
	} {
		r := newReceiver(t)
		h := r.hook("paid")
		h.MaxBody = 1 << 10
		c.with(&h)
		err := open(t, h).Apply(t.Context(), batch(c.change, created(6, 2, "y")))
		var refused *sink.Refused
		if !errors.As(err, &refused) || refused.Offset != 5 {
			t.Errorf("%s: got %v", c.words, err)
			continue
		}
		problemOf(t, refused.Err, change.Poison, c.words)
	}
}

// TestHooksThatDoNotFit are told of when the table is met, before any change with it is applied.
func TestHooksThatDoNotFit(t *testing.T) {
	for words, with := range map[string]func(*webhook.Hook){
		`column "state" is not in shop.orders (id, status, total)`: func(h *webhook.Hook) { h.Condition = "after.state == 'x'" },
		`column "Status" of .After.Status is not in shop.orders`:   func(h *webhook.Hook) { h.JSON = `{{if .Op}}{{.After.Status}}{{end}}` },
		`column "no" of .Key.no is not in shop.orders (id)`:        func(h *webhook.Hook) { h.Text = `{{printf "%v" $.Key.no}}` },
	} {
		r := newReceiver(t)
		h := r.hook("paid")
		with(&h)
		target := open(t, h)
		problemOf(t, target.Prepare(t.Context(), "g", "src", []*change.Table{orders}), change.Poison, words)
		problemOf(t, target.Apply(t.Context(), batch(created(1, 1, "x"))), change.Poison, words)
		if n := len(r.all()); n != 0 {
			t.Errorf("%d requests", n)
		}
		found, err := target.Check(t.Context(), "g", []*change.Table{orders, documents})
		if err != nil || !strings.Contains(sayFindings(found), words) {
			t.Errorf("doctor says %s (%v), want %q", sayFindings(found), err, words)
		}
		elsewhere := r.hook("paid")
		with(&elsewhere)
		elsewhere.Tables = []string{"crm.*"}
		must(t, open(t, elsewhere), batch(created(1, 1, "x")))
	}
}

func sayFindings(found []sink.Finding) string {
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.Where + " " + f.What + " " + f.Why + " " + f.Mend + "\n")
	}
	return b.String()
}
