package rowimage_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
)

// randomDouble gives doubles of all magnitudes, whole ones and those next to powers of ten.
func randomDouble(r *rand.Rand) float64 {
	for {
		f := math.Float64frombits(r.Uint64())
		switch r.IntN(5) {
		case 0:
			f = float64(r.Int64N(1<<53)) * math.Pow10(r.IntN(40)-20)
		case 1:
			f = float64(r.IntN(1000)) * math.Pow10(r.IntN(40)-20)
		case 2:
			f = math.Nextafter(math.Pow10(r.IntN(60)-30), float64(r.IntN(2))*math.MaxFloat64)
		case 3:
			f = float64(r.Int64() >> r.IntN(63))
		}
		if !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(12) {
		switch r.IntN(6) {
		case 0:
			b.WriteByte(byte(r.IntN(0x20)))
		case 1:
			b.WriteString([]string{`"`, `\`, "/", "\x7f", "\u0080", "\u2028"}[r.IntN(6)])
		case 2:
			b.WriteRune(rune(0x80 + r.IntN(0xd000)))
		case 3:
			b.WriteRune(rune(0x10000 + r.IntN(0xfffff)))
		default:
			b.WriteByte(byte('a' + r.IntN(26)))
		}
	}
	if r.IntN(60) == 0 {
		return strings.Repeat(b.String()+"x", 1+r.IntN(20000))
	}
	return b.String()
}

func sqlText(text string) string { return fmt.Sprintf("CONVERT(x'%x' USING utf8mb4)", text) }

// randomScalar is an SQL expression of a value that is neither array nor object.
func randomScalar(r *rand.Rand) string {
	switch r.IntN(16) {
	case 0:
		return "NULL"
	case 1:
		return []string{"TRUE", "FALSE", "CAST('true' AS JSON)"}[r.IntN(3)]
	case 2:
		return fmt.Sprint(r.Int64() >> r.IntN(64))
	case 3:
		return fmt.Sprint(r.Uint64() >> r.IntN(64))
	case 4, 5, 6:
		return fmt.Sprintf("CAST('%s' AS JSON)", doubleText(randomDouble(r)))
	case 7:
		return fmt.Sprintf("%se0", strings.TrimSuffix(fmt.Sprintf("%.*f", r.IntN(12), r.NormFloat64()*1000), "."))
	case 8:
		return strings.Trim(decimalText(30, r.IntN(20))(r), "'") + "0"
	case 9:
		return "DATE" + []string{"'2024-02-29'", "'0001-01-01'", "'9999-12-31'"}[r.IntN(3)]
	case 10:
		return fmt.Sprintf("TIME'%s%02d:%02d:%02d.%0*d'", []string{"", "-"}[r.IntN(2)], r.IntN(100), r.IntN(60), r.IntN(60), 1+r.IntN(6), r.IntN(9))
	case 11:
		return fmt.Sprintf("TIMESTAMP'%04d-11-22 %02d:34:56.%06d'", 1+r.IntN(9998), r.IntN(24), r.IntN(1000000))
	case 12:
		return []string{"x'", "b'0101'", "POINT(1,2)"}[0] + fmt.Sprintf("%x'", randomText(r))
	case 13:
		return fmt.Sprintf("CAST(%s AS JSON)", sqlText(doubleText(randomDouble(r))))
	}
	return sqlText(randomText(r))
}

// doubleText writes a double with a point or an exponent, so that it is not taken for an integer.
func doubleText(f float64) string {
	text, _ := json.Marshal(f) // finite
	if s := string(text); strings.ContainsAny(s, ".eE") {
		return s
	}
	return string(text) + ".0"
}

// randomDocument is an SQL expression of a document.
func randomDocument(r *rand.Rand, depth int) string {
	n := r.IntN(6)
	if depth == 0 && r.IntN(100) == 0 {
		n = 3000 // large containers: the small ones' numbers have 16 bits
	}
	parts := []string{}
	switch kind := r.IntN(3); {
	case depth > 4 || kind == 0 && n < 3000:
		return randomScalar(r)
	case kind == 1:
		for range n {
			parts = append(parts, randomDocument(r, depth+1+n/1000*4))
		}
		return "JSON_ARRAY(" + strings.Join(parts, ", ") + ")"
	}
	for range n {
		name := randomText(r)
		if len(name) > 1000 {
			name = name[:1] // a name has 65535 bytes at most
		}
		parts = append(parts, sqlText(strings.ToValidUTF8(name, "")), randomDocument(r, depth+1+n/1000*4))
	}
	return "JSON_OBJECT(" + strings.Join(parts, ", ") + ")"
}

func checkDocuments(t *testing.T, changes []rowChange, shown [][]*string) {
	t.Helper()
	if len(changes) != len(shown) {
		t.Fatalf("%d rows in the binlog, %d in the table", len(changes), len(shown))
	}
	for i, row := range shown {
		got := changes[i].after[1]
		if row[0] == nil {
			if !got.IsNull() {
				t.Errorf("row %d: %q, the server shows NULL", i, got)
			}
			continue
		}
		if string(got.Bytes) != *row[0] {
			at := 0
			for at < len(got.Bytes) && at < len(*row[0]) && got.Bytes[at] == (*row[0])[at] {
				at++
			}
			from := max(0, at-20)
			t.Errorf("row %d, byte %d: %.80q, the server shows %.80q", i, at, got.Bytes[from:], (*row[0])[from:])
		}
	}
}

// TestJSONAgainstServer wants AppendJSON to print what SELECT prints, for documents of all kinds of values.
func TestJSONAgainstServer(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, version)
			r := newRandom(t)
			checkRandomJSON(s, r, 1500)
		})
	}
}

func checkRandomJSON(s *server, r *rand.Rand, count int) {
	s.t.Helper()
	s.exec("CREATE TABLE j (id INT AUTO_INCREMENT PRIMARY KEY, doc JSON)")
	const batch = 50
	for range count / batch {
		values := make([]string, batch)
		for i := range values {
			values[i] = "(0, JSON_EXTRACT(JSON_ARRAY(" + randomDocument(r, 0) + "), '$[0]'))"
		}
		var from string
		changes := s.decode(s.during(func() {
			s.exec("INSERT INTO j VALUES " + strings.Join(values, ", "))
			from = *s.query("SELECT LAST_INSERT_ID()")[0][0]
		}))
		checkDocuments(s.t, changes, s.query("SELECT doc FROM j WHERE id >= "+from+" ORDER BY id"))
		if s.t.Failed() {
			return
		}
	}
}

// TestJSONOddities are documents that random ones would hardly meet.
func TestJSONOddities(t *testing.T) {
	s := startServer(t, testbed.MySQL97)
	s.exec("CREATE TABLE j (id INT AUTO_INCREMENT PRIMARY KEY, doc JSON)",
		"CREATE TABLE f (id INT PRIMARY KEY, b BIT(13), e ENUM('ä','b'), s SET('x','y'), g POINT, bl BLOB, y YEAR, ts TIMESTAMP(3), d DECIMAL(30,10), f FLOAT, vb VARBINARY(10))",
		"INSERT INTO f VALUES (1, 5, 1, 3, POINT(1,2), REPEAT('b', 200), 2024, '2024-01-02 03:04:05.678', -1.5, 0.1, 'v')")
	documents := []string{
		"'[]'", "'{}'", "'null'", "'-0.0'", "'0.0'", "'1e15'", "'1e14'", "'1e-14'", "'1e-15'", "'1e-16'", "'123456789012345678'",
		"'1.7976931348623157e308'", "'5e-324'", "'1234567890123456.7'", "'18446744073709551615'", "'18446744073709551616'",
		"'9007199254740993'", "'1e22'", "'123456789012345.6'",
		"JSON_ARRAY(x'')", "JSON_ARRAY(REPEAT('x', 65535))", "JSON_ARRAY(REPEAT(x'00', 57))", "JSON_ARRAY(REPEAT(x'00', 58))",
		"JSON_ARRAY(REPEAT(x'00', 114))", "JSON_ARRAY(REPEAT(x'00', 1000))",
		"(SELECT JSON_ARRAY(b, e, s, bl, y, ts, d, f, vb) FROM f)", "(SELECT JSON_OBJECT('g', g) FROM f)",
		"JSON_ARRAY(CAST('00:00:00' AS TIME), CAST('0000-00-00' AS DATE), CAST('0000-00-00' AS DATETIME), TIME'-00:00:00.5', TIME'838:59:59')",
		"JSON_ARRAY(-1, 32767, 32768, -32768, -32769, 65535, 65536, 2147483647, 2147483648, -2147483648, -2147483649, 4294967295, 4294967296)",
		"CONCAT(REPEAT('[', 100), REPEAT(']', 100))",
		"JSON_OBJECT('b', 1, 'a', 2, 'aa', 3, '', 4, 'ä', 5, 'ab', 6)",
		"JSON_OBJECT('b', -1, 'a', JSON_ARRAY(-1, REPEAT('x', 70000), -1, 40000, -40000))",
	}
	shown := s.decode(s.during(func() {
		for _, document := range documents {
			s.exec("INSERT INTO j VALUES (0, " + document + ")")
		}
		s.exec("CREATE TABLE n (id INT PRIMARY KEY, doc JSON NOT NULL)", "INSERT IGNORE INTO n VALUES (1, NULL)")
	}))
	want := s.query("SELECT doc FROM j ORDER BY id")
	checkDocuments(t, shown, append(want, s.query("SELECT doc FROM n")...))
	if t.Failed() {
		for i, document := range documents {
			t.Logf("row %d is %.100s", i, document)
		}
	}
}

// TestPartialJSONAgainstServer changes documents by JSON_SET, JSON_REPLACE and JSON_REMOVE with partial row
// images and wants the document that comes out to print as the server's.
func TestPartialJSONAgainstServer(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80} {
		t.Run(string(version), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, version, "binlog_row_value_options=PARTIAL_JSON")
			r := newRandom(t)
			s.exec("CREATE TABLE j (id INT AUTO_INCREMENT PRIMARY KEY, doc JSON, other VARCHAR(10), doc2 JSON, doc3 JSON)")
			names := []string{"a", "b", `"x y"`, `"\"q\\"`, "ä", `"0"`, `""`}
			partial := 0
			for range 40 {
				s.exec("INSERT INTO j VALUES (0, " + pathDocument(r, 0) + ", 'x', " + pathDocument(r, 0) + ", NULL)")
				for range 6 {
					statement := fmt.Sprintf("UPDATE j SET doc = %s, doc2 = %s, other = %d ORDER BY id DESC LIMIT 1",
						randomEdit(r, "doc", names), randomEdit(r, "doc2", names), r.IntN(3))
					before := s.query("SELECT id, doc, other, doc2, doc3 FROM j ORDER BY id DESC LIMIT 1")[0]
					events := s.during(func() { s.exec(statement) })
					after := s.query("SELECT id, doc, other, doc2, doc3 FROM j ORDER BY id DESC LIMIT 1")[0]
					for _, event := range events {
						if event.kind == 39 {
							partial++
						}
					}
					for _, one := range s.decode(events) {
						equalTexts(t, statement, one.before, before)
						equalTexts(t, statement, one.after, after)
					}
					if t.Failed() {
						t.FailNow()
					}
				}
			}
			if partial < 40 {
				t.Errorf("only %d partial updates: the test tests nothing", partial)
			}
		})
	}
}

// pathDocument is a document in which paths of few names often lead somewhere.
func pathDocument(r *rand.Rand, depth int) string {
	if depth > 3 || depth > 0 && r.IntN(3) == 0 {
		if r.IntN(50) == 0 {
			return "REPEAT('x', 70000)" // what holds it is a large container
		}
		return []string{"1", "'text'", "1.5e0", "NULL", "70000", "x'ff00'", "REPEAT('long ', 200)", "'another text'"}[r.IntN(8)]
	}
	var parts []string
	if r.IntN(2) == 0 {
		for range r.IntN(5) {
			parts = append(parts, pathDocument(r, depth+1))
		}
		return "JSON_ARRAY(" + strings.Join(parts, ", ") + ")"
	}
	for _, name := range []string{"'a'", "'b'", "'x y'", `'"q\\'`, "'ä'", "'0'", "''", "'longer name'"} {
		if r.IntN(2) == 0 {
			parts = append(parts, name, pathDocument(r, depth+1))
		}
	}
	return "JSON_OBJECT(" + strings.Join(parts, ", ") + ")"
}

func randomEdit(r *rand.Rand, column string, names []string) string {
	function := []string{"JSON_SET", "JSON_SET", "JSON_REPLACE", "JSON_REMOVE"}[r.IntN(4)]
	arguments := []string{column}
	if r.IntN(10) == 0 {
		return column
	}
	for range 1 + r.IntN(3) {
		path := "$"
		for range 1 + r.IntN(3) {
			if r.IntN(2) == 0 {
				path += "." + names[r.IntN(len(names))]
			} else {
				path += []string{"[0]", "[1]", "[2]", "[7]", "[last]"}[r.IntN(5)]
			}
		}
		arguments = append(arguments, sqlText(path))
		if function != "JSON_REMOVE" {
			arguments = append(arguments, pathDocument(r, 2))
		}
	}
	return function + "(" + strings.Join(arguments, ", ") + ")"
}

func equalTexts(t *testing.T, what string, got []change.Value, want []*string) {
	t.Helper()
	texts := make([]string, len(got))
	wanted := make([]string, len(want))
	for i := range got {
		texts[i], wanted[i] = got[i].String(), "NULL"
		if want[i] != nil {
			wanted[i] = *want[i]
		}
	}
	if !slices.Equal(texts, wanted) {
		t.Errorf("%.1000s:\n%.500q\n, the server shows\n%.500q", what, texts, wanted)
	}
}
