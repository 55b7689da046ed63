package hbase

import (
	"context"
	"net/http"

	"github.com/sluice-cdc/sluice/change"
)

// Occupied returns the names of those tables' tables that hold rows.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	var names []string
	for _, table := range tables {
		p, err := t.planOf(source, table)
		if err != nil {
			return nil, err
		}
		s, err := t.schemaOf(ctx, p.name)
		if err != nil {
			return nil, err
		}
		if s == nil || s.family(t.config.Family) == nil {
			continue
		}
		holds, err := t.holds(ctx, p, stateFilter(t.config.Family, stateRow, false))
		if err != nil {
			return nil, err
		}
		if holds {
			names = append(names, p.name)
		}
	}
	return names, nil
}

// Empty removes the tables' rows, tombstones and all, by making the tables anew with the attributes that they have: rows that were
// deleted one by one would leave delete markers behind, which hide what the log brings again. The gateway makes a table with one
// region: where there are more and the operator makes the tables, it is left to the shell, which keeps them.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	for _, table := range tables {
		p, err := t.planOf(source, table)
		if err != nil {
			return err
		}
		if err := t.empty(ctx, source, p); err != nil {
			return err
		}
	}
	return nil
}

// empty notes in the list last that the table may be filled: when it ends in between, the table counts as lost, so that it is refused at
// the start, or emptied again, and never filled on.
func (t *Target) empty(ctx context.Context, source string, p *plan) error {
	s, err := t.schemaOf(ctx, p.name)
	if err != nil {
		return err
	}
	if s == nil || s.family(t.config.Family) == nil {
		return t.enter(ctx, p.name, ledgerEmpty) // it is made at the next start
	}
	have, err := t.look(ctx, p.name)
	if err != nil {
		return err
	}
	if want := newMark(source, p); have != nil && !have.sameTable(want) {
		return have.check(p.name, want) // another table's
	}
	was, err := t.listed(ctx, p.name)
	if err != nil {
		return err
	}
	if have == nil && !was {
		return nil // not ours: Prepare says what it thinks of it
	}
	if have == nil {
		holds, err := t.holds(ctx, p, "")
		if err != nil {
			return err
		}
		if !holds { // somebody has truncated it
			return t.enter(ctx, p.name, ledgerEmpty)
		}
	}
	regions, err := t.regions(ctx, p.name)
	if err != nil {
		return err
	}
	if regions > 1 && !t.config.CreateTables {
		return &change.Problem{Kind: change.Configuration, What: "the table " + p.name + " has several regions and cannot be emptied through the gateway", Where: t.client.base,
			Why: "the gateway would make it anew with one", Mend: "in the HBase shell: truncate_preserve '" + p.name + "'; then run this command again"}
	}
	if err := t.remake(ctx, p, s); err != nil {
		return err
	}
	t.mu.Lock()
	delete(t.marks, p.name)
	t.mu.Unlock()
	return t.enter(ctx, p.name, ledgerEmpty)
}

// remake drops a table and makes it again.
func (t *Target) remake(ctx context.Context, p *plan, s schema) error {
	if _, _, _, err := t.client.do(ctx, http.MethodDelete, "/"+p.name+"/schema", asJSON, nil); err != nil {
		return t.client.judge("the table "+p.name+" could not be dropped", err)
	}
	delete(s, "IS_META")
	if _, err := t.create(ctx, p.name, s); err != nil {
		err := t.client.judge("the table "+p.name+" was dropped and could not be made anew", err)
		if problem, ok := err.(*change.Problem); ok {
			problem.Mend = "in the HBase shell: " + creation(p, t.config.Family) + "; then run this command again"
		}
		return err
	}
	return nil
}

// regions returns how many regions a table has.
func (t *Target) regions(ctx context.Context, table string) (int, error) {
	var answer struct {
		Region []struct{}
	}
	err := t.client.json(ctx, "/"+table+"/regions", &answer)
	return len(answer.Region), t.client.judge("the regions of "+table+" could not be asked for", err)
}
