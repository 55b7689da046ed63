package avro

import (
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
)

var connect = schema.Options{TimePrecision: schema.TimeConnect}

// TestBytesOfValues is the format, byte by byte: a column, the server's text, and what stands in the record.
func TestBytesOfValues(t *testing.T) {
	col := func(typ change.Type, precision, scale int) change.Column {
		return change.Column{Type: typ, Precision: precision, Scale: scale, Nullable: true, Charset: charsetOf(typ)}
	}
	unsigned := func(c change.Column) change.Column { c.Unsigned = true; return c }
	long := func(c change.Column, length int) change.Column { c.Length = length; return c }
	for _, c := range []struct {
		column  change.Column
		options schema.Options
		text    string
		hex     string
		back    string // canonical, where it is not the text
	}{
		{column: col(change.TinyInt, 0, 0), text: "-128", hex: "ff01"},
		{column: unsigned(col(change.Int, 0, 0)), text: "4294967295", hex: "feffffff1f"},
		{column: col(change.BigInt, 0, 0), text: "-9223372036854775808", hex: "ffffffffffffffffff01"},
		{column: unsigned(col(change.BigInt, 0, 0)), text: "0", hex: "0200"},
		{column: unsigned(col(change.BigInt, 0, 0)), text: "127", hex: "027f"},
		{column: unsigned(col(change.BigInt, 0, 0)), text: "128", hex: "040080"},
		{column: unsigned(col(change.BigInt, 0, 0)), text: "18446744073709551615", hex: "1200ffffffffffffffff"},
		{column: unsigned(col(change.BigInt, 0, 0)), options: schema.Options{BigintUnsigned: schema.BigintLong}, text: "18446744073709551615", hex: "01"},
		{column: col(change.Decimal, 10, 2), text: "-12.34", hex: "04fb2e"},
		{column: col(change.Decimal, 10, 2), text: "0.00", hex: "0200"},
		{column: col(change.Decimal, 10, 2), text: "-0.00", hex: "0200", back: "0.00"},
		{column: col(change.Decimal, 10, 2), text: "-1.28", hex: "0280"},
		{column: col(change.Decimal, 10, 2), text: "1.28", hex: "040080"},
		{column: col(change.Decimal, 20, 0), text: "-9223372036854775808", hex: "108000000000000000"},
		{column: col(change.Decimal, 20, 0), text: "9223372036854775808", hex: "12008000000000000000"},
		{column: col(change.Decimal, 30, 30), text: "0." + strings.Repeat("0", 29) + "1", hex: "0201"},
		{column: col(change.Decimal, 10, 2), options: schema.Options{Decimal: schema.DecimalString}, text: "00012.30", hex: "0a31322e3330", back: "12.30"},
		{column: col(change.Decimal, 10, 2), options: schema.Options{Decimal: schema.DecimalDouble}, text: "-12.50", hex: "00000000000029c0"},
		{column: col(change.Float, 0, 0), text: "-0", hex: "00000080"},
		{column: col(change.Double, 0, 0), text: "0.1", hex: "9a9999999999b93f"},
		{column: long(col(change.Bit, 0, 0), 1), text: "\x01", hex: "01"},
		{column: long(col(change.Bit, 0, 0), 12), text: "\x0a\xbc", hex: "04bc0a"},
		{column: col(change.Year, 0, 0), text: "2155", hex: "d621"},
		{column: col(change.Date, 0, 0), text: "1969-12-31", hex: "01"},
		{column: col(change.Date, 0, 0), text: "0000-00-00", hex: "ff887a"},   // -1000000
		{column: col(change.Date, 0, 0), text: "2024-02-31", hex: "cde6a014"}, // -21240231
		{column: col(change.Date, 0, 0), options: connect, text: "1970-01-02", hex: "02"},
		{column: col(change.Time, 0, 0), text: "-00:00:01", hex: "ff887a"},
		{column: col(change.Time, 0, 6), text: "838:59:59.000000", hex: "80e7f9dce7af01"},
		{column: col(change.Time, 0, 3), options: connect, text: "00:00:01.500", hex: "b817"},
		{column: col(change.DateTime, 0, 0), text: "1970-01-01 00:00:01", hex: "d00f"},
		{column: col(change.DateTime, 0, 6), text: "1970-01-01 00:00:00.000001", hex: "02"},
		{column: col(change.DateTime, 0, 6), options: connect, text: "1970-01-01 00:00:00.001999", hex: "02", back: "1970-01-01 00:00:00.001000"},
		{column: col(change.DateTime, 0, 0), text: "0000-00-00 00:00:00", hex: "fffff79492a527"}, // -86400000000000
		{column: col(change.DateTime, 0, 0), text: "0000-00-00 00:00:01", hex: "aff0f79492a527"},
		{column: col(change.Timestamp, 0, 0), text: "2018-06-20 13:37:03", hex: hexString("2018-06-20T13:37:03Z")},
		{column: col(change.Timestamp, 0, 6), text: "2018-06-20 13:37:03.123450", hex: hexString("2018-06-20T13:37:03.123450Z")},
		{column: col(change.Timestamp, 0, 2), text: "0000-00-00 00:00:00.00", hex: hexString("1970-01-01T00:00:00.00Z")},
		{column: col(change.VarChar, 0, 0), text: "gr\xfc\xdfe", hex: hexString("grüße"), back: "grüße"},
		{column: long(col(change.Binary, 0, 0), 4), text: "a\x00", hex: "0861000000", back: "a\x00\x00\x00"},
		{column: col(change.Blob, 0, 0), text: "\x00\xff", hex: "0400ff"},
		{column: col(change.JSON, 0, 0), text: `{"a": 1}`, hex: hexString(`{"a": 1}`)},
		{column: col(change.Geometry, 0, 0), text: "\x00\x00\x00\x00\x01\x07\x00\x00\x00\x00\x00\x00\x00", hex: "1201070000000000000000"},
		{column: col(change.Geometry, 0, 0), text: "\xe6\x10\x00\x00\x01\x07\x00\x00\x00\x00\x00\x00\x00", hex: "12010700000000000000" + "02cc43"},
		{column: col(change.Vector, 0, 0), text: "\x00\x00\x80\x3f\x00\x00\x00\x80", hex: "040000803f0000008000"},
	} {
		checkBytes(t, c.column, c.options, c.text, c.hex, c.back)
	}
}

