package hbase_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

func text(s string) change.Value { return change.StringValue(s) }

var null change.Value

// shown returns the cells of a row that have something in them, as people see them who know nothing of _sluice.
func shown(cells map[string]string, key string) []string {
	var found []string
	for name, cell := range cells {
		value, _, _ := strings.Cut(cell, "@")
		if of, column, _ := strings.Cut(name, " "); of == key && column != "d:_sluice" && value != "" {
			found = append(found, column+"="+cell)
		}
	}
	return found
}

// TestDeletesSurviveMajorCompaction: a stale change that comes after a delete and a major compaction shows nothing, to Scan and to those who
// read HBase themselves. Without the cells that a tombstone leaves, it would.
func TestDeletesSurviveMajorCompaction(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	of := table("gone", note)
	target := p.prepared(of)
	name, key := p.name(of), fmt.Sprintf("%019d", 1)
	apply(t, target, put(of, 10, row(1, text("first"))), put(of, 11, row(2, text("stays"))))
	p.admin("major-compact", name)
	apply(t, target, drop(of, 20, row(1, text("first"))))
	for range 2 {
		p.admin("major-compact", name)
		apply(t, target, put(of, 15, row(1, text("stale"))))
		if got := texts(t, target, of); len(got) != 1 || got["2"] != "2,stays@11" {
			t.Errorf("after a delete, a major compaction and a stale change the rows are %v", got)
		}
		if seen := shown(p.cells(name), key); len(seen) > 0 {
			t.Errorf("people see %v of the deleted row", seen)
		}
	}
	apply(t, target, put(of, 30, row(1, text("again"))))
	if got := texts(t, target, of); got["1"] != "1,again@30" {
		t.Errorf("the row that came back is %v", got)
	}
}

// TestDeleteMarkersDoNot is what the tombstones are for, without Sluice: HBase's own delete holds until a major compaction.
func TestDeleteMarkersDoNot(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.admin("create", "plain", "d")
	p.put("plain", "k", "d:note", "first", 10)
	if status, _ := p.request("DELETE", "/plain/k/d/20", ""); status != 200 {
		t.Fatalf("the delete gave %d", status)
	}
	p.put("plain", "k", "d:note", "stale", 15)
	if got := p.cells("plain"); len(got) != 0 {
		t.Errorf("before a compaction the marker does not hide %v", got)
	}
	p.admin("major-compact", "plain")
	p.put("plain", "k", "d:note", "stale", 15)
	if got := p.cells("plain"); got["k d:note"] != "stale@15" {
		t.Errorf("after a compaction the cells are %v: does HBase keep its markers now?", got)
	}
}

// TestTombstonesOfUnknownRows: a bare tombstone is all that is known of a row; what comes late of it is stale.
func TestTombstonesOfUnknownRows(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	of := table("bare", note)
	target := p.prepared(of)
	bare := drop(of, 20, row(1, null))
	bare.Before, bare.Tombstone = nil, true
	apply(t, target, bare)
	p.admin("major-compact", p.name(of))
	apply(t, target, put(of, 10, row(1, text("late"))))
	if got := texts(t, target, of); len(got) != 0 {
		t.Errorf("the rows are %v", got)
	}
}

// TestShrunkenRows: of a row whose columns become NULL, or leave the table, nothing old is seen, whatever comes late.
func TestShrunkenRows(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	size := change.Column{Name: "size", Type: change.Int, Nullable: true}
	wide, narrow := table("shrunken", note, size), table("shrunken", note)
	target := p.prepared(wide, narrow)
	name, key := p.name(wide), fmt.Sprintf("%019d", 1)
	apply(t, target, put(wide, 10, row(1, text("a"), change.IntValue(7))))
	apply(t, target, put(wide, 20, row(1, null, null)))
	p.admin("major-compact", name)
	apply(t, target, put(wide, 15, row(1, text("stale"), change.IntValue(8))))
	if got := texts(t, target, wide); got["1"] != "1,NULL,NULL@20" {
		t.Errorf("the row is %v", got)
	}
	if seen := shown(p.cells(name), key); len(seen) != 1 || seen[0] != "d:id=1@20" {
		t.Errorf("people see %v", seen)
	}
	apply(t, target, put(wide, 30, row(1, text(""), change.IntValue(9))))
	apply(t, target, put(narrow, 40, row(1, text("b"))))
	if got := texts(t, target, narrow); got["1"] != "1,b@40" {
		t.Errorf("without the column the row is %v", got)
	}
	if got := texts(t, target, wide); got["1"] != "1,b,NULL@40" {
		t.Errorf("a cell of before the row's version counts: %v", got)
	}
	if got := p.cells(name)[key+" d:_sluice"]; got != "row@40" {
		t.Errorf("the state is %q", got)
	}
	apply(t, target, put(narrow, 50, row(2, text(""))), put(narrow, 51, row(3, null)))
	if got := texts(t, target, narrow); got["2"] != "2,@50" || got["3"] != "3,NULL@51" {
		t.Errorf("the empty text and NULL are %v", got)
	}
}

