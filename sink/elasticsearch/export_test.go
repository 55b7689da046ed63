package elasticsearch

import "time"

// For tests in the package's outside.
var (
	AppendID  = appendID
	FieldName = fieldName
)

// Alias returns the name of a table's index.
var Alias = (*Config).alias

// LedgerIndex is where the made indexes are listed.
const LedgerIndex = ledgerIndex

// SetClock makes the target take its time from now, and look for old tombstones after every batch.
func (t *Target) SetClock(now func() time.Time) { t.now, t.purgeEvery = now, 0 }
