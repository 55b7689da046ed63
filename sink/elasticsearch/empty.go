package elasticsearch

import (
	"context"

	"github.com/sluice-cdc/sluice/change"
)

// Occupied returns the names of those tables' indexes that hold rows.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	var names []string
	for _, table := range tables {
		alias := t.config.alias(source, table.TableName)
		have, err := t.look(ctx, alias)
		if err != nil {
			return nil, err
		}
		if have == nil {
			continue
		}
		if err := t.client.do(ctx, "POST", path(alias)+"/_refresh", nil, nil); err != nil {
			return nil, t.client.judge("the index could not be refreshed", err)
		}
		var counted struct {
			Count int64 `json:"count"`
		}
		if err := t.client.do(ctx, "GET", path(alias)+"/_count", nil, &counted); err != nil {
			return nil, t.client.judge("the documents could not be counted", err)
		}
		if counted.Count > 0 {
			names = append(names, alias)
		}
	}
	return names, nil
}

// Empty deletes the tables' indexes, tombstones and all, and makes them anew as they were. One that is gone already is made
// at the next start.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	for _, table := range tables {
		if err := t.empty(ctx, t.config.alias(source, table.TableName), t.config.owner(source, table), table); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) empty(ctx context.Context, alias string, want owner, table *change.Table) error {
	have, err := t.look(ctx, alias)
	if err != nil {
		return err
	}
	if have == nil {
		return t.strike(ctx, alias)
	}
	if have.owner != nil && !have.owner.sameTable(want) {
		return have.check(want) // another table's
	}
	again := step{"PUT", path(have.name), t.definitionAgain(alias, have, want, table)}
	if err := t.client.do(ctx, "DELETE", path(have.name), nil, nil); err != nil {
		return t.judgeTable("the index could not be deleted", table, err)
	}
	if err := t.client.do(ctx, again.method, again.path, again.body, nil); err != nil {
		err = t.judgeTable("the index was deleted and could not be made anew", table, err)
		if p, ok := err.(*change.Problem); ok {
			p.Mend = again.String()
		}
		return err
	}
	return nil
}

// ownSettings are those that a server gives an index by itself and takes from nobody.
var ownSettings = []string{"creation_date", "uuid", "version", "provided_name", "history", "resize", "verified_before_close", "blocks"}

// definitionAgain returns the body that makes the index as it is: an operator may have set its analyzers, shards and mappings
// by hand. Only what it says of itself is of now, and where the documents' form is another, its mappings are too.
func (t *Target) definitionAgain(alias string, have *index, want owner, table *change.Table) map[string]any {
	body := t.config.creation(alias, want, table)
	if have.owner == nil || have.owner.Documents == want.Documents {
		mappings := have.definition.Mappings
		meta := map[string]any{metaKey: want}
		for name, said := range have.meta {
			meta[name] = said
		}
		mappings["_meta"] = meta
		body["mappings"] = mappings
		body["aliases"] = have.definition.Aliases
	}
	settings := have.definition.Settings.Index
	for _, name := range ownSettings {
		delete(settings, name)
	}
	if routing := inside(map[string]any(settings), "routing"); routing != nil {
		delete(inside(routing, "allocation"), "initial_recovery") // of an index that was made by shrinking
	}
	if len(settings) > 0 {
		body["settings"] = map[string]any{"index": settings}
	}
	return body
}
