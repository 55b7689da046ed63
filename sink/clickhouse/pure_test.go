package clickhouse

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

func TestForms(t *testing.T) {
	for version, want := range map[string]bool{"18.16.1": false, "22.8.1.1": false, "23.1.9.3\n": false, "23.2.1": true, "24.1.8.22": true, "26.9.2.1\n": true, "what": false} {
		if got := formOf(version).modern; got != want {
			t.Errorf("%q is modern: %v, want %v", version, got, want)
		}
	}
}

func TestParseType(t *testing.T) {
	for name, want := range map[string]columnType{
		"Int64":                            {kind: integer, bits: 64, signed: true},
		"UInt8":                            {kind: integer, bits: 8},
		"Nullable(Int16)":                  {kind: integer, bits: 16, signed: true, nullable: true},
		"LowCardinality(Nullable(String))": {kind: text, nullable: true},
		"LowCardinality(String)":           {kind: text},
		"Decimal(9, 2)":                    {kind: decimal, bits: 32, signed: true, precision: 9, scale: 2},
		"Decimal(10, 2)":                   {kind: decimal, bits: 64, signed: true, precision: 10, scale: 2},
		"Nullable(Decimal(38, 10))":        {kind: decimal, bits: 128, signed: true, precision: 38, scale: 10, nullable: true},
		"Decimal(65, 30)":                  {kind: decimal, bits: 256, signed: true, precision: 65, scale: 30},
		"DateTime('Asia/Kathmandu')":       {kind: dateTime},
		"DateTime64(6, 'UTC')":             {kind: dateTime64, scale: 6},
		"DateTime64(3)":                    {kind: dateTime64, scale: 3},
		"Array(Float32)":                   {kind: floats},
	} {
		if got, known := parseType(name); !known || got != want {
			t.Errorf("%s is %+v (known: %v), want %+v", name, got, known, want)
		}
	}
	for _, name := range []string{"Int128", "UUID", "Enum8('a' = 1)", "FixedString(3)", "Array(String)", "Nullable(Nothing)", "IPv4", "Bool", "Interval", "DateTime64"} {
		if got, known := parseType(name); known {
			t.Errorf("%s is taken for %+v", name, got)
		}
	}
}

// TestEveryTypeIsHeld: what a table is made with holds all that the column has, in both forms.
func TestEveryTypeIsHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := change.Column{Name: "c", Type: change.Type(rapid.IntRange(int(change.TinyInt), int(change.Vector)).Draw(t, "type")),
			Unsigned: rapid.Bool().Draw(t, "unsigned"), Nullable: rapid.Bool().Draw(t, "nullable"), Length: rapid.IntRange(1, 64).Draw(t, "length")}
		if c.Type == change.Decimal {
			c.Precision = rapid.IntRange(1, 65).Draw(t, "precision")
			c.Scale = rapid.IntRange(0, min(30, c.Precision)).Draw(t, "scale")
		} else {
			c.Scale = rapid.IntRange(0, 6).Draw(t, "scale")
		}
		for _, f := range []form{{modern: false}, {modern: true}} {
			name := f.typeOf(&c, false)
			typ, known := parseType(name)
			if lacks := typ.lacks(&c); !known || lacks != "" {
				t.Errorf("%s for %+v lacks %q (known: %v)", name, c, lacks, known)
			}
			c := c
			c.Nullable = false
			if lacks, _ := parseType(f.typeOf(&c, true)); lacks.lacks(&c) != "" || lacks.nullable {
				t.Errorf("in a key, %s for %+v lacks %q", f.typeOf(&c, true), c, lacks.lacks(&c))
			}
		}
	})
}

