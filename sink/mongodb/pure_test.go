package mongodb

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// store writes a value as a field and reads it back, as the server would give it.
func store(t interface{ Fatal(...any) }, f form, c *change.Column, v change.Value) (field bson.RawValue, exact string, back change.Value) {
	element, beside, err := f.appendValue(nil, "f", c, v)
	if err != nil {
		t.Fatal(err)
	}
	if beside {
		exact = string(v.Bytes)
	}
	field = elementValue(element, "f")
	return field, exact, f.readValue(c, field, exact)
}

var forms = []form{{}, {dates: true, json: true}}

// generators make values of columns whose forms have choices or bounds.
var generators = map[string]func(t *rapid.T) (change.Column, change.Value){
	"decimal": func(t *rapid.T) (change.Column, change.Value) {
		precision := rapid.IntRange(1, 65).Draw(t, "precision")
		scale := rapid.IntRange(0, min(precision, 30)).Draw(t, "scale")
		digits := rapid.StringMatching(fmt.Sprintf(`[0-9]{%d}`, precision)).Draw(t, "digits")
		whole := strings.TrimLeft(digits[:precision-scale], "0")
		text := max(whole, "0")
		if scale > 0 {
			text += "." + digits[precision-scale:]
		}
		if rapid.Bool().Draw(t, "negative") && strings.Trim(text, "0.") != "" {
			text = "-" + text
		}
		return change.Column{Type: change.Decimal, Precision: precision, Scale: scale}, change.StringValue(text)
	},
	"datetime": func(t *rapid.T) (change.Column, change.Value) {
		scale := rapid.IntRange(0, 6).Draw(t, "scale")
		text := fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d", rapid.IntRange(0, 9999).Draw(t, "year"), rapid.IntRange(0, 12).Draw(t, "month"),
			rapid.IntRange(0, 31).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute"), rapid.IntRange(0, 59).Draw(t, "second"))
		if scale > 0 {
			text += "." + rapid.StringMatching(fmt.Sprintf(`[0-9]{%d}`, scale)).Draw(t, "fraction")
		}
		return change.Column{Type: change.DateTime, Scale: scale}, change.StringValue(text)
	},
	"date": func(t *rapid.T) (change.Column, change.Value) {
		return change.Column{Type: change.Date}, change.StringValue(fmt.Sprintf("%04d-%02d-%02d", rapid.IntRange(0, 9999).Draw(t, "year"),
			rapid.IntRange(0, 12).Draw(t, "month"), rapid.IntRange(0, 31).Draw(t, "day")))
	},
	"unsigned": func(t *rapid.T) (change.Column, change.Value) {
		return change.Column{Type: change.BigInt, Unsigned: true}, change.UintValue(rapid.Uint64().Draw(t, "n"))
	},
	"float": func(t *rapid.T) (change.Column, change.Value) {
		return change.Column{Type: change.Float}, change.Float32Value(rapid.Float32().Draw(t, "f"))
	},
	"double": func(t *rapid.T) (change.Column, change.Value) {
		return change.Column{Type: change.Double}, change.Float64Value(rapid.Float64().Draw(t, "f"))
	},
	"bit": func(t *rapid.T) (change.Column, change.Value) {
		length := rapid.IntRange(1, 64).Draw(t, "length")
		b := rapid.SliceOfN(rapid.Byte(), (length+7)/8, (length+7)/8).Draw(t, "bits")
		b[0] &= byte(0xff >> ((8 - length%8) % 8))
		return change.Column{Type: change.Bit, Length: length}, change.RawValue(b)
	},
	"json": func(t *rapid.T) (change.Column, change.Value) {
		return change.Column{Type: change.JSON}, change.StringValue(drawJSON(t, 4))
	},
}

