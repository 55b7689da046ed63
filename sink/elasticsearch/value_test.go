package elasticsearch_test

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
)

func str(values ...string) []change.Value {
	var out []change.Value
	for _, v := range values {
		out = append(out, change.StringValue(v))
	}
	return out
}

func raw(values ...string) []change.Value {
	var out []change.Value
	for _, v := range values {
		out = append(out, change.RawValue([]byte(v)))
	}
	return out
}

func vector(floats ...float32) string {
	var b []byte
	for _, f := range floats {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return string(b)
}

// hard are columns with values beyond what the suite asks: the ends of what MySQL holds, where JSON and the servers bend.
var hard = []struct {
	column change.Column
	values []change.Value
}{
	{change.Column{Name: "ubig", Type: change.BigInt, Unsigned: true}, []change.Value{change.UintValue(1 << 63), change.UintValue(math.MaxUint64), change.UintValue(1<<53 + 1)}},
	{change.Column{Name: "big", Type: change.BigInt}, []change.Value{change.IntValue(math.MinInt64), change.IntValue(-(1<<53 + 1))}},
	{change.Column{Name: "wide", Type: change.Decimal, Precision: 65, Scale: 30},
		str("-99999999999999999999999999999999999.999999999999999999999999999999", "0.000000000000000000000000000001", "0.000000000000000000000000000000")},
	{change.Column{Name: "exact", Type: change.Decimal, Precision: 15, Scale: 5}, str("-9999999999.99999", "0.10000", "-0.00001")},
	{change.Column{Name: "rounded", Type: change.Decimal, Precision: 16, Scale: 16}, str("0.1234567890123456", "-0.9999999999999999")},
	{change.Column{Name: "day", Type: change.Date}, str("0000-00-00", "2024-00-10", "2024-02-00", "9999-12-31")},
	{change.Column{Name: "moment", Type: change.DateTime, Scale: 6}, str("0000-00-00 00:00:00.000000", "2024-02-00 00:00:00.000000", "1000-01-01 00:00:00.000001")},
	{change.Column{Name: "stamp", Type: change.Timestamp}, str("0000-00-00 00:00:00", "2038-01-19 03:14:07")},
	{change.Column{Name: "span", Type: change.Time}, str("-838:59:59", "838:59:59", "00:00:00")},
	{change.Column{Name: "one", Type: change.Bit, Length: 1}, raw("\x00", "\x01")},
	{change.Column{Name: "bits", Type: change.Bit, Length: 64}, raw("\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", "\x80\x00\x00\x00\x00\x00\x00\x01")},
	{change.Column{Name: "single", Type: change.Float}, []change.Value{change.Float32Value(0.1), change.Float32Value(math.SmallestNonzeroFloat32), change.Float32Value(float32(math.Copysign(0, -1)))}},
	{change.Column{Name: "double", Type: change.Double}, []change.Value{change.Float64Value(math.MaxFloat64), change.Float64Value(math.Copysign(0, -1)), change.Float64Value(1e21)}},
	{change.Column{Name: "json", Type: change.JSON}, str("null", `"null"`, `1.0`, `[[], {}]`, `{"a.b": {"": 1}, "_id": [null, "x"], ".": 1e400}`, `[1, "a", {}]`,
		strings.Repeat("[", 100)+strings.Repeat("]", 100))},
	{change.Column{Name: "long", Type: change.LongText, Charset: "utf8mb4"}, str(strings.Repeat("w", 40_000), "\x00\x01\x1f\x7f\u2028", " ", `{"a":1}`)},
	{change.Column{Name: "set", Type: change.Set, Charset: "utf8mb4"}, str("", strings.Repeat("漢", 12_000))},
	{change.Column{Name: "place", Type: change.Geometry, Geometry: "geometry"}, raw("\xe6\x10\x00\x00\x01\x07\x00\x00\x00\x00\x00\x00\x00")},
	{change.Column{Name: "vector", Type: change.Vector, Length: 3}, raw(vector(0.1, -math.MaxFloat32, math.SmallestNonzeroFloat32), vector(16777217, 1e-7, -0.3))},
	{change.Column{Name: "fixed", Type: change.Binary, Length: 3}, raw("\x00\x00\x00", "\xff|\\")},
}

// TestValuesSurvive writes each value, reads the document back, and compares byte for byte.
func TestValuesSurvive(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		for _, documents := range []string{elasticsearch.Flat, elasticsearch.Envelope} {
			p.config.Documents = documents
			of, rows := table("values_"+documents), 0
			for _, h := range hard {
				h.column.Nullable = true
				of.Columns = append(of.Columns, h.column)
				rows = max(rows, len(h.values))
			}
			target := p.prepared(of)
			var want [][]change.Value
			for i := range rows + 1 {
				image := row(int64(i))
				for _, h := range hard {
					var v change.Value // the last row is all NULL
					if i < rows {
						v = h.values[i%len(h.values)]
					}
					image = append(image, v)
				}
				want = append(want, image)
				apply(t, target, put(of, change.Version(10+i), image))
			}
			got := scan(t, target, of)
			for i, image := range want {
				r := got[change.IntValue(int64(i)).String()]
				for j := range image {
					if len(r.Values) <= j || !r.Values[j].Equal(image[j]) {
						t.Errorf("%s: row %d: column %s reads back %.80q, want %.80q", documents, i, of.Columns[j].Name, r.Values, image[j])
						break
					}
				}
			}
		}
	})
}

// TestNothingIsBent: what JSON cannot say is refused, with the row's offset.
func TestNothingIsBent(t *testing.T) {
	c := elasticsearch.Default()
	c.URL = "http://127.0.0.1:1"
	target := open(t, c)
	defer target.Close()
	for name, b := range map[string]struct {
		column change.Column
		value  change.Value
	}{
		"column x: the text is not UTF-8": {note, change.StringValue("\xff")},
		"column x: JSON has no":           {change.Column{Type: change.Vector}, change.RawValue([]byte(vector(float32(math.NaN()))))},
		"column x: JSON has no infinite":  {change.Column{Type: change.Double}, change.Float64Value(math.Inf(1))},
		"column x: the text is not JSON":  {change.Column{Type: change.JSON}, change.StringValue(`{"a":`)},
	} {
		b.column.Name = "x"
		of := table("bent", b.column)
		err := target.Apply(t.Context(), batch(put(of, 7, row(1, b.value))))
		var refused *sink.Refused
		if !errors.As(err, &refused) || refused.Offset != 7 {
			t.Errorf("%s: got %v, want offset 7 refused", name, err)
		}
		problemOf(t, err, change.Poison, name)
	}
	of := &change.Table{Columns: []change.Column{note}, Key: []int{0}}
	problemOf(t, target.Apply(t.Context(), batch(put(of, 7, str("\xc0")))), change.Poison, "key: the text is not UTF-8")
}

// TestLinesStayLines: JSON from elsewhere may have ends of lines in it, which end an action of _bulk.
func TestLinesStayLines(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		of := table("lines", change.Column{Name: "doc", Type: change.JSON})
		target := p.prepared(of)
		apply(t, target, put(of, 10, row(1, change.StringValue("{\"a\":\r\n [1,\n\"x\\n\"]}"))), put(of, 11, row(2, change.StringValue("2"))))
		got := scan(t, target, of)
		if text := got["1"].Values[1].String(); len(got) != 2 || text != `{"a":   [1, "x\n"]}` {
			t.Errorf("the document is %q of %d", text, len(got))
		}
	})
}
