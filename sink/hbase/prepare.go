package hbase

import (
	"context"
	"errors"

	"github.com/sluice-cdc/sluice/change"
)

// Prepare makes missing tables, or says which statements would, and refuses those that cannot hold their rows.
func (t *Target) Prepare(ctx context.Context, _, source string, tables []*change.Table) error {
	for _, table := range tables {
		if err := t.prepare(ctx, source, table); err != nil {
			var p *change.Problem
			if errors.As(err, &p) && p.Kind == change.Poison {
				p.Table = table.TableName
			}
			return err
		}
	}
	return nil
}

func (t *Target) prepare(ctx context.Context, source string, table *change.Table) error {
	p, err := t.planOf(source, table)
	if err != nil {
		return err
	}
	s, err := t.schemaOf(ctx, p.name)
	if err != nil {
		return err
	}
	if s == nil {
		if s, err = t.make(ctx, p); err != nil {
			return err
		}
	}
	if p := s.problem(p.name, t.config.Family); p != nil {
		return p
	}
	m, err := t.look(ctx, p.name)
	if err != nil {
		return err
	}
	want := newMark(source, p)
	if m == nil {
		if m, err = t.take(ctx, p, want); err != nil {
			return err
		}
	}
	if err := m.check(p.name, want); err != nil {
		return err
	}
	if err := t.enter(ctx, p.name, ledgerMade); err != nil {
		return err
	}
	t.mu.Lock()
	t.marks[p.name] = m
	t.mu.Unlock()
	return nil
}

// make makes a table that is not there.
func (t *Target) make(ctx context.Context, p *plan) (schema, error) {
	was, err := t.listed(ctx, p.name)
	if err != nil {
		return nil, err
	}
	if was {
		return nil, t.lost(p)
	}
	if !t.config.CreateTables {
		return nil, &change.Problem{Kind: change.Poison, What: "the table " + p.name + " is not there", Where: t.client.base,
			Mend: "in the HBase shell: " + creation(p, t.config.Family) + "\nor set hbase.create_tables: true, which makes it with one region"}
	}
	made, err := t.create(ctx, p.name, definition(p.name, t.config.Family))
	if err != nil {
		return nil, t.client.judge("the table "+p.name+" could not be made", err)
	}
	if made {
		t.log.Info("made a table", "target", t.client.base, "name", p.name, "table", p.table.String())
	}
	s, err := t.schemaOf(ctx, p.name)
	if err == nil && s == nil {
		err = t.lost(p)
	}
	return s, err
}

// take writes the own row of a table that has none.
func (t *Target) take(ctx context.Context, p *plan, want *mark) (*mark, error) {
	was, err := t.listed(ctx, p.name)
	if err != nil {
		return nil, err
	}
	if was {
		return nil, t.lost(p)
	}
	holds, err := t.holds(ctx, p, "")
	if err != nil {
		return nil, err
	}
	if m, err := t.look(ctx, p.name); m != nil || err != nil {
		return m, err // another process was faster
	}
	if holds {
		return nil, &change.Problem{Kind: change.Poison, What: "the table " + p.name + " holds rows that are not Sluice's", Where: t.client.base,
			Why:  "those with a row's key would mix with the row, and the others would stay beside the rows",
			Mend: "in the HBase shell: truncate_preserve '" + p.name + "', or set another hbase.table"}
	}
	if err := t.mark(ctx, p.name, want); err != nil {
		return nil, t.client.judge("the table "+p.name+" could not be written", err)
	}
	m, err := t.look(ctx, p.name)
	if err == nil && m == nil {
		err = t.lost(p)
	}
	return m, err
}

// errHolds ends a scan at its first row.
var errHolds = errors.New("the table holds rows")

// holds reports whether a table holds rows that pass the filter, its own row left out.
func (t *Target) holds(ctx context.Context, p *plan, filter string) (bool, error) {
	r := reader{client: t.client, table: p.name}
	err := r.rows(ctx, scanRequest{filter: filter}, func(row) error { return errHolds })
	if errors.Is(err, errHolds) {
		return true, nil
	}
	return false, err
}
