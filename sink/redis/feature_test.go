package redis_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/redis"
	"github.com/sluice-cdc/sluice/testbed/proxy"
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
		Stream: &redis.Stream{MaxLength: 100_000}}}
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

// TestBatchThatIsHalfDone: where a batch stopped between two calls of the script, what lies before the progress is not done again, even when the
// versions of deleted rows are gone; and T stays until all of it is applied.
func TestBatchThatIsHalfDone(t *testing.T) {
	p := newPlace(t, "redis")
	o := indexed(p)
	o.apply()
	o.at = 0
	var changes []sink.Change
	for v := range 250 {
		changes = append(changes, put(o.table, change.Version(10+v), order(int64(v), "new", "", "")))
	}
	changes[1] = drop(o.table, 500, changes[0].After)
	p.do("SET", "shop:orders:150", "somebody's")
	b := o.batch(changes...)
	b.ThroughMillis = 2000
	problemOf(t, o.Apply(t.Context(), b), change.Poison, "shop:orders:150")
	stored := func(next, through int64) {
		t.Helper()
		positions, err := o.Positions(t.Context(), "g")
		if err != nil || len(positions) != 1 || positions[0].Next != next || positions[0].ThroughMillis != through {
			t.Errorf("positions are %+v (%v), want next %d and T %d", positions, err, next, through)
		}
	}
	stored(100, 1000)
	p.do("DEL", "shop:orders:150", "sluice:row:shop:orders:0")
	b.Changes = append(slices.Clone(changes[:60]), changes[61:]...) // cut elsewhere now: the progress lies inside the first call's run
	if err := o.Apply(t.Context(), b); err != nil {
		t.Fatal(change.Explain(err))
	}
	stored(250, 2000)
	p.holds("0", "EXISTS", "shop:orders:0")
	p.holds("250", "XLEN", "shop:orders#changes")
	p.holds("248", "SCARD", "shop:orders#by_status:new")
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
	o.until(put(o.table, 11, row(2, text("lost"))), put(o.table, 12, row(1, text("lost"))), put(o.table, 13, row(3, text("later"))))
	if rows := o.scan(); len(rows) != 3 || rows["1"].Version != 12 {
		t.Errorf("rows are %v", rows)
	}

	p.do("FLUSHALL")
	lost()
	if o.assign() {
		t.Error("an emptied server knows the partition")
	}
	if text := p.do("GET", "sluice:table:shop:orders"); !strings.Contains(text, `"group":"g"`) {
		t.Errorf("whose the table is was not written down again: %q", text)
	}
}

