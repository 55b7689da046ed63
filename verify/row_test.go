package verify

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

func exact() *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: "exact"}, Key: []int{1, 0}, Columns: []change.Column{
		{Name: "id", Type: change.BigInt, Unsigned: true},
		{Name: "region", Type: change.VarChar, Charset: "utf8mb4"},
		{Name: "body", Type: change.Blob, Nullable: true},
		{Name: "note", Type: change.VarChar, Nullable: true, Charset: "utf8mb4"},
		{Name: "ratio", Type: change.Double, Nullable: true},
		{Name: "at", Type: change.Timestamp, Scale: 6},
		{Name: "price", Type: change.Decimal, Precision: 10, Scale: 2},
		{Name: "detail", Type: change.JSON},
		{Name: "flags", Type: change.Bit, Length: 4},
	}}
}

var exactNames = published(exact())

// exactRow returns a row with one value put in place of another.
func exactRow(column string, v change.Value) sink.Row {
	values := []change.Value{change.UintValue(7), change.StringValue("eu"), change.RawValue([]byte{1, 2, 3}), change.StringValue("a"), change.Float64Value(0),
		change.StringValue("2026-05-06 07:08:09.123400"), change.StringValue("12.30"), change.StringValue(`{"a": [1, "x y\" z"], "b": null}`), change.RawValue([]byte{5})}
	for i := range exactNames {
		if exactNames[i] == column {
			values[i] = v
		}
	}
	return sink.Row{Columns: exactNames, Values: values}
}

