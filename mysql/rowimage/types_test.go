package rowimage_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
)

// columnKind is a column's definition and how to make an SQL expression of a random value of it.
type columnKind struct {
	definition string
	value      func(r *rand.Rand) string
	mysqlOnly  bool
	since9     bool
}

func integer(bits int, unsigned bool) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		n := r.Uint64() >> r.IntN(64)
		switch r.IntN(6) {
		case 0:
			n = 0
		case 1:
			n = math.MaxUint64
		case 2:
			n = 1 << (bits - 1)
		case 3:
			n = 1<<(bits-1) - 1
		}
		if unsigned {
			return fmt.Sprint(n & (math.MaxUint64 >> (64 - bits)))
		}
		return fmt.Sprint(int64(n) << (64 - bits) >> (64 - bits))
	}
}

func pick(values ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return values[r.IntN(len(values))] }
}

func decimal(precision, scale int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		var b strings.Builder
		if r.IntN(2) == 0 {
			b.WriteByte('-')
		}
		for range r.IntN(precision - scale + 1) {
			b.WriteByte(byte('0' + r.IntN(10)))
		}
		b.WriteString("0.")
		text := strings.Replace(b.String(), "0.", ".", 1)
		for range r.IntN(scale + 1) {
			text += string(rune('0' + r.IntN(10)))
		}
		if r.IntN(5) == 0 {
			return strings.Repeat("9", precision-scale) + "." + strings.Repeat("9", scale)
		}
		return "'0" + text + "'"
	}
}

// decimalText wraps decimal so that its sign stands first.
func decimalText(precision, scale int) func(*rand.Rand) string {
	value := decimal(precision, scale)
	return func(r *rand.Rand) string {
		text := strings.Trim(value(r), "'")
		if rest, negative := strings.CutPrefix(text, "0-"); negative {
			text = "-0" + rest
		}
		return "'" + text + "'"
	}
}

func bytesOf(lengthMax int) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		n := r.IntN(lengthMax + 1)
		if r.IntN(4) == 0 {
			n = lengthMax
		}
		b := make([]byte, n)
		for i := range b {
			if b[i] = byte(r.Uint32()); r.IntN(3) == 0 {
				b[i] = []byte{0, ' ', 0xff}[r.IntN(3)]
			}
		}
		return fmt.Sprintf("x'%x'", b)
	}
}

func clock(kind string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		date := fmt.Sprintf("%04d-%02d-%02d", r.IntN(10000), 1+r.IntN(12), 1+r.IntN(28))
		time := fmt.Sprintf("%02d:%02d:%02d.%06d", r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000000))
		switch kind {
		case "date":
			return pick("'"+date+"'", "'0000-00-00'", "'2024-00-00'", "'2024-05-00'", "'0000-01-01'", "'9999-12-31'", "'1000-02-29'")(r)
		case "time":
			sign := []string{"", "-"}[r.IntN(2)]
			return pick("'"+sign+time+"'", "'"+sign+fmt.Sprint(r.IntN(839))+time[2:]+"'", "'00:00:00'", "'-838:59:59'",
				"'838:59:59'", "'-00:00:00.000001'", "'-00:00:01.5'", "'-00:00:00.01'", "'"+sign+"00:00:00.99'")(r)
		case "timestamp":
			return pick(fmt.Sprintf("FROM_UNIXTIME(%d.%06d)", 1+r.Int64N(1<<31-2), r.IntN(1000000)), "'0000-00-00 00:00:00'",
				"'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'1970-01-01 00:00:01.999999'")(r)
		}
		return pick("'"+date+" "+time+"'", "'0000-00-00 00:00:00'", "'2024-00-00 10:11:12.5'", "'9999-12-31 23:59:59'",
			"'0000-00-00 01:02:03'", "'1000-01-01 00:00:00.000001'")(r)
	}
}

func geometry(kinds ...string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		x, y := r.IntN(1000), r.Float64()
		text := map[string]string{
			"POINT":              fmt.Sprintf("POINT(%d %g)", x, y),
			"LINESTRING":         fmt.Sprintf("LINESTRING(%d %g, 3 4, 5 6)", x, y),
			"POLYGON":            "POLYGON((0 0, 10 0, 10 10, 0 10, 0 0))",
			"MULTIPOINT":         fmt.Sprintf("MULTIPOINT(%d 2, 3 4)", x),
			"MULTILINESTRING":    "MULTILINESTRING((1 2, 3 4), (5 6, 7 8))",
			"MULTIPOLYGON":       "MULTIPOLYGON(((0 0, 10 0, 10 10, 0 10, 0 0)))",
			"GEOMETRYCOLLECTION": fmt.Sprintf("GEOMETRYCOLLECTION(POINT(%d 2))", x),
		}[kinds[r.IntN(len(kinds))]]
		return fmt.Sprintf("ST_GeomFromText('%s', %d)", text, []int{0, 3857}[r.IntN(2)])
	}
}

