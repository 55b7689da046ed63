package mysql_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
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
	values []change.Value
}

func typedColumns() []typedColumn {
	d := func(name string, kind change.Type) change.Column {
		return change.Column{Name: name, Type: kind, Nullable: true}
	}
	with := func(c change.Column, set func(*change.Column)) change.Column { set(&c); return c }
	enum := with(text("en", change.Enum, "latin1", "latin1_swedish_ci"), func(c *change.Column) { c.Elements = []string{"é", "b'c", `d\`} })
	set := with(text("se", change.Set, "utf8mb4", "utf8mb4_general_ci"), func(c *change.Column) { c.Elements = []string{"x", "y", "z"} })
	columns := []typedColumn{
		{d("i8", change.TinyInt), []change.Value{number(-128), number(127)}},
		{with(d("u64", change.BigInt), func(c *change.Column) { c.Unsigned = true }), []change.Value{uns(math.MaxUint64), uns(0)}},
		{with(d("de", change.Decimal), func(c *change.Column) { c.Precision, c.Scale = 65, 30 }), []change.Value{
			str("-99999999999999999999999999999999999.999999999999999999999999999999"), str("0.000000000000000000000000000001")}},
		{d("f", change.Float), []change.Value{f32(0.1), f32(math.MaxFloat32), f32(math.SmallestNonzeroFloat32 * 8388608), f32(float32(math.Copysign(0, -1))), f32(16777216)}},
		{d("db", change.Double), []change.Value{f64(0.1), f64(math.MaxFloat64), f64(2.2250738585072014e-308), f64(math.Copysign(0, -1)), f64(1 / 3.0)}},
		{with(d("bt", change.Bit), func(c *change.Column) { c.Length = 64 }), []change.Value{bin("\xff\xff\xff\xff\xff\xff\xff\xff"), bin("\x00\x00\x00\x00\x00\x00\x27\x5c")}},
		{d("y", change.Year), []change.Value{number(0), number(2155)}},
		{d("da", change.Date), []change.Value{str("0000-00-00"), str("2026-02-31"), str("2026-00-07"), str("9999-12-31")}},
		{with(d("ti", change.Time), func(c *change.Column) { c.Scale = 6 }), []change.Value{str("-838:59:58.000001"), str("838:59:59.000000"), str("-00:00:00.000001")}},
		{with(d("dt", change.DateTime), func(c *change.Column) { c.Scale = 3 }), []change.Value{str("0000-00-00 00:00:00.000"), str("2026-03-29 02:30:00.999")}},
		{with(d("ts", change.Timestamp), func(c *change.Column) { c.Scale = 6 }), []change.Value{str("0000-00-00 00:00:00.000000"), str("1970-01-01 00:00:01.000000"), str("2038-01-19 03:14:07.499999")}},
		{text("ch", change.Char, "gbk", "gbk_chinese_ci"), []change.Value{str("汉字\\'縗"), str("誠\\")}}, // 0x5c is a second byte in gbk
		{text("vc", change.VarChar, "latin1", "latin1_swedish_ci"), []change.Value{str("é€ \\ ' \x00\x1a"), str("  spaces  ")}},
		{text("u16", change.VarChar, "utf16", "utf16_general_ci"), []change.Value{str("😀é"), str("")}},
		{text("sj", change.VarChar, "sjis", "sjis_japanese_ci"), []change.Value{str("表ソ\\"), str("ｱ")}},
		{text("mt", change.MediumText, "utf8mb4", "utf8mb4_bin"), []change.Value{str("😀 漢字 \r\n\t ?:%_\\'\""), str("x  ")}},
		{with(d("bi", change.Binary), func(c *change.Column) { c.Length = 4 }), []change.Value{bin("a\x00\x00\x00"), bin("\xff'\\\x00")}},
		{with(d("vb", change.VarBinary), func(c *change.Column) { c.Length = 40 }), []change.Value{bin("\x00\x27\x5c\xff\xfe\x80 "), bin("")}},
		{d("bl", change.Blob), []change.Value{bin("\xf0\x28\x8c\xbc'\\\x1a;-- "), bin("\x00")}},
		{enum, []change.Value{str("é"), str("b'c"), str(`d\`)}},
		{set, []change.Value{str("x,z"), str("")}},
		{with(d("g", change.Geometry), func(c *change.Column) { c.Geometry = "geometry" }), []change.Value{point(0), point(4326)}},
		{with(d("p", change.Geometry), func(c *change.Column) { c.Geometry = "point" }), []change.Value{point(4326), point(0)}},
	}
	if running().Flavor.IsMariaDB() { // it knows no -0
		for i := range columns {
			for j, v := range columns[i].values {
				if (v.Kind == change.Float32 || v.Kind == change.Float64) && v.Float() == 0 {
					columns[i].values[j].Num = 0
				}
			}
		}
		return columns
	}
	columns = append(columns, typedColumn{d("js", change.JSON), []change.Value{
		str(`{"a": "it's \\ \"q\" \u0000", "é": [1, -0.5, 1e300, null, true, 1.0]}`), str("[]"), str("null"), str(`18446744073709551615`)}})
	if running().Flavor.MySQL9Words() {
		columns = append(columns, typedColumn{with(d("ve", change.Vector), func(c *change.Column) { c.Length = 2 }),
			[]change.Value{bin("\x00\x00\x80\x3f\x27\x5c\x00\xc0"), bin("\x00\x00\x00\x80\x00\x00\x00\x00")}})
	}
	return columns
}

// Each value of each type is written by INSERT, by the update of an existing row and by the careful way, and comes
// back as it was.
func TestEveryValueComesBack(t *testing.T) {
	columns := typedColumns()
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "types"}, Columns: []change.Column{{Name: "id", Type: change.Int}}, Key: []int{0}}
	longest := 0
	for _, c := range columns {
		table.Columns = append(table.Columns, c.Column)
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
	p := newPlace(t, 1)
	tg := p.opened()
	s := newTeller(table, 1)
	check := func(way string) {
		t.Helper()
		var want []string
		for _, row := range rows {
			want = append(want, show(row))
		}
		got := scan(t, tg, sink.Scan{Source: source, Table: table})
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Errorf("%s: row %d\n got %s\nwant %s", way, i, got[i], want[i])
			}
		}
	}
	for _, row := range rows {
		s.write(nil, row)
	}
	s.deliver(t, tg, 100)
	check("insert")
	before := slices.Clone(rows)
	for i := range rows { // each row gets its neighbour's values
		rows[i] = append([]change.Value{before[i][0]}, before[(i+1)%len(rows)][1:]...)
		s.write(before[i], rows[i])
	}
	s.deliver(t, tg, 100)
	check("update")
	s.deliver(t, tg, 100) // nothing is left to do
	check("again")
}

// A name that an ENUM does not have is stored as the empty one (index 0), which no strict session writes.
func TestEmptyEnum(t *testing.T) {
	p := newPlace(t, 1)
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "enums"}, Key: []int{0}, Columns: []change.Column{
		{Name: "id", Type: change.Int},
		{Name: "e", Type: change.Enum, Elements: []string{"a", "b"}, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
		{Name: "c", Type: change.VarChar, Length: 3, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
	}}
	tg := p.opened()
	s := newTeller(table, 1)
	row := func(id int, e, c string) []change.Value { return []change.Value{number(id), str(e), str(c)} }
	s.write(nil, row(1, "", "x"))
	s.write(nil, row(2, "b", "y"))
	s.deliver(t, tg, 10)
	want := []string{"1||0|x", "2|b|2|y"}
	query := "SELECT id, e, e+0, c FROM " + p.shards[0].Database + ".enums ORDER BY id"
	same(t, p.query(query), want)
	// A stale change over it must find it, and change nothing.
	s.logs[0] = append(s.logs[0], s.logs[0][0])
	s.logs[0][2].Offset, s.logs[0][2].After = 2, row(1, "a", "z")
	s.deliver(t, tg, 10)
	same(t, p.query(query), want)
	// The strictness is off for the ENUM alone.
	s.write(row(1, "", "x"), row(1, "", "too long"))
	if err := s.deliverPartition(tg, 0, 10); change.SeverityOf(err) != change.Poison {
		t.Errorf("got %v, want a poison", err)
	}
	same(t, p.query(query), want)
}

// Keys of every sort are found again by their own values, and walked in the server's order.
func TestKeysOfEveryType(t *testing.T) {
	p := newPlace(t, 1)
	tg := p.opened()
	elements := []string{"z", "y", "x", "w"}
	keys := []struct {
		column change.Column
		values []change.Value
	}{
		{change.Column{Type: change.BigInt, Unsigned: true}, []change.Value{uns(0), uns(7), uns(math.MaxUint64)}},
		{change.Column{Type: change.Decimal, Precision: 30, Scale: 2}, []change.Value{str("-1.50"), str("0.00"), str("9007199254740993.00"), str("9007199254740993.01")}},
		{change.Column{Type: change.VarChar, Length: 20, Charset: "latin1", Collation: "latin1_swedish_ci"}, []change.Value{str(""), str("a'b\\"), str("é")}},
		{change.Column{Type: change.Binary, Length: 3}, []change.Value{bin("\x00\x00\x00"), bin("a\x00\x00"), bin("\xff'\\")}},
		{change.Column{Type: change.VarBinary, Length: 9}, []change.Value{bin(""), bin("\x00"), bin("a"), bin("a ")}},
		{change.Column{Type: change.Enum, Elements: elements, Charset: "utf8mb4", Collation: "utf8mb4_bin"}, []change.Value{str("z"), str("y"), str("x"), str("w")}},
		{change.Column{Type: change.Set, Elements: elements, Charset: "utf8mb4", Collation: "utf8mb4_bin"}, []change.Value{str(""), str("z"), str("y"), str("z,y"), str("w")}},
		{change.Column{Type: change.Date}, []change.Value{str("0000-00-00"), str("2026-02-30"), str("2026-03-01")}},
		{change.Column{Type: change.Time, Scale: 3}, []change.Value{str("-10:00:00.001"), str("-00:00:00.500"), str("00:00:00.000"), str("100:00:00.000")}},
		{change.Column{Type: change.Timestamp, Scale: 6}, []change.Value{str("0000-00-00 00:00:00.000000"), str("2026-10-25 00:30:00.000001")}},
		{change.Column{Type: change.Bit, Length: 12}, []change.Value{bin("\x00\x00"), bin("\x00\x27"), bin("\x0f\xff")}},
		{change.Column{Type: change.Year}, []change.Value{number(0), number(1999)}},
	}
	for i, key := range keys {
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
				same(t, scan(t, tg, sink.Scan{Source: source, Table: table, After: bound}), want[cut+1:])
				same(t, scan(t, tg, sink.Scan{Source: source, Table: table, Through: bound}), want[:cut+1])
				same(t, scan(t, tg, sink.Scan{Source: source, Table: table, Keys: [][]change.Value{bound}}), want[cut:cut+1])
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