// drawJSON draws text with MySQL's spacing and numbers in many spellings.
func drawJSON(t *rapid.T, depth int) string {
	kind := rapid.IntRange(0, 6).Draw(t, "kind")
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return rapid.SampledFrom([]string{"null", "true", "false", "0", "-0.0", "1.0", "1e20", "1E-7", "0.1", "1.10", "18446744073709551615", "123456789012345678901234567890.5"}).Draw(t, "plain")
	case 1, 2:
		b, _ := json.Marshal(rapid.Float64().Draw(t, "number"))
		return string(b)
	case 3:
		return string(renderString(nil, strings.ToValidUTF8(rapid.String().Draw(t, "text"), "?")))
	case 4:
		n := rapid.IntRange(0, 3).Draw(t, "length")
		parts := make([]string, n)
		for i := range parts {
			parts[i] = drawJSON(t, depth-1)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	var parts []string
	for i, key := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "é", "", "$x", "x.y", "x$", "0", "\x00"}), 0, 4, rapid.ID).Draw(t, "keys") {
		parts = append(parts, string(renderString(nil, key))+": "+drawJSON(t, depth-1))
		_ = i
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// TestValuesComeBack: whatever the form, what is read is what was written, byte for byte.
func TestValuesComeBack(t *testing.T) {
	for name, generate := range generators {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				c, v := generate(t)
				for _, f := range forms {
					if field, exact, back := store(t, f, &c, v); !back.Equal(v) {
						t.Fatalf("%+v in %+v: %s (beside: %q) came back as %s", c, f, field, exact, back)
					}
				}
			})
		})
	}
}

// TestForms: what people see.
func TestForms(t *testing.T) {
	moment := change.Column{Type: change.DateTime, Scale: 6}
	doc := change.Column{Type: change.JSON}
	money := change.Column{Type: change.Decimal, Precision: 10, Scale: 2}
	for _, c := range []struct {
		column change.Column
		text   string
		want   string // extended JSON
		exact  bool
	}{
		{moment, "2026-01-02 03:04:05.678000", `{"$date":{"$numberLong":"1767323045678"}}`, false},
		{moment, "2026-01-02 03:04:05.678001", `{"$date":{"$numberLong":"1767323045678"}}`, true},
		{moment, "0000-00-00 00:00:00.000000", `"0000-00-00 00:00:00.000000"`, false},
		{change.Column{Type: change.Date}, "1969-12-31", `{"$date":{"$numberLong":"-86400000"}}`, false},
		{money, "-1.10", `{"$numberDecimal":"-1.10"}`, false},
		{change.Column{Type: change.Decimal, Precision: 35, Scale: 2}, "1.10", `"1.10"`, false},
		{doc, `{"a": 1, "b": [true, null, "x"]}`, `{"a": {"$numberLong":"1"},"b": [true,null,"x"]}`, false},
		{doc, `1.10`, `{"$numberDouble":"1.1"}`, true},
		{doc, `1.5`, `{"$numberDouble":"1.5"}`, false},
		{doc, `1e20`, `{"$numberDouble":"1E+20.0"}`, false},
		{doc, `null`, `null`, true},
		{doc, `"x"`, `"x"`, false},
		{doc, `{"$where": 1}`, `"{\"$where\": 1}"`, true},
		{doc, `{"a.b": 1}`, `"{\"a.b\": 1}"`, true},
		{doc, strings.Repeat("[", 92) + strings.Repeat("]", 92), `"` + strings.Repeat("[", 92) + strings.Repeat("]", 92) + `"`, true},
	} {
		field, exact, _ := store(t, forms[1], &c.column, change.StringValue(c.text))
		if strings.ReplaceAll(field.String(), " ", "") != strings.ReplaceAll(c.want, " ", "") || (exact != "") != c.exact {
			t.Errorf("%s is %s (beside: %q), want %s (%v)", c.text, field, exact, c.want, c.exact)
		}
	}
	if _, _, err := forms[1].appendValue(nil, "f", &change.Column{Type: change.VarChar}, change.StringValue("\xff")); !errors.Is(err, errNotUTF8) {
		t.Errorf("text that is no UTF-8: %v", err)
	}
}

