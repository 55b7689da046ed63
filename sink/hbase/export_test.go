package hbase

import "time"

// For tests in the package's outside.
const (
	LedgerTable = ledgerTable
	MarkerKey   = markerKey
)

// TableName returns the name of a table's table in HBase.
var TableName = (*Config).tableName

// SetClock makes the target take its time from now, and look for old tombstones, and at its tables, after every batch.
func (t *Target) SetClock(now func() time.Time) { t.now, t.purgeEvery, t.lookEvery = now, 0, 0 }
