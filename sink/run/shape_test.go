package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/shape"
)

// example returns the YAML that follows a mark in the page about shapes.
func example(t *testing.T, mark string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/shape.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), mark+"\n```yaml\n")
	example, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("there is no example after %s", mark)
	}
	return example
}

func loadPage(t *testing.T, more string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.yaml")
	if err := os.WriteFile(file, []byte("group: g\nkafka: {brokers: [\"localhost:1\"], registry: \"http://localhost\"}\ntopics: [\"shop.shop.*\"]\n"+more), 0o600); err != nil {
		t.Fatal(err)
	}
	page := Default()
	err := config.Load(file, &page)
	return page, err
}

// TestShapeOfTheDocs reads the page's example and holds it against tables as it means them.
func TestShapeOfTheDocs(t *testing.T) {
	t.Setenv("HASH_KEY", "secret")
	page, err := loadPage(t, example(t, "<!-- a page that a test reads -->"))
	if err != nil {
		t.Fatal(err)
	}
	text := func(names ...string) (all []change.Column) {
		for _, name := range names {
			all = append(all, change.Column{Name: name, Type: change.VarChar, Length: 40, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"})
		}
		return all
	}
	want := map[string]string{
		"customers": "crm.people id,full_name,email,phone,note,balance,country,deleted_at,cents,origin,region key id",
		"orders":    "shop.orders_open id,status key id; shop.orders_paid id,status key id", "clicks": "shop.events id,kind key kind,id", "views": "shop.events id,kind key kind,id",
	}
	want["customers"] = strings.Replace(want["customers"], "crm.people", "shop.people", 1)
	for name, said := range want {
		table := &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0}, Columns: []change.Column{{Name: "id", Type: change.Int}}}
		switch name {
		case "customers":
			table.Columns = append(table.Columns, text("name", "email", "phone", "note", "card")...)
			table.Columns = append(table.Columns, change.Column{Name: "balance", Type: change.Decimal, Precision: 10, Scale: 2})
			table.Columns = append(table.Columns, text("country", "deleted_at")...)
		case "orders":
			table.Columns = append(table.Columns, text("status")...)
		}
		spec := shape.Find(page.Shape, table.TableName)
		var got []string
		for _, o := range spec.Outputs(table.TableName) {
			f, err := spec.Compile(o, "shop", table, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			got = append(got, f.To.String()+" "+strings.Join(columnNames(f.To), ",")+" key "+strings.Join(f.To.KeyNames(), ","))
		}
		if strings.Join(got, "; ") != said {
			t.Errorf("%s becomes %q\nwant %q", name, strings.Join(got, "; "), said)
		}
	}
	if key := page.Shape[0].Columns["email"].Hash.Key; key != "secret" {
		t.Errorf("the key is %q", string(key))
	}
}

// TestShapeIsChecked reads pages that are wrong.
func TestShapeIsChecked(t *testing.T) {
	for _, test := range []struct{ page, want string }{
		{"shape: [{table: shop.a, wher: x}]", `unknown key "wher" under shape[0] (did you mean "where"?)`},
		{"shape: [{table: shop.a, columns: {a: {}}}]", "shape[0].columns.a: says nothing"},
		{"shape: [{table: shop.a, to: b}, {table: shop.b}]", "shape[1].key: shop.a and shop.b both become shop.b"},
		{"shape: [{table: shop.a, to: [b]}]", "shape[0].to: want the name of a table"},
	} {
		if _, err := loadPage(t, test.page); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v\nwant %q", test.page, err, test.want)
		}
	}
}

// TestParseRow reads rows as people write them.
func TestParseRow(t *testing.T) {
	table := &change.Table{TableName: change.TableName{DB: "shop", Name: "t"}, Key: []int{0}, Columns: []change.Column{
		{Name: "id", Type: change.BigInt, Unsigned: true}, {Name: "f", Type: change.Double}, {Name: "b", Type: change.Blob}, {Name: "bit", Type: change.Bit, Length: 12}, {Name: "d", Type: change.Decimal, Precision: 5, Scale: 2}}}
	row, err := parseRow(table, `{"ID": 18446744073709551615, "f": 1.5, "b": "0xff00", "bit": 258, "d": "1.50"}`)
	if err != nil || row[0].Uint() != 1<<64-1 || row[1].Float() != 1.5 || len(row[2].Bytes) != 2 || row[3].Bytes[0] != 1 || row[4].String() != "1.50" {
		t.Errorf("%v (%v)", row, err)
	}
	for text, want := range map[string]string{`{"id": 1, "x": 2}`: `no column "x" (id, f`, `{"f": 1}`: "column id is of the key", `{"id": "one"}`: "column id", `[1]`: "no JSON object"} {
		if _, err := parseRow(table, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