// TestChangedByHand: what Sluice did not write is a difference, also where the exact text stands beside.
func TestChangedByHand(t *testing.T) {
	c := change.Column{Type: change.DateTime, Scale: 6}
	const was = "2026-01-02 03:04:05.678001"
	if back := forms[1].readValue(&c, bson.RawValue{Type: bson.TypeNull}, was); !back.IsNull() {
		t.Errorf("null is read as %s", back)
	}
	for _, field := range []any{bson.DateTime(1), "x", int32(1), true, bson.D{}} {
		kind, raw, err := bson.MarshalValue(field)
		if err != nil {
			t.Fatal(err)
		}
		if back := forms[1].readValue(&c, bson.RawValue{Type: kind, Value: raw}, was); back.String() == was {
			t.Errorf("%v is read as what stands beside", field)
		}
	}
	for _, c := range []change.Column{{Type: change.Int}, {Type: change.Int, Unsigned: true}, {Type: change.Double}, {Type: change.Decimal, Precision: 10, Scale: 2}, {Type: change.Bit, Length: 3},
		{Type: change.Blob}, {Type: change.Vector}} {
		for _, field := range []any{"x", -1.5, bson.D{}, bson.NewObjectID()} {
			kind, raw, err := bson.MarshalValue(field)
			if err != nil {
				t.Fatal(err)
			}
			got := forms[0].readValue(&c, bson.RawValue{Type: kind, Value: raw}, "")
			if _, isText := field.(string); isText && c.Type == change.Decimal || c.Type == change.Double && field == -1.5 {
				continue
			}
			if got.Kind != change.Str || !strings.Contains(got.String(), "not written by Sluice") {
				t.Errorf("%v in a column %s is read as %s", field, c.Type, got)
			}
		}
	}
}

// TestNames: different columns and tables keep different names, and none is one that the server or Sluice keeps for itself.
func TestNames(t *testing.T) {
	letters := rapid.StringOfN(rapid.SampledFrom([]rune("a_.$%é25efy s\t")), 1, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := letters.Draw(t, "a"), letters.Draw(t, "b")
		f := fieldName(a)
		if strings.ContainsAny(f, ".$") || f[0] == '_' || !utf8.ValidString(f) || a != b && f == fieldName(b) {
			t.Fatalf("%q and %q are the fields %q and %q", a, b, f, fieldName(b))
		}
		c := escapeCollection(a)
		if strings.Contains(c, "$") || c[0] == '.' || a != b && c == escapeCollection(b) {
			t.Fatalf("%q and %q are the collections %q and %q", a, b, c, escapeCollection(b))
		}
	})
	for name, want := range map[string]string{"system.users": "%73ystem.users", "sluice.collections": "%73luice.collections", "shop.a$b%": "shop.a%24b%25"} {
		if got := escapeCollection(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	c := Default()
	c.Database = "d"
	long := strings.Repeat("é", 200)
	one, two := c.collection("s", change.TableName{DB: "d", Name: long + "1"}), c.collection("s", change.TableName{DB: "d", Name: long + "2"})
	if one == two || len(c.Database)+1+len(one) > namespaceMax || !utf8.ValidString(one) {
		t.Errorf("long names are %q and %q", one, two)
	}
}

// TestIDs: different keys have different ids, also where the server compares numbers of all kinds by value.
func TestIDs(t *testing.T) {
	two := &change.Table{Columns: []change.Column{{Name: "a", Type: change.VarChar}, {Name: "b.$", Type: change.VarBinary}}, Key: []int{0, 1}}
	draw := rapid.StringOfN(rapid.SampledFrom([]rune("a\x00|,")), 0, 3, -1)
	rapid.Check(t, func(t *rapid.T) {
		key := func(n string) []change.Value {
			return []change.Value{change.StringValue(draw.Draw(t, "a"+n)), change.RawValue([]byte(draw.Draw(t, "b"+n)))}
		}
		k, l := key("1"), key("2")
		x, err := appendID(nil, two, two.KeyNames(), k)
		y, err2 := appendID(nil, two, two.KeyNames(), l)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if same := k[0].Equal(l[0]) && k[1].Equal(l[1]); same != (string(x) == string(y)) {
			t.Fatalf("%v and %v have the ids %x and %x", k, l, x, y)
		}
	})
	moment := &change.Table{Columns: []change.Column{{Name: "at", Type: change.DateTime, Scale: 6}}, Key: []int{0}}
	id, err := appendID(nil, moment, moment.KeyNames(), []change.Value{change.StringValue("2026-01-02 03:04:05.678001")})
	if v := elementValue(id, "_id"); err != nil || v.Type != bson.TypeString {
		t.Errorf("a date's id is %s (%v), want text: milliseconds would collide", v, err)
	}
}

// TestOutcomes: what an error of one write means.
func TestOutcomes(t *testing.T) {
	raw := func(d bson.D) bson.Raw {
		b, err := bson.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		e    mongo.WriteError
		want outcome
	}{
		{mongo.WriteError{Code: 11000, Message: "E11000 duplicate key error collection: d.c index: _id_ dup key: { _id: 1 }"}, taken},
		{mongo.WriteError{Code: 11000, Message: "E11000 duplicate key error index: d.c.$_id_ dup key: { : 1 }"}, taken},
		{mongo.WriteError{Code: 11000, Message: `E11000 duplicate key error collection: d.c index: email_1 dup key: { email: " index: _id_ " }`}, badIndex},
		{mongo.WriteError{Code: 11000, Message: "?", Raw: raw(bson.D{{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: 1}}}})}, taken},
		{mongo.WriteError{Code: 11000, Message: " index: _id_ ", Raw: raw(bson.D{{Key: "keyPattern", Value: bson.D{{Key: "email", Value: 1}}}})}, badIndex},
		{mongo.WriteError{Code: 11000, Message: "?", Raw: raw(bson.D{{Key: "keyPattern", Value: bson.D{{Key: "_id", Value: 1}, {Key: "x", Value: 1}}}})}, badIndex},
		{mongo.WriteError{Code: 112}, again},
		{mongo.WriteError{Code: 10107}, again},
		{mongo.WriteError{Code: 13}, badAccount},
		{mongo.WriteError{Code: 121}, badDocument},
		{mongo.WriteError{Code: 16755}, badDocument},
		{mongo.WriteError{Code: math.MaxInt32}, badDocument},
	} {
		if got := outcomeOf(&c.e); got != c.want {
			t.Errorf("%d %s %v: %d, want %d", c.e.Code, c.e.Message, c.e.Raw, got, c.want)
		}
	}
}

