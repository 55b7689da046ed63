package elasticsearch_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
)

// TestIDsTellKeysApart: different keys of one table have different ids, none empty or longer than the server takes.
func TestIDsTellKeysApart(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[|\\#a]{0,6}`), rapid.String(), rapid.StringMatching(`[|a]{500,520}`))
	kinds := map[change.Kind]*rapid.Generator[change.Value]{
		change.Str:    rapid.Map(text, change.StringValue),
		change.Raw:    rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, '|', 255}), 0, 5), change.RawValue),
		change.Int64:  rapid.Map(rapid.Int64Range(-30, 30), change.IntValue),
		change.Uint64: rapid.Map(rapid.Uint64(), change.UintValue),
	}
	rapid.Check(t, func(t *rapid.T) {
		var key, other []change.Value
		for range rapid.IntRange(1, 3).Draw(t, "columns") {
			g := kinds[rapid.SampledFrom([]change.Kind{change.Str, change.Raw, change.Int64, change.Uint64}).Draw(t, "kind")]
			key = append(key, g.Draw(t, "value"))
			other = append(other, g.Draw(t, "other value"))
		}
		equal := true
		for i := range key {
			equal = equal && key[i].Equal(other[i])
		}
		a, b := elasticsearch.AppendID(nil, key), elasticsearch.AppendID(nil, other)
		if bytes.Equal(a, b) != equal {
			t.Fatalf("keys %q and %q have the ids %q and %q", key, other, a, b)
		}
		if len(a) == 0 || len(a) > 512 || !utf8.Valid(a) {
			t.Fatalf("id %q of %d bytes", a, len(a))
		}
	})
}

