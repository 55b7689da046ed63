package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/linkedin/goavro/v2"
	"github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

var update = flag.Bool("update", false, "write the golden files anew")

// everyType is a table with each type in each form, and names that Avro does not take.
func everyType() *change.Table {
	text := func(name string, t change.Type, length int) change.Column {
		return change.Column{Name: name, Type: t, Length: length, Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci", Nullable: true}
	}
	return &change.Table{
		TableName: change.TableName{DB: "shop", Name: "every-type"},
		Columns: []change.Column{
			{Name: "id", Type: change.BigInt, Unsigned: true},
			{Name: "part", Type: change.VarChar, Length: 20, Charset: "latin1", Collation: "latin1_bin"},
			{Name: "tiny", Type: change.TinyInt}, {Name: "utiny", Type: change.TinyInt, Unsigned: true},
			{Name: "small", Type: change.SmallInt}, {Name: "usmall", Type: change.SmallInt, Unsigned: true},
			{Name: "medium", Type: change.MediumInt}, {Name: "int", Type: change.Int},
			{Name: "uint", Type: change.Int, Unsigned: true}, {Name: "big", Type: change.BigInt, Nullable: true},
			{Name: "ubig", Type: change.BigInt, Unsigned: true}, {Name: "price", Type: change.Decimal, Precision: 12, Scale: 4},
			{Name: "float", Type: change.Float}, {Name: "double", Type: change.Double},
			{Name: "bit", Type: change.Bit, Length: 1}, {Name: "bits", Type: change.Bit, Length: 12},
			{Name: "year", Type: change.Year}, {Name: "date", Type: change.Date, Nullable: true},
			{Name: "time", Type: change.Time, Scale: 6}, {Name: "datetime", Type: change.DateTime},
			{Name: "datetime6", Type: change.DateTime, Scale: 6}, {Name: "timestamp", Type: change.Timestamp, Scale: 3},
			text("char", change.Char, 10), text("first name", change.VarChar, 40), text("text", change.MediumText, 0),
			{Name: "binary", Type: change.Binary, Length: 16}, {Name: "blob", Type: change.LongBlob, Nullable: true},
			{Name: "2nd", Type: change.Enum, Elements: []string{"a", "b\"c", "größe"}, Charset: "utf8mb4", Collation: "utf8mb4_bin"},
			{Name: "set", Type: change.Set, Elements: []string{"x", "y"}, Charset: "latin1", Collation: "latin1_swedish_ci"},
			{Name: "json", Type: change.JSON, Nullable: true}, {Name: "geo", Type: change.Geometry, Geometry: "polygon", Nullable: true},
			{Name: "geo2", Type: change.Geometry, Geometry: "geometry"}, {Name: "point", Type: change.Geometry, Geometry: "point"},
			{Name: "embedding", Type: change.Vector, Length: 3},
		},
		Key: []int{1, 0},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(got), "", " "); err != nil {
		t.Fatalf("%s is no JSON: %v\n%s", name, err, got)
	}
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, append(indented.Bytes(), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSuffix(string(want), "\n"), indented.String()); diff != "" {
		t.Errorf("%s changed (every topic would get a new schema version; run with -update if that is meant):\n%s", name, diff)
	}
}

func TestGoldenTexts(t *testing.T) {
	for _, c := range []struct {
		name    string
		options Options
	}{
		{"value-default", Options{}},
		{"value-debezium", Options{TimeConnect, DecimalString, BigintLong, ZeroDateDebezium}},
	} {
		text, err := Value(everyType(), "shop.shop.every-type", c.options)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, c.name, text)
		if strings.ContainsAny(text, "\n\t") {
			t.Errorf("%s is not on one line", c.name)
		}
	}
	key, err := Key(everyType(), "shop.shop.every-type")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "key", key)
}

