package handler

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

func valueOf(c change.Column, v change.Value) Value {
	c.Name = "c"
	return Value{name: "c", column: &c, value: v, known: true}
}

func TestValues(t *testing.T) {
	long := change.Column{Type: change.LongText}
	for name, c := range map[string]struct {
		v                      Value
		text, whole, num, date string // an error's last words after "!"
		any                    any
	}{
		"int":       {valueOf(change.Column{Type: change.Int}, change.IntValue(-7)), "-7", "-7", "-7", "!", int64(-7)},
		"unsigned":  {valueOf(change.Column{Type: change.BigInt, Unsigned: true}, change.UintValue(math.MaxUint64)), "18446744073709551615", "!int64", "1.8446744073709552e+19", "!", uint64(math.MaxUint64)},
		"decimal":   {valueOf(change.Column{Type: change.Decimal}, change.StringValue("-12.340")), "-12.340", "!whole", "-12.34", "!", "-12.340"},
		"float":     {valueOf(change.Column{Type: change.Float}, change.Float32Value(0.1)), "0.1", "!whole", "0.10000000149011612", "!", float64(float32(0.1))},
		"date":      {valueOf(change.Column{Type: change.Date}, change.StringValue("2026-02-03")), "2026-02-03", "!", "!", "2026-02-03T00:00:00Z", "2026-02-03"},
		"datetime":  {valueOf(change.Column{Type: change.DateTime, Scale: 3}, change.StringValue("2026-02-03 04:05:06.789")), "2026-02-03 04:05:06.789", "!", "!", "2026-02-03T04:05:06.789Z", "2026-02-03 04:05:06.789"},
		"zero date": {valueOf(change.Column{Type: change.Date}, change.StringValue("0000-00-00")), "0000-00-00", "!", "!", "!date or time", "0000-00-00"},
		"bit":       {valueOf(change.Column{Type: change.Bit, Length: 12}, change.RawValue([]byte{1, 2})), "\x01\x02", "258", "!", "!", uint64(258)},
		"bit(1)":    {valueOf(change.Column{Type: change.Bit, Length: 1}, change.RawValue([]byte{1})), "\x01", "1", "!", "!", true},
		"json":      {valueOf(change.Column{Type: change.JSON}, change.StringValue(`{"a": 1}`)), `{"a": 1}`, "!", "!", "!", json.RawMessage(`{"a": 1}`)},
		"bytes":     {valueOf(change.Column{Type: change.Blob}, change.RawValue([]byte{0xff})), "\xff", "!", "!", "!", []byte{0xff}},
		"NULL":      {valueOf(long, change.Value{}), "", "!is NULL", "!is NULL", "!is NULL", nil},
		"unknown":   {Value{name: "c", column: &long}, "", "!not known", "!not known", "!not known", nil},
		"vector":    {valueOf(change.Column{Type: change.Vector, Length: 1}, change.RawValue([]byte{0, 0, 0x80, 0x3f})), "\x00\x00\x80\x3f", "!", "!", "!", []float32{1}},
	} {
		check := func(what, got string, err error, want string) {
			words, wantErr := strings.CutPrefix(want, "!")
			if wantErr != (err != nil) || !wantErr && got != want || wantErr && !strings.Contains(err.Error(), words) {
				t.Errorf("%s as %s: %q (%v), want %q", name, what, got, err, want)
			}
		}
		n, err := c.v.Int()
		check("int", fmt.Sprint(n), err, c.whole)
		f, err := c.v.Float()
		check("float", fmt.Sprint(f), err, c.num)
		d, err := c.v.Time()
		check("time", d.Format(time.RFC3339Nano), err, c.date)
		check("text", c.v.String(), nil, c.text)
		if got := c.v.Any(); !reflect.DeepEqual(got, c.any) {
			t.Errorf("%s: any is %#v, want %#v", name, got, c.any)
		}
	}
	var into map[string]int
	if err := valueOf(change.Column{Type: change.JSON}, change.StringValue(`{"a": 1}`)).JSON(&into); err != nil || into["a"] != 1 {
		t.Errorf("JSON gives %v, %v", into, err)
	}
	if b, err := valueOf(change.Column{Type: change.TinyInt}, change.IntValue(-1)).Bool(); err != nil || !b {
		t.Errorf("-1 as bool: %v, %v", b, err)
	}
}

func TestRows(t *testing.T) {
	table := NewTable("docs.all").Key("id", Int).Column("f", Float).Column("t", Text).Column("b", Bytes).Column("at", Time).Column("yes", Boolean).Column("doc", JSON)
	good, err := Put(table, Row{"id": uint8(3), "f": "2.5", "t": 7, "b": "x", "at": time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600)), "yes": true,
		"doc": []map[string]any{{"a": 1}}}).values()
	if err != nil {
		t.Fatal(err)
	}
	want := []change.Value{change.IntValue(3), change.Float64Value(2.5), change.StringValue("7"), change.RawValue([]byte("x")), change.StringValue("2026-01-02 02:04:05.000006"),
		change.RawValue([]byte{1}), change.StringValue(`[{"a":1}]`)}
	if !reflect.DeepEqual(good, want) {
		t.Errorf("%v, want %v", good, want)
	}
	for name, c := range map[string]struct {
		w    Write
		want string
	}{
		"no key":              {Put(table, Row{"t": "x"}), "key column id is NULL or missing"},
		"no column":           {Put(table, Row{"id": 1, "x": 1}), `has no column "x"`},
		"not whole":           {Put(table, Row{"id": 1.5}), "whole number"},
		"too large":           {Put(table, Row{"id": uint64(math.MaxUint64)}), "int64"},
		"no number":           {Put(table, Row{"id": 1, "f": math.NaN()}), "want a number"},
		"not UTF-8":           {Put(table, Row{"id": 1, "t": "\xff"}), "UTF-8"},
		"no time":             {Put(table, Row{"id": 1, "at": "0000-00-00"}), "want a time"},
		"a struct":            {Put(table, Row{"id": 1, "t": struct{}{}}), "no value of a column"},
		"more than a key":     {Delete(table, Row{"id": 1, "t": "x"}), "not part of the key"},
		"key of many letters": {Put(NewTable("a.b").Key("k", Text), Row{"k": strings.Repeat("x", 256)}), "longer than 255"},
		"JSON that cannot be": {Put(table, Row{"id": 1, "doc": func() {}}), "unsupported type"},
	} {
		if _, err := c.w.values(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for name, declare := range map[string]func(){
		"no database": func() { NewTable("x") }, "a column twice": func() { NewTable("a.b").Key("x", Int).Column("X", Int) },
		"a float key": func() { NewTable("a.b").Key("x", Float) }, "no such kind": func() { NewTable("a.b").Column("x", Kind(99)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is declared", name)
				}
			}()
			declare()
		}()
	}
}
