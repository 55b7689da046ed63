package clickhouse

import (
	"context"
	"slices"

	"github.com/sluice-cdc/sluice/change"
)

// Occupied returns the names of those tables that hold rows.
func (t *StateTarget) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	return t.occupied(ctx, source, tables, " FINAL WHERE "+columnDeleted+" = 0")
}

// Occupied returns the names of those histories that hold changes.
func (t *HistoryTarget) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	return t.occupied(ctx, source, tables, "")
}

func (b *base) occupied(ctx context.Context, source string, tables []*change.Table, rows string) ([]string, error) {
	var names []string
	for _, table := range tables {
		name := b.config.tableName(source, table.TableName)
		said, err := b.client.text(ctx, "SELECT 1 FROM "+b.place(name)+rows+" LIMIT 1")
		if code := codeOf(err); code == codeUnknownTable || code == codeUnknownDatabase {
			continue
		}
		if err != nil {
			return nil, b.client.judge("the table "+name+" could not be read", err)
		}
		if said != "" {
			names = append(names, b.config.Database+"."+name)
		}
	}
	return names, nil
}

// Empty removes all rows of those tables. One that is gone, or is ordered by another key than the table now has, is made anew.
func (t *StateTarget) Empty(ctx context.Context, source string, tables []*change.Table) error {
	f, err := t.ask(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := t.empty(ctx, t.wanted(f, source, table)); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.layouts)
	return nil
}

// Empty removes all changes of those histories.
func (t *HistoryTarget) Empty(ctx context.Context, source string, tables []*change.Table) error {
	f, err := t.ask(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		w := t.wanted(source, table)
		w.fill(f, &t.config)
		if err := t.empty(ctx, w); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.sheets)
	clear(t.reached)
	return nil
}

func (b *base) empty(ctx context.Context, w *wanted) error {
	x, err := b.look(ctx, w.name)
	if err != nil {
		return err
	}
	if x == nil {
		return b.strike(ctx, w.name)
	}
	if o := x.owner; o != nil && (!o.sameTable(w.owner) || o.Mode != w.owner.Mode) {
		return x.check(w, b.where()) // another table's
	}
	if x.owner == nil {
		return b.emptyForeign(ctx, x, w)
	}
	if x.owner.Mode == History || slices.Equal(x.owner.Key, w.owner.Key) {
		err := b.client.exec(ctx, "TRUNCATE TABLE "+b.place(w.name))
		return b.client.judge("the table "+w.name+" could not be emptied", err)
	}
	// Its order cannot be altered.
	if !b.config.CreateTables {
		return &change.Problem{Kind: change.Configuration, What: "the table " + w.name + " has another key than its source", Where: b.where(),
			Mend: "DROP TABLE " + b.place(w.name) + ";\n" + b.create(w) + "\nor set clickhouse.create_tables: true"}
	}
	if err := b.client.exec(ctx, "DROP TABLE "+b.place(w.name)); err != nil {
		return b.client.judge("the table "+w.name+" could not be dropped", err)
	}
	return b.strike(ctx, w.name)
}

// emptyForeign takes a table that does not say whose it is only where there is nothing to empty.
func (b *base) emptyForeign(ctx context.Context, x *existing, w *wanted) error {
	rows, err := b.client.text(ctx, "SELECT count() FROM "+b.place(x.name))
	if err != nil {
		return b.client.judge("the table "+x.name+" could not be looked at", err)
	}
	if rows != "0\n" {
		return foreign(w, b.where())
	}
	return b.strike(ctx, w.name)
}
