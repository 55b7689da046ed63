package shape

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

func customers() *change.Table {
	text := func(name string, nullable bool) change.Column {
		return change.Column{Name: name, Type: change.VarChar, Length: 40, Nullable: nullable, Charset: "latin1", Collation: "latin1_swedish_ci"}
	}
	return &change.Table{
		TableName: change.TableName{DB: "shop", Name: "customers"},
		Columns: []change.Column{
			{Name: "id", Type: change.Int}, text("Email", true), text("phone", true), text("country", false),
			{Name: "amount", Type: change.Decimal, Precision: 10, Scale: 2, Nullable: true},
			{Name: "flags", Type: change.Bit, Length: 8, Nullable: true},
		},
		Key: []int{0},
	}
}

func customer(id int64, email, phone, country, amount string) []change.Value {
	text := func(s string) change.Value {
		if s == "" {
			return change.Value{}
		}
		return change.StringValue(s)
	}
	return []change.Value{change.IntValue(id), text(email), text(phone), text(country), text(amount), change.RawValue([]byte{5})}
}

func compiled(t *testing.T, s Spec, from *change.Table) *Form {
	t.Helper()
	s.Check(func(path, problem string) { t.Errorf("%s: %s", path, problem) })
	f, err := s.Compile(s.Outputs(from.TableName)[0], "src", from, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestForm(t *testing.T) {
	shop := "eu"
	f := compiled(t, Spec{
		Table: "shop.customers", To: To{Name: "people"}, Where: "country == 'DE' && float(amount) > 1",
		Columns: map[string]Column{
			"email":   {Hash: &Hash{Key: "k"}, Rename: "mail"},
			"phone":   {Mask: &Mask{KeepLast: 2}},
			"country": {Drop: true},
			"amount":  {Cast: "decimal(20,4)"},
			"flags":   {Cast: "int"},
		},
		Add: map[string]Added{"origin": {Value: &shop}, "whole": {Expr: "int(float(amount) * 100)", Type: "bigint"}},
		Key: []string{"origin", "id"},
	}, customers())
	var got []string
	row, err := f.Row(customer(7, "a@b.de", "0301234", "DE", "12.50"))
	for i, v := range row {
		got = append(got, f.To.Columns[i].Name+"="+v.String())
	}
	mac := hmac.New(sha256.New, []byte("k"))
	mac.Write([]byte("a@b.de"))
	want := "id=7 mail=" + hex.EncodeToString(mac.Sum(nil)) + " phone=*****34 amount=12.5000 flags=5 origin=eu whole=1250"
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("the row is %v (%v)\nwant %s", got, err, want)
	}
	if names := strings.Join(f.To.KeyNames(), " "); names != "origin id" || f.To.String() != "shop.people" {
		t.Errorf("table %s has the key %s", f.To, names)
	}
	key := f.Key([]change.Value{change.IntValue(7)})
	if len(key) != 2 || key[0].String() != "eu" || f.SourceKey(key)[0].Int() != 7 || !f.Owns(key) || f.Owns([]change.Value{change.StringValue("us"), change.IntValue(7)}) {
		t.Errorf("the key is %v", key)
	}
	for _, test := range []struct {
		row  []change.Value
		want bool
	}{
		{customer(1, "", "", "DE", "2"), true},
		{customer(1, "", "", "FR", "2"), false},
		{customer(1, "", "", "DE", "1"), false},
	} {
		if ok, err := f.Passes(test.row); ok != test.want || err != nil {
			t.Errorf("%v passes: %t, %v", test.row, ok, err)
		}
	}
	if _, err := f.Passes(customer(1, "", "", "DE", "")); err == nil {
		t.Error("float(NULL) is no error")
	}
	null, err := f.Row(customer(1, "", "", "DE", "1"))
	if err != nil || !null[1].IsNull() || !null[2].IsNull() {
		t.Errorf("NULL became %v (%v)", null, err)
	}
	if !f.Shares() {
		t.Error("the key has nothing that tells the table's rows from others")
	}
}

// TestColumnOfANewerSchema compiles for rows from before a column was added, which the page names.
func TestColumnOfANewerSchema(t *testing.T) {
	newest := customers()
	old := &change.Table{TableName: newest.TableName, Columns: newest.Columns[:4], Key: newest.Key}
	s := Spec{Table: "shop.customers", Where: "amount == nil || country == 'DE'", Columns: map[string]Column{"amount": {Cast: "double"}}}
	if _, err := s.Compile(s.Outputs(old.TableName)[0], "src", old, old); err == nil {
		t.Error("a column that no schema has is no error")
	}
	f, err := s.Compile(s.Outputs(old.TableName)[0], "src", old, newest)
	if err != nil {
		t.Fatal(err)
	}
	row := customer(1, "a", "b", "FR", "")[:4]
	if ok, err := f.Passes(row); !ok || err != nil {
		t.Errorf("passes: %t, %v", ok, err)
	}
	if out, err := f.Row(row); err != nil || len(out) != 5 || !out[4].IsNull() || f.To.Columns[4].Type != change.Double {
		t.Errorf("the row is %v (%v)", out, err)
	}
}

func TestFormRefuses(t *testing.T) {
	for _, test := range []struct {
		spec Spec
		want string
	}{
		{Spec{Columns: map[string]Column{"emial": {Drop: true}}}, `column "emial" is not in shop.customers (id, Email`},
		{Spec{Columns: map[string]Column{"id": {Drop: true}}}, "part of the key"},
		{Spec{Columns: map[string]Column{"id": {Hash: &Hash{}}}}, "part of the key"},
		{Spec{Columns: map[string]Column{"id": {Cast: "bigint"}}}, "part of the key"},
		{Spec{Columns: map[string]Column{"phone": {Rename: "EMAIL"}}}, "two columns would be called"},
		{Spec{Columns: map[string]Column{"flags": {Cast: "date"}}}, "bit cannot be cast to date"},
		{Spec{Columns: map[string]Column{"phone": {Mask: &Mask{Text: strings.Repeat("x", 41)}}}}, "more than the 40 characters"},
		{Spec{Columns: map[string]Column{"flags": {Mask: &Mask{KeepLast: 1}}}}, "keep_last is for text and numbers"},
		{Spec{Where: "county == 'DE'"}, `column "county" is not in shop.customers`},
		{Spec{Where: "country"}, "expected bool"},
		{Spec{Where: "all(split(country, ''), any(split(phone, ''), # == #))"}, "loop within a loop"},
		{Spec{Where: "now() > date(country)"}, `"now" is not in`},
		{Spec{Add: map[string]Added{"x": {Expr: "id + country", Type: "int"}}}, "invalid operation"},
		{Spec{Add: map[string]Added{"x": {Expr: "id * 2", Type: "int"}}, Key: []string{"id", "x"}}, "cannot be in the key"},
		{Spec{Key: []string{"country"}}, "cannot be in the key"},
		{Spec{Add: map[string]Added{"x": {From: "table"}}, Key: []string{"x"}}, "column id of the source's key is not in the key"},
		{Spec{Key: []string{"nothing"}}, "key column nothing is not in"},
	} {
		test.spec.Table = "shop.customers"
		_, err := test.spec.Compile(Output{Name: customers().TableName}, "src", customers(), nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v\nwant %q", test.spec, err, test.want)
		}
	}
}

func TestSpecCheck(t *testing.T) {
	value := "x"
	for _, test := range []struct {
		spec Spec
		want string
	}{
		{Spec{Table: "customers"}, "want database.table"},
		{Spec{Table: "shop.*", To: To{Name: "all"}}, "a pattern of tables cannot have one name"},
		{Spec{To: To{Tables: map[string]string{"a": ""}}}, "to.a: missing"},
		{Spec{Columns: map[string]Column{"a": {}}}, "columns.a: says nothing"},
		{Spec{Columns: map[string]Column{"a": {Drop: true, Hash: &Hash{}}}}, "columns.a: want one of"},
		{Spec{Columns: map[string]Column{"a": {Mask: &Mask{}}}}, "columns.a: mask: want text"},
		{Spec{Columns: map[string]Column{"a": {Hash: &Hash{Salt: "a", Key: "b"}}}}, "not both"},
		{Spec{Columns: map[string]Column{"a": {Cast: "varchar"}}}, "columns.a: cast: type"},
		{Spec{Add: map[string]Added{"a": {Value: &value, From: "table"}}}, "add.a: want one of"},
		{Spec{Add: map[string]Added{"a": {From: "host"}}}, "want source, database or table"},
		{Spec{Add: map[string]Added{"a": {Expr: "id"}}}, "needs a type"},
	} {
		if test.spec.Table == "" {
			test.spec.Table = "shop.customers"
		}
		var said []string
		test.spec.Check(func(path, problem string) { said = append(said, path+": "+problem) })
		if len(said) != 1 || !strings.Contains(said[0], test.want) {
			t.Errorf("%+v: %q\nwant %q", test.spec, said, test.want)
		}
	}
}

func TestTablesThatComeTogether(t *testing.T) {
	one, two := "1", "2"
	into := func(table string, added map[string]Added, key ...string) Spec {
		return Spec{Table: table, To: To{Name: "shop.all"}, Add: added, Key: key}
	}
	origin := func(a Added) map[string]Added { return map[string]Added{"origin": a} }
	for _, test := range []struct {
		name  string
		specs []Spec
		ok    bool
	}{
		{"no key", []Spec{into("shop.a", nil), into("shop.b", nil)}, false},
		{"by table", []Spec{into("shop.a", origin(Added{From: "table"}), "origin", "id"), into("shop.b", origin(Added{From: "table"}), "origin", "id")}, true},
		{"same database", []Spec{into("shop.a", origin(Added{From: "database"}), "origin", "id"), into("shop.b", origin(Added{From: "database"}), "origin", "id")}, false},
		{"values", []Spec{into("shop.a", origin(Added{Value: &one}), "origin", "id"), into("shop.b", origin(Added{Value: &two}), "origin", "id")}, true},
		{"the same value", []Spec{into("shop.a", origin(Added{Value: &one}), "origin", "id"), into("shop.b", origin(Added{Value: &one}), "origin", "id")}, false},
		{"not in the key", []Spec{into("shop.a", origin(Added{Value: &one}), "id"), into("shop.b", origin(Added{Value: &two}), "id")}, false},
		{"the source's name", []Spec{into("shop.a", origin(Added{From: "source"}), "origin", "id"), into("shop.b", origin(Added{From: "source"}), "origin", "id")}, false},
		{"another name", []Spec{into("shop.a", nil), {Table: "shop.b"}}, true},
		{"the other's own name", []Spec{{Table: "shop.a", To: To{Name: "b"}}, {Table: "shop.b"}}, false},
	} {
		var said []string
		CheckTogether(test.specs, func(path, problem string) { said = append(said, path+": "+problem) })
		if ok := len(said) == 0; ok != test.ok {
			t.Errorf("%s: %q", test.name, said)
		}
	}
}

// TestFingerprint: tables that come together have one, and another that only has the name has another.
func TestFingerprint(t *testing.T) {
	specs := []Spec{{Table: "shop.a", To: To{Name: "c"}}, {Table: "shop.b", To: To{Name: "c"}}, {Table: "shop.*"}}
	c := change.TableName{DB: "shop", Name: "c"}
	a, b, own := Fingerprint(specs, &specs[0], c), Fingerprint(specs, &specs[1], c), Fingerprint(specs, &specs[2], c)
	if a != b || a == own || a == Fingerprint(specs[:1], &specs[0], c) {
		t.Errorf("a %s, b %s, c's own %s", a, b, own)
	}
}

func TestCast(t *testing.T) {
	for _, test := range []struct {
		v    change.Value
		to   string
		want string // empty: it does not fit
	}{
		{change.IntValue(127), "tinyint", "127"},
		{change.IntValue(128), "tinyint", ""},
		{change.IntValue(-1), "int unsigned", ""},
		{change.UintValue(1<<64 - 1), "bigint unsigned", "18446744073709551615"},
		{change.UintValue(1 << 63), "bigint", ""},
		{change.StringValue("12.00"), "int", "12"},
		{change.StringValue("12.50"), "int", ""},
		{change.Float64Value(1e6), "int", "1000000"},
		{change.Float64Value(0.5), "int", ""},
		{change.StringValue(""), "int", ""},
		{change.StringValue("12.5"), "decimal(5,2)", "12.50"},
		{change.StringValue("-0.00"), "decimal(5,2)", "0.00"},
		{change.StringValue("-.5"), "decimal(5,2)", "-0.50"},
		{change.StringValue("0012.500"), "decimal(5,2)", "12.50"},
		{change.StringValue("12.505"), "decimal(5,2)", ""},
		{change.StringValue("1234"), "decimal(5,2)", ""},
		{change.StringValue("."), "decimal(5,2)", ""},
		{change.Float64Value(1.005), "decimal(5,2)", "1.00"},
		{change.IntValue(3), "decimal(5,0)", "3"},
		{change.StringValue("1.5e3"), "double", "1500"},
		{change.StringValue("x"), "double", ""},
		{change.IntValue(42), "varchar(2)", "42"},
		{change.IntValue(142), "varchar(2)", ""},
		{change.StringValue("äöü"), "varchar(3)", "äöü"},
		{change.RawValue([]byte{0xff}), "text", ""},
		{change.StringValue("2026-02-03 04:05:06.789"), "date", "2026-02-03"},
		{change.StringValue("2026-02-03"), "datetime(3)", "2026-02-03 00:00:00.000"},
		{change.StringValue("2026-02-03 04:05:06.500"), "datetime(1)", "2026-02-03 04:05:06.5"},
		{change.StringValue("2026-02-03 04:05:06.555"), "datetime(1)", ""},
		{change.StringValue("2026-02-30"), "date", ""},
		{change.StringValue("0000-00-00"), "date", "0000-00-00"},
		{change.StringValue(`{"a": 1}`), "json", `{"a": 1}`},
		{change.StringValue(`{a}`), "json", ""},
	} {
		c, err := ParseType(test.to)
		if err != nil {
			t.Fatal(err)
		}
		got, err := converter(&c, false)(test.v)
		if test.want == "" {
			if err == nil {
				t.Errorf("%v as %s is %v", test.v, test.to, got)
			}
			continue
		}
		if err != nil || got.String() != test.want {
			t.Errorf("%v as %s is %v (%v), want %s", test.v, test.to, got, err, test.want)
		}
	}
	for _, text := range []string{"int(5)", "varchar", "varchar(0)", "decimal", "decimal(2,3)", "double unsigned", "enum('a')", "time", "datetime(7)", "", "int; drop"} {
		if _, err := ParseType(text); err == nil {
			t.Errorf("%q is a type", text)
		}
	}
}

// TestSecretsAreNotTold prints a page's entry in every way there is.
func TestSecretsAreNotTold(t *testing.T) {
	s := Spec{Table: "shop.a", Columns: map[string]Column{"a": {Hash: &Hash{Salt: "thesalt"}}, "b": {Hash: &Hash{Key: "thekey"}}}}
	for _, said := range []string{fmt.Sprintf("%v %+v %#v", *s.Columns["a"].Hash, *s.Columns["a"].Hash, *s.Columns["b"].Hash), string(s.text())} {
		if strings.Contains(said, "thesalt") || strings.Contains(said, "thekey") {
			t.Errorf("a secret is in %s", said)
		}
	}
	other := s
	other.Columns = map[string]Column{"a": {Hash: &Hash{Salt: "othersalt"}}, "b": s.Columns["b"]}
	name := change.TableName{DB: "shop", Name: "a"}
	if Fingerprint([]Spec{s}, &s, name) == Fingerprint([]Spec{other}, &other, name) {
		t.Error("another salt has the same fingerprint")
	}
}