func charsetOf(t change.Type) string {
	if t.Character() {
		return "latin1"
	}
	return ""
}

func hexString(s string) string {
	return hex.EncodeToString(append([]byte{byte(2 * len(s))}, s...))
}

func checkBytes(t *testing.T, c change.Column, o schema.Options, text, want, back string) {
	t.Helper()
	c.Name = "c"
	table := &change.Table{TableName: change.TableName{DB: "d", Name: "t"}, Columns: []change.Column{{Name: "id", Type: change.Int}, c}, Key: []int{0}}
	e, err := NewEncoder(table, "t", o)
	if err != nil {
		t.Fatal(err)
	}
	body, err := e.AppendValue(nil, &Event{Op: change.Read, After: Row{Text: [][]byte{[]byte("0"), []byte(text)}}})
	if err != nil {
		t.Errorf("%s %q: %v", schema.Describe(&c), text, err)
		return
	}
	const before = 4 // before null, after there, id 0, column there
	if got := hex.EncodeToString(body[before : before+len(want)/2]); got != want {
		t.Errorf("%s %q: got %s, want %s", schema.Describe(&c), text, got, want)
	}
	d, err := NewDecoder(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	var into Decoded
	if err := d.Decode(body, &into); err != nil {
		t.Errorf("%s %q: %v", schema.Describe(&c), text, err)
		return
	}
	if back == "" {
		back = text
	}
	if got := into.After[1].String(); got != back {
		t.Errorf("%s %q: came back as %q", schema.Describe(&c), text, got)
	}
}

// TestDebeziumsZeroDates: null where the column may be NULL, else 1970.
func TestDebeziumsZeroDates(t *testing.T) {
	o := schema.Options{ZeroDate: schema.ZeroDateDebezium}
	for _, c := range []struct {
		typ        change.Type
		text, hex  string
		real, back string
	}{
		{change.Date, "0000-00-00", "00", "2024-02-29", "1970-01-01"}, {change.Date, "2024-02-31", "00", "0001-01-01", "1970-01-01"},
		{change.DateTime, "2024-00-00 01:02:03", "00", "1969-12-31 23:59:59", "1970-01-01 00:00:00"},
		{change.Timestamp, "0000-00-00 00:00:00", "2831393730", "2024-02-29 01:02:03", "0000-00-00 00:00:00"},
	} {
		nullable := change.Column{Type: c.typ, Nullable: true}
		checkBytes(t, change.Column{Type: c.typ}, o, c.text, c.hex, c.back)
		checkBytes(t, nullable, o, c.real, "", "")
		checkBytes(t, change.Column{Type: c.typ}, o, c.real, "", "")
		table := &change.Table{Columns: []change.Column{{Name: "id", Type: change.Int}, nullable}, Key: []int{0}}
		table.Columns[1].Name = "c"
		e, err := NewEncoder(table, "t", o)
		if err != nil {
			t.Fatal(err)
		}
		row := func(text []byte) []byte {
			body, err := e.AppendValue(nil, &Event{Op: change.Read, After: Row{Text: [][]byte{[]byte("0"), text}}})
			if err != nil {
				t.Fatal(err)
			}
			return body
		}
		if !slices.Equal(row([]byte(c.text)), row(nil)) {
			t.Errorf("%s %s is not NULL", c.typ, c.text)
		}
	}
}

// TestConnectTimes: Kafka Connect's Time is one of a day; others are refused rather than bent.
func TestConnectTimes(t *testing.T) {
	table := &change.Table{Columns: []change.Column{{Name: "id", Type: change.Int}, {Name: "c", Type: change.Time}}, Key: []int{0}}
	e, err := NewEncoder(table, "t", connect)
	if err != nil {
		t.Fatal(err)
	}
	for text, ok := range map[string]bool{"00:00:00": true, "23:59:59": true, "24:00:00": false, "-00:00:01": false} {
		_, err := e.AppendValue(nil, &Event{Op: change.Read, After: Row{Text: [][]byte{[]byte("0"), []byte(text)}}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestSettingsNeverApplyToKeys: the key's bytes are the same under all settings.
func TestSettingsNeverApplyToKeys(t *testing.T) {
	table := &change.Table{Columns: []change.Column{
		{Name: "a", Type: change.BigInt, Unsigned: true}, {Name: "b", Type: change.Decimal, Precision: 5, Scale: 1},
		{Name: "c", Type: change.DateTime, Scale: 6}, {Name: "d", Type: change.Date},
	}, Key: []int{0, 1, 2, 3}}
	row := Row{Text: [][]byte{[]byte("18446744073709551615"), []byte("1.5"), []byte("2024-01-02 03:04:05.678901"), []byte("0000-00-00")}}
	var want []byte
	for i, o := range []schema.Options{{}, {TimePrecision: schema.TimeConnect, Decimal: schema.DecimalDouble,
		BigintUnsigned: schema.BigintLong, ZeroDate: schema.ZeroDateDebezium}} {
		e, err := NewEncoder(table, "t", o)
		if err != nil {
			t.Fatal(err)
		}
		key, err := e.AppendKey(nil, row)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want = key
		} else if !slices.Equal(key, want) {
			t.Errorf("keys differ: % x and % x", key, want)
		}
	}
}

// TestDaysAgainstTheStandardLibrary: each day of ten thousand years, there and back.
func TestDaysAgainstTheStandardLibrary(t *testing.T) {
	at := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	for day := -719_528; day <= 2_932_896; day++ {
		year, month, d := at.Date()
		date := rowimage.Date{Year: year, Month: int(month), Day: d}
		if got, real, err := dayNumber(date); got != day || !real || err != nil {
			t.Fatalf("day of %v is %d, %v, %v; want %d", date, got, real, err, day)
		}
		if back, ok := dateOf(day); back != date || !ok {
			t.Fatalf("date of %d is %v, %v; want %v", day, back, ok, date)
		}
		at = at.AddDate(0, 0, 1)
	}
}

// TestDatesThatAreNone: each y-m-d that MySQL can store has a number of its own.
func TestDatesThatAreNone(t *testing.T) {
	seen := map[int]bool{}
	for year := 0; year <= 9999; year += 7 {
		for month := range 13 {
			for day := range 32 {
				date := rowimage.Date{Year: year, Month: month, Day: day}
				n, real, err := dayNumber(date)
				if err != nil || seen[n] || real != inCalendar(date) {
					t.Fatalf("%v: %d, %v, %v, seen %v", date, n, real, err, seen[n])
				}
				seen[n] = true
				if back, ok := dateOf(n); !ok || back != date {
					t.Fatalf("%v came back as %v, %v", date, back, ok)
				}
				if !real && n > -1_000_000 {
					t.Fatalf("%v is %d", date, n)
				}
			}
		}
	}
	for _, day := range []int{-719_529, -999_999, 2_932_897, -1_000_101, -200_000_000, -1_000_000 - 1_32} {
		if d, ok := dateOf(day); ok {
			t.Errorf("%d is %v", day, d)
		}
	}
}

// TestWideAgainstBig holds the 256-bit arithmetic against math/big.
func TestWideAgainstBig(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := randomRows{rand.New(rand.NewPCG(seed, 1))}
	for range 20_000 {
		c := change.Column{Type: change.Decimal, Precision: 1 + r.IntN(65)}
		c.Scale = r.IntN(min(38, c.Precision) + 1)
		v := r.decimal(&c)
		var fromImage, fromText decimal
		if err := fromImage.setImage(v.image, c.Precision, c.Scale, limbsOf(c.Precision)); err != nil {
			t.Fatal(err)
		}
		if err := fromText.setText(v.text, c.Precision, c.Scale, limbsOf(c.Precision)); err != nil {
			t.Fatalf("%s: %v", v.text, err)
		}
		want, _ := new(big.Int).SetString(strings.Replace(v.canonical.String(), ".", "", 1), 10)
		got := fromImage.appendBytes(nil)
		if fromText.wide != fromImage.wide || !slices.Equal(got[1:], javaBytes(want)) || int(got[0]) != 2*(len(got)-1) {
			t.Fatalf("%s: % x, want % x", v.text, got, javaBytes(want))
		}
		var back decimal
		if err := back.setBytes(got[1:]); err != nil {
			t.Fatal(err)
		}
		text, err := back.appendText(nil, c.Precision, c.Scale)
		if err != nil || string(text) != v.canonical.String() {
			t.Fatalf("%s came back as %s, %v", v.canonical, text, err)
		}
	}
}

// javaBytes is BigInteger.toByteArray: as many bytes as the number and a sign bit need.
func javaBytes(n *big.Int) []byte {
	size := n.BitLen()/8 + 1
	if n.Sign() < 0 {
		size = new(big.Int).Not(n).BitLen()/8 + 1
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	return n.FillBytes(make([]byte, size))
}

// TestDecimalsOutOfRange: more digits than the column has are refused, and the arithmetic does not wrap.
func TestDecimalsOutOfRange(t *testing.T) {
	for _, c := range []struct {
		n                string
		precision, scale int
		ok               bool
	}{
		{"999", 3, 0, true}, {"1000", 3, 0, false}, {"-999", 3, 2, true}, {"-1000", 3, 2, false}, {"99", 2, 2, true}, {"100", 2, 2, false},
		{strings.Repeat("9", 65), 65, 30, true}, {"1" + strings.Repeat("0", 65), 65, 30, false}, {"1" + strings.Repeat("0", 76), 65, 0, false},
	} {
		n, _ := new(big.Int).SetString(c.n, 10)
		var d decimal
		if err := d.setBytes(javaBytes(n)); err != nil {
			t.Fatal(err)
		}
		text, err := d.appendText(nil, c.precision, c.scale)
		if (err == nil) != c.ok {
			t.Errorf("%s in DECIMAL(%d,%d): %s, %v", c.n, c.precision, c.scale, text, err)
		}
	}
	var d decimal
	for _, size := range []int{0, 33, 1000} {
		if d.setBytes(make([]byte, size)) == nil {
			t.Errorf("%d bytes were read", size)
		}
	}
}

// TestSettle: lengths that were guessed too short, too long and right.
func TestSettle(t *testing.T) {
	for _, expected := range []int{0, 10, 63, 64, 8191, 8192, 1 << 20} {
		for _, size := range []int{0, 10, 63, 64, 8191, 8192, 9000} {
			content := strings.Repeat("x", size)
			start, body, dst := reserve([]byte("abc"), expected)
			dst = settle(append(dst, content...), start, body)
			if want := appendString([]byte("abc"), content); !slices.Equal(dst, want) {
				t.Errorf("expected %d, came %d: wrong", expected, size)
			}
		}
	}
}
