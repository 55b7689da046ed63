package elasticsearch_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
	"github.com/sluice-cdc/sluice/testbed"
)

func tables(t ...*change.Table) []*change.Table { return t }

// properties returns the fields of an index and their types.
func (p *place) properties(index string) map[string]any {
	p.t.Helper()
	for _, of := range p.must("GET", "/"+index+"/_mapping", "") {
		mappings, _ := of.(map[string]any)["mappings"].(map[string]any)
		fields, _ := mappings["properties"].(map[string]any)
		return fields
	}
	return nil
}

func TestPrepareMakesAndWidens(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		for _, documents := range []string{elasticsearch.Flat, elasticsearch.Envelope} {
			p.config.Documents = documents
			narrow, wide := table(documents), table(documents, note, change.Column{Name: "n", Type: change.Int})
			target := p.prepared(narrow)
			for range 2 { // at first sight in each process
				if err := target.Prepare(t.Context(), "g", "src", tables(wide)); err != nil {
					t.Fatal(change.Explain(err))
				}
			}
			fields := p.properties(p.prefix + "shop." + documents)
			if documents == elasticsearch.Envelope {
				fields, _ = fields["after"].(map[string]any)["properties"].(map[string]any)
			}
			for name, kind := range map[string]string{"id": "long", "note": "text", "n": "long"} {
				if f, _ := fields[name].(map[string]any); f["type"] != kind {
					t.Errorf("%s: field %s is mapped as %v, want %s", documents, name, f, kind)
				}
			}
			apply(t, target, put(wide, 10, row(1, change.StringValue("word by word"), change.IntValue(7))))
			prefix := ""
			if documents == elasticsearch.Envelope {
				prefix = "after."
			}
			for _, query := range []string{`{"match":{"` + prefix + `note":"by"}}`, `{"term":{"` + prefix + `note.keyword":"word by word"}}`, `{"range":{"` + prefix + `n":{"gt":6}}}`} {
				if n := p.count(p.prefix+"shop."+documents, query); n != 1 {
					t.Errorf("%s finds %d documents, want 1", query, n)
				}
			}
		}
	})
}

// TestPrepareSaysWhatIsMissing: without create_indexes the requests that would help are named, and they do help.
func TestPrepareSaysWhatIsMissing(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		for _, documents := range []string{elasticsearch.Flat, elasticsearch.Envelope} {
			p.config.Documents, p.config.CreateIndexes = documents, false
			target := p.open()
			defer target.Close()
			narrow, wide := table(documents), table(documents, note)
			for _, of := range tables(narrow, wide) {
				err := target.Prepare(t.Context(), "g", "src", tables(of))
				problemOf(t, err, change.Poison, "PUT /"+p.prefix+"shop."+documents+"-rows", "create_indexes")
				p.obey(err)
				if err := target.Prepare(t.Context(), "g", "src", tables(of)); err != nil {
					t.Fatalf("after the named request: %s", change.Explain(err))
				}
			}
			apply(t, target, put(wide, 10, row(1, change.StringValue("x"))))
		}
		if status, _ := p.request("GET", "/"+elasticsearch.LedgerIndex+"/_doc/"+p.prefix+"shop.flat", ""); status != 404 {
			t.Errorf("an index that was not made by us is listed")
		}
	})
}

// obey makes the requests that a problem names, one a line.
func (p *place) obey(err error) {
	p.t.Helper()
	for line := range strings.Lines(change.Explain(err)) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "mend"))
		if method, rest, ok := strings.Cut(line, " /"); ok && (method == "PUT" || method == "POST") {
			path, body, _ := strings.Cut(rest, " ")
			p.must(method, "/"+path, body)
		}
	}
}

