package hbase_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/hbase"
)

// prepare is Prepare of a new process.
func (p *place) prepare(source string, of *change.Table) error {
	target := p.open()
	defer target.Close()
	return target.Prepare(p.t.Context(), "g", source, []*change.Table{of})
}

// TestTablesThatAreRefused, each with what mends it.
func TestTablesThatAreRefused(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.config.CreateTables = false
	p.config.Tables = []hbase.Table{{Match: "*.salted", Salt: 3}}
	salted, of := table("salted", note), table("kept", note)
	name := p.name(of)
	problemOf(t, p.prepare("src", salted), change.Poison, "create '"+p.name(salted)+"'", "SPLITS => ['01', '02']", "hbase.create_tables")

	p.admin("create", name, "other")
	problemOf(t, p.prepare("src", of), change.Poison, "no column family d", "alter '"+name+"'", "hbase.family")
	p.config.Family = "other"
	p.put(name, "k", "other:x", "theirs", 1)
	problemOf(t, p.prepare("src", of), change.Poison, "not Sluice's", "truncate_preserve '"+name+"'")
	p.admin("truncate", name)
	if err := p.prepare("src", of); err != nil {
		t.Fatal(change.Explain(err))
	}
	if err := p.prepare("src", of); err != nil {
		t.Errorf("the second time: %s", change.Explain(err))
	}
	problemOf(t, p.prepare("src2", of), change.Poison, "holds shop.kept of source src, not shop.kept of source src2", "hbase.table")
	p.config.Tables = []hbase.Table{{Match: "*.kept", RowKey: "k{id}"}}
	problemOf(t, p.prepare("src", of), change.Poison, "k{id}", "replay --to beginning --empty")
	p.config.Tables[0].RowKey = "{note}"
	problemOf(t, p.prepare("src", of), change.Configuration, "{note} is no column of the key (id)", "hbase.tables")
	p.config.Tables = nil

	p.admin("truncate", name)
	problemOf(t, p.prepare("src", of), change.Poison, "was there before and is gone", "replay --to beginning --empty")
	p.admin("drop", name)
	p.config.CreateTables = true
	problemOf(t, p.prepare("src", of), change.Poison, "was there before and is gone", "replay --to beginning --empty")
}

// TestTablesThatAreTakenAway while they are written to.
func TestTablesThatAreTakenAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	of := table("taken", note)
	target := p.prepared(of)
	target.SetClock(time.Now)
	name := p.name(of)
	apply(t, target, put(of, 10, row(1, null)))
	p.admin("disable", name)
	problemOf(t, target.Apply(t.Context(), batch(put(of, 20, row(2, null)))), change.Retry, "is the table enabled?")
	p.admin("enable", name)
	apply(t, target, put(of, 20, row(2, null)))
	p.admin("truncate", name)
	for range 2 { // it is no better the second time
		problemOf(t, target.Apply(t.Context(), batch(put(of, 30, row(3, null)))), change.Poison, "was there before and is gone")
	}
	p.admin("drop", name)
	problemOf(t, target.Apply(t.Context(), batch(put(of, 30, row(3, null)))), change.Poison, "the table was taken away")
}

// TestEmpty: an emptied table takes the same versions again, and what was made by hand stays as it was.
func TestEmpty(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.config.CreateTables = false
	of, many, missing := table("emptied", note), table("many", note), table("missing", note)
	all := []*change.Table{of, many, missing}
	p.admin("create", p.name(of), "d")
	p.admin("set", p.name(of), "d", "BLOCKSIZE=32768")
	p.admin("create", p.name(many), "d", "1", "2")
	target := p.prepared(of, many)
	occupied := func(want ...string) {
		t.Helper()
		if got, err := target.Occupied(t.Context(), "src", all); err != nil || !slices.Equal(got, want) {
			t.Errorf("occupied are %v (%v), want %v", got, err, want)
		}
	}
	occupied()
	apply(t, target, put(of, 10, row(1, null)), put(of, 11, row(2, null)))
	apply(t, target, drop(of, 20, row(2, null)))
	apply(t, target, drop(many, 20, row(2, null)))
	occupied(p.name(of)) // tombstones are no rows
	apply(t, target, put(many, 30, row(1, null)))
	occupied(p.name(of), p.name(many))

	problemOf(t, target.Empty(t.Context(), "src", all), change.Configuration, "truncate_preserve '"+p.name(many)+"'")
	occupied(p.name(many))
	p.admin("truncate", p.name(many))
	if err := target.Empty(t.Context(), "src", all); err != nil {
		t.Fatal(change.Explain(err))
	}
	occupied()
	target = p.prepared(of, many)
	apply(t, target, put(of, 10, row(1, null)), put(of, 11, row(2, text("again"))))
	if got := texts(t, target, of); len(got) != 2 || got["2"] != "2,again@11" {
		t.Errorf("after the replay the rows are %v", got)
	}
	_, answer := p.request("GET", "/"+p.name(of)+"/schema", "")
	if got := fmt.Sprint(answer); !strings.Contains(got, "BLOCKSIZE:32768") {
		t.Errorf("the table was made anew without what was set by hand: %s", got)
	}
	if _, answer := p.request("GET", "/"+p.name(many)+"/regions", ""); len(answer["Region"].([]any)) != 3 {
		t.Errorf("regions are %v, want 3", answer)
	}
	p.config.CreateTables = true
	target = p.prepared(many)
	if err := target.Empty(t.Context(), "src", []*change.Table{many}); err != nil {
		t.Error(change.Explain(err))
	}
	target = p.open()
	defer target.Close()
	other := p.open()
	defer other.Close()
	problemOf(t, other.Empty(t.Context(), "src2", []*change.Table{of}), change.Poison, "of source src")
}