func TestLacks(t *testing.T) {
	for _, c := range []struct {
		column change.Column
		typ    string
		held   bool
	}{
		{change.Column{Type: change.Int}, "Int64", true},
		{change.Column{Type: change.Int}, "Int16", false},
		{change.Column{Type: change.Int}, "UInt64", false},
		{change.Column{Type: change.Int, Unsigned: true}, "Int32", false},
		{change.Column{Type: change.Int, Unsigned: true}, "Int64", true},
		{change.Column{Type: change.Int, Nullable: true}, "Int32", false},
		{change.Column{Type: change.Int}, "String", false},
		{change.Column{Type: change.MediumInt}, "Nullable(Int32)", true},
		{change.Column{Type: change.Decimal, Precision: 10, Scale: 2}, "Decimal(12, 3)", true},
		{change.Column{Type: change.Decimal, Precision: 10, Scale: 2}, "Decimal(10, 3)", false},
		{change.Column{Type: change.Decimal, Precision: 10, Scale: 2}, "Float64", false},
		{change.Column{Type: change.Decimal, Precision: 10, Scale: 2}, "String", true},
		{change.Column{Type: change.Double}, "Float32", false},
		{change.Column{Type: change.Float}, "Float64", true},
		{change.Column{Type: change.DateTime, Scale: 6}, "DateTime", true}, // the fraction stands beside
		{change.Column{Type: change.DateTime}, "Date", false},
		{change.Column{Type: change.Date}, "Date", true},
		{change.Column{Type: change.Date}, "String", true},
		{change.Column{Type: change.VarChar}, "LowCardinality(String)", true},
		{change.Column{Type: change.VarChar}, "Int8", false},
		{change.Column{Type: change.Bit, Length: 9}, "UInt8", false},
		{change.Column{Type: change.Vector}, "String", false},
	} {
		typ, known := parseType(c.typ)
		if lacks := typ.lacks(&c.column); !known || (lacks == "") != c.held {
			t.Errorf("%s for %+v: lacks %q, want held: %v", c.typ, c.column, lacks, c.held)
		}
	}
}

func TestWidens(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"Int32", "Int64"}: true, {"Int64", "Int32"}: false, {"UInt32", "Int64"}: true, {"UInt32", "Int32"}: false, {"Int8", "UInt64"}: false,
		{"Int32", "Nullable(Int32)"}: true, {"Nullable(Int32)", "Int32"}: false, {"Decimal(10, 2)", "Decimal(12, 3)"}: true,
		{"Decimal(10, 2)", "Decimal(10, 3)"}: false, {"String", "Nullable(String)"}: true, {"Int32", "String"}: false, {"Float32", "Float64"}: true,
		{"DateTime64(3)", "DateTime64(6)"}: true, {"DateTime64(6)", "DateTime64(3)"}: false,
	} {
		from, _ := parseType(pair[0])
		to, _ := parseType(pair[1])
		if got := from.widens(to); got != want {
			t.Errorf("%s to %s widens: %v, want %v", pair[0], pair[1], got, want)
		}
	}
}

// roundTrip writes a value and reads it back.
func roundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, typ columnType, c *change.Column, v change.Value) (back change.Value, exact bool, stored int64) {
	t.Helper()
	b, exact, err := typ.appendCell(nil, c, v)
	if err != nil {
		t.Fatalf("%s as %+v: %v", v, typ, err)
	}
	r := &reader{Reader: bufio.NewReader(bytes.NewReader(b))}
	back, stored, err = r.cell(typ, c)
	if err != nil {
		t.Fatalf("%s as %+v: %v", v, typ, err)
	}
	if _, err := r.ReadByte(); err == nil {
		t.Fatalf("%s as %+v: bytes are left", v, typ)
	}
	return back, exact, stored
}

// TestDates: a date comes back as it was, or is said not to be exact and is the nearest one.
func TestDates(t *testing.T) {
	types := []string{"Date", "Date32", "DateTime('UTC')", "DateTime64(0)", "DateTime64(3)", "DateTime64(6)", "Nullable(DateTime64(6))", "DateTime64(9)"}
	rapid.Check(t, func(t *rapid.T) {
		typ, _ := parseType(rapid.SampledFrom(types).Draw(t, "type"))
		c := &change.Column{Type: change.DateTime, Scale: rapid.IntRange(0, 6).Draw(t, "scale")}
		layout := "2006-01-02 15:04:05"
		if typ.kind == date || typ.kind == date32 {
			c, layout = &change.Column{Type: change.Date}, "2006-01-02"
		} else if c.Scale > 0 {
			layout += "." + strings.Repeat("0", c.Scale)
		}
		// From year 0 to 9999; the ends of what types hold are met often.
		second := rapid.OneOf(rapid.Int64Range(-62167219200, 253402300799), rapid.SampledFrom([]int64{-1, 0, 1, -2208988801, -2208988800, -2208988799,
			10413791999, 10413792000, math.MaxUint32, math.MaxUint32 - 86_400, math.MaxUint32 - 86_399, 49_709 * 86_400, 49_710 * 86_400})).Draw(t, "second")
		at := time.Unix(second, rapid.Int64Range(0, 999_999).Draw(t, "micros")*1000).UTC()
		said := at.Format(layout)
		back, exact, stored := roundTrip(t, typ, c, change.StringValue(said))
		first, last := typ.bounds()
		if exact && back.String() != said {
			t.Fatalf("%s as %+v comes back as %s and is called exact", said, typ, back)
		}
		if again, _, storedAgain := roundTrip(t, typ, c, back); again.String() != back.String() || storedAgain != stored {
			t.Fatalf("%s as %+v: what comes back, %s, is stored as %d, not %d", said, typ, back, storedAgain, stored)
		}
		inside := at.Unix() >= first && at.Unix() <= last
		if len(layout) == 10 {
			inside = floorDiv(at.Unix(), 86_400) >= first && floorDiv(at.Unix(), 86_400) <= last
		}
		fits := len(layout) == 10 || typ.kind == dateTime64 && c.Scale <= typ.scale || strings.Trim(said[19:], ".0") == "" ||
			typ.kind == dateTime64 && strings.Trim(said[min(20+typ.scale, len(said)):], "0") == ""
		if at.Year() > 0 && exact != (inside && fits) {
			t.Fatalf("%s as %+v is exact: %v, want %v", said, typ, exact, inside && fits)
		}
	})
}

