package redis_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/redis"
)

var (
	status = change.Column{Name: "status", Type: change.VarChar, Length: 20, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	total  = change.Column{Name: "total", Type: change.Decimal, Precision: 12, Scale: 2, Nullable: true}
	long   = change.Column{Name: "lng", Type: change.Double, Nullable: true}
	lat    = change.Column{Name: "lat", Type: change.Double, Nullable: true}
	moment = change.Column{Name: "at", Type: change.DateTime, Scale: 3, Nullable: true}
)

func TestHash(t *testing.T) {
	p := newPlace(t, "redis")
	o := p.own(table("orders", note, total))
	o.apply(put(o.table, 10, row(1, text("a\x00b"), text("12.50"))), put(o.table, 11, row(2, text(""), null)))
	p.holds("id\n1\nnote\na\x00b\ntotal\n12.50", "HGETALL", "shop:orders:1")
	p.holds("id\n2\nnote\n", "HGETALL", "shop:orders:2") // '' is a field, NULL is none
	o.apply(put(o.table, 12, row(1, null, null)))
	p.holds("id\n1", "HGETALL", "shop:orders:1")
	o.apply(drop(o.table, 13, row(1, null, null)))
	p.holds("0", "EXISTS", "shop:orders:1")
	p.holds("0000000000000000013\nsrc/shop.orders\n1", "HMGET", "sluice:row:shop:orders:1", "v", "o", "d")
	if ms := p.do("PTTL", "sluice:row:shop:orders:1"); ms < "1" || len(ms) != len("1296000000") {
		t.Errorf("the version of a deleted row lives %s ms, want 15 days", ms)
	}
	o.apply(put(o.table, 14, row(1, text("again"), null)))
	p.holds("-1", "PTTL", "sluice:row:shop:orders:1") // what is there stays
}

func TestJSONAndString(t *testing.T) {
	p := newPlace(t, "redis")
	doc := change.Column{Name: "doc", Type: change.JSON, Nullable: true}
	bin := change.Column{Name: "bin", Type: change.VarBinary, Length: 9, Nullable: true}
	p.config.Tables = []redis.Table{{Match: "shop.docs", As: redis.JSON}, {Match: "shop.notes", As: redis.String, Value: "note"}}
	docs := p.own(table("docs", note, total, doc, bin))
	docs.apply(put(docs.table, 10, row(1, text("\"é\n"), text("1.50"), text(`{"a": null}`), change.RawValue([]byte{0, 255}))),
		put(docs.table, 11, row(2, null, null, text("null"), null)))
	p.holds(`{"id":1,"note":"\"é\u000a","total":1.50,"doc":{"a": null},"bin":"AP8="}`, "GET", "shop:docs:1")
	p.holds(`{"id":2,"doc":null}`, "GET", "shop:docs:2")

	notes := p.own(table("notes", note))
	notes.apply(put(notes.table, 10, row(1, text("hello"))), put(notes.table, 10, row(2, null)), put(notes.table, 10, row(3, text(""))))
	p.holds("hello\n\n", "MGET", "shop:notes:1", "shop:notes:2", "shop:notes:3")
	p.holds("0", "EXISTS", "shop:notes:2") // a string has no NULL
	rows := notes.scan()
	if len(rows) != 2 || rows["1"].Values[1].String() != "hello" || rows["3"].Values[1].IsNull() || rows["1"].Source != "src" || rows["1"].Version != 10 {
		t.Errorf("rows are %v", rows)
	}
	shaped, err := notes.Shape("src", notes.table, row(2, null), nil)
	if err != nil || len(shaped) != 0 {
		t.Errorf("a row whose string is NULL should stand nowhere, not %v (%v)", shaped, err)
	}
	notes.apply(put(notes.table, 12, row(1, null)))
	p.holds("0", "EXISTS", "shop:notes:1")
}

// indexed is a table with an index of each kind.
func indexed(p *place) *owner {
	p.config.Tables = []redis.Table{{Match: "shop.orders", Indexes: []redis.Index{
		{Name: "by_status", Kind: redis.Set, By: "status"}, {Name: "by_total", Kind: redis.Sorted, Score: "total"},
		{Name: "recent", Kind: redis.Sorted, Score: "at", By: "status"}, {Name: "near", Kind: redis.Geo, Longitude: "lng", Latitude: "lat"}},
		Stream: &redis.Stream{MaxLength: 1000}}}
	return p.own(table("orders", status, total, moment, long, lat))
}

func order(id int64, status, total, at string, place ...float64) []change.Value {
	r := row(id, null, null, null, null, null)
	for i, s := range []string{status, total, at} {
		if s != "" {
			r[1+i] = text(s)
		}
	}
	for i, f := range place {
		r[4+i] = change.Float64Value(f)
	}
	return r
}

// onEach runs the test on one server and in a cluster, where keys begin with the topic's tag.
func onEach(t *testing.T, test func(t *testing.T, p *place, base string)) {
	t.Run("one server", func(t *testing.T) { test(t, newPlace(t, "redis"), "shop:orders") })
	t.Run("valkey", func(t *testing.T) { test(t, newPlace(t, "valkey"), "shop:orders") })
	t.Run("cluster", func(t *testing.T) {
		p := newPlace(t, "cluster")
		for i, node := range p.nodes { // do asks the node that has the slot
			if said, err := node.Do(t.Context(), "EXISTS", "{src.shop.orders}"); err == nil && said == "0" {
				p.nodes = append(p.nodes[i:i+1:i+1], p.nodes...)
			}
		}
		test(t, p, "{src.shop.orders}")
	})
}

func TestIndexes(t *testing.T) {
	onEach(t, func(t *testing.T, p *place, base string) {
		o := indexed(p)
		o.apply(put(o.table, 10, order(1, "new", "10.5", "2026-01-02 03:04:05.500", 127.0, 37.5)), put(o.table, 11, order(2, "new", "9.5", "1969-12-31 23:59:59.750", 129, 35)),
			put(o.table, 12, order(3, "", "", "")))
		p.holds("2", "SCARD", base+"#by_status:new")
		p.holds(base+":2\n9.5\n"+base+":1\n10.5", "ZRANGE", base+"#by_total", "0", "-1", "WITHSCORES")
		p.holds(base+":2\n-0.25\n"+base+":1\n1767323045.5", "ZRANGE", base+"#recent:new", "0", "-1", "WITHSCORES")
		p.holds(base+":1", "GEOSEARCH", base+"#near", "FROMLONLAT", "127.01", "37.51", "BYRADIUS", "5", "km")
		p.holds("2", "ZCARD", base+"#near")

		// The row changes: it leaves where it was, whatever the change's before image says.
		moved := put(o.table, 20, order(1, "pa:id", "8", "2026-01-02 03:04:06.000", 129, 35.001))
		moved.Op, moved.Before = change.Update, order(1, "lie", "77", "", 0, 0)
		o.apply(moved)
		p.holds(base+":2", "SMEMBERS", base+"#by_status:new")
		p.holds(base+":1", "SMEMBERS", base+"#by_status:pa%3Aid")
		p.holds(base+":1\n8\n"+base+":2\n9.5", "ZRANGE", base+"#by_total", "0", "-1", "WITHSCORES")
		p.holds("0", "EXISTS", base+"#recent:lie")
		p.holds(base+":2", "ZRANGE", base+"#recent:new", "0", "-1")
		p.holds(base+":2\n"+base+":1", "GEOSEARCH", base+"#near", "FROMLONLAT", "129", "35", "BYRADIUS", "5", "km", "ASC")

		// A stale change leaves all as it is; NULL leaves the index; a delete leaves all of them.
		o.apply(put(o.table, 15, order(1, "old", "1", "", 0, 0)))
		p.holds("0", "EXISTS", base+"#by_status:old")
		o.apply(put(o.table, 21, order(1, "", "8", "", 129)))
		p.holds("0", "EXISTS", base+"#by_status:pa%3Aid")
		p.holds(base+":2", "ZRANGE", base+"#near", "0", "-1")
		o.apply(drop(o.table, 22, order(1, "", "8", "", 129)), drop(o.table, 23, order(2, "", "", "")), drop(o.table, 24, order(3, "", "", "")))
		for _, index := range []string{"#by_status:new", "#by_total", "#recent:new", "#near"} {
			p.holds("0", "EXISTS", base+index)
		}
		o.apply(put(o.table, 13, order(2, "new", "1", "")), put(o.table, 22, order(1, "new", "1", ""))) // stale after the delete
		p.holds("0", "EXISTS", base+":1", base+":2", base+"#by_status:new")
	})
}

func TestStream(t *testing.T) {
	onEach(t, func(t *testing.T, p *place, base string) {
		o := indexed(p)
		first := put(o.table, 10, order(1, "new", "", ""))
		first.Origin.CommitMillis = 77
		o.apply(first, put(o.table, 11, order(1, "paid", "", "")), drop(o.table, 12, order(1, "paid", "", "")), drop(o.table, 13, order(1, "paid", "", "")))
		o.apply(put(o.table, 9, order(1, "stale", "", "")), put(o.table, 14, order(1, "back", "", "")))
		var got []string
		for line := range strings.Lines(p.do("XRANGE", base+"#changes", "-", "+")) {
			if line = strings.TrimSpace(line); !strings.Contains(line, "-") || strings.Contains(line, "{") {
				got = append(got, line)
			}
		}
		want := fmt.Sprintf(`op c key %[1]s:1 version 0000000000000000010 commit_ms 77 row {"id":1,"status":"new"} `+
			`op u key %[1]s:1 version 0000000000000000011 commit_ms 0 row {"id":1,"status":"paid"} `+
			`op d key %[1]s:1 version 0000000000000000012 commit_ms 0 `+
			`op c key %[1]s:1 version 0000000000000000014 commit_ms 0 row {"id":1,"status":"back"}`, base)
		if joined := strings.Join(got, " "); joined != want {
			t.Errorf("the stream has\n%s\nwant\n%s", joined, want)
		}
	})
}

// TestStreamHasEachChangeOnce applies batches that come again from their beginning, as after a crash before the commit.
func TestStreamHasEachChangeOnce(t *testing.T) {
	p := newPlace(t, "redis")
	o := indexed(p)
	var changes []sink.Change
	for v := range 450 { // several calls of the script
		changes = append(changes, put(o.table, change.Version(10+v), order(int64(v%7), fmt.Sprint("s", v), "", "")))
	}
	for _, upTo := range []int{3, 250, 450} {
		b := o.batch(changes[:upTo]...)
		for range 2 {
			if err := o.Apply(t.Context(), b); err != nil {
				t.Fatal(change.Explain(err))
			}
		}
	}
	p.holds("450", "XLEN", "shop:orders#changes")
}

func TestSlots(t *testing.T) {
	p := newPlace(t, "cluster")
	p.config.Tables = []redis.Table{{Match: "*.*", Slots: 7, Indexes: []redis.Index{{Name: "all", Kind: redis.Set, By: "status"}}}}
	o := p.own(table("orders", status))
	var changes []sink.Change
	for id := range int64(500) {
		changes = append(changes, put(o.table, change.Version(10+id), row(id, text("x"))))
	}
	o.apply(changes...)
	if rows := o.scan(); len(rows) != 500 || rows["499"].Version != 509 {
		t.Errorf("%d rows, want 500", len(rows))
	}
	if rows := o.scan(row(3), row(77), row(1000)); len(rows) != 2 {
		t.Errorf("rows of single keys are %v", rows)
	}
	inSlots := 0
	for slot := range 7 {
		base := "{src.shop.orders}"
		if slot > 0 {
			base = fmt.Sprintf("{src.shop.orders:%d}", slot)
		}
		for _, node := range p.nodes {
			if n, err := node.Do(t.Context(), "SCARD", base+"#all:x"); err == nil {
				var members int
				fmt.Sscan(n, &members)
				inSlots += members
				if members < 40 || members > 100 {
					t.Errorf("slot %d has %d of 500 rows", slot, members)
				}
			}
		}
	}
	if inSlots != 500 {
		t.Errorf("the indexes of all slots have %d rows, want 500", inSlots)
	}
	// What an application computes: CLUSTER KEYSLOT of what stands behind the tag, modulo the slots.
	var keyslot int
	fmt.Sscan(p.do("CLUSTER", "KEYSLOT", "42"), &keyslot)
	key := fmt.Sprintf("{src.shop.orders:%d}:42", keyslot%7)
	found := false
	for _, node := range p.nodes {
		if said, err := node.Do(t.Context(), "HGET", key, "id"); err == nil && said == "42" {
			found = true
		}
	}
	if !found {
		t.Errorf("row 42 is not under %s", key)
	}
	positions, err := o.Positions(t.Context(), "g")
	if err != nil || len(positions) != 7 {
		t.Errorf("%d positions, want one a slot (%v)", len(positions), err)
	}
	if err := o.Empty(t.Context(), "src", []*change.Table{o.table}); err != nil {
		t.Fatal(err)
	}
	if rows := o.scan(); len(rows) != 0 {
		t.Errorf("%d rows after all were removed", len(rows))
	}
}

func TestEmptyLeavesOthersAlone(t *testing.T) {
	p := newPlace(t, "redis")
	o := indexed(p)
	o.apply(put(o.table, 10, order(1, "new", "1", "", 1, 1)), drop(o.table, 11, order(2, "", "", "")))
	p.do("SET", "shop:orders2:1", "mine")
	p.do("SET", "shop:ordersx", "mine")
	if err := o.Empty(t.Context(), "src", []*change.Table{o.table}); err != nil {
		t.Fatal(err)
	}
	left := strings.Fields(p.do("KEYS", "*"))
	slices.Sort(left)
	if len(left) != 4 || left[0] != "shop:orders2:1" || left[1] != "shop:ordersx" || !strings.HasPrefix(left[2], "sluice:progress") {
		t.Errorf("left are %q", left)
	}
}

// TestRestart restarts the server between batches and within a pause of them: nothing is lost that was written to its log.
func TestRestart(t *testing.T) {
	s := ownServer(t, map[string]string{"appendonly": "yes", "appendfsync": "always"})
	p := placeOn(t, s)
	o := indexed(p)
	for v := range change.Version(5) {
		o.until(put(o.table, 10+v, order(int64(v), "new", "1", "")))
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		err := o.try(put(o.table, 30+v, order(int64(v), "late", "1", "")))
		problemOf(t, err, change.Retry, s.Address(), "tried again")
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	o.until(put(o.table, 50, order(100, "new", "1", "")))
	p.holds("6", "SCARD", "shop:orders#by_status:new")
	p.holds("6", "XLEN", "shop:orders#changes")
	if rows := o.scan(); len(rows) != 6 {
		t.Errorf("%d rows, want 6", len(rows))
	}
}

// TestLoss kills a server that has not written its last changes to disk: rows and progress go back together, and the next batch finds
// it out, also an empty one.
func TestLoss(t *testing.T) {
	s := ownServer(t, map[string]string{"save": `""`})
	p := placeOn(t, s)
	o := p.own(table("orders", note))
	o.apply(put(o.table, 10, row(1, text("kept"))))
	p.do("SAVE")
	o.apply(put(o.table, 11, row(2, text("lost"))), put(o.table, 12, row(1, text("lost"))))
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	lost := func(changes ...sink.Change) {
		t.Helper()
		var gone *sink.OwnershipLost
		var err error
		for range 50 {
			if err = o.try(changes...); change.SeverityOf(err) != change.Retry {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if !errors.As(err, &gone) || gone.Partition != o.part {
			t.Fatalf("a batch after the loss gave %v, want *OwnershipLost", err)
		}
	}
	lost()
	lost(put(o.table, 13, row(3, text("later"))))
	o.assign()
	if o.at != 1 {
		t.Fatalf("the next offset is %d, want 1: the server holds what was applied before it", o.at)
	}
	o.apply(put(o.table, 11, row(2, text("lost"))), put(o.table, 12, row(1, text("lost"))), put(o.table, 13, row(3, text("later"))))
	if rows := o.scan(); len(rows) != 3 || rows["1"].Version != 12 {
		t.Errorf("rows are %v", rows)
	}

	p.do("FLUSHALL")
	lost()
	_, _, found, err := o.Assign(t.Context(), "g", o.part)
	if err != nil || found {
		t.Errorf("an emptied server knows the partition: %v (%v)", found, err)
	}
	if text := p.do("GET", "sluice:table:shop:orders"); !strings.Contains(text, `"group":"g"`) {
		t.Errorf("whose the table is was not written down again: %q", text)
	}
}
