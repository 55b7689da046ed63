package postgres

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// A date is one that the calendar has, or it is not: held against package time.
func TestRealDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		y, m, d := rapid.IntRange(0, 9999).Draw(t, "year"), rapid.IntRange(0, 13).Draw(t, "month"), rapid.IntRange(0, 32).Draw(t, "day")
		text := fmt.Sprintf("%04d-%02d-%02d", y, m, d)
		_, err := time.Parse("2006-01-02", text)
		if got, want := realDate([]byte(text)), err == nil && y > 0; got != want {
			t.Errorf("realDate(%s) is %v, want %v", text, got, want)
		}
	})
	if realDate([]byte("2026")) || realDate(nil) {
		t.Error("what is too short is taken for a date")
	}
}

// What is written for a value is read back as the same value, for numbers and bytes of any sort.
func TestTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		bits := rapid.IntRange(1, 64).Draw(t, "bits")
		number := rapid.Uint64().Draw(t, "number")
		masked := number
		if bits < 64 {
			masked &= 1<<bits - 1
		}
		big := make([]byte, (bits+7)/8)
		for i := range big {
			big[len(big)-1-i] = byte(masked >> (8 * i))
		}
		for _, c := range []struct {
			column change.Column
			value  change.Value
		}{
			{change.Column{Type: change.BigInt}, change.IntValue(int64(number))},
			{change.Column{Type: change.BigInt, Unsigned: true}, change.UintValue(number)},
			{change.Column{Type: change.Blob}, change.RawValue(raw)},
			{change.Column{Type: change.Bit, Length: bits}, change.RawValue(big)},
			{change.Column{Type: change.Double}, change.Float64Value(math.Float64frombits(number))},
			{change.Column{Type: change.Float}, change.Float32Value(math.Float32frombits(uint32(number)))},
		} {
			if math.IsNaN(c.value.Float()) || math.IsInf(c.value.Float(), 0) {
				continue // MySQL has none
			}
			text, err := appendText(nil, c.value, &c.column)
			if err != nil {
				t.Fatal(err)
			}
			back, err := parseText(&c.column, text)
			if err != nil || !back.Equal(c.value) {
				t.Errorf("%s %v is written as %q and read as %v (%v)", c.column.Type, c.value, text, back, err)
			}
		}
	})
}

// An array's element is unquoted by the manual's rule ("Arrays: Array Input and Output Syntax") to what was put in.
func TestElementQuoting(t *testing.T) {
	column := change.Column{Type: change.Text}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune(`"\,{}NUL' ñ漢`+"\n\t"))).Draw(t, "text")
		b, err := appendElement(nil, change.StringValue(text), &column)
		if err != nil {
			t.Fatal(err)
		}
		var back strings.Builder
		for i := 1; i < len(b)-1; i++ {
			if b[i] == '"' {
				t.Fatalf("%q has a quote that ends it", b)
			}
			if b[i] == '\\' {
				i++
			}
			back.WriteByte(b[i])
		}
		if b[0] != '"' || b[len(b)-1] != '"' || back.String() != text {
			t.Errorf("%q became %q", text, b)
		}
	})
	if b, err := appendElement(nil, change.Value{}, &column); err != nil || string(b) != "NULL" {
		t.Errorf("NULL became %q, %v", b, err)
	}
	if _, err := appendElement(nil, change.StringValue("a\x00b"), &column); err != errNUL {
		t.Errorf("NUL in text gave %v", err)
	}
}

// Fractional digits are made as many as the column has, and none that says something is dropped.
func TestWithScale(t *testing.T) {
	for _, c := range []struct {
		text  string
		scale int
		want  string
	}{
		{"12:00:00", 0, "12:00:00"}, {"12:00:00", 3, "12:00:00.000"}, {"12:00:00.5", 3, "12:00:00.500"}, {"-00:00:00.000001", 6, "-00:00:00.000001"},
		{"1.50", 1, "1.5"}, {"1.55", 1, "1.55"}, {"1.000", 0, "1"}, {"-0.10", 2, "-0.10"}, {"7", 2, "7.00"},
	} {
		if got := withScale(c.text, c.scale); got != c.want {
			t.Errorf("withScale(%s, %d) is %s, want %s", c.text, c.scale, got, c.want)
		}
	}
}

