package hbase

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// kinds are columns of keys, with values and the order in which they should come.
var kinds = []struct {
	column change.Column
	draw   func(t *rapid.T) change.Value
	order  func(a, b change.Value) int
}{
	{change.Column{Name: "int", Type: change.Int}, func(t *rapid.T) change.Value { return change.IntValue(int64(rapid.Int32().Draw(t, "int"))) }, byInt},
	{change.Column{Name: "big", Type: change.BigInt}, func(t *rapid.T) change.Value { return change.IntValue(rapid.Int64().Draw(t, "big")) }, byInt},
	{change.Column{Name: "ubig", Type: change.BigInt, Unsigned: true}, func(t *rapid.T) change.Value { return change.UintValue(rapid.Uint64().Draw(t, "ubig")) },
		func(a, b change.Value) int { return cmp.Compare(a.Uint(), b.Uint()) }},
	{change.Column{Name: "tiny", Type: change.TinyInt}, func(t *rapid.T) change.Value { return change.IntValue(int64(rapid.Int8().Draw(t, "tiny"))) }, byInt},
	{change.Column{Name: "text", Type: change.VarChar}, func(t *rapid.T) change.Value {
		return change.StringValue(rapid.StringOf(rapid.SampledFrom([]rune("\x00\x01\x02\x03\x10a:-0é😀"))).Draw(t, "text"))
	}, byBytes},
	{change.Column{Name: "raw", Type: change.VarBinary}, func(t *rapid.T) change.Value { return change.RawValue(rapid.SliceOf(rapid.Byte()).Draw(t, "raw")) }, byBytes},
	{change.Column{Name: "amount", Type: change.Decimal, Precision: 6, Scale: 2}, func(t *rapid.T) change.Value {
		n := rapid.IntRange(-999999, 999999).Draw(t, "amount")
		return change.StringValue(strings.Replace(fmt.Sprintf("%s%d.%02d", map[bool]string{true: "-"}[n < 0], abs(n)/100, abs(n)%100), "-0.00", "0.00", 1))
	}, func(a, b change.Value) int { return cmp.Compare(number(a), number(b)) }},
	{change.Column{Name: "span", Type: change.Time}, func(t *rapid.T) change.Value {
		n := rapid.IntRange(-3020399, 3020399).Draw(t, "span")
		return change.StringValue(fmt.Sprintf("%s%02d:%02d:%02d", map[bool]string{true: "-"}[n < 0], abs(n)/3600, abs(n)/60%60, abs(n)%60))
	}, func(a, b change.Value) int { return cmp.Compare(seconds(a), seconds(b)) }},
}

func byInt(a, b change.Value) int   { return cmp.Compare(a.Int(), b.Int()) }
func byBytes(a, b change.Value) int { return bytes.Compare(a.Bytes, b.Bytes) }
func abs(n int) int                 { return max(n, -n) }

func number(v change.Value) float64 {
	var f float64
	fmt.Sscan(v.String(), &f)
	return f
}

func seconds(v change.Value) int {
	text, negative := strings.CutPrefix(v.String(), "-")
	var h, m, s int
	fmt.Sscanf(text, "%d:%d:%d", &h, &m, &s)
	if negative {
		return -(h*3600 + m*60 + s)
	}
	return h*3600 + m*60 + s
}

// drawKey makes a table whose key has some columns, and two values of the key that are equal up to some column.
func drawKey(t *rapid.T) (of *change.Table, a, b []change.Value, order int) {
	of = &change.Table{TableName: change.TableName{DB: "d", Name: "t"}}
	same := rapid.IntRange(0, 3).Draw(t, "same")
	for i := range rapid.IntRange(1, 3).Draw(t, "columns") {
		kind := kinds[rapid.IntRange(0, len(kinds)-1).Draw(t, "kind")]
		kind.column.Name += fmt.Sprint(i)
		of.Columns, of.Key = append(of.Columns, kind.column), append(of.Key, i)
		x, y := kind.draw(t), kind.draw(t)
		if i < same {
			y = x
		}
		a, b = append(a, x), append(b, y)
		if order == 0 {
			order = kind.order(x, y)
		}
	}
	return of, a, b, order
}

// TestRowKeysKeepTheOrder: row keys have the order of their columns' values, so two keys never share one.
func TestRowKeysKeepTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of, a, b, want := drawKey(t)
		k, err := rowKeyOf(&Table{RowKey: rapid.SampledFrom([]string{"", "{key}", "x-{key}:y"}).Draw(t, "template")}, of)
		if err != nil {
			t.Fatal(err)
		}
		x, y := mustAppend(t, k, a), mustAppend(t, k, b)
		if got := bytes.Compare(x, y); got != want {
			t.Fatalf("%v as %q and %v as %q: order %d, want %d", a, x, b, y, got, want)
		}
	})
}

