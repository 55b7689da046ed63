package avro

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/linkedin/goavro/v2"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
)

func unixText(seconds uint32) string { return time.Unix(int64(seconds), 0).UTC().Format(time.DateTime) }

// TestRandomRows: for random tables of all types and charsets, the row image and the text give the same bytes, key and
// value; goavro reads from them what was put in; the decoders give the canonical values back.
func TestRandomRows(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for i := range uint64(300) {
		checkRandomRow(t, seed, i)
	}
}

func FuzzTranscoder(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { checkRandomRow(t, a, b) })
}

func checkRandomRow(t *testing.T, a, b uint64) {
	t.Helper()
	r := randomRows{rand.New(rand.NewPCG(a, b))}
	table, o := r.table(), r.options()
	e, err := NewEncoder(table, "p.db.t", o)
	if err != nil {
		t.Fatalf("seed %d %d: %v", a, b, err)
	}
	for range 3 {
		beforeImage, beforeText, before := r.row(table)
		afterImage, afterText, after := r.row(table)
		event := Event{Op: change.Update, Source: randomSource(r), TsMs: r.Int64N(1 << 42), Before: beforeImage, After: afterImage}
		if r.IntN(2) == 0 {
			event.Transaction = &Transaction{ID: "tx", TotalOrder: r.Int64(), DataCollectionOrder: 3}
		}
		ofImage, err := e.AppendValue([]byte("x"), &event)
		if err != nil {
			t.Fatalf("seed %d %d: image: %v", a, b, err)
		}
		event.Before, event.After = beforeText, afterText
		ofText, err := e.AppendValue(nil, &event)
		if err != nil {
			t.Fatalf("seed %d %d: text: %v", a, b, err)
		}
		if !bytes.Equal(ofImage[1:], ofText) {
			t.Fatalf("seed %d %d: image and text differ:\n% x\n% x", a, b, ofImage[1:], ofText)
		}
		checkDecoder(t, e, ofText, &event, before, after)
		checkGoavro(t, e, ofText, o, table, before, after)
		checkKey(t, e, afterImage, afterText, after)
		checkKeyImage(t, e, beforeText)
	}
	if t.Failed() {
		t.Fatalf("seed %d %d", a, b)
	}
}

func randomSource(r randomRows) Source {
	return Source{
		Version: "v1", Name: "p", TsMs: r.Int64(), TsUs: 2, TsNs: 3, Snapshot: "incremental", DB: "db", Table: "t",
		ServerID: r.Int64N(1 << 32), GTID: []string{"", "a:1"}[r.IntN(2)], File: "binlog.000001", Pos: r.Int64(),
		Row: r.Int32(), Thread: r.Int64N(2), Query: []string{"", "select"}[r.IntN(2)],
	}
}

func checkDecoder(t *testing.T, e *Encoder, body []byte, event *Event, before, after []change.Value) {
	t.Helper()
	d, err := NewDecoder(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e.Table(), d.Table()); diff != "" {
		t.Fatal(diff)
	}
	var got Decoded
	if err := d.Decode(body, &got); err != nil {
		t.Fatal(err)
	}
	checkValues(t, d.Table(), before, got.Before)
	checkValues(t, d.Table(), after, got.After)
	if diff := cmp.Diff(event.Source, got.Source); diff != "" {
		t.Errorf("source: %s", diff)
	}
	if got.Op != event.Op || got.TsMs != event.TsMs {
		t.Errorf("op %s, ts_ms %d", got.Op, got.TsMs)
	}
	if diff := cmp.Diff(event.Transaction, got.Transaction); diff != "" {
		t.Errorf("transaction: %s", diff)
	}
}

func checkValues(t *testing.T, table *change.Table, want, got []change.Value) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%d values, want %d", len(got), len(want))
		return
	}
	for i := range want {
		if !want[i].Equal(got[i]) {
			t.Errorf("%s: got %v %q, want %v %q", schema.Describe(&table.Columns[i]), got[i].Kind, got[i], want[i].Kind, want[i])
		}
	}
}

func checkKey(t *testing.T, e *Encoder, image, text Row, values []change.Value) {
	t.Helper()
	ofImage, err := e.AppendKey(nil, image)
	if err != nil {
		t.Fatal(err)
	}
	ofText, err := e.AppendKey(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ofImage, ofText) {
		t.Errorf("keys of image and text differ:\n% x\n% x", ofImage, ofText)
	}
	d, err := NewKeyDecoder(e.KeySchema())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.Names(), e.Table().KeyNames()) {
		t.Errorf("names %q, want %q", d.Names(), e.Table().KeyNames())
	}
	got, err := d.Decode(ofImage, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, column := range e.Table().Key {
		if !got[i].Equal(values[column]) {
			t.Errorf("key column %d: got %q, want %q", i, got[i], values[column])
		}
	}
}

