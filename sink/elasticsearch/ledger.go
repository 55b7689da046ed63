package elasticsearch

import (
	"context"
	"net/http"

	"github.com/sluice-cdc/sluice/change"
)

// ledgerIndex has one document for each index that Sluice made, by its alias.
const ledgerIndex = "sluice-indexes"

// mayMake refuses to make an index that was there before: the group's offsets stand where its rows ended, and the new one would
// show only what changes from now on.
func (t *Target) mayMake(ctx context.Context, alias string, table *change.Table) error {
	err := t.client.do(ctx, "GET", path(ledgerIndex)+"/_doc"+path(alias), nil, nil)
	switch {
	case hasStatus(err, http.StatusNotFound, ""):
		return nil
	case err != nil:
		return t.judgeTable("the list of indexes that Sluice made could not be read", table, err)
	}
	return &change.Problem{Kind: change.Poison, Table: table.TableName, What: "the index " + alias + " was there before and is gone", Where: t.client.base,
		Why:  "made anew it would show only the rows that change from now on",
		Mend: "bring it back (a snapshot, the alias), or begin anew: sluice replay --to beginning --empty"}
}

// enter writes down that the index was made.
func (t *Target) enter(ctx context.Context, alias string, o owner) error {
	place := path(ledgerIndex)
	err := t.client.do(ctx, "HEAD", place, nil, nil)
	if hasStatus(err, http.StatusNotFound, "") {
		err = t.client.do(ctx, "PUT", place, map[string]any{"mappings": map[string]any{"dynamic": false}}, nil)
		if hasStatus(err, http.StatusBadRequest, "resource_already_exists") {
			err = nil // another process was faster
		}
	}
	if err == nil {
		entry := map[string]any{"source": o.Source, "database": o.Database, "table": o.Table}
		err = t.client.do(ctx, "PUT", place+"/_doc"+path(alias), entry, nil)
	}
	return t.client.judge("the list of indexes that Sluice made could not be written", err)
}

// strike takes an index off the list.
func (t *Target) strike(ctx context.Context, alias string) error {
	err := t.client.do(ctx, "DELETE", path(ledgerIndex)+"/_doc"+path(alias), nil, nil)
	if hasStatus(err, http.StatusNotFound, "") {
		return nil
	}
	return t.client.judge("the list of indexes that Sluice made could not be written", err)
}