// TestPrepareOnAnIndexOfOnesOwn: an operator's index keeps its mappings and gets what it lacks, the alias's filter too.
func TestPrepareOnAnIndexOfOnesOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		name := p.prefix + "shop.own"
		p.must("PUT", "/"+p.prefix+"mine", `{"mappings":{"_meta":{"team":"search"},"dynamic":"strict","properties":{"note":{"type":"keyword"}}},"aliases":{"`+name+`":{}},
			"settings":{"index.mapping.total_fields.limit":4}}`)
		of := table("own", note, change.Column{Name: "n", Type: change.Int})
		target := p.prepared(of)
		fields := p.properties(name)
		if f, _ := fields["note"].(map[string]any); f["type"] != "keyword" || len(fields) != 5 {
			t.Errorf("the fields are %v", fields)
		}
		one := row(1, change.StringValue("a"), change.IntValue(1))
		apply(t, target, put(of, 10, one), put(of, 11, row(2, change.StringValue("b"), change.IntValue(1))))
		apply(t, target, drop(of, 20, one))
		if n := p.count(name, matchAll); n != 1 {
			t.Errorf("%d documents are seen, want 1", n)
		}
		if meta := jsonOf(p.must("GET", "/"+name+"/_mapping", "")); !strings.Contains(meta, `"team":"search"`) || !strings.Contains(meta, `"source":"src"`) {
			t.Errorf("the _meta is wrong: %s", meta)
		}
		// Moved to another index, as after a reindex, writes follow the alias.
		p.must("PUT", "/"+p.prefix+"mine-2", `{}`)
		p.must("POST", "/_aliases", `{"actions":[{"add":{"index":"`+p.prefix+`mine","alias":"`+name+`","is_write_index":false}},
			{"add":{"index":"`+p.prefix+`mine-2","alias":"`+name+`","is_write_index":true}}]}`)
		target = p.prepared(of)
		apply(t, target, put(of, 30, one))
		if n := p.count(p.prefix+"mine-2", matchAll); n != 1 {
			t.Errorf("%d documents are in the new index, want 1", n)
		}
	})
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestPrepareRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		prepare := func(of *change.Table, source string) error {
			target := p.open()
			defer target.Close()
			return target.Prepare(t.Context(), "g", source, tables(of))
		}
		p.must("PUT", "/"+p.prefix+"shop.taken", "")
		problemOf(t, prepare(table("taken"), "src"), change.Poison, "there is an index named "+p.prefix+"shop.taken", "elasticsearch.index")

		p.must("PUT", "/"+p.prefix+"shop.bare-rows", "")
		err := prepare(table("bare"), "src")
		problemOf(t, err, change.Poison, "without the alias "+p.prefix+"shop.bare", "POST /_aliases")
		p.obey(err)
		if err := prepare(table("bare"), "src"); err != nil {
			t.Errorf("after the named request: %s", change.Explain(err))
		}
		p.must("POST", "/_aliases", `{"actions":[{"add":{"index":"`+p.prefix+`shop.taken","alias":"`+p.prefix+`shop.bare"}},
			{"add":{"index":"`+p.prefix+`shop.bare-rows","alias":"`+p.prefix+`shop.bare","is_write_index":false}}]}`)
		problemOf(t, prepare(table("bare"), "src"), change.Poison, "stands for 2 indexes", "is_write_index")

		if err := prepare(table("orders"), "src"); err != nil {
			t.Fatal(change.Explain(err))
		}
		problemOf(t, prepare(table("Orders"), "src"), change.Poison, "holds shop.orders of source src, not shop.Orders")
		problemOf(t, prepare(table("orders"), "other"), change.Poison, "of source src, not shop.orders of source other", "{source}")
		wide := table("orders", note)
		wide.Key = []int{0, 1}
		problemOf(t, prepare(wide, "src"), change.Poison, "the key (id), the table has (id, note)", "--empty")
		p.config.Documents = elasticsearch.Envelope
		problemOf(t, prepare(table("orders"), "src"), change.Poison, "documents are flat", "--empty")
		p.config.Documents = elasticsearch.Flat

		// Gone behind our back: made anew it would show only what changes from now on.
		p.must("DELETE", "/"+p.prefix+"shop.orders-rows", "")
		problemOf(t, prepare(table("orders"), "src"), change.Poison, "was there before and is gone", "--empty")
	})
}

// TestPrepareAtOnce: processes that see a table first at the same time, some of them a newer schema.
func TestPrepareAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		narrow, wide := table("raced", note), table("raced", note, change.Column{Name: "n", Type: change.Int})
		var wg sync.WaitGroup
		for i := range 8 {
			target := p.open()
			defer target.Close()
			wg.Go(func() {
				if err := target.Prepare(t.Context(), "g", "src", tables([]*change.Table{narrow, wide}[i%2])); err != nil {
					t.Error(change.Explain(err))
				}
			})
		}
		wg.Wait()
		if fields := p.properties(p.prefix + "shop.raced"); len(fields) != 5 {
			t.Errorf("the fields are %v", fields)
		}
		// Two tables that differ in case only: one of them is refused.
		errs := make([]error, 2)
		for i, name := range []string{"case", "CASE"} {
			target := p.open()
			defer target.Close()
			wg.Go(func() { errs[i] = target.Prepare(t.Context(), "g", "src", tables(table(name))) })
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("both tables had the same end: %v, %v", errs[0], errs[1])
		}
	})
}

// TestLostIndexIsNotMadeByTheServer: without require_alias the server would guess mappings, and show tombstones.
func TestLostIndexIsNotMadeByTheServer(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		of := table("lost", note)
		target := p.prepared(of)
		p.must("DELETE", "/"+p.prefix+"shop.lost-rows", "")
		err := target.Apply(t.Context(), batch(put(of, 10, row(1, change.StringValue("x")))))
		problemOf(t, err, change.Poison, "taken away", "--empty")
		notRefused(t, err)
		if status, _ := p.request("GET", "/"+p.prefix+"shop.lost", ""); status != 404 {
			t.Error("the server made an index")
		}
	})
}

// TestWideTable has more fields than the server allows by default.
func TestWideTable(t *testing.T) {
	p := newPlace(t, testbed.Elasticsearch)
	of := table("wide")
	image := row(1)
	for i := range 600 {
		c := note
		c.Name = "c" + change.IntValue(int64(i)).String()
		of.Columns = append(of.Columns, c)
		image = append(image, change.StringValue("x"))
	}
	target := p.prepared(of)
	apply(t, target, put(of, 10, image))
	if got := scan(t, target, of); len(got) != 1 {
		t.Errorf("rows are %v", got)
	}
}

func TestCheck(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.config.Deletes = elasticsearch.Delete
		target := p.open()
		defer target.Close()
		found, err := target.Check(t.Context(), "g", nil)
		text := jsonOf(found)
		if err != nil || len(found) != 3 || !strings.Contains(text, "cluster ") || !strings.Contains(text, "gc_deletes") || !strings.Contains(text, "bulk_bytes is 8388608") {
			t.Errorf("findings are %s (%v)", text, err)
		}
	})
}
