package redis_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink/redis"
)

// awkward are texts that are made of what keys, templates and patterns are made of.
var awkward = rapid.StringOfN(rapid.RuneFrom([]rune(`ab:/%#{}*?[]\ _-.@|é`+"\x00\n")), 0, 6, -1)

// TestKeysAreNeverShared: two rows have one key only if they are one row, and a key is taken apart into what it was made of.
func TestKeysAreNeverShared(t *testing.T) {
	columns := []change.Column{{Name: "a", Type: change.VarChar, Length: 20}, {Name: "b", Type: change.VarBinary, Length: 20}, {Name: "c", Type: change.Int}}
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "t"}, Columns: columns, Key: []int{2, 0, 1}}
	rapid.Check(t, func(t *rapid.T) {
		c := redis.Default()
		template := rapid.SampledFrom([]string{"", "{key}", "{a}:{b}:{c}", "x{c}/y{b}a:a{a}z", "{b}a|b{a}::{c}"}).Draw(t, "template")
		c.Tables = []redis.Table{{Match: "*.*", Key: template}}
		p, err := redis.Plan(&c, "src", table)
		if err != nil {
			t.Fatal(err)
		}
		draw := func(name string) []change.Value {
			return []change.Value{change.IntValue(int64(rapid.IntRange(-20, 20).Draw(t, name))), change.StringValue(awkward.Draw(t, name)),
				change.RawValue([]byte(awkward.Draw(t, name)))}
		}
		one, two := draw("one"), draw("two")
		if rapid.Bool().Draw(t, "nearly the same") {
			two[0], two[2] = one[0], one[2]
		}
		first, err := redis.RowKey(p, table.KeyNames(), one)
		if err != nil {
			t.Fatal(err)
		}
		second, err := redis.RowKey(p, table.KeyNames(), two)
		if err != nil {
			t.Fatal(err)
		}
		same := one[0].Equal(two[0]) && one[1].Equal(two[1]) && one[2].Equal(two[2])
		if (first == second) != same {
			t.Fatalf("%v and %v have the keys %q and %q", one, two, first, second)
		}
		if strings.ContainsAny(strings.ReplaceAll(first, "::", ""), "#{}*?[]\\") {
			t.Fatalf("the key %q has a sign in it that means something", first)
		}
		parts, ok := p.Parts(first)
		again, _ := p.Parts(second)
		if !ok || len(parts) != 3 || (strings.Join(parts, "\xff") == strings.Join(again, "\xff")) != same {
			t.Fatalf("the key %q is cut into %q", first, parts)
		}
	})
}

// TestNamesAreNeverShared: two tables' keys begin alike only if they are one table's.
func TestNamesAreNeverShared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := redis.Default()
		c.Cluster = rapid.Bool().Draw(t, "cluster")
		draw := func(name string) (string, change.TableName) {
			return "src", change.TableName{DB: "d" + awkward.Draw(t, name), Name: "t" + awkward.Draw(t, name)}
		}
		source, one := draw("one")
		_, two := draw("two")
		first, second := redis.Base(&c, source, one, 0), redis.Base(&c, source, two, 0)
		if (first == second) != (one == two) || one != two && strings.HasPrefix(first+":", second+":") {
			t.Fatalf("%v and %v have the names %q and %q", one, two, first, second)
		}
		if n, m := redis.Base(&c, source, one, 1), redis.Base(&c, source, two, 11); c.Cluster && (n == m || n == first) {
			t.Fatalf("two slots have the name %q", n)
		}
	})
}