// TestScanIsExact reads back what is easily taken for something else, in each form.
func TestScanIsExact(t *testing.T) {
	columns := []change.Column{note, {Name: "f", Type: change.Float, Nullable: true}, {Name: "d", Type: change.Double, Nullable: true},
		{Name: "b", Type: change.VarBinary, Length: 9, Nullable: true}, {Name: "n", Type: change.Decimal, Precision: 9, Scale: 3, Nullable: true},
		{Name: "j", Type: change.JSON, Nullable: true}}
	minus := math.Copysign(0, -1)
	rows := [][]change.Value{
		row(1, text(""), change.Float32Value(float32(minus)), change.Float64Value(minus), change.RawValue([]byte{}), text("-0.000"), text("null")),
		row(2, null, null, null, null, null, null),
		row(3, text("NULL"), change.Float32Value(0), change.Float64Value(0), change.RawValue([]byte("\x00\xff\r\n")), text("12.300"), text(`""`)),
		row(math.MinInt64, text("\x00\n'\"é "), change.Float32Value(1e-38), change.Float64Value(5e-324), change.RawValue([]byte("NULL")), text("0.001"), text(`{"a": [1.0]}`)),
	}
	for _, as := range []string{redis.Hash, redis.JSON} {
		p := newPlace(t, "redis")
		p.config.Tables = []redis.Table{{Match: "*.*", As: as}}
		o := p.own(table("orders", columns...))
		var keys [][]change.Value
		for i, r := range rows {
			o.apply(put(o.table, change.Version(10+i), r))
			keys = append(keys, r[:1])
		}
		for _, got := range []map[string]sink.Row{o.scan(), o.scan(append(keys, row(99))...)} {
			if len(got) != len(rows) {
				t.Errorf("%s: %d rows, want %d", as, len(got), len(rows))
			}
			for i, r := range rows {
				read := got[r[0].String()]
				if read.Version != change.Version(10+i) || read.Source != "src" {
					t.Errorf("%s: row %v is of version %d of source %q", as, r[0], read.Version, read.Source)
				}
				for j := range r {
					if !read.Values[j].Equal(r[j]) {
						t.Errorf("%s: column %s of row %v is %v, want %v", as, read.Columns[j], r[0], read.Values[j], r[j])
					}
				}
			}
		}
		p.do("RPUSH", "shop:orders:7", "x")
		err := o.Scan(t.Context(), sink.Scan{Source: "src", Table: o.table}, func(sink.Row) error { return nil })
		problemOf(t, err, change.Poison, "shop:orders:7", "does not hold a row", "UNLINK")
		err = o.Scan(t.Context(), sink.Scan{Source: "src", Table: o.table, After: row(1)}, func(sink.Row) error { return nil })
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a key range gives %v", err)
		}
		stop := errors.New("enough")
		p.do("DEL", "shop:orders:7")
		if err := o.Scan(t.Context(), sink.Scan{Source: "src", Table: o.table, ValuesOnly: true}, func(sink.Row) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("the scan ends with %v", err)
		}
	}
}

// TestScanSeesWhatReadersSee: rows that somebody wrote or took away are no secret.
func TestScanSeesWhatReadersSee(t *testing.T) {
	p := newPlace(t, "redis")
	o := p.own(table("orders", note))
	o.apply(put(o.table, 10, row(1, text("a"))), put(o.table, 11, row(2, text("b"))), drop(o.table, 12, row(3, null)))
	p.do("DEL", "shop:orders:1")
	p.do("HSET", "shop:orders:4", "id", "4", "note", "mine")
	p.do("SET", "shop:orders2:5", "another table's")
	rows := o.scan()
	if len(rows) != 2 || rows["2"].Version != 11 || rows["4"].Version != 0 || rows["4"].Values[1].String() != "mine" {
		t.Errorf("rows are %v", rows)
	}
	// A newer change brings back what somebody took away.
	o.apply(put(o.table, 13, row(1, text("c"))))
	p.holds("c", "HGET", "shop:orders:1", "note")
}

// TestLateAnswers breaks connections while the server works, and swallows what it answers: what was sent is done or not, and the batch
// that comes again finds out.
func TestLateAnswers(t *testing.T) {
	p := newPlace(t, "redis")
	between, err := proxy.Start(t.Context(), p.nodes[0].Address(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer between.Close()
	p.config.Addresses, p.config.Timeout = []string{between.Address()}, time.Second
	o := indexed(p)
	at := change.Version(10)
	const rounds = 12
	for round := range rounds {
		var changes []sink.Change
		for id := range int64(200) {
			at++
			changes = append(changes, put(o.table, at, order(id, fmt.Sprint("s", round), "", "")))
		}
		if round%6 == 5 {
			between.DropAnswers()
			problemOf(t, o.try(changes...), change.Retry, between.Address())
			between.Restore()
		}
		broken := time.AfterFunc(time.Duration(round)*300*time.Microsecond, between.Break)
		o.until(changes...)
		broken.Stop()
	}
	p.holds(fmt.Sprint(200*rounds), "XLEN", "shop:orders#changes") // each change once
	p.holds("200", "SCARD", "shop:orders#by_status:s11")
	p.holds("0", "EXISTS", "shop:orders#by_status:s10")
}