// TestRowKeysAreOfOneRow: whatever the template, two keys never share a row key.
func TestRowKeysAreOfOneRow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of, a, b, order := drawKey(t)
		template := ""
		for _, i := range rapid.Permutation(of.Key).Draw(t, "order") {
			template += rapid.SampledFrom([]string{"", "0", ":", "ab"}).Draw(t, "literal") + "{" + of.Columns[i].Name +
				rapid.SampledFrom([]string{"}", ":reverse}"}).Draw(t, "word")
		}
		k, err := rowKeyOf(&Table{RowKey: template, Salt: rapid.SampledFrom([]int{0, 2, 16, 256}).Draw(t, "salt")}, of)
		if err != nil {
			t.Fatal(err)
		}
		x, y := mustAppend(t, k, a), mustAppend(t, k, b)
		if (order == 0) != bytes.Equal(x, y) {
			t.Fatalf("%v as %q and %v as %q", a, x, b, y)
		}
		if len(x) == 0 || string(x) == markerKey {
			t.Fatalf("%v as %q", a, x)
		}
	})
}

func mustAppend(t *rapid.T, k *rowKey, values []change.Value) []byte {
	key, err := k.append(nil, values)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestRowKeys are keys as the docs show them.
func TestRowKeys(t *testing.T) {
	column := func(name string, kind change.Type) change.Column { return change.Column{Name: name, Type: kind} }
	id, user, sku := column("id", change.BigInt), column("user_id", change.Int), column("sku", change.VarChar)
	for _, c := range []struct {
		template string
		salt     int
		columns  []change.Column
		values   []change.Value
		want     string
	}{
		{"", 0, []change.Column{id}, []change.Value{change.IntValue(42)}, "0000000000000000042"},
		{"", 0, []change.Column{id}, []change.Value{change.IntValue(-1)}, "-9999999999999999998"},
		{"", 0, []change.Column{id}, []change.Value{change.IntValue(math.MinInt64)}, "-0776627963145224191"},
		{"", 0, []change.Column{sku}, []change.Value{change.StringValue("ab-1")}, "ab-1"},
		{"", 0, []change.Column{sku}, []change.Value{change.StringValue("")}, "\x01"},
		{"", 0, []change.Column{user, id}, []change.Value{change.IntValue(7), change.IntValue(42)}, "0000000007:0000000000000000042"},
		{"", 0, []change.Column{sku, user}, []change.Value{change.StringValue("a\x01"), change.IntValue(7)}, "a\x02\x11\x01:0000000007"},
		{"{user_id:reverse}/{id}", 0, []change.Column{user, id}, []change.Value{change.IntValue(17), change.IntValue(42)}, "7100000000/0000000000000000042"},
		{"{USER_ID:reverse}", 0, []change.Column{user}, []change.Value{change.IntValue(-17)}, "-2899999999"},
		{"{sku:reverse}", 0, []change.Column{sku}, []change.Value{change.StringValue("com.é")}, "é.moc"},
		{"", 16, []change.Column{user}, []change.Value{change.IntValue(42)}, "0e0000000042"},
		{"", 0, []change.Column{column("bin", change.VarBinary), user}, []change.Value{change.RawValue([]byte{0, 255}), change.IntValue(1)}, "00ff\x01:0000000001"},
	} {
		of := &change.Table{Columns: c.columns}
		for i := range c.columns {
			of.Key = append(of.Key, i)
		}
		k, err := rowKeyOf(&Table{RowKey: c.template, Salt: c.salt}, of)
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := k.append(nil, c.values); string(got) != c.want || err != nil {
			t.Errorf("%s salt %d of %v is %q (%v), want %q", c.template, c.salt, c.values, got, err, c.want)
		}
	}
}

// TestBadRowKeys are refused, with what would be right.
func TestBadRowKeys(t *testing.T) {
	for template, says := range map[string]string{
		"orders":               "want {key} alone",
		"{key}{id}":            "want {key} alone",
		"{id}{id}":             "is there twice",
		"{id}{ID:reverse}":     "is there twice",
		"{id":                  "{column:reverse}",
		"{}":                   "{column:reverse}",
		"{id:desc}":            "{column:reverse}",
		"{key:reverse}":        "{column:reverse}",
		"a}{id}":               "a } without",
		"\x01{id}":             "none of ASCII",
		"{a{b}":                "{column:reverse}",
		"\u00fc{id}{user_id}}": "none of ASCII",
	} {
		if _, err := parseTemplate(template); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q gives %v, want %q", template, err, says)
		}
	}
	of := &change.Table{Columns: []change.Column{{Name: "id", Type: change.Int}, {Name: "user_id", Type: change.Int}, {Name: "note", Type: change.VarChar}}, Key: []int{0, 1}}
	for template, says := range map[string]string{"{id}": "1 of the key's columns", "{id}{note}": "{note} is no column of the key (id, user_id)", "{id}{nothing}": "no column of the key"} {
		if _, err := rowKeyOf(&Table{RowKey: template}, of); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q gives %v, want %q", template, err, says)
		}
	}
	k, err := rowKeyOf(&Table{}, &change.Table{Columns: []change.Column{{Name: "sku", Type: change.VarChar}}, Key: []int{0}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.append(nil, []change.Value{change.StringValue("a\xff")}); err != errNotUTF8 {
		t.Errorf("a key that is no UTF-8 gives %v", err)
	}
	if _, err := k.append(nil, []change.Value{change.StringValue(strings.Repeat("x", rowKeyMax+1))}); err != errKeyTooLong {
		t.Errorf("a key that is too long gives %v", err)
	}
}
