package postgres_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/postgres"
)

// scan reads the table back, rows as text with the kinds of the values.
func scan(t testing.TB, tg *target.Target, r sink.Scan) []string {
	t.Helper()
	var rows []string
	if err := tg.Scan(t.Context(), r, func(row sink.Row) error {
		rows = append(rows, show(row.Values))
		return nil
	}); err != nil {
		t.Fatal(change.Explain(err))
	}
	return rows
}

// show prints values so that any difference shows, -0 and NUL too.
func show(values []change.Value) string {
	text := ""
	for _, v := range values {
		text += fmt.Sprintf("%d:%d:%x ", v.Kind, v.Num, v.Bytes)
	}
	return text
}

func text(name string, kind change.Type, charset, collation string) change.Column {
	c := change.Column{Name: name, Type: kind, Nullable: true, Charset: charset, Collation: collation}
	if kind == change.Char || kind == change.VarChar {
		c.Length = 40
	}
	return c
}

func str(s string) change.Value  { return change.StringValue(s) }
func bin(s string) change.Value  { return change.RawValue([]byte(s)) }
func f64(f float64) change.Value { return change.Float64Value(f) }
func f32(f float32) change.Value { return change.Float32Value(f) }
func uns(n uint64) change.Value  { return change.UintValue(n) }
func point(srid uint32) change.Value {
	b := binary.LittleEndian.AppendUint32(nil, srid)
	b = append(b, 1, 1, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(12.5))
	return change.RawValue(binary.LittleEndian.AppendUint64(b, math.Float64bits(-7)))
}

type typedColumn struct {
	change.Column
	postgres string // the type that it gets
	values   []change.Value
}