func sum(t interface{ Fatal(...any) }, row sink.Row) Sum {
	s, err := NewRows(exact()).Sum(&row)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWhatDiffers: each of these is another row.
func TestWhatDiffers(t *testing.T) {
	plain := sum(t, exactRow("", change.Value{}))
	for _, c := range []struct {
		column string
		value  change.Value
	}{
		{"body", change.RawValue([]byte{1, 2, 2})},           // one bit
		{"body", change.Value{}},                             // NULL
		{"body", change.RawValue(nil)},                       // ''
		{"note", change.Value{}},                             //
		{"note", change.StringValue("")},                     //
		{"note", change.StringValue("a ")},                   // a trailing space
		{"note", change.StringValue("A")},                    // what a collation takes for equal
		{"note", change.StringValue("á")},                    // another
		{"ratio", change.Float64Value(math.Copysign(0, -1))}, // -0.0
		{"ratio", change.Float64Value(math.SmallestNonzeroFloat64)},
		{"ratio", change.Value{}},
		{"at", change.StringValue("2026-05-06 07:08:09.123401")}, // one microsecond
		{"price", change.StringValue("12.31")},
		{"price", change.StringValue("123.0")},
		{"price", change.StringValue("1230")}, // the zero is the number's
		{"detail", change.StringValue(`{"a": [1, "xy\" z"], "b": null}`)},
		{"flags", change.RawValue([]byte{4})},
	} {
		if sum(t, exactRow(c.column, c.value)) == plain {
			t.Errorf("%s = %q is taken for equal", c.column, c.value)
		}
	}
	elsewhere := exactRow("", change.Value{})
	elsewhere.Shard = "s1"
	if sum(t, elsewhere) == plain {
		t.Error("the place is not part of the row")
	}
	moved := exactRow("body", change.RawValue([]byte("a")))
	moved.Values[3] = change.RawValue([]byte{1, 2, 3})
	if sum(t, moved) == plain {
		t.Error("two columns that have changed places are taken for equal")
	}
}

// TestWhatIsEqual: each of these is the same row, in the types or the order of columns that a target may have.
func TestWhatIsEqual(t *testing.T) {
	plain := sum(t, exactRow("", change.Value{}))
	for _, c := range []struct {
		column string
		value  change.Value
	}{
		{"id", change.IntValue(7)},                                     // a signed column
		{"at", change.StringValue("2026-05-06 07:08:09.1234")},         // fewer digits
		{"price", change.StringValue("12.3000")},                       // more
		{"flags", change.RawValue([]byte{0, 0, 5})},                    // a wider BIT
		{"detail", change.StringValue(`{"a":[1,"x y\" z"],"b":null}`)}, // other blanks
		{"note", change.RawValue([]byte("a"))},                         // a binary column
		{"ratio", change.Float32Value(0)},                              //
	} {
		if sum(t, exactRow(c.column, c.value)) != plain {
			t.Errorf("%s = %q is taken for another", c.column, c.value)
		}
	}
	row := exactRow("", change.Value{})
	shuffled := sink.Row{Columns: append([]string{}, row.Columns...), Values: append([]change.Value{}, row.Values...)}
	rand.Shuffle(len(shuffled.Columns), func(i, j int) {
		shuffled.Columns[i], shuffled.Columns[j] = shuffled.Columns[j], shuffled.Columns[i]
		shuffled.Values[i], shuffled.Values[j] = shuffled.Values[j], shuffled.Values[i]
	})
	if sum(t, shuffled) != plain {
		t.Error("the order of columns matters")
	}
}

// TestKeys: a key's bytes give its values again, in key order, and different keys have different bytes.
func TestKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := func(label string) sink.Row {
			row := exactRow("id", change.UintValue(rapid.Uint64().Draw(t, label+" id")))
			row.Values[1] = change.StringValue(rapid.String().Draw(t, label+" region"))
			return row
		}
		a, b := one("a"), one("b")
		rows := NewRows(exact())
		key, err := rows.Key(&a)
		if err != nil {
			t.Fatal(err)
		}
		ka := bytes.Clone(key)
		values, err := parseKey(ka)
		if err != nil || len(values) != 2 || !values[0].Equal(a.Values[1]) || !values[1].Equal(a.Values[0]) {
			t.Fatalf("%q gives %v (%v)", ka, values, err)
		}
		kb, err := rows.Key(&b)
		same := a.Values[0].Equal(b.Values[0]) && a.Values[1].Equal(b.Values[1])
		if err != nil || bytes.Equal(ka, kb) != same {
			t.Fatalf("%q and %q: %v", ka, kb, err)
		}
		for i := range ka { // whatever is cut off is an error or another key, never a panic
			_, _ = parseKey(ka[:i])
		}
		texts := []string{keyText(&rows.table.Columns[1], values[0]), keyText(&rows.table.Columns[0], values[1])}
		back, err := (&tableRun{table: exact(), published: exact()}).parseKeyText(texts)
		if err != nil || back != string(ka) {
			t.Fatalf("%q gives %q: %v", texts, back, err)
		}
	})
}

// TestDeltas: whatever order both sides come in, what is left is exactly the keys whose rows are not the same.
func TestDeltas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type row struct {
			key  byte
			sum  Sum
			want bool
		}
		var rows []row
		sums := map[byte]map[Sum]int{}
		for range rapid.IntRange(0, 60).Draw(t, "rows") {
			r := row{byte(rapid.IntRange(0, 9).Draw(t, "key")), sumOf([]byte{byte(rapid.IntRange(0, 3).Draw(t, "content"))}), rapid.Bool().Draw(t, "side")}
			rows = append(rows, r)
			if sums[r.key] == nil {
				sums[r.key] = map[Sum]int{}
			}
			sums[r.key][r.sum] += map[bool]int{true: 1, false: -1}[r.want]
		}
		d := NewDeltas(0)
		for _, i := range rapid.Permutation(indexes(len(rows))).Draw(t, "order") {
			if rows[i].want {
				d.Want([]byte{rows[i].key}, rows[i].sum)
			} else {
				d.Found([]byte{rows[i].key}, rows[i].sum)
			}
		}
		left := map[byte]bool{}
		for _, k := range d.Keys() {
			left[k[0]] = true
		}
		for key, contents := range sums {
			differ := false
			for _, n := range contents {
				differ = differ || n != 0
			}
			if differ != left[key] {
				t.Fatalf("key %d: rows %v, left %v", key, contents, left[key])
			}
		}
	})
}