// TestOtherLibrariesTakeTheTexts: the reference codec and a strict parser both accept what is made.
func TestOtherLibrariesTakeTheTexts(t *testing.T) {
	for _, o := range []Options{{}, {TimeConnect, DecimalString, BigintLong, ""}, {Decimal: DecimalDouble}} {
		text, err := Value(everyType(), "1st-topic.shop..every type", o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := goavro.NewCodec(text); err != nil {
			t.Errorf("goavro: %v", err)
		}
		if _, err := avro.Parse(text); err != nil {
			t.Errorf("twmb/avro: %v", err)
		}
	}
}

func TestDefaultWordsGiveTheDefaultText(t *testing.T) {
	a, _ := Value(everyType(), "t", Options{})
	b, err := Value(everyType(), "t", Options{TimeAdaptive, DecimalPrecise, BigintPrecise, ZeroDateExact})
	if err != nil || a != b {
		t.Errorf("defaults in words give another text (%v):\n%s", err, cmp.Diff(a, b))
	}
	if _, err := Value(everyType(), "t", Options{Decimal: "exact"}); change.SeverityOf(err) != change.Configuration {
		t.Errorf("an unknown word gave %v", err)
	}
}

// TestKeyHoldsOnlyTheKey: what is not of the key's columns must not change the key's schema, and what is must.
func TestKeyHoldsOnlyTheKey(t *testing.T) {
	before, err := Key(everyType(), "t")
	if err != nil {
		t.Fatal(err)
	}
	for name, alter := range map[string]func(*change.Table){
		"other column's type":  func(t *change.Table) { t.Columns[7].Type = change.BigInt },
		"other column dropped": func(t *change.Table) { t.Columns = t.Columns[:20] },
		"column put before":    func(t *change.Table) { t.Columns = append(t.Columns, change.Column{Name: "n", Type: change.Int}) },
		"key column moved": func(t *change.Table) {
			t.Columns[0], t.Columns[5] = t.Columns[5], t.Columns[0]
			t.Key = []int{1, 5}
		},
		"table renamed": func(t *change.Table) { t.Name = "other" },
	} {
		table := everyType()
		alter(table)
		if after, err := Key(table, "t"); err != nil || after != before {
			t.Errorf("%s: key schema changed (%v)\n%s", name, err, cmp.Diff(before, after))
		}
	}
	for name, alter := range map[string]func(*change.Table){
		"order":     func(t *change.Table) { t.Key = []int{0, 1} },
		"type":      func(t *change.Table) { t.Columns[0].Type = change.Int },
		"sign":      func(t *change.Table) { t.Columns[0].Unsigned = false },
		"collation": func(t *change.Table) { t.Columns[1].Collation = "latin1_swedish_ci" },
		"charset":   func(t *change.Table) { t.Columns[1].Charset = "cp1250" },
		"length":    func(t *change.Table) { t.Columns[1].Length = 21 },
		"name":      func(t *change.Table) { t.Columns[1].Name = "Part" },
		"one less":  func(t *change.Table) { t.Key = []int{1} },
	} {
		table := everyType()
		alter(table)
		if after, err := Key(table, "t"); err != nil || after == before {
			t.Errorf("key's %s: key schema is the same (%v)", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for column, want := range map[string]string{
		"id": "id", "first name": "first_name", "2nd": "_2nd", "größe": "gr__e", "": "_", "-": "_", "a.b": "a_b",
		"日本": "__", "_1": "_1", "😀x": "__x", "٣": "_",
	} {
		if got := FieldName(column); got != want {
			t.Errorf("FieldName(%q) = %q, want %q", column, got, want)
		}
	}
	if got := Namespace("my-shop.1db.t x"); got != "my_shop._1db.t_x" {
		t.Errorf("Namespace = %q", got)
	}
}

func TestTablesWithoutASchema(t *testing.T) {
	for name, alter := range map[string]func(*change.Table){
		"no key":               func(t *change.Table) { t.Key = nil },
		"may be NULL":          func(t *change.Table) { t.Columns[0].Nullable = true },
		"both be the Avro":     func(t *change.Table) { t.Columns[2].Name = "first-name" },
		"not UTF-8":            func(t *change.Table) { t.Columns[2].Name = "\xff" },
		"type that is not":     func(t *change.Table) { t.Columns[2].Type = 0 },
		"named twice":          func(t *change.Table) { t.Key = []int{1, 1} },
		"key column 99":        func(t *change.Table) { t.Key = []int{99} },
		"has no name":          func(t *change.Table) { t.Columns[4].Name = "" },
		`"b\xc3" is not UTF-8`: func(t *change.Table) { t.Columns[27].Elements = []string{"b\xc3"} },
	} {
		table := everyType()
		alter(table)
		for kind, makeText := range map[string]func() (string, error){
			"value": func() (string, error) { return Value(table, "t", Options{}) },
			"key":   func() (string, error) { return Key(table, "t") },
		} {
			text, err := makeText()
			if err == nil || text != "" || !strings.Contains(err.Error(), name) || change.SeverityOf(err) != change.Poison {
				t.Errorf("%s of a table: %s: got %q, %v", kind, name, text, err)
			}
		}
	}
}

func TestParseIsTheInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, o := drawTable(t), drawOptions(t)
		text, err := Value(table, "prefix."+table.String(), o)
		if err != nil {
			t.Skip(err) // names that collide
		}
		if rapid.Bool().Draw(t, "reformatted") {
			text = reformat(t, text)
		}
		p, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(table, p.Table); diff != "" {
			t.Fatalf("table: %s\n%s", diff, text)
		}
		if p.Options != o.normal() || p.IsKey {
			t.Fatalf("options %+v, want %+v; key %v", p.Options, o.normal(), p.IsKey)
		}
		for i, r := range p.Reprs {
			if want := ReprOf(&table.Columns[i], o); r != want {
				t.Fatalf("form of %s is %d, want %d", table.Columns[i].Name, r, want)
			}
		}
		parseKey(t, table)
	})
}

func parseKey(t *rapid.T, table *change.Table) {
	text, err := Key(table, "prefix."+table.String())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := &change.Table{}
	for i, c := range table.Key {
		want.Columns = append(want.Columns, table.Columns[c])
		want.Key = append(want.Key, i)
	}
	if diff := cmp.Diff(want, p.Table); diff != "" || !p.IsKey {
		t.Fatalf("key: %s", diff)
	}
}

// reformat does what a registry may do: another order of properties, white space, escapes.
func reformat(t *rapid.T, text string) string {
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(v, " ", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func drawOptions(t *rapid.T) (o Options) {
	for _, c := range choices {
		*c.of(&o) = rapid.SampledFrom(append([]string{""}, c.words...)).Draw(t, c.name)
	}
	return o
}

func drawTable(t *rapid.T) *change.Table {
	name := rapid.StringMatching(`[a-zA-Z0-9_ $"\\ü日-]{1,12}`)
	table := &change.Table{TableName: change.TableName{DB: name.Draw(t, "db"), Name: name.Draw(t, "table")}}
	seen := map[string]bool{}
	for range rapid.IntRange(1, 8).Draw(t, "columns") {
		c := drawColumn(t)
		for c.Name = name.Draw(t, "column"); seen[c.Name]; {
			c.Name += "x"
		}
		seen[c.Name] = true
		table.Columns = append(table.Columns, c)
	}
	order := rapid.Permutation(table.Columns).Draw(t, "key")
	for i := range rapid.IntRange(1, len(table.Columns)).Draw(t, "key columns") {
		column := table.Column(order[i].Name)
		for j := range table.Columns { // Column folds case; here the exact name is meant
			if table.Columns[j].Name == order[i].Name {
				column = j
			}
		}
		table.Columns[column].Nullable = false
		table.Key = append(table.Key, column)
	}
	return table
}

func drawColumn(t *rapid.T) change.Column {
	c := change.Column{
		Type:     change.Type(rapid.IntRange(int(change.TinyInt), int(change.Vector)).Draw(t, "type")),
		Nullable: rapid.Bool().Draw(t, "nullable"),
	}
	text := rapid.StringMatching(`[a-zA-Z'"\\,ß\n]{0,4}`)
	switch c.Type {
	case change.Decimal:
		c.Precision = rapid.IntRange(1, 65).Draw(t, "precision")
		c.Scale = rapid.IntRange(0, min(30, c.Precision)).Draw(t, "scale")
	case change.Time, change.DateTime, change.Timestamp:
		c.Scale = rapid.IntRange(0, 6).Draw(t, "scale")
	case change.Char, change.VarChar, change.Binary, change.VarBinary, change.Vector:
		c.Length = rapid.IntRange(0, 16000).Draw(t, "length")
	case change.Bit:
		c.Length = rapid.IntRange(1, 64).Draw(t, "length")
	case change.Enum, change.Set:
		c.Elements = rapid.SliceOfN(text, 1, 4).Draw(t, "elements")
	case change.Geometry:
		c.Geometry = rapid.SampledFrom([]string{"geometry", "point", "polygon"}).Draw(t, "geometry")
	}
	if c.Type <= change.Double {
		c.Unsigned = rapid.Bool().Draw(t, "unsigned")
	}
	if c.Type.Character() || c.Type == change.Enum || c.Type == change.Set {
		c.Charset = rapid.SampledFrom([]string{"utf8mb4", "latin1"}).Draw(t, "charset")
		c.Collation = c.Charset + "_bin"
	}
	return c
}

// TestForeignTextsAreRefused: Debezium's own schema, other records, and our text with parts taken away.
func TestForeignTextsAreRefused(t *testing.T) {
	ours, err := Value(everyType(), "t", Options{})
	if err != nil {
		t.Fatal(err)
	}
	without := func(old, new string) string {
		if !strings.Contains(ours, old) {
			t.Fatalf("%s is not in the text", old)
		}
		return strings.Replace(ours, old, new, 1)
	}
	for want, text := range map[string]string{
		"parse Avro schema":      `{"type":"rec`,
		"not defined":            `{"type":"record","name":"a","fields":[{"name":"x","type":"nothing"}]}`,
		"no record but string":   `"string"`,
		"no property":            `{"type":"record","name":"Key","namespace":"a.b","fields":[{"name":"id","type":"int"}]}`,
		"sluice.type":            without(`,"sluice.type":"tinyint"`, ``),
		"sluice.database":        without(`"sluice.database"`, `"database"`),
		"sluice.key":             without(`"sluice.key"`, `"key"`),
		"which is no column":     without(`"sluice.key":["part"`, `"sluice.key":["nothing"`),
		"Avro type is":           without(`"sluice.type":"tinyint"`, `"sluice.type":"varchar"`),
		"sluice.unsigned":        without(`"sluice.unsigned":true`, `"sluice.unsigned":"yes"`),
		"sluice.scale":           without(`"sluice.scale":4`, `"sluice.scale":400`),
		"may be NULL":            without(`"sluice.nullable":false`, `"sluice.nullable":true`),
		"unknown value":          without(`"sluice.database"`, `"sluice.decimal":"float","sluice.database"`),
		"record but string":      `{"type":"record","name":"e","fields":[{"name":"before","type":["null","string"]},{"name":"op","type":"string"}]}`,
		"nested too deep":        strings.Repeat(`{"type":"array","items":`, 70) + `"int"` + strings.Repeat("}", 70),
		"union of null and a re": `{"type":"record","name":"e","fields":[{"name":"before","type":"int"},{"name":"op","type":"string"}]}`,
	} {
		if want == "record but string" {
			want = "union of null and a record"
		}
		p, err := Parse(text)
		if err == nil || change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "unknown topic content") {
			t.Errorf("want a Poison with %q, got %v, %v", want, p, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, o := range []Options{{}, {TimeConnect, DecimalString, BigintLong, ""}} {
		text, _ := Value(everyType(), "t", o)
		f.Add(text)
	}
	key, _ := Key(everyType(), "t")
	f.Add(key)
	f.Add(`{"type":"record","name":"a","fields":[{"name":"a","type":"a"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := check(p.Table); err != nil {
			t.Errorf("a table without a schema was read: %v", err)
		}
	})
}

// TestEvolution: everyday DDL passes the registry's default level, BACKWARD; what would bend values does not.
func TestEvolution(t *testing.T) {
	compatible := func(old, new *change.Table) error {
		oldText, err := Value(old, "t", Options{})
		if err != nil {
			t.Fatal(err)
		}
		newText, err := Value(new, "t", Options{})
		if err != nil {
			t.Fatal(err)
		}
		return avro.CheckCompatibility(avro.MustParse(oldText), avro.MustParse(newText))
	}
	for name, c := range map[string]struct {
		alter func(*change.Table)
		fits  bool
	}{
		"ADD COLUMN": {func(t *change.Table) {
			t.Columns = append(t.Columns, change.Column{Name: "n", Type: change.Int, Nullable: true})
		}, true},
		"ADD COLUMN NOT NULL": {func(t *change.Table) { t.Columns = append(t.Columns, change.Column{Name: "n", Type: change.Int}) }, true},
		"DROP COLUMN":         {func(t *change.Table) { t.Columns = t.Columns[:len(t.Columns)-1] }, true},
		"INT to BIGINT":       {func(t *change.Table) { t.Columns[7].Type = change.BigInt }, true},
		"VARCHAR longer":      {func(t *change.Table) { t.Columns[23].Length = 400 }, true},
		"NULL to NOT NULL":    {func(t *change.Table) { t.Columns[9].Nullable = false }, true},
		"NOT NULL to NULL":    {func(t *change.Table) { t.Columns[7].Nullable = true }, true},
		"ENUM gets a name":    {func(t *change.Table) { t.Columns[27].Elements = []string{"a", "b", "c", "d"} }, true},
		"charset":             {func(t *change.Table) { t.Columns[23].Charset, t.Columns[23].Collation = "latin1", "latin1_bin" }, true},
		"BIGINT to INT":       {func(t *change.Table) { t.Columns[9].Type = change.Int }, false},
		"INT to VARCHAR": {func(t *change.Table) {
			t.Columns[7] = t.Columns[23]
			t.Columns[7].Name = "int"
			t.Columns[7].Nullable = false
		}, false},
		"DECIMAL's scale":         {func(t *change.Table) { t.Columns[11].Scale = 2 }, false},
		"column leaves the key":   {func(t *change.Table) { t.Key = []int{1} }, true},
		"column comes to the key": {func(t *change.Table) { t.Key = []int{1, 0, 7} }, false},
	} {
		old, altered := everyType(), everyType()
		c.alter(altered)
		if err := compatible(old, altered); (err == nil) != c.fits {
			t.Errorf("%s: compatible %v, want %v (%v)", name, err == nil, c.fits, err)
		}
		if len(Differences(old, altered)) != 1 {
			t.Errorf("%s: differences are %q", name, Differences(old, altered))
		}
	}
}

func TestDifferences(t *testing.T) {
	old, altered := everyType(), everyType()
	altered.Columns[23].Length, altered.Columns[0].Name = 50, "ident"
	altered.Columns = altered.Columns[:len(altered.Columns)-1]
	want := []string{
		"column id dropped",
		"column first name: varchar(40) charset utf8mb4 collate utf8mb4_0900_ai_ci -> varchar(50) charset utf8mb4 collate utf8mb4_0900_ai_ci",
		"column embedding dropped",
		"column ident added: bigint unsigned not null",
		"key: (part, id) -> (part, ident)",
	}
	if diff := cmp.Diff(want, Differences(old, altered)); diff != "" {
		t.Error(diff)
	}
	if same := Differences(old, everyType()); len(same) > 0 {
		t.Errorf("equal tables differ: %q", same)
	}
	if got, want := Describe(&old.Columns[27]), `enum('a','b"c','größe') charset utf8mb4 collate utf8mb4_bin not null`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestLossy(t *testing.T) {
	if lossy := (Options{}).Lossy(everyType()); len(lossy) > 0 {
		t.Errorf("the default loses %q", lossy)
	}
	lossy := Options{TimeConnect, DecimalDouble, BigintLong, ZeroDateDebezium}.Lossy(everyType())
	want := []string{"price", "date", "time", "datetime", "datetime6", "datetime6", "timestamp"}
	for i, l := range lossy {
		lossy[i], _, _ = strings.Cut(l, ":")
	}
	if diff := cmp.Diff(want, lossy); diff != "" {
		t.Error(diff)
	}
}
