package handler

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// What the envelope's snapshot says of rows that a crawl has found.
const (
	firstCrawl = "true"        // the first crawl of the table: there was no row before
	overTheTop = "incremental" // any later one
)

// Event is one change of one row. It is read only, and stays valid for as long as somebody holds it.
type Event struct {
	change *sink.Change
	batch  *sink.Batch

	mu      sync.Mutex // guards unknown
	unknown string     // a column that was asked for and is not there
}

// Op is what happened: Create, Update, Delete, or Read for a row that a crawl has found.
func (e *Event) Op() change.Op { return e.change.Op }

// Deleted reports whether the row is gone.
func (e *Event) Deleted() bool { return e.change.Op == change.Delete }

// Table is the table's name at the source: database and table.
func (e *Event) Table() change.TableName { return e.change.Table.TableName }

// Source is the name of the source, which is the prefix of its topics.
func (e *Event) Source() string { return e.batch.Source }

// Version is the number that orders all changes of a source, over all its tables. It reads as microseconds since 1970 (UTC), and
// is at least the commit's time.
func (e *Event) Version() change.Version { return e.change.Version }

// CommitTime is when the source's transaction was committed; zero where that is not known.
func (e *Event) CommitTime() time.Time {
	if ms := e.change.Origin.CommitMillis; ms > 0 {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}

// GTID is the transaction's, empty where there is none: at crawled rows, tombstones, and without GTIDs.
func (e *Event) GTID() string { return e.change.Origin.GTID }

// FirstCrawl reports whether the first crawl of the table has found the row: it is old, nothing has happened to it.
func (e *Event) FirstCrawl() bool { return e.change.Origin.Snapshot == firstCrawl }

// TrustedBefore reports whether the event says what was counted of the row until now: its before image, or none, is what this
// group has seen last. It is false at rows that a later crawl has found, at tombstones, and where the log may have lost the change before.
func (e *Event) TrustedBefore() bool { return e.change.TrustedBefore }

// KnownBefore reports whether it is known what the row was before: it is from the binlog, not found by a crawl.
func (e *Event) KnownBefore() bool {
	c := e.change
	return c.Op == change.Create || c.Op != change.Read && !c.Tombstone && c.Origin.Snapshot != overTheTop && c.Before != nil
}

// Bare reports whether only the key is known: the log has lost the delete itself and kept its tombstone.
func (e *Event) Bare() bool { return e.change.Tombstone }

// ID names the event for ever: it is the same whenever the change comes again, and no other change has it.
func (e *Event) ID() string {
	h := sha256.New()
	var n [8]byte
	for _, part := range [][]byte{[]byte(e.batch.Topic), e.change.Key} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	binary.BigEndian.PutUint64(n[:], uint64(e.change.Version))
	h.Write(n[:])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// Change is the whole change, for what this type does not say.
func (e *Event) Change() *sink.Change { return e.change }

// Has reports whether the table had the column when the change was made: older events lack a column that was added later.
func (e *Event) Has(column string) bool { return e.change.Table.Column(column) >= 0 }

// Columns are the names of the table's columns, in order.
func (e *Event) Columns() []string {
	names := make([]string, len(e.change.Table.Columns))
	for i := range names {
		names[i] = e.change.Table.Columns[i].Name
	}
	return names
}

// New is the column after the change. It is not Known where the row is deleted. To ask for a column that the table has not
// stops the topic once the function has returned, whatever it returned: ask Has first for one that may be missing.
func (e *Event) New(column string) Value {
	return e.value(column, e.change.After, e.change.After != nil)
}

// Old is the column before the change. It is not Known where there was no row, or where what was before is not known: see KnownBefore.
func (e *Event) Old(column string) Value {
	known := e.change.Before != nil && e.KnownBefore()
	return e.value(column, e.change.Before, known)
}

// Key is a column of the key. It is always known.
func (e *Event) Key(column string) Value {
	t := e.change.Table
	at := t.Column(column)
	for i, k := range t.Key {
		if k == at {
			return Value{name: column, column: &t.Columns[at], value: e.change.KeyValues[i], known: true}
		}
	}
	e.miss(column)
	return Value{name: column}
}

// Changed reports whether the column is surely another than before: a row came, went, or has another value in it.
func (e *Event) Changed(column string) bool {
	before, after := e.Old(column), e.New(column)
	return e.KnownBefore() && (before.known != after.known || !before.value.Equal(after.value))
}

// Became reports whether the column has the text now, and surely had not before. A row that only a crawl has found became nothing.
func (e *Event) Became(column, text string) bool {
	after := e.New(column)
	return e.Changed(column) && after.known && !after.Null() && after.String() == text
}

func (e *Event) value(column string, image []change.Value, known bool) Value {
	at := e.change.Table.Column(column)
	if at < 0 {
		e.miss(column)
		return Value{name: column}
	}
	v := Value{name: column, column: &e.change.Table.Columns[at], known: known}
	if known {
		v.value = image[at]
	}
	return v
}

func (e *Event) miss(column string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unknown = column
}

func (e *Event) missed() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unknown
}