func TestDatesThatAreNone(t *testing.T) {
	for _, said := range []string{"0000-00-00", "2024-00-10", "2024-01-00", "2024-02-31", "0000-01-01", "", "2024-1-1", "2024-01-01x"} {
		typ, _ := parseType("Date32")
		if back, exact, _ := roundTrip(t, typ, &change.Column{Type: change.Date}, change.StringValue(said)); exact {
			t.Errorf("%q is stored as %s and called exact", said, back)
		}
	}
	for _, said := range []string{"0000-00-00 00:00:00", "2024-01-01", "2024-01-01 1:2:3", "2024-01-01 10:00:00.", "2024-01-01 10:00:00.1234567"} {
		typ, _ := parseType("DateTime64(6)")
		if back, exact, _ := roundTrip(t, typ, &change.Column{Type: change.DateTime, Scale: 6}, change.StringValue(said)); exact && said != "2024-01-01 10:00:00." {
			t.Errorf("%q is stored as %s and called exact", said, back)
		}
	}
}

func TestTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &change.Column{Type: change.Time, Scale: rapid.IntRange(0, 6).Draw(t, "scale")}
		micros := rapid.Int64Range(-838*3600_000_000, 838*3600_000_000).Draw(t, "micros") / pow10(6-c.Scale) * pow10(6-c.Scale)
		said := timeText(c, micros)
		typ, _ := parseType("Int64")
		back, _, _ := roundTrip(t, typ, c, change.StringValue(said))
		if n, ok := microsOfTime([]byte(said)); back.String() != said || n != micros || !ok {
			t.Fatalf("%d is %s, comes back as %s, is %d (%v)", micros, said, back, n, ok)
		}
	})
	for _, said := range []string{"", "-", "10", "10:00", "10:00:0", "x:00:00", "10-00-00", "10:00:00.1234567"} {
		if n, ok := microsOfTime([]byte(said)); ok {
			t.Errorf("%q is a time of %d", said, n)
		}
	}
}

func TestDecimals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &change.Column{Type: change.Decimal, Precision: rapid.IntRange(1, 65).Draw(t, "precision")}
		c.Scale = rapid.IntRange(0, min(30, c.Precision)).Draw(t, "scale")
		typ := decimalType(c.Precision+rapid.IntRange(0, 76-c.Precision).Draw(t, "more"), c.Scale)
		typ.scale += rapid.IntRange(0, typ.precision-c.Precision).Draw(t, "more scale")
		digits := rapid.StringOfN(rapid.RuneFrom([]rune("0123456789")), c.Precision, c.Precision, -1).Draw(t, "digits")
		n, _ := new(big.Int).SetString(digits, 10)
		digits = fmt.Sprintf("%0*s", c.Scale+1, n)
		said := digits[:len(digits)-c.Scale]
		if c.Scale > 0 {
			said += "." + digits[len(digits)-c.Scale:]
		}
		if n.Sign() != 0 && rapid.Bool().Draw(t, "negative") {
			said = "-" + said
		}
		if back, _, _ := roundTrip(t, typ, c, change.StringValue(said)); back.String() != said {
			t.Fatalf("%s as %+v comes back as %s", said, typ, back)
		}
	})
	for _, said := range []string{"", "-", "-.5", "1e5", "x", "1.234", "99999999999"} {
		if b, err := decimalType(9, 2).appendDecimal(nil, said); err == nil {
			t.Errorf("%q is stored as % x", said, b)
		}
	}
}

