package shape

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Spec is one entry of a configuration's shape: how the rows of a table are at the target. The first entry that matches a table is
// for it; a table that none matches stays as it is.
type Spec struct {
	Table string `yaml:"table"` // database.table at the source; * and ? stand for any text and any one character
	Where string `yaml:"where"` // only rows of which this expression over the columns is true are at the target
	To    To     `yaml:"to"`    // another name, or several with a condition each

	Columns map[string]Column `yaml:"columns"` // columns of the source that change or go; all others stay as they are
	Add     map[string]Added  `yaml:"add"`     // columns that the source has not

	// Key names the key's columns at the target, where they are not the source's: all of those, and added ones that are the same in
	// every row of the table, so that tables that come together in one have keys that differ.
	Key []string `yaml:"key"`
}

// To says what the table is called at the target.
type To struct {
	Name   string            // table or database.table; empty: as at the source
	Tables map[string]string // or several tables, each with the condition by which a row is in it
}

// UnmarshalYAML reads a name, or a map of names and conditions.
func (t *To) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&t.Name) == nil {
		return nil
	}
	t.Name = ""
	if unmarshal(&t.Tables) != nil || len(t.Tables) == 0 {
		return fmt.Errorf("want the name of a table, or {name: condition, name: condition}")
	}
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (t To) MarshalYAML() (any, error) {
	if t.Tables != nil {
		return t.Tables, nil
	}
	return t.Name, nil
}

// Column says what becomes of a column of the source.
type Column struct {
	Drop   bool   `yaml:"drop"`
	Rename string `yaml:"rename"`
	Cast   string `yaml:"cast"` // a type as SQL writes it; a value that does not fit is an error, never bent
	Mask   *Mask  `yaml:"mask"`
	Hash   *Hash  `yaml:"hash"`
}

// Mask hides a text. NULL stays NULL.
type Mask struct {
	Text     string `yaml:"text" json:"text,omitempty"`           // stands for every value
	KeepLast int    `yaml:"keep_last" json:"keep_last,omitempty"` // or: all but so many characters at the end become *
}

// Hash makes 64 hexadecimal digits of a value's text: HMAC-SHA-256 where there is a key, else SHA-256 of the salt and the text. NULL stays
// NULL. Without either, whoever can guess values can find them.
type Hash struct {
	Salt Secret `yaml:"salt"`
	Key  Secret `yaml:"key"`
}

// Added is a column that the source has not. One of Value, From and Expr says what is in it.
type Added struct {
	Value *string `yaml:"value"` // the same in every row
	From  string  `yaml:"from"`  // source, database or table: the name of what the row came from
	Expr  string  `yaml:"expr"`  // an expression over the columns of the source
	Type  string  `yaml:"type"`  // as in Column.Cast; needed with an expression; else varchar(64)
}

// Secret is a text that prints as stars.
type Secret string

// String returns stars, or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "*****"
}

// GoString returns stars, for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// MarshalText returns stars, for JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Matches reports whether the entry is for that table.
func (s *Spec) Matches(t change.TableName) bool {
	ok, err := path.Match(s.Table, t.String())
	return err == nil && ok
}

// Find returns the entry for a table, nil where there is none.
func Find(specs []Spec, t change.TableName) *Spec {
	for i := range specs {
		if specs[i].Matches(t) {
			return &specs[i]
		}
	}
	return nil
}

// Outputs returns the names that the table's rows have at the target, with the condition of each, in order.
func (s *Spec) Outputs(t change.TableName) []Output {
	name := func(text string) change.TableName {
		if text == "" {
			return t
		}
		if db, table, ok := strings.Cut(text, "."); ok {
			return change.TableName{DB: db, Name: table}
		}
		return change.TableName{DB: t.DB, Name: text}
	}
	if s.To.Tables == nil {
		return []Output{{Name: name(s.To.Name)}}
	}
	var outputs []Output
	for _, text := range slices.Sorted(maps.Keys(s.To.Tables)) {
		outputs = append(outputs, Output{name(text), s.To.Tables[text]})
	}
	return outputs
}

// Output is one table that rows go to.
type Output struct {
	Name  change.TableName
	Where string // empty: all rows that the entry lets through
}

// Check finds what is wrong with the entry, whatever the tables are.
func (s *Spec) Check(report func(path, problem string)) {
	if _, err := path.Match(s.Table, ""); err != nil || !strings.Contains(s.Table, ".") {
		report("table", fmt.Sprintf("%q: want database.table, where * and ? may stand for other characters", s.Table))
	}
	if (s.To.Name != "" || s.To.Tables != nil) && s.pattern() {
		report("to", "a pattern of tables cannot have one name at the target: name each table in an entry of its own")
	}
	for name := range s.To.Tables {
		if s.To.Tables[name] == "" {
			report("to."+name, `missing: the condition by which a row is in it, such as "status == 'PAID'"`)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Columns)) {
		c := s.Columns[name]
		for _, problem := range c.wrong() {
			report("columns."+name, problem)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Add)) {
		a := s.Add[name]
		for _, problem := range a.wrong() {
			report("add."+name, problem)
		}
	}
}

