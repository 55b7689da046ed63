package elasticsearch_test

import (
	"fmt"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

// TestEmptyKeepsWhatAnOperatorSet: the index is made anew with its settings, mappings and aliases.
func TestEmptyKeepsWhatAnOperatorSet(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		name := p.prefix + "shop.emptied"
		p.must("PUT", "/"+p.prefix+"mine", `{"settings":{"number_of_shards":2,"number_of_replicas":0,"index.refresh_interval":"7s",
			"analysis":{"analyzer":{"mine":{"type":"standard"}}}},
			"mappings":{"properties":{"note":{"type":"text","analyzer":"mine"}}},"aliases":{"`+name+`":{},"`+p.prefix+`other":{"filter":{"exists":{"field":"note"}}}}}`)
		of := table("emptied", note)
		target := p.prepared(of)
		if names, err := target.Occupied(t.Context(), "src", tables(of, table("absent"))); err != nil || len(names) != 0 {
			t.Errorf("occupied are %v (%v), want none", names, err)
		}
		one := row(1, change.StringValue("a"))
		apply(t, target, put(of, 10, one), put(of, 11, row(2, change.StringValue("b"))))
		apply(t, target, drop(of, 20, one))
		if names, err := target.Occupied(t.Context(), "src", tables(of)); err != nil || fmt.Sprint(names) != "["+name+"]" {
			t.Errorf("occupied are %v (%v), want %s", names, err, name)
		}
		problemOf(t, target.Empty(t.Context(), "other", tables(of)), change.Poison, "of source src, not shop.emptied of source other")
		if n := p.count(p.prefix+"mine", matchAll); n != 2 {
			t.Errorf("%d documents after the refusal, want 2", n)
		}
		before := p.definition("mine")
		if err := target.Empty(t.Context(), "src", tables(of, table("absent"))); err != nil {
			t.Fatal(change.Explain(err))
		}
		if after := p.definition("mine"); after != before {
			t.Errorf("the index was\n%s\nand is\n%s", before, after)
		}
		if names, err := target.Occupied(t.Context(), "src", tables(of)); err != nil || len(names) != 0 {
			t.Errorf("occupied are %v (%v), want none", names, err)
		}
		apply(t, target, put(of, 10, one)) // its tombstone is gone too
		if got := scan(t, target, of); len(got) != 1 {
			t.Errorf("rows are %v", got)
		}
	})
}

// TestEmptyForAnotherKey: a new incarnation of the table may have another key, and documents another form.
func TestEmptyForAnotherKey(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		of, rekeyed := table("rekeyed", note), table("rekeyed", note)
		rekeyed.Key = []int{1}
		target := p.prepared(of)
		if err := target.Empty(t.Context(), "src", tables(rekeyed)); err != nil {
			t.Fatal(change.Explain(err))
		}
		p.config.Documents = "envelope"
		target = p.open()
		defer target.Close()
		problemOf(t, target.Prepare(t.Context(), "g", "src", tables(rekeyed)), change.Poison, "documents are flat")
		if err := target.Empty(t.Context(), "src", tables(rekeyed)); err != nil {
			t.Fatal(change.Explain(err))
		}
		if err := target.Prepare(t.Context(), "g", "src", tables(rekeyed)); err != nil {
			t.Fatal(change.Explain(err))
		}
		if fields := p.properties(p.prefix + "shop.rekeyed"); fields["after"] == nil || fields["id"] != nil {
			t.Errorf("the fields are %v", fields)
		}
	})
}

// definition is an index's definition without what the server makes up.
func (p *place) definition(index string) string {
	p.t.Helper()
	all := p.must("GET", "/"+p.prefix+index, "")
	d, _ := all[p.prefix+index].(map[string]any)
	settings, _ := d["settings"].(map[string]any)
	own, _ := settings["index"].(map[string]any)
	for _, name := range []string{"uuid", "creation_date", "version", "provided_name"} {
		if own[name] == nil {
			p.t.Fatalf("there is no setting %s in %v", name, own)
		}
		delete(own, name)
	}
	return jsonOf(d)
}
