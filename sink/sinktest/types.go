package sinktest

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// typed is a column with values that are easy to bend: the ends of its range, and what looks like something else.
type typed struct {
	column change.Column
	values []change.Value
}

func text(values ...string) []change.Value {
	out := make([]change.Value, len(values))
	for i, v := range values {
		out[i] = change.StringValue(v)
	}
	return out
}

func raw(values ...string) []change.Value {
	out := make([]change.Value, len(values))
	for i, v := range values {
		out[i] = change.RawValue([]byte(v))
	}
	return out
}

func integers(min, max int64) []change.Value {
	return []change.Value{change.IntValue(min), change.IntValue(-1), change.IntValue(0), change.IntValue(max)}
}

func character(name string, t change.Type, length int) change.Column {
	return change.Column{Name: name, Type: t, Length: length, Charset: textCharset, Collation: textCollation}
}

// bytesOfAllKinds has NUL, quotes, backslash, the control byte 26, bytes that are no UTF-8 and trailing spaces.
const bytesOfAllKinds = "\x00'\"\\\x1a\n\r\xff\xfe%_  "

const textOfAllKinds = "'\"\\\x1a\n\r\t%_ é漢😀 ?:$1  "

func point(x, y float64) string {
	b := []byte{0, 0, 0, 0, 1, 1, 0, 0, 0}
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	return string(binary.LittleEndian.AppendUint64(b, math.Float64bits(y)))
}

func floats(values ...float32) string {
	var b []byte
	for _, f := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return string(b)
}

var allTypes = []typed{
	{change.Column{Name: "tiny", Type: change.TinyInt}, integers(-128, 127)},
	{change.Column{Name: "small", Type: change.SmallInt}, integers(-32768, 32767)},
	{change.Column{Name: "medium", Type: change.MediumInt}, integers(-8388608, 8388607)},
	{change.Column{Name: "whole", Type: change.Int}, integers(math.MinInt32, math.MaxInt32)},
	{change.Column{Name: "big", Type: change.BigInt}, integers(math.MinInt64, math.MaxInt64)},
	{change.Column{Name: "ubig", Type: change.BigInt, Unsigned: true},
		[]change.Value{change.UintValue(0), change.UintValue(math.MaxInt64 + 1), change.UintValue(math.MaxUint64)}},
	{change.Column{Name: "utiny", Type: change.TinyInt, Unsigned: true}, []change.Value{change.UintValue(0), change.UintValue(255)}},
	{change.Column{Name: "amount", Type: change.Decimal, Precision: 38, Scale: 10},
		text("-9999999999999999999999999999.9999999999", "0.0000000000", "12.3400000000")},
	{change.Column{Name: "count_", Type: change.Decimal, Precision: 20}, text("-99999999999999999999", "0", "7")},
	{change.Column{Name: "real_", Type: change.Float},
		[]change.Value{change.Float32Value(0.1), change.Float32Value(-math.MaxFloat32), change.Float32Value(16777217), change.Float32Value(1e-38)}},
	{change.Column{Name: "double_", Type: change.Double},
		[]change.Value{change.Float64Value(0.1), change.Float64Value(-math.MaxFloat64), change.Float64Value(5e-324), change.Float64Value(1.0 / 3)}},
	{change.Column{Name: "bits", Type: change.Bit, Length: 13}, raw("\x00\x00", "\x1f\xff", "\x00A")},
	{change.Column{Name: "year_", Type: change.Year}, []change.Value{change.IntValue(0), change.IntValue(1901), change.IntValue(2155)}},
	{change.Column{Name: "day", Type: change.Date}, text("0001-01-01", "2024-02-29", "9999-12-31")},
	{change.Column{Name: "span", Type: change.Time, Scale: 6}, text("-838:59:59.000000", "00:00:00.000001", "-00:00:00.500000", "838:59:59.000000")},
	{change.Column{Name: "moment", Type: change.DateTime, Scale: 3}, text("1000-01-01 00:00:00.000", "2024-03-31 02:30:00.123", "9999-12-31 23:59:59.999")},
	{change.Column{Name: "stamp", Type: change.Timestamp, Scale: 6}, text("1970-01-01 00:00:01.000000", "2024-03-31 01:30:00.000001", "2038-01-19 03:14:07.999999")},
	{character("fixed", change.Char, 20), text("", "a", "é漢😀'\\")},
	{character("varying", change.VarChar, 100), text("", "NULL", "null", "0", textOfAllKinds)},
	{character("long_", change.LongText, 0), text("", textOfAllKinds)},
	{change.Column{Name: "bin", Type: change.Binary, Length: 4}, raw("\x00\x00\x00\x00", "\xff\xfe'\\", "a\x00\x00\x00")},
	{change.Column{Name: "varbin", Type: change.VarBinary, Length: 100}, raw("", bytesOfAllKinds)},
	{change.Column{Name: "blob_", Type: change.LongBlob}, raw("", bytesOfAllKinds)},
	{change.Column{Name: "choice", Type: change.Enum, Charset: textCharset, Collation: textCollation,
		Elements: []string{"small", "it's", "1", "é"}}, text("small", "it's", "1", "é")},
	{change.Column{Name: "flags", Type: change.Set, Charset: textCharset, Collation: textCollation,
		Elements: []string{"x", "y's", "z"}}, text("", "x", "x,y's,z")},
	{change.Column{Name: "doc", Type: change.JSON},
		text(`{}`, `null`, `[1, 2.5, "é'\\\"", {"a": null}]`, `{"k": 18446744073709551615}`, `"text"`)},
	{change.Column{Name: "place", Type: change.Geometry, Geometry: "point"}, raw(point(1.5, -2), point(0, 0))},
	{change.Column{Name: "embedding", Type: change.Vector, Length: 3}, raw(floats(1, -0.5, 3.25))},
}