func (c *Column) wrong() (problems []string) {
	ways := 0
	for _, asked := range []bool{c.Drop, c.Cast != "", c.Mask != nil, c.Hash != nil} {
		if asked {
			ways++
		}
	}
	switch {
	case ways == 0 && c.Rename == "":
		problems = append(problems, "says nothing: want drop, rename, cast, mask or hash")
	case ways > 1:
		problems = append(problems, "want one of drop, cast, mask and hash")
	case c.Drop && c.Rename != "":
		problems = append(problems, "a column that is dropped has no name")
	}
	if c.Mask != nil && (c.Mask.Text == "") == (c.Mask.KeepLast == 0) || c.Mask != nil && c.Mask.KeepLast < 0 {
		problems = append(problems, "mask: want text, or keep_last with 1 or more")
	}
	if c.Hash != nil && c.Hash.Salt != "" && c.Hash.Key != "" {
		problems = append(problems, "hash: want salt (SHA-256) or key (HMAC), not both")
	}
	if c.Cast != "" {
		if _, err := ParseType(c.Cast); err != nil {
			problems = append(problems, "cast: "+err.Error())
		}
	}
	return problems
}

func (a *Added) wrong() (problems []string) {
	ways := 0
	for _, asked := range []bool{a.Value != nil, a.From != "", a.Expr != ""} {
		if asked {
			ways++
		}
	}
	if ways != 1 {
		problems = append(problems, "want one of value, from and expr")
	}
	if a.From != "" && !slices.Contains([]string{"source", "database", "table"}, a.From) {
		problems = append(problems, fmt.Sprintf("from %q: want source, database or table", a.From))
	}
	if a.Expr != "" && a.Type == "" {
		problems = append(problems, "an expression needs a type, such as bigint, decimal(12,2) or varchar(100)")
	}
	if a.Type != "" {
		if _, err := ParseType(a.Type); err != nil {
			problems = append(problems, "type: "+err.Error())
		}
	}
	return problems
}

// CheckTogether finds what is wrong between the entries: two tables that become one need keys that cannot be the same.
func CheckTogether(specs []Spec, report func(path, problem string)) {
	type entry struct{ at, output int }
	by := make(map[change.TableName][]entry)
	outputs := make([][]Output, len(specs))
	for i := range specs {
		name, err := change.ParseTableName(specs[i].Table)
		if err != nil {
			continue // reported by Check
		}
		outputs[i] = specs[i].Outputs(name)
		for j := range outputs[i] {
			by[outputs[i][j].Name] = append(by[outputs[i][j].Name], entry{i, j})
		}
	}
	for _, entries := range by {
		for i, e := range entries {
			for _, other := range entries[:i] {
				if !keysDiffer(&specs[e.at], &specs[other.at]) {
					report(fmt.Sprintf("shape[%d].key", e.at), fmt.Sprintf("%s and %s both become %s, and their keys can be the same: rows would overwrite each other. "+
						"Add a column that differs (add: {origin: {from: table}}) and name it in the key of both (key: [origin, id])",
						specs[other.at].Table, specs[e.at].Table, outputs[e.at][e.output].Name))
				}
			}
		}
	}
}

// keysDiffer reports whether some column of both keys is the same in every row of each, and another in the two.
func keysDiffer(a, b *Spec) bool {
	if a == b || len(a.Key) != len(b.Key) {
		return false
	}
	for _, name := range a.Key {
		x, ok := a.Add[name]
		y, both := b.Add[name]
		if !ok || !both || !slices.Contains(b.Key, name) {
			continue
		}
		v, known := x.constant("", a.Table)
		w, bothKnown := y.constant("", b.Table)
		if known && bothKnown && v != w && x.From != "source" && y.From != "source" {
			return true
		}
	}
	return false
}

// constant returns what the column holds in every row of the table.
func (a *Added) constant(source, table string) (string, bool) {
	db, name, _ := strings.Cut(table, ".")
	switch {
	case a.Value != nil:
		return *a.Value, true
	case a.From == "source":
		return source, true
	case a.From == "database":
		return db, true
	case a.From == "table":
		return name, true
	}
	return "", false
}

// Fingerprint names all that decides what rows the target's table has, for rows that come by one of the entries: those of all tables that
// come together in it. Rows that were written under another fingerprint may have another shape, or be another table's.
func Fingerprint(specs []Spec, by *Spec, output change.TableName) string {
	sum := sha256.New()
	if by.pattern() { // a table that keeps its name, alone
		sum.Write(append([]byte(output.String()), by.text()...))
		return hex.EncodeToString(sum.Sum(nil)[:8])
	}
	for i := range specs {
		s := &specs[i]
		name, err := change.ParseTableName(s.Table)
		if err == nil && !s.pattern() && slices.ContainsFunc(s.Outputs(name), func(o Output) bool { return o.Name == output }) {
			sum.Write(s.text())
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// pattern reports whether the entry may be for several tables.
func (s *Spec) pattern() bool { return strings.ContainsAny(s.Table, `*?[\`) }

// text is the entry as text that is the same for the same entry. Secrets are in it as hashes.
func (s *Spec) text() []byte {
	told := struct {
		Spec
		Secrets map[string]string
	}{*s, make(map[string]string)}
	for name, c := range s.Columns {
		if c.Hash != nil {
			told.Secrets[name] = c.Hash.Fingerprint()
		}
	}
	text, err := json.Marshal(told) // maps are written in the order of their keys
	if err != nil {
		panic(err) // it is texts and numbers
	}
	return text
}
