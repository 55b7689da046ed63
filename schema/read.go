package schema

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Parsed is a schema's text read back.
type Parsed struct {
	// Table is equal to the table that the schema was made of. Of a key's schema it holds the key's columns alone, in
	// key order, and no name.
	Table   *change.Table
	Options Options // those of the text; defaults are empty. None for a key
	IsKey   bool
	Root    *Type  // the Envelope or Key record
	Row     *Type  // the record that holds the columns, one field each: Value, or Root for a key
	Reprs   []Repr // the form of each column's values
	Shaping Shaping
}

// Parse reads the text of a schema that Value or Key made, also after a registry has reformatted it. For any other
// schema, Debezium's too, the error is a Problem of kind Poison that says what is missing.
func Parse(text string) (*Parsed, error) {
	root, err := ParseType(text)
	if err != nil {
		return nil, unknown(err.Error(), "")
	}
	if root.Kind != "record" {
		return nil, unknown("it is no record but "+root.Kind, "")
	}
	p := &Parsed{Root: root, Row: root, IsKey: true, Table: &change.Table{}}
	if root.Field("before") != nil && root.Field("op") != nil {
		p.IsKey = false
		if err := p.readEnvelope(); err != nil {
			return nil, err
		}
	}
	if err := p.readColumns(); err != nil {
		return nil, err
	}
	return p, p.readKey()
}

// readEnvelope finds the Value record and reads what it says of the table.
func (p *Parsed) readEnvelope() error {
	row, _, ok := p.Root.Field("before").Type.Optional()
	if !ok || row.Kind != "record" {
		return unknown("field before is not a union of null and a record", p.Root.Name)
	}
	p.Row = row
	p.Table.TableName = change.TableName{DB: row.Prop("sluice.database"), Name: row.Prop("sluice.table")}
	if p.Table.DB == "" || p.Table.Name == "" {
		return unknown("record "+row.Name+" has no properties sluice.database and sluice.table", p.Root.Name)
	}
	for _, c := range choices {
		*c.of(&p.Options) = row.Prop(c.property)
	}
	if err := p.Options.Check(); err != nil {
		return unknown(err.Error(), p.Root.Name)
	}
	p.Options = p.Options.normal()
	p.Shaping.Where = row.Prop("sluice.where")
	return nil
}

func (p *Parsed) readColumns() error {
	for i := range p.Row.Fields {
		f := &p.Row.Fields[i]
		c, err := readColumn(f)
		if err != nil {
			return unknown(err.Error(), p.Root.Name)
		}
		repr := ReprOf(&c, p.Options)
		got := f.Type
		if of, nullFirst, ok := got.Optional(); ok && nullFirst && !p.IsKey {
			got = of
		}
		if err := matches(&c, repr, got); err != nil {
			return unknown(err.Error(), p.Root.Name)
		}
		p.Table.Columns = append(p.Table.Columns, c)
		p.Shaping.Hidden = append(p.Shaping.Hidden, propText(f.Props, "sluice.hidden"))
		p.Reprs = append(p.Reprs, repr)
	}
	return nil
}

func (p *Parsed) readKey() error {
	if p.IsKey {
		for i := range p.Table.Columns {
			p.Table.Key = append(p.Table.Key, i)
		}
	} else {
		var names []string
		if json.Unmarshal(p.Row.Props["sluice.key"], &names) != nil {
			return unknown("record "+p.Row.Name+" has no property sluice.key", p.Root.Name)
		}
		for _, name := range names {
			column := -1
			for i := range p.Table.Columns { // exact: the names come from one text
				if p.Table.Columns[i].Name == name {
					column = i
				}
			}
			if column < 0 {
				return unknown(fmt.Sprintf("sluice.key names %q, which is no column", name), p.Root.Name)
			}
			p.Table.Key = append(p.Table.Key, column)
		}
	}
	if _, err := check(p.Table); err != nil {
		return unknown(err.Error(), p.Root.Name)
	}
	return nil
}

func readColumn(f *Field) (change.Column, error) {
	c := change.Column{Name: f.Name}
	missing := func(property string) (change.Column, error) {
		return c, fmt.Errorf("field %s has no property %s that can be read", f.Name, property)
	}
	typeName := propText(f.Props, "sluice.type")
	var ok bool
	if c.Type, ok = change.ParseType(typeName); !ok {
		return missing("sluice.type")
	}
	if name := propText(f.Props, "sluice.name"); name != "" {
		c.Name = name
	}
	c.Charset = propText(f.Props, "sluice.charset")
	c.Collation = propText(f.Props, "sluice.collation")
	c.Geometry = propText(f.Props, "sluice.geometry")
	for _, p := range []struct {
		name string
		into any
	}{
		{"sluice.unsigned", &c.Unsigned}, {"sluice.nullable", &c.Nullable}, {"sluice.length", &c.Length},
		{"sluice.precision", &c.Precision}, {"sluice.scale", &c.Scale}, {"sluice.elements", &c.Elements},
	} {
		if raw, ok := f.Props[p.name]; ok && json.Unmarshal(raw, p.into) != nil {
			return missing(p.name)
		}
	}
	if c.Length < 0 || c.Precision < 0 || c.Precision > 65 || c.Scale < 0 || c.Scale > max(6, c.Precision) {
		return missing("sluice.scale")
	}
	return c, nil
}

// matches reports how the type in the text differs from the type that the column has: bytes written by one and
// read by the other would be nonsense.
func matches(c *change.Column, r Repr, got *Type) error {
	if r == 0 {
		return fmt.Errorf("column %s has a type that is not known", c.Name)
	}
	want, err := ParseType(string(appendType(nil, c, r, map[string]bool{})))
	if err != nil {
		return err
	}
	if !sameShape(want, got) {
		return fmt.Errorf("column %s: Avro type is %s, but the column's properties ask for %s", c.Name, describe(got), describe(want))
	}
	return nil
}

func sameShape(a, b *Type) bool {
	if a.Kind != b.Kind || a.Name != b.Name || a.Prop("connect.name") != b.Prop("connect.name") ||
		len(a.Fields) != len(b.Fields) || len(a.Branches) != len(b.Branches) {
		return false
	}
	for i := range a.Fields {
		if a.Fields[i].Name != b.Fields[i].Name || !sameShape(a.Fields[i].Type, b.Fields[i].Type) {
			return false
		}
	}
	for i := range a.Branches {
		if !sameShape(a.Branches[i], b.Branches[i]) {
			return false
		}
	}
	return a.Items == nil && b.Items == nil || a.Items != nil && b.Items != nil && sameShape(a.Items, b.Items)
}

func describe(t *Type) string {
	var b strings.Builder
	b.WriteString(t.Kind)
	for i, branch := range t.Branches {
		b.WriteString([...]string{" of ", ", "}[min(i, 1)] + branch.Kind)
	}
	if name := t.Prop("connect.name"); name != "" {
		b.WriteString(" " + name)
	}
	return b.String()
}

// unknown is the Problem of a schema that is not ours.
func unknown(missing, record string) error {
	return &change.Problem{
		Kind:  change.Poison,
		What:  "unknown topic content: " + missing,
		Where: record,
		Why: "a sink needs the exact column types that Sluice's source writes into the schema (properties sluice.*); " +
			"a topic of Debezium or another producer has none, and types guessed from Avro would bend values",
		Mend: "point the sink at topics that sluice-source writes; where such a topic was made before by another producer, " +
			"give the source another topic prefix",
	}
}