// Of each key the change with the greatest version is taken, of equal ones the last; nothing below the offset; in the log's order.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, from := rapid.IntRange(0, 30).Draw(t, "changes"), rapid.Int64Range(0, 10).Draw(t, "from")
		changes := make([]sink.Change, n)
		for i := range changes {
			changes[i] = sink.Change{Key: []byte{byte(rapid.IntRange(0, 4).Draw(t, "key"))}, Version: change.Version(rapid.IntRange(1, 9).Draw(t, "version")), Offset: int64(i)}
			if changes[i].Op = change.Update; rapid.Bool().Draw(t, "delete") {
				changes[i].Op = change.Delete
			}
		}
		w := plan(changes, from)
		taken := make(map[string]*sink.Change)
		for _, list := range [][]*sink.Change{w.upserts, w.deletes} {
			for i, c := range list {
				if i > 0 && list[i-1].Offset >= c.Offset {
					t.Errorf("offsets %d and %d are out of order", list[i-1].Offset, c.Offset)
				}
				if taken[string(c.Key)] != nil {
					t.Errorf("key %v is taken twice", c.Key)
				}
				taken[string(c.Key)] = c
			}
		}
		for _, c := range w.deletes {
			if c.Op != change.Delete {
				t.Errorf("offset %d is deleted and is no delete", c.Offset)
			}
		}
		for i := range changes {
			c, got := &changes[i], taken[string(changes[i].Key)]
			switch {
			case c.Offset < from:
			case got == nil:
				t.Errorf("key %v is not taken", c.Key)
			case c.Version > got.Version, c.Version == got.Version && c.Offset > got.Offset:
				t.Errorf("of key %v version %d at %d is taken, and there is %d at %d", c.Key, got.Version, got.Offset, c.Version, c.Offset)
			case got.Offset < from:
				t.Errorf("offset %d was done", got.Offset)
			}
		}
	})
}

// What PostgreSQL cannot hold is changed as the configuration says, and never in a key.
func TestStored(t *testing.T) {
	date, text := change.Column{Type: change.Date}, change.Column{Type: change.Text}
	zero, nul := change.StringValue("0000-00-00"), change.StringValue("a\x00b\x00")
	strict, lossy := Default(), Default()
	lossy.ZeroDates, lossy.TextNUL = ToNull, Remove
	if !strict.stored(zero, &date, false).Equal(zero) || !strict.stored(nul, &text, false).Equal(nul) {
		t.Error("a value is changed although nothing says so")
	}
	if !lossy.stored(zero, &date, false).IsNull() || !lossy.stored(nul, &text, false).Equal(change.StringValue("ab")) {
		t.Error("a value is not changed as the configuration says")
	}
	if !lossy.stored(zero, &date, true).Equal(zero) || !lossy.stored(nul, &text, true).Equal(nul) {
		t.Error("a key is changed: two rows could become one")
	}
	if !bytes.Equal(nul.Bytes, []byte("a\x00b\x00")) {
		t.Error("the record itself was changed")
	}
}

func TestConfigCheck(t *testing.T) {
	good := Default()
	good.Address, good.Database, good.User = "db:5432", "app", "app"
	for _, c := range []struct {
		path string
		bend func(*Config)
	}{
		{"", func(*Config) {}}, {"address", func(c *Config) { c.Address = "" }}, {"database", func(c *Config) { c.Database = "" }}, {"user", func(c *Config) { c.User = "" }},
		{"tls", func(c *Config) { c.TLS = "yes" }}, {"table", func(c *Config) { c.Table = "{table}" }}, {"table", func(c *Config) { c.Table = "public.all" }},
		{"table", func(c *Config) { c.Table = "{table}.x" }}, {"triggers", func(c *Config) { c.Triggers = "" }}, {"zero_dates", func(c *Config) { c.ZeroDates = "0" }},
		{"text_nul", func(c *Config) { c.TextNUL = "keep" }}, {"json", func(c *Config) { c.JSON = "text" }}, {"connections", func(c *Config) { c.Connections = 0 }},
		{"lock_timeout", func(c *Config) { c.LockTimeout = time.Millisecond }}, {"schema", func(c *Config) { c.Schema = strings.Repeat("x", 64) }},
		{"source_column", func(c *Config) { c.SourceColumn = c.VersionColumn }}, {"password_file", func(c *Config) { c.Password, c.PasswordFile = "a", "b" }},
	} {
		config := good
		c.bend(&config)
		var got []string
		config.Check(func(path, problem string) { got = append(got, path+": "+problem) })
		if c.path == "" && len(got) > 0 || c.path != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.path+": ")) {
			t.Errorf("%s: reported are %q", c.path, got)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for address, want := range map[string]string{"db": "db 5432", "db:1": "db 1", "[::1]:2": "::1 2", "[::1]": "::1 5432", "/run/pg": "/run/pg 5432"} {
		host, port := (&Config{Address: address}).endpoint()
		if host+" "+port != want {
			t.Errorf("%s is %s %s, want %s", address, host, port, want)
		}
	}
}

func TestPlaceOfATable(t *testing.T) {
	c := Default()
	c.Table = "{source}_{db}.{table}"
	if p, err := c.place("s", change.TableName{DB: "D", Name: `T"x`}); err != nil || p.quoted() != `"s_D"."T""x"` {
		t.Errorf("place is %v (%v)", p, err)
	}
	if _, err := c.place("s", change.TableName{DB: "d", Name: strings.Repeat("é", 32)}); change.SeverityOf(err) != change.Configuration {
		t.Errorf("a name of 64 bytes gave %v", err)
	}
}
