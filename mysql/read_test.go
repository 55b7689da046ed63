package mysql

import (
	"math"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

func TestParseText(t *testing.T) {
	decimal := &change.Column{Name: "d", Type: change.Decimal, Precision: 10, Scale: 2}
	for text, want := range map[string]string{"000001.50": "1.50", "0.00": "0.00", "-0.50": "-0.50", "0000000.00": "0.00", "10.00": "10.00", "000": "0"} {
		if v, err := ParseText(decimal, []byte(text)); err != nil || v.String() != want {
			t.Errorf("%s is %v (%v), want %s", text, v, err, want)
		}
	}
	if v, err := ParseText(decimal, nil); err != nil || !v.IsNull() {
		t.Errorf("NULL is %v (%v)", v, err)
	}
	if v, err := ParseText(&change.Column{Type: change.VarChar}, []byte{}); err != nil || v.IsNull() {
		t.Errorf("'' is %v (%v)", v, err)
	}
}

func TestKeyLiteral(t *testing.T) {
	for _, c := range []struct {
		column change.Column
		value  change.Value
		want   string
	}{
		{change.Column{Type: change.BigInt, Unsigned: true}, change.UintValue(1<<64 - 1), "18446744073709551615"},
		{change.Column{Type: change.BigInt}, change.IntValue(-5), "-5"},
		{change.Column{Type: change.Bit, Length: 12}, change.RawValue([]byte{1, 2}), "258"},
		{change.Column{Type: change.Enum, Elements: []string{"a", "b"}}, change.StringValue("b"), "2"},
		{change.Column{Type: change.Enum, Elements: []string{"a", "b"}}, change.StringValue(""), "0"},
		{change.Column{Type: change.Set, Elements: []string{"a", "b", "c"}}, change.StringValue("a,c"), "5"},
		{change.Column{Type: change.VarChar, Charset: "utf8mb4", Collation: "utf8mb4_bin"}, change.StringValue("a'\\"), "_utf8mb4 x'61275c' COLLATE utf8mb4_bin"},
		{change.Column{Type: change.VarChar, Charset: "latin1", Collation: "latin1_bin"}, change.StringValue("é"), "CONVERT(_utf8mb4 x'c3a9' USING latin1) COLLATE latin1_bin"},
		{change.Column{Type: change.VarBinary}, change.RawValue([]byte{0, 255}), "x'00ff'"},
		{change.Column{Type: change.Decimal}, change.StringValue("-1.50"), "-1.50"},
		{change.Column{Type: change.DateTime}, change.StringValue("2026-01-02 03:04:05"), "'2026-01-02 03:04:05'"},
	} {
		if got, err := KeyLiteral(&c.column, c.value); err != nil || got != c.want {
			t.Errorf("%s %v: %s (%v), want %s", c.column.Type, c.value, got, err, c.want)
		}
	}
	for _, bad := range []struct {
		column change.Column
		value  change.Value
	}{
		{change.Column{Type: change.Int}, change.Value{}},
		{change.Column{Type: change.Decimal}, change.StringValue("1 OR 1")},
		{change.Column{Type: change.Set, Elements: []string{"a"}}, change.StringValue("z")},
		{change.Column{Type: change.Enum, Elements: []string{"a"}}, change.StringValue("z")}, // not the row whose value became 0
		{change.Column{Type: change.Bit, Length: 64}, change.RawValue(make([]byte, 9))},
	} {
		if got, err := KeyLiteral(&bad.column, bad.value); err == nil {
			t.Errorf("%s %v gives %s", bad.column.Type, bad.value, got)
		}
	}
}

// TestValueOf: what the driver has already made a number is the same value as its text.
func TestValueOf(t *testing.T) {
	for _, c := range []struct {
		column change.Column
		field  any
		text   string
	}{
		{change.Column{Type: change.TinyInt}, int64(-128), "-128"},
		{change.Column{Type: change.Int, Unsigned: true}, int64(4294967295), "4294967295"},
		{change.Column{Type: change.BigInt, Unsigned: true}, uint64(1<<64 - 1), "18446744073709551615"},
		{change.Column{Type: change.BigInt}, int64(-1 << 63), "-9223372036854775808"},
		{change.Column{Type: change.Year}, int64(2155), "2155"},
		{change.Column{Type: change.Float}, -0.10000000149011612, "-0.10000000149011612"},
		{change.Column{Type: change.Double}, math.Copysign(0, -1), "-0"},
		{change.Column{Type: change.Decimal}, []byte("007.50"), "007.50"},
		{change.Column{Type: change.Int}, []byte("12"), "12"}, // an expression's type may be another
		{change.Column{Type: change.VarChar}, []byte{}, ""},
		{change.Column{Type: change.Blob}, []byte{0}, "\x00"},
	} {
		want, err := ParseText(&c.column, []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := valueOf(&c.column, c.field); err != nil || !got.Equal(want) || (got.Bytes == nil) != (want.Bytes == nil) {
			t.Errorf("%s %v is %v (%v), its text %v", c.column.Type, c.field, got, err, want)
		}
	}
	if v, err := valueOf(&change.Column{Type: change.Int}, nil); err != nil || !v.IsNull() {
		t.Errorf("NULL is %v (%v)", v, err)
	}
	for _, bad := range []struct {
		column change.Column
		field  any
	}{
		{change.Column{Type: change.BigInt, Unsigned: true}, int64(-1)}, {change.Column{Type: change.BigInt}, uint64(1 << 63)},
		{change.Column{Type: change.VarChar}, int64(1)}, {change.Column{Type: change.Int}, 1.5}, {change.Column{Type: change.DateTime}, time.Now()},
	} {
		if v, err := valueOf(&bad.column, bad.field); err == nil {
			t.Errorf("%s from %T %v is %v", bad.column.Type, bad.field, bad.field, v)
		}
	}
}