var words = []string{"", "a", "ä", "abc ", "  ", "x y", "ß", "Ωmega", "é", "'", "\\"}

func word(r *rand.Rand) string {
	return fmt.Sprintf("CONVERT(x'%x' USING utf8mb4)", words[r.IntN(len(words))])
}

var allGeometries = []string{"POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"}

// columnKinds are all types, in an order that mixes those that have entries in each metadata list with those
// that have none.
func columnKinds() []columnKind {
	kinds := []columnKind{
		{definition: "TINYINT", value: integer(8, false)},
		{definition: "TINYINT UNSIGNED", value: integer(8, true)},
		{definition: "YEAR", value: pick("0", "1901", "2155", "2024")},
		{definition: "SMALLINT UNSIGNED", value: integer(16, true)},
		{definition: "VARCHAR(20) CHARACTER SET latin1", value: word},
		{definition: "SMALLINT", value: integer(16, false)},
		{definition: "MEDIUMINT", value: integer(24, false)},
		{definition: "ENUM('a','ä','','x y') CHARACTER SET latin1", value: pick("1", "2", "3", "4", "'none'")},
		{definition: "BIT(1)", value: pick("0", "1")},
		{definition: "MEDIUMINT UNSIGNED ZEROFILL", value: integer(24, true)},
		{definition: "INT", value: integer(32, false)},
		{definition: "BIT(13)", value: integer(13, true)},
		{definition: "INT UNSIGNED", value: integer(32, true)},
		{definition: "BINARY(7)", value: bytesOf(7)},
		{definition: "BIGINT", value: integer(64, false)},
		{definition: "SET('one','zwölf','3') CHARACTER SET utf8mb3", value: integer(3, true)},
		{definition: "BIGINT UNSIGNED", value: integer(64, true)},
		{definition: "BIT(64)", value: integer(64, true)},
		{definition: "FLOAT", value: pick("0", "-0.1", "3.4e38", "1.17549e-38", "16777217", "1e-45", "0.333333333")},
		{definition: "FLOAT UNSIGNED", value: pick("0", "0.1", "123456.789")},
		{definition: "DOUBLE", value: pick("0", "-0.1", "1.7976931348623157e308", "5e-324", "1/3e0", "1e22", "123456789.12345678")},
		{definition: "DOUBLE UNSIGNED", value: pick("0", "0.1", "2e0/3e0")},
		{definition: "CHAR(10) CHARACTER SET utf8mb4", value: word},
		{definition: "CHAR(255) CHARACTER SET utf8mb4", value: word},
		{definition: "CHAR(0)", value: pick("''", "NULL")},
		{definition: "CHAR(64) CHARACTER SET utf8mb4", value: word},
		{definition: "CHAR(128) CHARACTER SET utf32", value: word},
		{definition: "GEOMETRY", value: geometry(allGeometries...)},
		{definition: "VARCHAR(300) CHARACTER SET latin2", value: word},
		{definition: "VARCHAR(255) CHARACTER SET latin1", value: word},
		{definition: "VARCHAR(256) CHARACTER SET utf16", value: word},
		{definition: "VARBINARY(10)", value: bytesOf(10)},
		{definition: "VARBINARY(300)", value: bytesOf(300)},
		{definition: "BINARY(255)", value: bytesOf(255)},
		{definition: "TINYTEXT CHARACTER SET ucs2", value: word},
		{definition: "TEXT", value: word},
		{definition: "POINT", value: geometry("POINT")},
		{definition: "MEDIUMTEXT CHARACTER SET cp1251", value: word},
		{definition: "LONGTEXT", value: word},
		{definition: "TINYBLOB", value: bytesOf(255)},
		{definition: "BLOB", value: bytesOf(1000)},
		{definition: "MEDIUMBLOB", value: bytesOf(1000)},
		{definition: "LONGBLOB", value: bytesOf(1000)},
		{definition: "JSON", value: pick("'{\"a\": [1, 2.5, null, true]}'", "'[]'", "'\"x\"'", "'1'"), mysqlOnly: true},
		{definition: "GEOMETRYCOLLECTION", value: geometry("GEOMETRYCOLLECTION")},
		{definition: "VARCHAR(20) CHARACTER SET gb18030", value: word, mysqlOnly: true},
		{definition: "VECTOR(3)", value: pick("STRING_TO_VECTOR('[1,2.5,-3]')", "STRING_TO_VECTOR('[1e-10]')"), since9: true},
		{definition: "ENUM('é','Ω') CHARACTER SET utf16", value: pick("1", "2")},
		{definition: "VECTOR", value: pick("STRING_TO_VECTOR('[1,2,3,4,5]')"), since9: true},
		{definition: "SET('x') CHARACTER SET binary", value: pick("0", "1")},
		{definition: "MULTIPOLYGON", value: geometry("MULTIPOLYGON")},
		{definition: "MULTIPOINT", value: geometry("MULTIPOINT")},
		{definition: "MULTILINESTRING", value: geometry("MULTILINESTRING")},
		{definition: "POLYGON", value: geometry("POLYGON")},
		{definition: "LINESTRING", value: geometry("LINESTRING")},
		{definition: "DATE", value: clock("date")},
	}
	for fsp := range 7 {
		for _, kind := range []string{"TIME", "DATETIME", "TIMESTAMP"} {
			kinds = append(kinds, columnKind{definition: fmt.Sprintf("%s(%d)", kind, fsp), value: clock(strings.ToLower(kind))})
		}
	}
	for _, d := range [][2]int{{1, 0}, {1, 1}, {9, 0}, {10, 0}, {10, 2}, {18, 9}, {19, 10}, {30, 30}, {65, 30}, {65, 0}, {38, 7}, {20, 1}} {
		kinds = append(kinds, columnKind{definition: fmt.Sprintf("DECIMAL(%d,%d)", d[0], d[1]), value: decimalText(d[0], d[1])})
	}
	return append(kinds, columnKind{definition: "DECIMAL(10,3) UNSIGNED", value: pick("'0'", "'1234567.891'", "'0.001'")})
}