func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func TestJudge(t *testing.T) {
	at := func(shard string, content uint64) Place {
		return Place{Shard: shard, Sum: sumOf([]byte{shard[1], byte(content)})}
	}
	for _, c := range []struct {
		name        string
		want, found []Place
		kind        Kind
	}{
		{"equal", []Place{at("s0", 1)}, []Place{at("s0", 1)}, ""},
		{"nowhere", nil, nil, ""},
		{"everywhere", []Place{at("s0", 1), at("s1", 1)}, []Place{at("s1", 1), at("s0", 1)}, ""},
		{"missing", []Place{at("s0", 1)}, nil, Missing},
		{"missing in one of all", []Place{at("s0", 1), at("s1", 1)}, []Place{at("s1", 1)}, Missing},
		{"extra", nil, []Place{at("s0", 1)}, Extra},
		{"twice extra", nil, []Place{at("s0", 1), at("s1", 1)}, Extra},
		{"other values", []Place{at("s0", 1)}, []Place{at("s0", 2)}, Different},
		{"wrong place", []Place{at("s0", 1)}, []Place{at("s1", 1)}, Wrong},
		{"wrong place, other values", []Place{at("s0", 1)}, []Place{at("s1", 2)}, Wrong},
		{"in two shards", []Place{at("s0", 1)}, []Place{at("s0", 1), at("s1", 1)}, Duplicate},
		{"in two shards, other values", []Place{at("s0", 1)}, []Place{at("s0", 2), at("s1", 1)}, Duplicate},
		{"twice in one", []Place{at("s0", 1)}, []Place{at("s0", 1), at("s0", 1)}, Duplicate},
	} {
		if kind, ok := Judge(c.want, c.found); kind != c.kind || ok != (c.kind == "") {
			t.Errorf("%s: %q, %v; want %q", c.name, kind, ok, c.kind)
		}
	}
}

// TestBusyKey: a key that the topic carries at every look is equal if the target shows what an event of its version says, and else
// nothing is said of it.
func TestBusyKey(t *testing.T) {
	at := func(content byte, v change.Version) Place { return Place{Sum: sumOf([]byte{content}), Version: v} }
	event := func(content byte, v change.Version) Event { return Event{Version: v, Want: []Place{at(content, 0)}} }
	for _, c := range []struct {
		name   string
		found  []Place
		events []Event
		want   Verdict
	}{
		{"what an event says", []Place{at(2, 20)}, []Event{event(1, 10), event(2, 20), event(3, 30)}, Equal},
		{"of another version", []Place{at(2, 20)}, []Event{event(2, 19), event(2, 21)}, Again},
		{"other values", []Place{at(4, 20)}, []Event{event(2, 20)}, Again},
		{"twice", []Place{at(2, 20), at(2, 20)}, []Event{event(2, 20)}, Again},
		{"gone", nil, []Event{{Version: 20}}, Again},
		{"deleted, and there", []Place{at(2, 20)}, []Event{{Version: 20}}, Again},
	} {
		l := &Look{Want: map[string][]Place{"k": {at(9, 0)}}, Found: map[string][]Place{"k": c.found}, Touched: map[string]bool{"k": true}, Events: map[string][]Event{"k": c.events}}
		if got, _ := l.Decide("k"); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestPassesSplit: passes share the keys out evenly, and twice as many split each in two: a run that doubles them goes on.
func TestPassesSplit(t *testing.T) {
	const passes = 7
	var counts [passes]int
	for i := range 70_000 {
		key := appendKeyValue(nil, &change.Column{}, change.IntValue(int64(i)))
		pass := passOf(key, passes)
		counts[pass]++
		if twice := passOf(key, 2*passes); twice/2 != pass {
			t.Fatalf("key %d: pass %d of %d and %d of %d", i, pass, passes, twice, 2*passes)
		}
	}
	for pass, n := range counts {
		if n < 9_000 || n > 11_000 {
			t.Errorf("pass %d has %d of 70000 keys", pass, n)
		}
	}
}