// TestJudge: the kind of the driver's errors decides what follows.
func TestJudge(t *testing.T) {
	target := &Target{config: Config{URI: "mongodb://h", Database: "d"}}
	for _, c := range []struct {
		err  error
		want change.Severity
	}{
		{errors.New("server selection error: connection refused"), change.Retry},
		{errors.New("connection() error occurred during connection handshake: auth error: sasl conversation error"), change.Configuration},
		{mongo.CommandError{Code: 13, Message: "not authorized"}, change.Configuration},
		{mongo.CommandError{Code: 91, Message: "shutdown"}, change.Retry},
		{mongo.CommandError{Code: 1, Labels: []string{"RetryableWriteError"}}, change.Retry},
		{mongo.CommandError{Code: 1, Labels: []string{"NetworkError"}}, change.Retry},
		{mongo.CommandError{Code: 166, Message: "is a view"}, change.Poison},
		{mongo.BulkWriteException{WriteConcernError: &mongo.WriteConcernError{Code: 64, Message: "waiting for replication timed out"}}, change.Retry},
	} {
		if got := change.SeverityOf(target.judge("x", c.err)); got != c.want {
			t.Errorf("%v is of kind %s, want %s", c.err, got, c.want)
		}
	}
	if target.judge("x", nil) != nil {
		t.Error("no error is one")
	}
}

// TestFits: collections that cannot hold a table.
func TestFits(t *testing.T) {
	for _, c := range []struct {
		said bson.D
		want string
	}{
		{bson.D{{Key: "type", Value: "collection"}}, ""},
		{bson.D{{Key: "type", Value: "view"}}, "is a view"},
		{bson.D{{Key: "type", Value: "timeseries"}}, "is a timeseries"},
		{bson.D{{Key: "options", Value: bson.D{{Key: "capped", Value: true}}}}, "capped"},
		{bson.D{{Key: "options", Value: bson.D{{Key: "collation", Value: bson.D{{Key: "locale", Value: "de"}}}}}}, "collation de"},
		{bson.D{{Key: "options", Value: bson.D{{Key: "collation", Value: bson.D{{Key: "locale", Value: "simple"}}}}}}, ""},
	} {
		b, err := bson.Marshal(c.said)
		var f facts
		if err == nil {
			err = bson.Unmarshal(b, &f)
		}
		if err != nil {
			t.Fatal(err)
		}
		p := f.problem("c")
		if (p == nil) != (c.want == "") || p != nil && !strings.Contains(p.What, c.want) {
			t.Errorf("%v: %v, want %q", c.said, p, c.want)
		}
	}
}