func TestReplacing(t *testing.T) {
	for engine, want := range map[string]bool{
		"ReplacingMergeTree(_sluice_version, _sluice_deleted) ORDER BY id SETTINGS index_granularity = 8192":          true,
		"ReplacingMergeTree(_sluice_version) ORDER BY (a, b)":                                                         true,
		"ReplicatedReplacingMergeTree('/clickhouse/{uuid}/{shard}', '{replica}', `_sluice_version`) ORDER BY id":      true,
		"SharedReplacingMergeTree('/clickhouse/tables/x', '{replica}', _sluice_version, _sluice_deleted) ORDER BY id": true,
		"ReplacingMergeTree ORDER BY (_sluice_version)":                                                               false,
		"ReplacingMergeTree(at) ORDER BY id":                                                                          false,
		"MergeTree ORDER BY id":                                                                                       false,
		"Distributed('c', 'd', 't')":                                                                                  false,
		"SummingMergeTree(_sluice_version) ORDER BY id":                                                               false,
		"": false,
	} {
		if got := replacing(engine, columnVersion); got != want {
			t.Errorf("%s is replacing: %v, want %v", engine, got, want)
		}
	}
	if !replacing("ReplacingMergeTree ORDER BY (kafka_topic)", "") || replacing("MergeTree ORDER BY x", "") {
		t.Error("the engine of a history")
	}
}

func TestConfig(t *testing.T) {
	good := func() Config {
		c := Default()
		c.URL, c.Database = "http://h:8123", "copy"
		return c
	}
	c := good()
	c.Check(func(path, problem string) { t.Errorf("a good config: %s: %s", path, problem) })
	for path, spoil := range map[string]func(*Config){
		"url":                         func(c *Config) { c.URL = "h:8123" },
		"password_file":               func(c *Config) { c.Password, c.PasswordFile = "a", "b" },
		"database":                    func(c *Config) { c.Database = "" },
		"table":                       func(c *Config) { c.Table = "{db}" },
		"mode":                        func(c *Config) { c.Mode = "both" },
		"hash_partitions":             func(c *Config) { c.HashPartitions = 101 },
		"history_partition":           func(c *Config) { c.HistoryPartition = "hour" },
		"insert_rows":                 func(c *Config) { c.InsertRows = 0 },
		"insert_bytes":                func(c *Config) { c.InsertBytes = 1 },
		"insert_wait":                 func(c *Config) { c.InsertWait = time.Hour },
		"timeout":                     func(c *Config) { c.Timeout = 0 },
		"insert_settings.query":       func(c *Config) { c.InsertSettings = map[string]string{"query": "DROP"} },
		"insert_settings.max threads": func(c *Config) { c.InsertSettings = map[string]string{"max threads": "1"} },
	} {
		c := good()
		spoil(&c)
		found := ""
		c.Check(func(p, problem string) { found += p })
		if found != path {
			t.Errorf("spoilt at %s: the problems are at %q", path, found)
		}
	}
	c = good()
	c.URL = "http://u:secret@h:8123"
	c.Check(func(p, problem string) {
		if strings.Contains(problem, "secret") {
			t.Errorf("%s shows the password: %s", p, problem)
		}
	})
}

func TestServerError(t *testing.T) {
	for said, code := range map[string]int{
		"Code: 60, e.displayText() = DB::Exception: Table t.x doesn't exist., e.what() = DB::Exception\n": 60,
		"Code: 252. DB::Exception: Too many parts (1001). (TOO_MANY_PARTS) (version 24.8.1.1)":            252,
		"<html>502</html>": 0,
	} {
		if e := newServerError(500, []byte(said)); e.code != code || e.Error() == "" {
			t.Errorf("%q is code %d (%v), want %d", said, e.code, e, code)
		}
	}
	c := &client{base: "http://h", database: "d"}
	for code, want := range map[int]change.Severity{60: change.Poison, 117: change.Poison, 516: change.Configuration, 252: change.Retry, 241: change.Retry, 999: change.Retry} {
		if got := change.SeverityOf(c.judge("x", &serverError{500, code, "y"})); got != want {
			t.Errorf("code %d is %v, want %v", code, got, want)
		}
	}
	if c.judge("x", nil) != nil {
		t.Error("no error is one")
	}
}

func TestSplitNames(t *testing.T) {
	for list, want := range map[string][]string{
		"":                          nil,
		"id":                        {"id"},
		"id, lower(note)":           {"id", "lower(note)"},
		"`a, b`, c, `d\\`e\\\\, f`": {"a, b", "c", "d`e\\, f"},
		"`größe %`":                 {"größe %"},
	} {
		if got := splitNames(list); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%s is %q, want %q", list, got, want)
		}
	}
}