// everyType writes each value of each type, and NULL, and reads it back.
func everyType(t *testing.T, o Options) {
	table := Table{Table: &change.Table{TableName: change.TableName{DB: "suite", Name: "types"},
		Columns: []change.Column{{Name: "id", Type: change.BigInt}}, Key: []int{0}}}
	var columns []typed
	rows := 0
	for _, c := range allTypes {
		if slices.Contains(o.Without, c.column.Type) {
			continue
		}
		c.column.Nullable = true
		columns = append(columns, c)
		table.Columns = append(table.Columns, c.column)
		rows = max(rows, len(c.values))
	}
	s := &story{t: t, o: o, table: table, open: o.New(t, Spec{Group: group, Source: source, Tables: []Table{table}})}
	for i := range s.parts {
		s.parts[i] = partition(table.Table, int32(i), int32(len(s.parts)))
	}
	s.own()
	var want [][]change.Value
	var changes []sink.Change
	for i := range rows + 1 {
		image := []change.Value{change.IntValue(int64(i))}
		for _, c := range columns {
			var v change.Value // the last row is all NULL
			if i < rows {
				v = c.values[i%len(c.values)]
			}
			image = append(image, v)
		}
		want = append(want, image)
		changes = append(changes, s.create(change.Version(10+i), image))
	}
	s.send(0, changes...)
	got := make(map[int64][]change.Value)
	for _, r := range scan(t, o, s.h.target, table.Table) {
		got[r.Values[0].Int()] = r.Values
	}
	for i, w := range want {
		g := got[int64(i)]
		if len(g) != len(w) {
			t.Errorf("row %d has %d columns, want %d", i, len(g), len(w))
			continue
		}
		for j := range w {
			if !g[j].Equal(w[j]) {
				t.Errorf("row %d: column %s (%s) is %v, want %v", i, table.Columns[j].Name, table.Columns[j].Type, show(g[j]), show(w[j]))
			}
		}
	}
}

func show(v change.Value) any {
	if v.Kind == change.Raw || v.Kind == change.Str {
		return string(append([]byte{'"'}, append(append([]byte(nil), v.Bytes...), '"')...))
	}
	return v.String()
}

// addedColumn brings a second schema of the table: it has one column more.
func addedColumn(t *testing.T, o Options) {
	table := plainTable()
	s := &story{t: t, o: o, table: table, open: o.New(t, Spec{Group: group, Source: source, Tables: []Table{table}})}
	for i := range s.parts {
		s.parts[i] = partition(table.Table, int32(i), int32(len(s.parts)))
	}
	s.own()
	s.send(0, s.create(10, row(1, "a", 1, 1)), s.create(11, row(2, "b", 2, 2)))

	wider := *table.Table
	wider.Columns = append(append([]change.Column(nil), table.Columns...), varchar("extra", 10, true))
	if _, ok := s.h.target.(sink.Preparer); !ok {
		t.Skip("the target prepares no tables")
	}
	s.h.prepare(&wider)
	s.h.prepare(&wider) // at first sight in each process
	s.table.Table = &wider
	full := append(row(1, "a", 1, 1), change.StringValue("x"))
	s.send(0, s.update(12, append(row(1, "a", 1, 1), change.Value{}), full))
	s.holds(full, append(row(2, "b", 2, 2), change.Value{}))
}
