package verify

import (
	"fmt"
	"slices"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/shape"
)

// sourceRule is what the source does to a table's rows before it publishes them, as the topic's schema tells it.
type sourceRule struct {
	filter *shape.Filter                              // nil: all rows are published
	hide   []func(change.Value) (change.Value, error) // by published column
	extra  []int                                      // the server's columns that are selected besides, for the filter
	at     []int                                      // by the filter's columns: their place in what is selected
	width  int                                        // of the server's table
}

// newSourceRule returns nil where all is published as it is.
func newSourceRule(now, published *change.Table, s schema.Shaping, hashes map[string]shape.Hash) (*sourceRule, error) {
	hides := slices.ContainsFunc(s.Hidden, func(how string) bool { return how != "" })
	if s.Where == "" && !hides {
		return nil, nil
	}
	wrong := func(err error, mend string) error {
		return &change.Problem{Kind: change.Configuration, Table: published.TableName, Where: published.String(), Err: err, Mend: mend,
			What: "the source does not publish the rows as they are, and the same cannot be done here", Why: "rows that are right would differ"}
	}
	r := &sourceRule{hide: make([]func(change.Value) (change.Value, error), len(published.Columns)), width: len(now.Columns)}
	for i, how := range s.Hidden {
		if how == "" {
			continue
		}
		name := published.String() + "." + published.Columns[i].Name
		c, err := shape.Hidden(how, func() (shape.Hash, bool) { h, ok := hashes[name]; return h, ok })
		if err != nil {
			return nil, wrong(fmt.Errorf("column %s: %w", published.Columns[i].Name, err), "add to the page, under the source in sources:\nhash: {"+name+": ...}, as the source's page has it")
		}
		r.hide[i] = c.Hider()
	}
	if s.Where == "" {
		return r, nil
	}
	var err error
	if r.filter, err = shape.CompileFilter(s.Where, now); err != nil {
		return nil, wrong(err, "the table has changed: change a row of it, so that the source learns of it, and verify again")
	}
	for _, c := range r.filter.Columns() {
		at := slices.IndexFunc(published.Columns, func(p change.Column) bool { return now.Column(p.Name) == c })
		if at < 0 || r.hide[at] != nil { // it is hidden, and the filter looks at what is behind
			at = len(published.Columns) + len(r.extra)
			r.extra = append(r.extra, c)
		}
		r.at = append(r.at, at)
	}
	return r, nil
}

// passing returns what calls each with the rows that are published, as they are.
func (r *sourceRule) passing(each func([]change.Value) error) func([]change.Value) error {
	if r == nil {
		return each
	}
	out, wide := make([]change.Value, len(r.hide)), make([]change.Value, r.width)
	return func(values []change.Value) error {
		if r.filter != nil {
			for i, c := range r.filter.Columns() {
				wide[c] = values[r.at[i]]
			}
			if passes, err := r.filter.Passes(wide); err != nil || !passes {
				return err
			}
		}
		copy(out, values)
		for i, hide := range r.hide {
			if hide == nil || out[i].IsNull() {
				continue
			}
			var err error
			if out[i], err = hide(out[i]); err != nil {
				return err
			}
		}
		return each(out)
	}
}