// kindsFor leaves out what the server has not.
func kindsFor(version testbed.MySQLVersion, kinds []columnKind) []columnKind {
	var out []columnKind
	for _, k := range kinds {
		if version.IsMariaDB() && (k.mysqlOnly || k.since9) || version != testbed.MySQL97 && k.since9 {
			continue
		}
		out = append(out, k)
	}
	return out
}

// TestTypesAgainstServer writes random rows of all types, changes and deletes them, and wants each image of
// the binlog to equal what SELECT shows.
func TestTypesAgainstServer(t *testing.T) {
	for _, version := range versions {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, version)
			r := newRandom(t)
			checkRandomRows(s, r, kindsFor(version, columnKinds()), 120)
		})
	}
}

func checkRandomRows(s *server, r *rand.Rand, kinds []columnKind, rows int) {
	t := s.t
	t.Helper()
	definitions := []string{"id INT AUTO_INCREMENT PRIMARY KEY"}
	for i, k := range kinds {
		null := " NULL"
		if i%5 == 4 && !strings.Contains(k.definition, "CHAR(0)") {
			null = " NOT NULL"
		}
		definitions = append(definitions, fmt.Sprintf("c%d %s%s", i, k.definition, null))
	}
	s.exec("CREATE TABLE t (" + strings.Join(definitions, ", ") + ") ROW_FORMAT=DYNAMIC")
	value := func(i int) string {
		if i%5 != 4 && r.IntN(8) == 0 {
			return "NULL"
		}
		return kinds[i].value(r)
	}
	inserted := s.decode(s.during(func() {
		for range rows {
			values := make([]string, len(kinds))
			for i := range values {
				values[i] = value(i)
			}
			s.exec("INSERT INTO t VALUES (0, " + strings.Join(values, ", ") + ")")
		}
	}))
	if len(inserted) != rows {
		t.Fatalf("%d rows in the binlog, %d written", len(inserted), rows)
	}
	table, err := inserted[0].tm.Table(nil)
	if err != nil {
		t.Fatal(err)
	}
	shown := s.selected(table, "id")
	for i := range inserted {
		equalRow(t, fmt.Sprintf("insert of row %d", i+1), table, inserted[i].after, shown[i])
	}
	updated := s.decode(s.during(func() {
		for id := 1; id <= rows; id++ {
			var set []string
			for i := range kinds {
				if r.IntN(3) == 0 {
					set = append(set, fmt.Sprintf("c%d = %s", i, value(i)))
				}
			}
			s.exec(fmt.Sprintf("UPDATE t SET %s, id = -id WHERE id = %d", strings.Join(append(set, "c0 = 1"), ", "), id))
		}
	}))
	shownAfter := s.selected(table, "-id")
	for i := range updated {
		equalRow(t, fmt.Sprintf("before image of row %d", i+1), table, updated[i].before, shown[i])
		equalRow(t, fmt.Sprintf("after image of row %d", i+1), table, updated[i].after, shownAfter[i])
	}
	deleted := s.decode(s.during(func() { s.exec("DELETE FROM t ORDER BY -id") }))
	if len(updated) != rows || len(deleted) != rows {
		t.Fatalf("%d updates and %d deletes in the binlog, %d written", len(updated), len(deleted), rows)
	}
	for i := range deleted {
		if deleted[i].op != change.Delete {
			t.Fatalf("op %s", deleted[i].op)
		}
		equalRow(t, fmt.Sprintf("delete of row %d", i+1), table, deleted[i].before, shownAfter[i])
	}
}