// TestTextIsExact: what is written of a value is read as the same value, by hash and by JSON.
func TestTextIsExact(t *testing.T) {
	columns := []change.Column{{Name: "i", Type: change.BigInt}, {Name: "u", Type: change.BigInt, Unsigned: true}, {Name: "f", Type: change.Float}, {Name: "d", Type: change.Double},
		{Name: "s", Type: change.LongText}, {Name: "r", Type: change.LongBlob}, {Name: "n", Type: change.Decimal, Precision: 12, Scale: 2},
		{Name: "w", Type: change.Decimal, Precision: 30, Scale: 2}, {Name: "j", Type: change.JSON}, {Name: "b", Type: change.Bit, Length: 13}}
	table := &change.Table{Columns: columns, Key: []int{0}}
	rapid.Check(t, func(t *rapid.T) {
		finite := func(bits int) float64 {
			f := rapid.Float64().Draw(t, "float")
			if bits == 32 {
				f = float64(rapid.Float32().Draw(t, "float"))
			}
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return math.Copysign(0, -1)
			}
			return f
		}
		row := []change.Value{change.IntValue(rapid.Int64().Draw(t, "i")), change.UintValue(rapid.Uint64().Draw(t, "u")), change.Float32Value(float32(finite(32))),
			change.Float64Value(finite(64)), change.StringValue(rapid.String().Draw(t, "s")), change.RawValue(rapid.SliceOf(rapid.Byte()).Draw(t, "r")),
			change.StringValue("-12.30"), change.StringValue("1234567890123456789012345678.90"),
			change.StringValue(rapid.SampledFrom([]string{`null`, `"null"`, `{"a": [1, -0.0]}`, `""`}).Draw(t, "j")), change.RawValue([]byte{byte(rapid.IntRange(0, 31).Draw(t, "b")), 7})}
		for i := range row {
			if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
				row[i] = change.Value{}
			}
		}
		written, err := redis.AppendRow(nil, table, row)
		if err != nil || !json.Valid(written) {
			t.Fatalf("%s (%v)", written, err)
		}
		read := make([]change.Value, len(row))
		if err := redis.ReadRow(table, string(written), read); err != nil {
			t.Fatal(err)
		}
		for i := range row {
			same(t, "JSON", &columns[i], row[i], read[i])
			if row[i].IsNull() {
				continue
			}
			text, err := redis.ReadText(&columns[i], string(redis.AppendText(nil, &columns[i], row[i])))
			if err != nil {
				t.Fatal(err)
			}
			same(t, "text", &columns[i], row[i], text)
		}
	})
}

func same(t *rapid.T, how string, c *change.Column, want, got change.Value) {
	if !got.Equal(want) {
		t.Fatalf("%s: %s %v became %v", how, c.Name, want, got)
	}
}

func TestScore(t *testing.T) {
	for _, c := range []struct {
		kind  change.Type
		value change.Value
		want  string // empty: none
	}{
		{change.BigInt, change.IntValue(-7), "-7"},
		{change.Decimal, change.StringValue("-0.50"), "-0.50"},
		{change.Double, change.Float64Value(1e300), "1e+300"},
		{change.Bit, change.RawValue([]byte{1, 0}), "256"},
		{change.Date, change.StringValue("1970-01-02"), "86400"},
		{change.Date, change.StringValue("0000-00-00"), ""},
		{change.Date, change.StringValue("2026-02-00"), ""},
		{change.DateTime, change.StringValue("1970-01-01 00:00:01.250"), "1.250"},
		{change.DateTime, change.StringValue("1969-12-31 23:59:59.250"), "-0.750"},
		{change.DateTime, change.StringValue("9999-12-31 23:59:59.999999"), "253402300799.999999"},
		{change.Timestamp, change.StringValue("2026-01-02 03:04:05.000"), "1767323045"},
		{change.Time, change.StringValue("-838:59:59.5"), "-3020399.5"},
		{change.Time, change.StringValue("00:00:00.000001"), "0.000001"},
		{change.Int, change.Value{}, ""},
	} {
		got, ok := redis.Score(&change.Column{Type: c.kind}, c.value)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("the score of %s %v is %q (%v), want %q", c.kind, c.value, got, ok, c.want)
		}
	}
}

// TestCRC16 holds against the cluster specification's example.
func TestCRC16(t *testing.T) {
	if got := redis.CRC16("123456789"); got != 0x31C3 {
		t.Errorf("CRC16 is %#x, want 0x31c3", got)
	}
}

func TestGlob(t *testing.T) {
	for pattern, want := range map[string]bool{"shop.orders": true, "shop.*": true, "*.*": true, "*": true, "s?op.o*s": true, "shop.order": false, "shop.orders?": false, "*.x*": false} {
		if redis.Glob(pattern, "shop.orders") != want {
			t.Errorf("%s matches shop.orders: %v", pattern, !want)
		}
	}
}