func typedColumns() []typedColumn {
	d := func(name string, kind change.Type) change.Column {
		return change.Column{Name: name, Type: kind, Nullable: true}
	}
	with := func(c change.Column, set func(*change.Column)) change.Column { set(&c); return c }
	unsigned := func(c *change.Column) { c.Unsigned = true }
	names := func(c *change.Column) { c.Elements = []string{"é", "b'c", `d\`} }
	return []typedColumn{
		{d("i8", change.TinyInt), "smallint", []change.Value{number(-128), number(127)}},
		{with(d("u8", change.TinyInt), unsigned), "smallint", []change.Value{uns(255), uns(0)}},
		{d("i16", change.SmallInt), "smallint", []change.Value{number(-32768), number(32767)}},
		{with(d("u16", change.SmallInt), unsigned), "integer", []change.Value{uns(65535), uns(0)}},
		{d("i24", change.MediumInt), "integer", []change.Value{number(-8388608), number(8388607)}},
		{with(d("u24", change.MediumInt), unsigned), "integer", []change.Value{uns(16777215), uns(0)}},
		{d("i32", change.Int), "integer", []change.Value{number(math.MinInt32), number(math.MaxInt32)}},
		{with(d("u32", change.Int), unsigned), "bigint", []change.Value{uns(math.MaxUint32), uns(0)}},
		{d("i64", change.BigInt), "bigint", []change.Value{number(math.MinInt64), number(math.MaxInt64)}},
		{with(d("u64", change.BigInt), unsigned), "numeric(20,0)", []change.Value{uns(math.MaxUint64), uns(0)}},
		{with(d("de", change.Decimal), func(c *change.Column) { c.Precision, c.Scale = 65, 30 }), "numeric(65,30)", []change.Value{
			str("-99999999999999999999999999999999999.999999999999999999999999999999"), str("0.000000000000000000000000000001")}},
		{d("f", change.Float), "real", []change.Value{f32(0.1), f32(math.MaxFloat32), f32(math.SmallestNonzeroFloat32), f32(float32(math.Copysign(0, -1))), f32(16777216)}},
		{d("db", change.Double), "double precision", []change.Value{f64(0.1), f64(math.MaxFloat64), f64(math.SmallestNonzeroFloat64), f64(math.Copysign(0, -1)), f64(1 / 3.0)}},
		{with(d("bt", change.Bit), func(c *change.Column) { c.Length = 64 }), "bit(64)", []change.Value{bin("\xff\xff\xff\xff\xff\xff\xff\xff"), bin("\x00\x00\x00\x00\x00\x00\x27\x5c")}},
		{with(d("b1", change.Bit), func(c *change.Column) { c.Length = 1 }), "bit(1)", []change.Value{bin("\x01"), bin("\x00")}},
		{d("y", change.Year), "smallint", []change.Value{number(0), number(2155)}},
		{d("da", change.Date), "date", []change.Value{str("0001-01-01"), str("2024-02-29"), str("9999-12-31")}},
		{with(d("ti", change.Time), func(c *change.Column) { c.Scale = 6 }), "interval(6)", []change.Value{str("-838:59:58.000001"), str("838:59:59.000000"), str("-00:00:00.000001"), str("00:00:00.000000")}},
		{d("t0", change.Time), "interval(0)", []change.Value{str("-838:59:59"), str("24:00:00"), str("23:59:59")}},
		{with(d("dt", change.DateTime), func(c *change.Column) { c.Scale = 3 }), "timestamp(3) without time zone", []change.Value{str("0001-01-01 00:00:00.000"), str("2026-03-29 02:30:00.999")}},
		{with(d("ts", change.Timestamp), func(c *change.Column) { c.Scale = 6 }), "timestamp(6) with time zone", []change.Value{str("1970-01-01 00:00:01.000000"), str("2038-01-19 03:14:07.499999")}},
		{text("ch", change.Char, "gbk", "gbk_chinese_ci"), "character varying(40)", []change.Value{str("汉字\\'縗"), str("誠\\")}},
		{text("vc", change.VarChar, "latin1", "latin1_swedish_ci"), "character varying(40)", []change.Value{str("é€ \\ ' \x1a {\"a\",NULL}"), str("  spaces  "), str("NULL"), str("")}},
		{text("mt", change.MediumText, "utf8mb4", "utf8mb4_bin"), "text", []change.Value{str("😀 漢字 \r\n\t ?:%_\\'\"$1"), str("x  ")}},
		{with(d("bi", change.Binary), func(c *change.Column) { c.Length = 4 }), "bytea", []change.Value{bin("a\x00\x00\x00"), bin("\xff'\\\x00")}},
		{with(d("vb", change.VarBinary), func(c *change.Column) { c.Length = 40 }), "bytea", []change.Value{bin("\x00\x27\x5c\xff\xfe\x80 "), bin("")}},
		{d("bl", change.LongBlob), "bytea", []change.Value{bin("\xf0\x28\x8c\xbc'\\\x1a;-- "), bin("\x00")}},
		{with(text("en", change.Enum, "latin1", "latin1_swedish_ci"), names), "text", []change.Value{str("é"), str("b'c"), str(`d\`), str("")}},
		{with(text("se", change.Set, "utf8mb4", "utf8mb4_general_ci"), names), "text", []change.Value{str("é,b'c"), str("")}},
		{d("js", change.JSON), "json", []change.Value{
			str(`{"a": "it's \\ \"q\" \u0000", "é": [1, -0.5, 1e300, null, true, 1.0]}`), str("[]"), str("null"), str(`18446744073709551615`), str(`{"bb": 1, "a": 1.0}`)}},
		{with(d("g", change.Geometry), func(c *change.Column) { c.Geometry = "geometry" }), "bytea", []change.Value{point(0), point(4326)}},
		{with(d("ve", change.Vector), func(c *change.Column) { c.Length = 2 }), "bytea", []change.Value{bin("\x00\x00\x80\x3f\x27\x5c\x00\xc0"), bin("\x00\x00\x00\x80\x00\x00\x00\x00")}},
	}
}

// Each value of each type is written by INSERT and by the update of an existing row, together and row by row, and comes back as it was, from a column
// of the type that the docs say.
func TestEveryValueComesBack(t *testing.T) {
	columns := typedColumns()
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "types"}, Columns: []change.Column{{Name: "id", Type: change.Int}}, Key: []int{0}}
	types := []string{"id|integer"}
	longest := 0
	for _, c := range columns {
		table.Columns = append(table.Columns, c.Column)
		types = append(types, c.Name+"|"+c.postgres)
		longest = max(longest, len(c.values))
	}
	rows := make([][]change.Value, longest+1) // the last is all NULL
	for i := range rows {
		rows[i] = append(rows[i], number(i))
		for _, c := range columns {
			v := change.Value{}
			if i < longest {
				v = c.values[i%len(c.values)]
			}
			rows[i] = append(rows[i], v)
		}
	}
	p := newPlace(t)
	tg := p.opened()
	s := newTeller(table, 1)
	check := func(way string) {
		t.Helper()
		got := scan(t, tg, sink.Scan{Source: source, Table: table})
		for i := range max(len(got), len(rows)) {
			if i >= len(got) || i >= len(rows) || got[i] != show(rows[i]) {
				t.Errorf("%s: row %d\n got %s\nwant %s", way, i, got[i], show(rows[i]))
			}
		}
	}
	for _, row := range rows {
		s.write(nil, row)
	}
	s.deliver(t, tg, 100)
	check("insert")
	same(t, p.query("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid='$S.types'::regclass AND attnum BETWEEN 1 AND "+
		fmt.Sprint(len(types))+" ORDER BY attnum"), types)
	before := slices.Clone(rows)
	for i := range rows { // each row gets its neighbour's values
		rows[i] = append([]change.Value{before[i][0]}, before[(i+1)%len(rows)][1:]...)
		s.write(before[i], rows[i])
	}
	s.deliver(t, tg, 1)
	check("update")
}

// Keys of every sort are found again by their own values, and walked by bounds where the order is MySQL's.
func TestKeysOfEveryType(t *testing.T) {
	p := newPlace(t)
	tg := p.opened()
	elements := []string{"z", "y", "x"}
	for i, key := range []struct {
		column  change.Column
		values  []change.Value
		ordered bool
	}{
		{change.Column{Type: change.BigInt, Unsigned: true}, []change.Value{uns(0), uns(7), uns(math.MaxUint64)}, true},
		{change.Column{Type: change.Decimal, Precision: 30, Scale: 2}, []change.Value{str("-1.50"), str("0.00"), str("9007199254740993.00"), str("9007199254740993.01")}, true},
		{change.Column{Type: change.VarChar, Length: 20, Charset: "latin1", Collation: "latin1_swedish_ci"}, []change.Value{str(""), str("a'b\\"), str("é")}, false},
		{change.Column{Type: change.Binary, Length: 3}, []change.Value{bin("\x00\x00\x00"), bin("a\x00\x00"), bin("\xff'\\")}, true},
		{change.Column{Type: change.VarBinary, Length: 9}, []change.Value{bin(""), bin("\x00"), bin("a"), bin("a ")}, true},
		{change.Column{Type: change.Enum, Elements: elements, Charset: "utf8mb4", Collation: "utf8mb4_bin"}, []change.Value{str("x"), str("y"), str("z")}, false},
		{change.Column{Type: change.Date}, []change.Value{str("0001-01-01"), str("2026-02-28"), str("2026-03-01")}, true},
		{change.Column{Type: change.Time, Scale: 3}, []change.Value{str("-10:00:00.001"), str("-00:00:00.500"), str("00:00:00.000"), str("100:00:00.000")}, true},
		{change.Column{Type: change.Timestamp, Scale: 6}, []change.Value{str("1970-01-01 00:00:01.000000"), str("2026-10-25 00:30:00.000001")}, true},
		{change.Column{Type: change.Bit, Length: 12}, []change.Value{bin("\x00\x00"), bin("\x00\x27"), bin("\x0f\xff")}, true},
		{change.Column{Type: change.Year}, []change.Value{number(0), number(1999)}, true},
	} {
		key.column.Name = "k"
		t.Run(key.column.Type.String(), func(t *testing.T) {
			table := &change.Table{TableName: change.TableName{DB: "shop", Name: fmt.Sprintf("keys%d", i)}, Key: []int{1, 0},
				Columns: []change.Column{{Name: "j", Type: change.Int}, key.column, {Name: "n", Type: change.Int}}}
			s := newTeller(table, 1)
			var rows [][]change.Value
			var want []string
			for _, v := range key.values {
				for j := range 2 {
					rows = append(rows, []change.Value{number(j), v, number(0)})
					s.write(nil, rows[len(rows)-1])
				}
			}
			for _, row := range rows { // all are found again
				after := []change.Value{row[0], row[1], number(9)}
				s.write(row, after)
				want = append(want, show(after))
			}
			s.deliver(t, tg, len(rows))
			same(t, scan(t, tg, sink.Scan{Source: source, Table: table}), want)
			for cut := range rows { // the bounds split the rows
				bound := []change.Value{rows[cut][1], rows[cut][0]}
				same(t, scan(t, tg, sink.Scan{Source: source, Table: table, Keys: [][]change.Value{bound}}), want[cut:cut+1])
				if !key.ordered {
					err := tg.Scan(t.Context(), sink.Scan{Source: source, Table: table, After: bound}, nil)
					if !errors.Is(err, errors.ErrUnsupported) {
						t.Errorf("a bound that is ordered otherwise gave %v", err)
					}
					continue
				}
				same(t, scan(t, tg, sink.Scan{Source: source, Table: table, After: bound}), want[cut+1:])
				same(t, scan(t, tg, sink.Scan{Source: source, Table: table, Through: bound}), want[:cut+1])
			}
			for i := 0; i < len(rows); i += 2 {
				s.write([]change.Value{rows[i][0], rows[i][1], number(9)}, nil)
			}
			s.deliver(t, tg, 100)
			var odd []string
			for i := 1; i < len(want); i += 2 {
				odd = append(odd, want[i])
			}
			same(t, scan(t, tg, sink.Scan{Source: source, Table: table}), odd)
		})
	}
}

// A scan of more rows than one query reads has them all, once; and it ends with its caller's error.
func TestScanOfManyRows(t *testing.T) {
	p := newPlace(t)
	tg := p.opened()
	s := newTeller(users("utf8mb4_bin"), 1)
	s.write(nil, user(0, "x", 1, 1))
	s.deliver(t, tg, 10)
	p.exec("INSERT INTO $S.users SELECT n, 'x', NULL, 1, 5, 1 FROM generate_series(1, 45000) n")
	next := int64(0)
	if err := tg.Scan(t.Context(), sink.Scan{Source: source, Table: s.table}, func(r sink.Row) error {
		if r.Values[0].Int() != next || r.Source != source || r.Version == 0 {
			t.Fatalf("row %d has id %v, source %q, version %d", next, r.Values[0], r.Source, r.Version)
		}
		next++
		return nil
	}); err != nil || next != 45001 {
		t.Errorf("%d rows, %v", next, err)
	}
	mine := errors.New("enough")
	if err := tg.Scan(t.Context(), sink.Scan{Source: source, Table: s.table}, func(sink.Row) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("the scan ended with %v", err)
	}
}
