package hbase

import (
	"context"
	"net/http"
)

// ledgerTable has a row for each table that Sluice fills, by its name: a table that is in it and gone, or has lost its own row, was
// taken away by somebody.
const (
	ledgerTable  = "sluice-tables"
	ledgerFamily = "t"
	ledgerColumn = ledgerFamily + ":" + stateQualifier
)

// What the ledger says of a table.
const (
	ledgerMade  = "filled"
	ledgerEmpty = "emptied" // by replay: it may be filled anew
)

// listed reports whether the table was filled before: the group's offsets stand where its rows ended.
func (t *Target) listed(ctx context.Context, table string) (bool, error) {
	s, err := t.schemaOf(ctx, ledgerTable)
	if err != nil || s == nil {
		return false, err
	}
	text, err := t.stateOf(ctx, ledgerTable, ledgerColumn, table)
	return string(text) == ledgerMade, t.client.judge("the list of tables that Sluice fills could not be read", err)
}

// enter writes down what became of the table.
func (t *Target) enter(ctx context.Context, table, what string) error {
	err := t.putState(ctx, ledgerTable, ledgerColumn, table, what)
	if has(err, http.StatusNotFound) {
		if _, err = t.create(ctx, ledgerTable, definition(ledgerTable, ledgerFamily)); err == nil {
			err = t.putState(ctx, ledgerTable, ledgerColumn, table, what)
		}
	}
	return t.client.judge("the list of tables that Sluice fills could not be written (in the HBase shell: create '"+ledgerTable+"', '"+ledgerFamily+"')", err)
}
