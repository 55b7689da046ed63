package source

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema/avro"
)

func people() *change.Table {
	text := func(name string) change.Column {
		return change.Column{Name: name, Type: change.VarChar, Length: 40, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	}
	return &change.Table{TableName: change.TableName{DB: "shop", Name: "customers"}, Key: []int{3}, Columns: []change.Column{
		text("note"), text("email"), text("phone"), {Name: "id", Type: change.Int}, text("country"), {Name: "price", Type: change.Decimal, Precision: 8, Scale: 2, Nullable: true}}}
}

func loadRules(t *testing.T, rules string) *Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "source.yaml")
	text := "name: shop\nmysql: {address: \"localhost:1\", user: u}\nkafka: {brokers: [\"localhost:1\"], registry: \"http://localhost\"}\n" + rules
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRulesOfTheDocs writes rows by the rules of the page about shapes, and reads them back as everybody can.
func TestRulesOfTheDocs(t *testing.T) {
	t.Setenv("HASH_SALT", "pepper")
	page, err := os.ReadFile("../docs/shape.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "<!-- a source's rules that a test reads -->\n```yaml\n")
	rules, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("there is no example")
	}
	c := loadRules(t, rules)
	e, err := c.Encoder(people(), "shop.shop.customers")
	if err != nil {
		t.Fatal(err)
	}
	d, err := avro.NewDecoder(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(e.ValueSchema(), "pepper") {
		t.Error("the secret is in the schema")
	}
	row := avro.Row{Text: [][]byte{[]byte("hush"), []byte("a@b.de"), []byte("0301234"), []byte("7"), []byte("DE"), nil}}
	b, err := e.AppendValue(nil, &avro.Event{Op: change.Read, After: row})
	if err != nil {
		t.Fatal(err)
	}
	var out avro.Decoded
	if err := d.Decode(b, &out); err != nil {
		t.Fatal(err)
	}
	var said []string
	for i, v := range out.After {
		said = append(said, d.Table().Columns[i].Name+"="+v.String())
	}
	want := fmt.Sprintf("email=%x phone=*****34 id=7 country=DE price=NULL", sha256.Sum256([]byte("peppera@b.de")))
	if got := strings.Join(said, " "); got != want {
		t.Errorf("the row is %s\nwant %s", got, want)
	}
	key, err := e.AppendKey(nil, row)
	if err != nil || len(key) != 1 {
		t.Errorf("the key is %x (%v)", key, err)
	}
	// A delete of which only the key is known: the columns stand elsewhere than at the server.
	if b, err = e.AppendValue(nil, &avro.Event{Op: change.Delete, BeforeKey: key}); err == nil {
		err = d.Decode(b, &out)
	}
	if err != nil || out.Before[d.Table().Column("id")].Int() != 7 || !out.Before[0].IsNull() {
		t.Errorf("the delete has %v (%v)", out.Before, err)
	}
	for country, want := range map[string]bool{"DE": true, "XX": false} {
		row.Text[4] = []byte(country)
		if passes, err := e.Passes(row); err != nil || passes != want {
			t.Errorf("%s passes: %t (%v)", country, passes, err)
		}
	}
}

func TestRulesAreChecked(t *testing.T) {
	for _, test := range []struct{ rule, want string }{
		{"{match: shop.customers, columns: {emial: {drop: true}}}", `column "emial" is not in shop.customers`},
		{"{match: shop.customers, columns: {id: {drop: true}}}", "column id is part of the key"},
		{"{match: shop.customers, columns: {id: {hash: {salt: x}}}}", "column id is part of the key"},
		{"{match: shop.customers, where: country = 'DE'}", "expression"},
	} {
		c := loadRules(t, "tables: ["+test.rule+"]\n")
		if _, err := c.Encoder(people(), "t"); err == nil || change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v\nwant %q", test.rule, err, test.want)
		}
	}
	c := loadRules(t, "tables: [{match: shop.*, columns: {emial: {drop: true}, note: {drop: true}}}]\n")
	if e, err := c.Encoder(people(), "t"); err != nil || strings.Contains(e.ValueSchema(), `"note"`) {
		t.Errorf("a pattern's columns need not be in all tables: %v", err)
	}
	// What a filter says of a row that it cannot decide is told everywhere: nothing of the row may be in it.
	c = loadRules(t, "tables: [{match: shop.customers, where: int(note) > 1}]\n")
	e, err := c.Encoder(people(), "t")
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Passes(avro.Row{Text: [][]byte{[]byte("hush"), nil, nil, []byte("7"), nil, nil}})
	if err == nil || strings.Contains(change.Explain(err), "hush") {
		t.Errorf("the error is %v", err)
	}
}

// TestFingerprintOfARule: what lets out other rows or values has another.
func TestFingerprintOfARule(t *testing.T) {
	seen := make(map[string]string)
	for _, rule := range []string{"{match: shop.a}", "{match: shop.a, where: a > 1}", "{match: shop.a, where: a > 2}", "{match: shop.a, columns: {a: {drop: true}}}",
		"{match: shop.a, columns: {a: {hash: {salt: x}}}}", "{match: shop.a, columns: {a: {hash: {salt: y}}}}", "{match: shop.a, columns: {a: {hash: {key: x}}}}", "{match: shop.a, columns: {a: {mask: {keep_last: 1}}}}"} {
		c := loadRules(t, "tables: ["+rule+"]\n")
		f := c.Tables[0].fingerprint()
		if other, ok := seen[f]; ok {
			t.Errorf("%s and %s have the fingerprint %q", other, rule, f)
		}
		seen[f] = rule
	}
	if seen[""] != "{match: shop.a}" {
		t.Error(fmt.Sprint(seen))
	}
}
