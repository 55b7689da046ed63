package mongodb

import "time"

// For tests in the package's outside.
var (
	FieldName = fieldName
	AppendID  = appendID
)

// CollectionName returns the name of a table's collection.
var CollectionName = (*Config).collection

// LedgerCollection is where the made collections are listed.
const LedgerCollection = ledgerCollection

// SetClock makes the target take its time from now, and look for old tombstones after every batch.
func (t *Target) SetClock(now func() time.Time) { t.now, t.purgeEvery = now, 0 }
