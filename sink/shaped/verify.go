package shaped

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/shape"
	"github.com/sluice-cdc/sluice/sink"
)

// Views returns the tables that rows of the source's table go to.
func (t *Target) Views(ctx context.Context, source string, table *change.Table) ([]sink.View, error) {
	forms, err := t.formsOf(ctx, source, table)
	var views []sink.View
	for _, f := range forms {
		views = append(views, sink.View{Table: f.To, Key: f.Key, SourceKey: f.SourceKey, Explain: explain(f),
			Row: func(values []change.Value) (row []change.Value, ok bool, err error) {
				if ok, err = f.Passes(values); !ok || err != nil {
					return nil, false, err
				}
				row, err = f.Row(values)
				return row, true, err
			}})
	}
	return views, err
}

func explain(f *shape.Form) func([]change.Value) []string {
	return func(values []change.Value) []string {
		steps, passes := f.Explain(values)
		if !passes {
			return append(steps, "not in "+f.To.String()+": a row that is there is deleted")
		}
		return steps
	}
}

// Scan reads a table of the target, as View names it, and leaves out the rows that came there from other tables.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	behind, _ := sink.Ability[sink.Scanner](t.behind)
	form := t.formTo(r.Source, r.Table)
	if form == nil || !form.Shares() {
		return behind.Scan(ctx, r, each)
	}
	names, key := form.To.KeyNames(), make([]change.Value, len(form.To.Key))
	return behind.Scan(ctx, r, func(row sink.Row) error {
		for i, name := range names {
			at := slices.Index(row.Columns, name)
			if at < 0 {
				return fmt.Errorf("rows of %s at the target have no column %q of its key", form.To, name)
			}
			key[i] = row.Values[at]
		}
		if !form.Owns(key) {
			return nil
		}
		return each(row)
	})
}

// Sums has the target's servers sum up a table that is as at the source. One in another shape they have nothing to be held against.
func (t *Target) Sums(ctx context.Context, r sink.Scan) ([]sink.RowSum, error) {
	if r.Table.Shape != "" {
		return nil, fmt.Errorf("%s is in another shape: %w", r.Table, errors.ErrUnsupported)
	}
	behind, _ := sink.Ability[sink.Summer](t.behind)
	return behind.Sums(ctx, r)
}

// formTo returns the form that makes rows of the target's table, by the table's pointer.
func (t *Target) formTo(source string, to *change.Table) (form *shape.Form) {
	t.forms.Range(func(id, forms any) bool {
		for _, f := range forms.([]*shape.Form) {
			if f.To == to && id.(formOf).source == source {
				form = f
			}
		}
		return form == nil
	})
	return form
}

// Occupied returns the names of the target's tables that hold rows.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	behind, _ := sink.Ability[sink.Emptier](t.behind)
	all, err := t.targets(ctx, source, tables)
	if err != nil {
		return nil, err
	}
	return behind.Occupied(ctx, source, all)
}

// Empty removes all rows of the tables of the target. One that others flow into too is emptied with all of them or not at all: their rows
// would be gone, and not be read anew.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	behind, _ := sink.Ability[sink.Emptier](t.behind)
	all, err := t.targets(ctx, source, tables)
	if err != nil {
		return err
	}
	for _, to := range all {
		if missing := t.contributors(to.TableName, tables); len(missing) > 0 {
			return &change.Problem{Kind: change.Configuration, Table: to.TableName, Where: to.String(),
				What: fmt.Sprintf("rows of %s are in %s too", strings.Join(missing, ", "), to), Why: "they would be removed and not be read anew",
				Mend: "replay all topics that flow into the table together: leave --topics out, or name all of them"}
		}
	}
	return behind.Empty(ctx, source, all)
}

// contributors returns the source's tables whose rows are in the target's table and that are not among those given.
func (t *Target) contributors(to change.TableName, given []*change.Table) (missing []string) {
	for i := range t.specs {
		name, err := change.ParseTableName(t.specs[i].Table)
		if err != nil || strings.ContainsAny(t.specs[i].Table, `*?[\`) || slices.ContainsFunc(given, func(g *change.Table) bool { return g.TableName == name }) {
			continue
		}
		if slices.ContainsFunc(t.specs[i].Outputs(name), func(o shape.Output) bool { return o.Name == to }) {
			missing = append(missing, name.String())
		}
	}
	return missing
}