// checkKeyImage: an image made of the key's body alone is that of a row with NULL in all other columns.
func checkKeyImage(t *testing.T, e *Encoder, row Row) {
	t.Helper()
	key, err := e.AppendKey(nil, row)
	if err != nil {
		t.Fatal(err)
	}
	alone := Row{Text: slices.Clone(row.Text)}
	for i := range alone.Text {
		if !e.Table().IsKey(i) {
			alone.Text[i] = nil
		}
	}
	want, err := e.AppendValue(nil, &Event{Op: change.Delete, Before: alone})
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.AppendValue([]byte("x"), &Event{Op: change.Delete, BeforeKey: key})
	if err != nil || !bytes.Equal(got[1:], want) {
		t.Errorf("the image of a key alone is (%v)\n% x, want\n% x", err, got, want)
	}
	for _, bad := range [][]byte{key[:len(key)-1], append(slices.Clone(key), 0)} {
		if _, err := e.AppendValue(nil, &Event{Op: change.Delete, BeforeKey: bad}); err == nil {
			t.Errorf("a damaged key % x was taken", bad)
		}
	}
}

// checkGoavro reads the record with the reference codec.
func checkGoavro(t *testing.T, e *Encoder, body []byte, o schema.Options, table *change.Table, before, after []change.Value) {
	t.Helper()
	codec, err := goavro.NewCodec(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	native, rest, err := codec.NativeFromBinary(body)
	if err != nil || len(rest) > 0 {
		t.Fatalf("goavro: %v, %d bytes left", err, len(rest))
	}
	envelope := native.(map[string]any)
	for name, want := range map[string][]change.Value{"before": before, "after": after} {
		row := envelope[name].(map[string]any)["p.db.t.Value"].(map[string]any)
		for i := range table.Columns {
			c := &table.Columns[i]
			got := row[c.Name]
			if union, ok := got.(map[string]any); ok && !table.IsKey(i) {
				for _, got = range union {
				}
			}
			if diff := cmp.Diff(nativeOf(c, o, want[i]), got, cmp.Comparer(equalRats), cmpopts.EquateNaNs()); diff != "" {
				t.Errorf("goavro: %s: %s", schema.Describe(c), diff)
			}
		}
	}
}

// nativeOf is what goavro gives for a canonical value, from Debezium's documentation and not from the encoder.
func nativeOf(c *change.Column, o schema.Options, v change.Value) any {
	if v.IsNull() {
		return nil
	}
	text := v.String()
	switch c.Type {
	case change.BigInt:
		switch {
		case !c.Unsigned, o.BigintUnsigned == schema.BigintLong:
			return v.Int()
		}
		return bigDecimal(text)
	case change.Int:
		if c.Unsigned {
			return v.Int()
		}
		return int32(v.Int())
	case change.TinyInt, change.SmallInt, change.MediumInt, change.Year:
		return int32(v.Int())
	case change.Decimal:
		if o.Decimal == schema.DecimalString {
			return text
		}
		return bigDecimal(text)
	case change.Float:
		return float32(v.Float())
	case change.Double:
		return v.Float()
	case change.Bit:
		if c.Length == 1 {
			return v.Bytes[0] == 1
		}
		b := slices.Clone(v.Bytes)
		slices.Reverse(b)
		return b
	case change.Date:
		return int32(dayOf(text))
	case change.Time:
		return durationOf(text).Microseconds()
	case change.DateTime:
		day, clock := int64(dayOf(text[:10])), durationOf(text[11:])
		if c.Scale > 3 {
			return day*86_400_000_000 + clock.Microseconds()
		}
		return day*86_400_000 + clock.Milliseconds()
	case change.Timestamp:
		if text[:4] == "0000" {
			text = "1970-01-01" + text[10:]
		}
		return text[:10] + "T" + text[11:] + "Z"
	case change.Geometry:
		return geometryOf(c, v.Bytes)
	case change.Vector:
		floats := []any{}
		for i := 0; i < len(v.Bytes); i += 4 {
			floats = append(floats, math.Float32frombits(binary.LittleEndian.Uint32(v.Bytes[i:])))
		}
		return floats
	}
	if v.Kind == change.Raw {
		return v.Bytes
	}
	return text
}

// dayOf is the documented number of a date.
func dayOf(text string) int {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return int(math.Floor(float64(t.Unix()) / 86400))
	}
	var y, m, d int
	fmt.Sscanf(text, "%d-%d-%d", &y, &m, &d)
	return -1_000_000 - (y*10_000 + m*100 + d)
}

func durationOf(text string) time.Duration {
	sign := time.Duration(1)
	if text[0] == '-' {
		sign, text = -1, text[1:]
	}
	var h, m time.Duration
	var s float64
	fmt.Sscanf(text, "%d:%d:%g", &h, &m, &s)
	return sign * (h*time.Hour + m*time.Minute + time.Duration(math.Round(s*1e6))*time.Microsecond)
}

func geometryOf(c *change.Column, b []byte) any {
	g := map[string]any{"wkb": []byte{}, "srid": nil}
	if len(b) > 0 {
		if srid := int32(binary.LittleEndian.Uint32(b)); srid != 0 {
			g["srid"] = map[string]any{"int": srid}
		}
		g["wkb"] = b[4:]
	}
	if c.Geometry == "point" {
		g["x"], g["y"] = math.NaN(), math.NaN()
		if len(b) > 0 {
			g["x"] = math.Float64frombits(binary.LittleEndian.Uint64(b[9:]))
			g["y"] = math.Float64frombits(binary.LittleEndian.Uint64(b[17:]))
			g["wkb"] = map[string]any{"bytes": b[4:]}
		} else {
			g["wkb"] = nil
		}
	}
	return g
}

func equalRats(a, b *big.Rat) bool { return a.Cmp(b) == 0 }