func TestIDs(t *testing.T) {
	long := strings.Repeat("x", 512)
	for _, c := range []struct {
		want string
		key  []change.Value
	}{
		{"-5", []change.Value{change.IntValue(-5)}},
		{"18446744073709551615", []change.Value{change.UintValue(1<<64 - 1)}},
		{`a\|b|c\\|7`, []change.Value{change.StringValue("a|b"), change.StringValue(`c\`), change.IntValue(7)}},
		{"|", []change.Value{change.StringValue(""), change.StringValue("")}},
		{"00ff", []change.Value{change.RawValue([]byte{0, 255})}},
		{`\#e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855`, []change.Value{change.StringValue("")}},
		{long, []change.Value{change.StringValue(long)}},
		{`\#35ade0090e64e74d6ad04204009c23a4e34b82bdf0f4f317fbcc5f26f9b10241`, []change.Value{change.StringValue(long + "x")}},
	} {
		if got := string(elasticsearch.AppendID([]byte("before:"), c.key)); got != "before:"+c.want {
			t.Errorf("the id of %q is %q, want %q", c.key, got, c.want)
		}
	}
}

// TestKeysOfAllKinds: what the server takes for an id of its own, or not at all.
func TestKeysOfAllKinds(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		of := &change.Table{TableName: change.TableName{DB: "shop", Name: "keys"}, Key: []int{0}, Columns: []change.Column{
			{Name: "k", Type: change.VarChar, Length: 600, Charset: "utf8mb4", Collation: "utf8mb4_bin"}, note}}
		target := p.prepared(of)
		keys := []string{"", " ", "a", "A", "a ", "é", "😀", "\x00", "\n", `"`, "_id", "#", `\#`, "|", "../x", "%", strings.Repeat("x", 600), strings.Repeat("x", 599)}
		for i, k := range keys {
			apply(t, target, put(of, change.Version(10+i), []change.Value{change.StringValue(k), change.StringValue(k)}))
		}
		got := scan(t, target, of)
		if len(got) > len(keys) || p.count(p.prefix+"shop.keys", matchAll) != len(keys) {
			t.Errorf("%d rows, want %d", len(got), len(keys))
		}
		for i, k := range keys {
			named := scan(t, target, of, []change.Value{change.StringValue(k)}, []change.Value{change.StringValue("absent")})
			if r := named[strings.TrimSpace(k)]; len(named) != 1 || r.Version != change.Version(10+i) || string(r.Values[1].Bytes) != k {
				t.Errorf("key %q gives %v", k, named)
			}
		}
	})
}

func TestFieldNames(t *testing.T) {
	for column, want := range map[string]string{
		"id": "id", "Größe": "Größe", "_id": "%5fid", "_source": "%5fsource", "a.b": "a%2eb", ".": "%2e", "a..b": "a%2e%2eb",
		"100%": "100%25", "%5fid": "%255fid", "a*": "a%2a", " ": "%20", "\u3000x": "%e3%80%80x", "x y": "x y", "a_b": "a_b", "__x": "%5f_x",
	} {
		if got := elasticsearch.FieldName(column); got != want {
			t.Errorf("column %q is field %q, want %q", column, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.OneOf(rapid.StringMatching(`[%_.25fe a]{1,6}`), rapid.StringN(1, 64, -1))
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if (elasticsearch.FieldName(a) == elasticsearch.FieldName(b)) != (a == b) {
			t.Fatalf("columns %q and %q are fields %q and %q", a, b, elasticsearch.FieldName(a), elasticsearch.FieldName(b))
		}
	})
}

// TestColumnsOfAnyName: names that the servers would refuse, take apart or take for their own.
func TestColumnsOfAnyName(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		for _, documents := range []string{elasticsearch.Flat, elasticsearch.Envelope} {
			p.config.Documents = documents
			of := table("names_" + documents)
			values := row(1)
			for _, name := range []string{"_id", "_source", "_doc_count", "_version", "_ignored", "_sluice_deleted", "a", "a.b", "a.", ".a", "a..b", ".", "%", "%2e", "*",
				" x", "\t", "\u3000", `"`, `\`, "after", "op", "source", "é", "x^2", "select"} {
				of.Columns = append(of.Columns, change.Column{Name: name, Type: change.Int})
				values = append(values, change.IntValue(int64(len(values))))
			}
			target := p.prepared(of)
			if err := target.Prepare(t.Context(), "g", "src", []*change.Table{of}); err != nil {
				t.Fatal(err)
			}
			apply(t, target, put(of, 10, values))
			got := scan(t, target, of)["1"]
			for i := range of.Columns {
				if len(got.Values) <= i || !got.Values[i].Equal(values[i]) {
					t.Fatalf("%s: column %q reads back wrong: %v", documents, of.Columns[i].Name, got.Values)
				}
			}
			field := "a%2eb"
			if documents == elasticsearch.Envelope {
				field = "after." + field
			}
			if n := p.count(p.prefix+"shop.names_"+documents, `{"term":{"`+field+`":8}}`); n != 1 {
				t.Errorf("%s: %d documents found by column a.b, want 1", documents, n)
			}
		}
	})
}

func TestAliases(t *testing.T) {
	long := strings.Repeat("n", 64)
	for _, c := range []struct{ pattern, source, db, table, want string }{
		{"{source}.{db}.{table}", "shop", "Shop", "Orders", "shop.shop.orders"},
		{"{table}", "s", "d", "_x", "%5fx"},
		{"{table}", "s", "d", "..", "%2e."},
		{"{db}-{table}", "s", "a b", `*?"<>|,#:/\%`, "a%20b-%2a%3f%22%3c%3e%7c%2c%23%3a%2f%5c%25"},
		{"{table}", "s", "d", "Ärger+é", "ärger+é"},
		{"{source}{db}{table}", long, long, long, strings.Repeat("n", 192)},
	} {
		config := elasticsearch.Config{Index: c.pattern}
		if got := elasticsearch.Alias(&config, c.source, change.TableName{DB: c.db, Name: c.table}); got != c.want {
			t.Errorf("%s of %s, %s, %s is %q, want %q", c.pattern, c.source, c.db, c.table, got, c.want)
		}
	}
	names := make(map[string]bool)
	config := elasticsearch.Config{Index: "{table}"}
	for _, tail := range []string{"", "a", "A", "b"} {
		name := elasticsearch.Alias(&config, "s", change.TableName{DB: "d", Name: strings.Repeat("é", 150) + tail})
		if len(name)+len("-rows") > 255 || !utf8.ValidString(name) || !strings.HasPrefix(name, strings.Repeat("é", 100)) {
			t.Errorf("the alias %q is too long or no text", name)
		}
		names[name] = true
	}
	if len(names) != 4 {
		t.Errorf("4 long names have %d aliases", len(names))
	}
}

// TestIndexesOfAnyName makes an index for names that need escapes.
func TestIndexesOfAnyName(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		for i, name := range []string{"-x é*", `a+b%?y=z,/\|"#:`, `<x{now/d}>`, strings.Repeat("漢", 64)} {
			of := table(name, note)
			p.config.Index = p.prefix + "{table}{table}" // 128 letters of 3 bytes are too long
			target := p.prepared(of)
			apply(t, target, put(of, change.Version(10+i), row(int64(i), change.StringValue(name))))
			if got := scan(t, target, of); len(got) != 1 {
				t.Errorf("table %q has the rows %v", name, got)
			}
		}
	})
}
