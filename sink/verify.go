package sink

import (
	"context"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// Scanner is the ability to read the target back, for verify.
type Scanner interface {
	// Scan calls each for every row of the table that the request names, in any order, one at a time; the row's values are valid until
	// each returns. An error of each ends the scan and is returned. Markers of deleted rows are not rows. A request with bounds
	// or keys that the target cannot serve is refused with errors.ErrUnsupported in the chain.
	Scan(ctx context.Context, r Scan, each func(Row) error) error
}

// Scan says which rows are to be read.
type Scan struct {
	Source string
	Table  *change.Table // the table at the source; what the target calls it is the target's matter

	// Keys names single rows, by the table's key columns in key order. Empty: all rows between the bounds.
	Keys [][]change.Value

	// After and Through bound the key: After < key <= Through, compared by the target's own server, by key
	// columns in key order. Nil: no bound on that side.
	After, Through []change.Value

	// ValuesOnly asks for the values alone: a row's Version and Source may be left out.
	ValuesOnly bool

	// Charsets say in what Sums takes the columns' texts: see mysql.RowsHash.
	Charsets []string
}

// Row is a row as the target holds it.
type Row struct {
	Shard   string   // empty where the target has one place only
	Columns []string // the names at the target; shared between rows
	Values  []change.Value
	Version change.Version // 0 where the target stores none
	Source  string         // the source that the row came from; empty where the target stores none
}

// Summer is the ability to have the target's own servers sum up the rows of a key range, so that they need not be sent. It is for
// targets that are MySQL, hold the table's columns as they are, and hold every row in one known place, or in all.
type Summer interface {
	// Sums returns, for each shard that should hold all rows of the table, how many rows lie between the bounds and the hash of
	// them all (mysql.RowsHash). A table whose rows are spread, or whose texts are in other character sets, is refused with errors.ErrUnsupported in the chain.
	Sums(ctx context.Context, r Scan) ([]RowSum, error)
}

// RowSum is what Sums says of one shard.
type RowSum struct {
	Shard string
	Rows  int64
	Sum   string // 256 bits in hexadecimal digits
}

// Shaper is the ability to say what the target should hold for a row of the source: none where the row is
// filtered out, else each place where it belongs. It is pure. A target without it holds the table's rows as they
// are, under the same names.
type Shaper interface {
	// Shape appends the rows to into.
	Shape(source string, t *change.Table, values []change.Value, into []Row) ([]Row, error)
}

// Viewer is the ability to have a source's table in other tables of the target, in another shape. What the other abilities ask by a table
// is then asked by one of these: Scan, Sums, Shape.
type Viewer interface {
	// Views returns the tables of the target that hold rows of the source's table: none where the table is as it is.
	Views(ctx context.Context, source string, t *change.Table) ([]View, error)
}

// View is a table of the target that holds rows of a source's table. Its functions are pure and may be called by many goroutines.
type View struct {
	Table *change.Table // as the target has it

	// Row returns the target's row for one of the source's; ok is false where it has none.
	Row func(values []change.Value) (row []change.Value, ok bool, err error)

	// Key returns the target's key for one of the source's, and SourceKey the other way round; both in key order.
	Key       func(source []change.Value) []change.Value
	SourceKey func(target []change.Value) []change.Value

	// Explain says step by step what becomes of a row of the source, for people.
	Explain func(values []change.Value) []string
}

// Explainer is the ability to say why a row stands where it stands, for people.
type Explainer interface {
	// Explain returns one line a step, of a row as Shaper takes it. It is pure.
	Explain(source string, t *change.Table, values []change.Value) ([]string, error)
}

// Replayer is the ability to go back, or forward, while the group is stopped. It comes with Progress.
type Replayer interface {
	// SetProgress writes the next offset and T of each partition, with one more than its greatest epoch, into every
	// shard: an old owner that is still alive loses its ownership by it. Partitions that are not known yet are made
	// known. What is stored under other identities of the same topics (another topic id or partition count)
	// is removed.
	SetProgress(ctx context.Context, group string, to []Reset) error

	Emptier
}

// Emptier is the ability to be filled anew from the beginning of the log, while the group is stopped. Without it a target
// is emptied by its own means.
type Emptier interface {
	// Occupied returns the names (with their shards) of those target tables of the source tables that hold rows.
	Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error)

	// Empty removes all rows of those tables, with all that was stored about them (markers, debts).
	Empty(ctx context.Context, source string, tables []*change.Table) error
}

// Reset is one partition's new progress.
type Reset struct {
	Partition
	Next          int64 // the offset to go on from; -1: nothing is known, begin at the log's start
	ThroughMillis int64 // T there, as in Batch
}

// LogSettings are the settings of a topic that bound how far a sink may fall behind.
type LogSettings struct {
	MinCompactionLag time.Duration // within it no record is compacted away; 0: any may be
	DeleteRetention  time.Duration // how long tombstones stay after that
	Compacted        bool          // false: the topic keeps every record until its retention ends
}

// Floor is the ability to say how old T may become before going on would be wrong (rule R6). Without it a
// target needs the newest state of each key only, and the bound is MinCompactionLag + DeleteRetention: later
// than that, delete markers may be gone. A target that needs every change (history, webhook, counter) returns
// MinCompactionLag; one that forgets its own markers returns no more than these outlive. 0 means no bound.
type Floor interface {
	Floor(s LogSettings) time.Duration
}

// Debtor is the ability to tell of debts: rule R5 lets a write delete the older holder of a unique value, or
// be skipped for a newer one, in trust that the key's own next change is on its way. The runtime asks from time to
// time, and a debt that is still there when all partitions of the topic have passed it stops the topic.
type Debtor interface {
	Debts(ctx context.Context, group string) ([]Debt, error)
}

// Debt is one key whose next newer change must still come.
type Debt struct {
	Topic   string
	Table   change.TableName
	Shard   string
	Key     string         // as text, for the operator
	Version change.Version // of the change that made the debt
}

// Copier is the ability to write the state of tables as of a time, from the history that the target holds.
type Copier interface {
	// Copy writes, for each table, the rows as they were when all transactions of its source that were committed by AsOf were done, and no
	// other: of all tables of one source at the same place in its history. It calls told for each table that is done.
	Copy(ctx context.Context, r CopyRequest, told func(Copied)) error
}

// CopyRequest says what is to be copied.
type CopyRequest struct {
	Tables map[string][]change.TableName // by source
	AsOf   time.Time                     // milliseconds count: the log knows commit times no finer
	To     string                        // where to; empty: where the target has its copies
}

// Copied is a table that was copied.
type Copied struct {
	Source  string           `json:"source"`
	Table   change.TableName `json:"table"`
	Rows    int64            `json:"rows"`
	Where   string           `json:"where"`
	Version change.Version   `json:"version"`        // the newest that is in it, of the source: all tables of the source have it
	GTID    string           `json:"gtid,omitempty"` // of the last transaction that is in it
}
