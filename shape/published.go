package shape

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Published is what a source lets out of a table: which rows, which columns, and which of them hidden. It is immutable and safe for
// use by many goroutines.
type Published struct {
	Table *change.Table                              // as it is published
	From  []int                                      // by its columns: the server's column
	Hide  []func(change.Value) (change.Value, error) // by its columns: what is written in place of a value that is not NULL; nil: the value
	How   []string                                   // by its columns: how they are hidden, for those who have to do the same: see Hidden
	where *Filter
}

// Publish makes what a rule lets out of a table: where is a filter over the server's columns, empty for all rows. With strict a column
// that the table has not is an error. A key's columns go out as they are: rows are found by them.
func Publish(where string, columns map[string]Column, strict bool, t *change.Table) (*Published, error) {
	p := &Published{Table: &change.Table{TableName: t.TableName}}
	if where != "" {
		var err error
		if p.where, err = CompileFilter(where, t); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		if strict && t.Column(name) < 0 {
			return nil, fmt.Errorf("column %q is not in %s (%s)", name, t.TableName, columnNames(t))
		}
	}
	asked := Spec{Columns: columns}
	places := make([]int, len(t.Columns))
	for i := range t.Columns {
		c, ok := asked.asked(t.Columns[i].Name)
		if ok && t.IsKey(i) {
			return nil, fmt.Errorf("column %s is part of the key, by which rows are found: it cannot be left out or hidden", t.Columns[i].Name)
		}
		places[i] = len(p.From)
		if c.Drop {
			continue
		}
		column, how := t.Columns[i], hidden{Mask: c.Mask}
		var hide func(change.Value) (change.Value, error)
		var err error
		switch {
		case c.Mask != nil:
			hide = c.Mask.hide
			column, err = maskedColumn(column, c.Mask)
		case c.Hash != nil:
			hide, how.Hash = c.Hash.hide, "sha256"
			if c.Hash.Key != "" {
				how.Hash = "hmac-sha256"
			}
			column = hashedColumn(column)
		}
		if err != nil {
			return nil, err
		}
		p.Table.Columns = append(p.Table.Columns, column)
		p.From, p.Hide, p.How = append(p.From, i), append(p.Hide, hide), append(p.How, how.text())
	}
	for _, k := range t.Key {
		p.Table.Key = append(p.Table.Key, places[k])
	}
	return p, nil
}

// CheckPublished finds what a source's rule cannot have among its columns.
func CheckPublished(columns map[string]Column, report func(path, problem string)) {
	for _, name := range slices.Sorted(maps.Keys(columns)) {
		c := columns[name]
		for _, problem := range c.wrong() {
			report("columns."+name, problem)
		}
		if c.Rename != "" || c.Cast != "" {
			report("columns."+name, "a source can drop, mask and hash; rename and cast are a sink's")
		}
	}
}

// Where returns the filter's text, empty where all rows go out.
func (p *Published) Where() string {
	if p.where == nil {
		return ""
	}
	return p.where.text
}

// Reads returns the server's columns that Passes looks at.
func (p *Published) Reads() []int {
	if p.where == nil {
		return nil
	}
	return p.where.columns
}

// Passes reports whether a row goes out. Of the row only the columns of Reads need to be there. The error says nothing of what is in the
// row: that must not go out either.
func (p *Published) Passes(row []change.Value) (bool, error) {
	if p.where == nil {
		return true, nil
	}
	passes, err := p.where.Passes(row)
	if err != nil {
		return false, fmt.Errorf("the expression %q fails for a row: is a column NULL, or no number?", p.where.text)
	}
	return passes, nil
}

// Whole reports whether all goes out as it is.
func (p *Published) Whole() bool {
	return p.where == nil && !slices.ContainsFunc(p.How, func(how string) bool { return how != "" })
}

// Hider returns what hides the column's values that are not NULL, nil where it does not.
func (c *Column) Hider() func(change.Value) (change.Value, error) {
	switch {
	case c.Mask != nil:
		return c.Mask.hide
	case c.Hash != nil:
		return c.Hash.hide
	}
	return nil
}

// hidden is how a column is hidden, as a schema tells it.
type hidden struct {
	Mask *Mask  `json:"mask,omitempty"`
	Hash string `json:"hash,omitempty"` // sha256 or hmac-sha256
}

func (h hidden) text() string {
	if h == (hidden{}) {
		return ""
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(text)
}

// Hidden reads how a schema says that a column is hidden. A hash's secret is not told: hash gives it.
func Hidden(text string, hash func() (Hash, bool)) (Column, error) {
	var h hidden
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&h); err != nil {
		return Column{}, fmt.Errorf("how a column is hidden cannot be read: %w", err)
	}
	if h.Hash == "" {
		return Column{Mask: h.Mask}, nil
	}
	secret, ok := hash()
	if !ok || (secret.Key != "") != (h.Hash == "hmac-sha256") {
		return Column{}, fmt.Errorf("the column is hashed by %s at the source, and the page has not the same: hash: {salt: ...} or {key: ...}", h.Hash)
	}
	return Column{Hash: &secret}, nil
}
