package elasticsearch_test

import (
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
)

// TestDeletesOutliveTheServersMemory: the server forgets a deleted document's version after index.gc_deletes, and when the
// index is opened anew, as at a restart or a move. A tombstone document keeps the stale write out; the same steps without
// tombstones bring the row back, which is why they are the default.
func TestDeletesOutliveTheServersMemory(t *testing.T) {
	forget := map[string]func(p *place, index string){
		"gc_deletes": func(p *place, index string) {
			time.Sleep(1500 * time.Millisecond)
			p.must("POST", "/"+index+"/_refresh", "")
		},
		"reopened": func(p *place, index string) {
			p.must("POST", "/"+index+"/_close", "")
			p.must("POST", "/"+index+"/_open?wait_for_active_shards=1", "")
		},
	}
	for name, forget := range forget {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, p *place) {
				modes := map[string]int{elasticsearch.Tombstone: 1, elasticsearch.Delete: 2}
				gone, stays := row(1, change.StringValue("gone")), row(2, change.StringValue("stays"))
				targets := make(map[string]*elasticsearch.Target)
				for mode := range modes {
					p.config.Deletes = mode
					of := table(mode, note)
					targets[mode] = p.prepared(of)
					p.must("PUT", "/"+p.prefix+"shop."+mode+"-rows/_settings", `{"index.gc_deletes":"1s"}`)
					apply(t, targets[mode], put(of, 10, gone), put(of, 11, stays))
					apply(t, targets[mode], drop(of, 20, gone))
				}
				forget(p, p.prefix+"shop.*-rows")
				for mode, want := range modes {
					of := table(mode, note)
					apply(t, targets[mode], put(of, 10, gone)) // a late retry of another owner
					if got := scan(t, targets[mode], of); len(got) != want || got["2"].Version != 11 {
						t.Errorf("deletes: %s: %d rows, want %d", mode, len(got), want)
					}
				}
			})
		})
	}
}

// TestPurge removes tombstones that are old, and no other document.
func TestPurge(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		of := table("purged", note)
		p.config.KeepTombstones = time.Minute
		target := p.prepared(of)
		now := time.Now()
		target.SetClock(func() time.Time { return now })
		index, tombstones := p.prefix+"shop.purged-rows", `{"term":{"_sluice_deleted":true}}`

		one, two, three := row(1, change.StringValue("a")), row(2, change.StringValue("b")), row(3, change.StringValue("c"))
		apply(t, target, put(of, 10, one), put(of, 11, two), put(of, 12, three))
		apply(t, target, drop(of, 20, one), drop(of, 21, two))
		now = now.Add(59 * time.Second)
		apply(t, target, drop(of, 22, three), put(of, 30, two)) // two is back
		p.must("POST", "/"+index+"/_refresh", "")
		apply(t, target, drop(of, 22, three))
		if n := p.count(index, tombstones); n != 2 {
			t.Errorf("%d tombstones before their time, want 2", n)
		}
		now = now.Add(2 * time.Second)
		empty := batch(drop(of, 22, three))
		empty.Changes = nil
		if err := target.Apply(t.Context(), empty); err != nil {
			t.Fatal(err)
		}
		if n := p.count(index, tombstones); n != 1 {
			t.Errorf("%d tombstones after the first one's time, want 1", n)
		}
		if got := scan(t, target, of); len(got) != 1 || got["2"].Version != 30 {
			t.Errorf("rows are %v, want row 2 of version 30", got)
		}
	})
}

// TestTombstonesAreHidden: people search by the alias, and the document says no more of the row than that it is gone.
func TestTombstonesAreHidden(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		for _, documents := range []string{elasticsearch.Flat, elasticsearch.Envelope} {
			p.config.Documents = documents
			of := table(documents, note)
			target := p.prepared(of)
			one := row(1, change.StringValue("secret"))
			apply(t, target, put(of, 10, one), put(of, 11, row(2, change.StringValue("b"))))
			dropped, bare := drop(of, 20, one), drop(of, 21, one)
			bare.Before, bare.Tombstone, bare.TrustedBefore = nil, true, false
			apply(t, target, dropped)
			apply(t, target, bare) // in a batch of its own, as it may come
			alias := p.prefix + "shop." + documents
			if n := p.count(alias, matchAll); n != 1 {
				t.Errorf("%s: %d documents by the alias, want 1", documents, n)
			}
			source, _ := p.must("GET", "/"+alias+"-rows/_doc/1", "")["_source"].(map[string]any)
			want := 2
			if documents == elasticsearch.Envelope {
				want = 3
				if source["op"] != "d" {
					t.Errorf("the envelope's op is %v, want d", source["op"])
				}
			}
			if len(source) != want || source["_sluice_deleted"] != true {
				t.Errorf("%s: the tombstone is %v", documents, source)
			}
		}
	})
}
