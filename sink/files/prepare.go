package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Prepare makes sure that the place is the group's. Folders come with their first file, columns with the first file that has them.
func (t *Target) Prepare(ctx context.Context, group, _ string, tables []*change.Table) error {
	for _, table := range tables {
		if _, err := t.layoutOfTable(table); err != nil {
			return err
		}
	}
	return t.own(ctx, group)
}

// checkKey is written, swapped and removed by Check.
const checkKey = "_sluice/check.json"

// Check looks whether the place can be written to, and keeps two owners apart. What it writes it removes.
func (t *Target) Check(ctx context.Context, group string, tables []*change.Table) ([]sink.Finding, error) {
	where := t.store.String()
	wrong := func(err error) []sink.Finding {
		var p *change.Problem
		f := sink.Finding{Level: sink.Wrong, Where: where, What: err.Error()}
		if errors.As(err, &p) {
			f.Why, f.Mend = p.Why, p.Mend
		}
		return []sink.Finding{f}
	}
	if err := t.tryStore(ctx); err != nil {
		return wrong(err), nil
	}
	found := []sink.Finding{{Level: sink.Good, Where: where, What: "can be written to, and keeps two owners apart"}}
	if data, _, err := t.store.get(ctx, ownerKey); err == nil && !bytes.Contains(data, []byte(fmt.Sprintf("%q", group))) {
		found = append(found, wrong(t.foreign("another", group))...)
	} else if err != nil && !errors.Is(err, errNotThere) {
		return wrong(err), nil
	}
	return append(found, t.checkTables(where, tables)...), nil
}

// tryStore does what a commit does.
func (t *Target) tryStore(ctx context.Context) error {
	_, tag, err := t.store.get(ctx, checkKey)
	if err != nil && !errors.Is(err, errNotThere) {
		return err
	}
	first := fmt.Appendf(nil, "%d", t.now().UnixNano())
	newTag, err := t.store.swap(ctx, checkKey, first, tag)
	if err != nil {
		return err
	}
	for _, old := range []string{"", "\"0123456789abcdef0123456789abcdef\""} {
		if _, err := t.store.swap(ctx, checkKey, append(first, old...), old); !errors.Is(err, errChanged) {
			return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("the storage took a write that its condition forbids (%v)", err), Where: t.store.String(),
				Why: "two owners of a partition could not be kept apart", Mend: "use storage that knows If-Match and If-None-Match of PUT, or a local disk"}
		}
	}
	if _, err := t.store.swap(ctx, checkKey, append(first, '2'), newTag); err != nil {
		return err
	}
	return t.store.remove(ctx, checkKey)
}

// checkTables names columns that readers will not find as numbers.
func (t *Target) checkTables(where string, tables []*change.Table) []sink.Finding {
	var found []sink.Finding
	for _, table := range tables {
		for i := range table.Columns {
			if c := &table.Columns[i]; c.Type == change.Decimal && c.Precision > decimal128Max {
				found = append(found, sink.Finding{Level: sink.Warning, Where: where, What: fmt.Sprintf("%s.%s has %d digits", table, c.Name, c.Precision),
					Why: fmt.Sprintf("readers' decimals end at %d: it is kept as text", decimal128Max)})
			}
		}
	}
	return found
}