// TestCheck: what doctor says.
func TestCheck(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.config.Tables = []hbase.Table{{Match: "*.salted", Salt: 4}}
	of, salted, missing := table("checked", note), table("salted", note), table("missing", note)
	target := p.prepared(of, salted)
	lines := func(level sink.Level, target *hbase.Target) string {
		t.Helper()
		found, err := target.Check(t.Context(), "g", []*change.Table{of, salted, missing})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, f := range found {
			if f.Level == level {
				all = append(all, f.Where+": "+f.What+" "+f.Mend)
			}
		}
		return strings.Join(all, "\n")
	}
	wants := func(got string, words ...string) {
		t.Helper()
		for _, w := range words {
			if !strings.Contains(got, w) {
				t.Errorf("doctor says\n%s\nand should say %q", got, w)
			}
		}
	}
	wants(lines(sink.Good, target), "HBase "+p.server.Version, "will be made", "has the family d")
	wants(lines(sink.Warning, target), "4 buckets, and it has 1 regions", "split '"+p.name(salted)+"'")
	if got := lines(sink.Wrong, target); got != "" {
		t.Errorf("doctor finds wrong: %s", got)
	}
	p.admin("set", p.name(of), "d", "VERSIONS=3", "KEEP_DELETED_CELLS=TRUE", "TTL=86400")
	wants(lines(sink.Warning, target), "VERSIONS 3", "KEEP_DELETED_CELLS TRUE", "TTL 86400", "alter '"+p.name(of)+"'")
	p.config.CreateTables = false
	target = p.open()
	defer target.Close()
	wants(lines(sink.Wrong, target), "it is not there in the HBase shell: create '"+p.name(missing)+"'")
	p.config.Family = "nothing"
	other := p.open()
	defer other.Close()
	wants(lines(sink.Wrong, other), "no column family nothing")
	p.config.URL = "http://127.0.0.1:1"
	away := p.open()
	defer away.Close()
	wants(lines(sink.Wrong, away), "the gateway does not answer")
}

// TestForeignRows: what somebody else wrote is seen by verify; what cannot be read stops it, and says which row.
func TestForeignRows(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	of := table("foreign", note, change.Column{Name: "size", Type: change.Int, Nullable: true})
	target := p.prepared(of)
	name := p.name(of)
	apply(t, target, put(of, 10, row(1, text("mine"), change.IntValue(5))))
	p.put(name, fmt.Sprintf("%019d", 9), "d:id", "9", 5)
	p.put(name, fmt.Sprintf("%019d", 1), "d:note", "bent", 11)
	got := texts(t, target, of)
	if len(got) != 2 || got["9"] != "9,NULL,NULL@0" || got["1"] != "1,bent,5@10" {
		t.Errorf("rows are %v", got)
	}
	if names, err := target.Occupied(t.Context(), "src", []*change.Table{of}); err != nil || len(names) != 1 {
		t.Errorf("occupied: %v, %v", names, err)
	}
	of9 := fmt.Sprintf("%019d", 9)
	p.put(name, of9+"x", "d:id", "9", 5)
	err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of}, func(sink.Row) error { return nil })
	problemOf(t, err, change.Poison, of9+"x", "another row key", "deleteall '"+name+"'")
	p.request("DELETE", "/"+name+"/"+of9+"x/d/5", "")
	p.put(name, fmt.Sprintf("%019d", 1), "d:size", "five", 11)
	err = target.Scan(t.Context(), sink.Scan{Source: "src", Table: of}, func(sink.Row) error { return nil })
	problemOf(t, err, change.Poison, fmt.Sprintf("%019d", 1), "deleteall '"+name+"'", "repair")
}