// TestAnyOrder: the changes of some keys come in any order, several times, by several processes at once, with compactions between; in the
// end each row is as its newest change says.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	of := table("any", note)
	first := p.prepared(of)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	want := make(map[string]string)
	var changes []sink.Change
	for v := change.Version(1); v <= 400; v++ {
		id := r.Int64N(40)
		key := fmt.Sprint(id)
		switch r.IntN(4) {
		case 0:
			changes = append(changes, drop(of, v, row(id, null)))
			delete(want, key)
		case 1:
			changes = append(changes, put(of, v, row(id, null)))
			want[key] = fmt.Sprintf("%d,NULL@%d", id, v)
		default:
			changes = append(changes, put(of, v, row(id, text(fmt.Sprint("n", v)))))
			want[key] = fmt.Sprintf("%d,n%d@%d", id, v, v)
		}
	}
	changes = append(changes, changes[:200]...) // they come again
	r.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
	targets := []sink.Target{first, p.prepared(of)}
	for half := range 2 {
		part := changes[half*300 : half*300+300]
		var running sync.WaitGroup
		for i := range 6 {
			running.Go(func() {
				if err := targets[i%2].Apply(t.Context(), batch(part[i*50:i*50+50]...)); err != nil {
					t.Error(change.Explain(err))
				}
			})
		}
		running.Wait()
		p.admin("major-compact", p.name(of))
	}
	if got := texts(t, first, of); !maps.Equal(got, want) {
		t.Errorf("rows are %v, want %v", got, want)
	}
}

// TestPurge: old tombstones go, with all that is older; what is younger stays, and rows that came back.
func TestPurge(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	of := table("purged", note)
	target := p.prepared(of)
	name := p.name(of)
	now := time.Now()
	target.SetClock(func() time.Time { return now })
	apply(t, target, put(of, 10, row(1, text("a"))), put(of, 11, row(2, text("b"))), put(of, 12, row(3, text("c"))))
	apply(t, target, drop(of, 20, row(1, null)), drop(of, 21, row(2, null)))
	apply(t, target, put(of, 30, row(2, text("back"))))
	now = now.Add(p.config.KeepTombstones / 2)
	apply(t, target, drop(of, 40, row(3, null)))
	if got := p.cells(name); got[fmt.Sprintf("%019d d:_sluice", 1)] == "" {
		t.Errorf("a tombstone is gone too early: %v", got)
	}
	now = now.Add(p.config.KeepTombstones/2 + time.Hour)
	apply(t, target, put(of, 50, row(4, text("d"))))
	got := p.cells(name)
	for id, there := range map[int64]bool{1: false, 2: true, 3: true, 4: true} {
		if _, has := got[fmt.Sprintf("%019d d:_sluice", id)]; has != there {
			t.Errorf("the row %d is there: %v, want %v", id, has, there)
		}
	}
	if len(shown(got, fmt.Sprintf("%019d", 1))) > 0 {
		t.Errorf("under the tombstone was %v", got)
	}
	want := map[string]string{"2": "2,back@30", "4": "4,d@50"}
	if rows := texts(t, target, of); !maps.Equal(rows, want) {
		t.Errorf("rows are %v, want %v", rows, want)
	}
	apply(t, target, put(of, 60, row(1, text("new")))) // above the marker that the purge left
	if rows := texts(t, target, of); rows["1"] != "1,new@60" {
		t.Errorf("rows are %v", rows)
	}
}
