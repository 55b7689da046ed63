package rowimage

import (
	"fmt"

	"github.com/sluice-cdc/sluice/change"
)

// RowsEvent is a rows event without its rows walked yet.
type RowsEvent struct {
	TableID uint64
	Op      change.Op // Create, Update or Delete: what the event says; a key change is the caller's to see
	Partial bool      // PARTIAL_UPDATE_ROWS: after images are read by AfterPartial

	// Before and After are the bitmaps of the columns that the images have. A Create has only After, a Delete
	// only Before.
	Before, After []byte
	// Data holds the images, one after the other; for an Update a before and an after image by turns.
	Data           []byte
	EndOfStatement bool // the last rows event of its statement
}

// The events that carry rows. MariaDB writes v1 and the compressed ones, MySQL v2.
const (
	eventWriteV1, eventUpdateV1, eventDeleteV1 = 23, 24, 25
	eventWriteV2, eventUpdateV2, eventDeleteV2 = 30, 31, 32
	eventPartialUpdate                         = 39

	eventWriteCompressedV1, eventUpdateCompressedV1, eventDeleteCompressedV1 = 166, 167, 168
	eventWriteCompressedV2, eventUpdateCompressedV2, eventDeleteCompressedV2 = 169, 170, 171
)

// rowsKind is what the event's type says about its layout.
type rowsKind struct {
	op                  change.Op
	extra               bool // a v2 event: extra data after the flags
	compressed          bool
	partial             bool
	hasBefore, hasAfter bool
}

func rowsKindOf(eventType byte) (kind rowsKind, ok bool) {
	switch eventType {
	case eventWriteV1, eventWriteV2, eventWriteCompressedV1, eventWriteCompressedV2:
		kind = rowsKind{op: change.Create, hasAfter: true}
	case eventUpdateV1, eventUpdateV2, eventUpdateCompressedV1, eventUpdateCompressedV2, eventPartialUpdate:
		kind = rowsKind{op: change.Update, hasBefore: true, hasAfter: true}
	case eventDeleteV1, eventDeleteV2, eventDeleteCompressedV1, eventDeleteCompressedV2:
		kind = rowsKind{op: change.Delete, hasBefore: true}
	default:
		return kind, false
	}
	kind.partial = eventType == eventPartialUpdate
	kind.compressed = eventType >= eventWriteCompressedV1 && eventType <= eventDeleteCompressedV2
	kind.extra = eventType >= eventWriteV2 && eventType <= eventPartialUpdate || eventType >= eventWriteCompressedV2
	return kind, true
}

// IsRows reports whether events of that type carry rows, so that ParseRows reads them.
func IsRows(eventType byte) bool {
	_, ok := rowsKindOf(eventType)
	return ok
}

// RowsTableID reads only the table's id from a rows event's body, so that a reader can tell the events of
// tables that nobody wants without uncompressing them.
func RowsTableID(body []byte) (uint64, error) {
	r := reader{b: body}
	id := r.uint48()
	if err := r.err(); err != nil {
		return 0, fmt.Errorf("read rows event: %w", err)
	}
	return id, nil
}

// ParseRows reads the body of a rows event, without header and checksum. The result aliases body, except for
// a compressed event's rows.
func ParseRows(eventType byte, body []byte) (*RowsEvent, error) {
	kind, ok := rowsKindOf(eventType)
	if !ok {
		return nil, fmt.Errorf("read rows event: type %d carries no rows", eventType)
	}
	const flagEndOfStatement = 1
	r := reader{b: body}
	e := &RowsEvent{Op: kind.op, Partial: kind.partial}
	e.TableID = r.uint48()
	e.EndOfStatement = r.uint16()&flagEndOfStatement != 0
	if kind.extra {
		length := r.uint16() // counts its own two bytes
		if length < 2 {
			return nil, fmt.Errorf("read rows event: extra data of %d bytes", length)
		}
		r.skip(uint64(length) - 2)
	}
	columns := r.packed()
	if columns > columnsMax {
		return nil, fmt.Errorf("read rows event: %d columns, the server's limit is %d", columns, columnsMax)
	}
	bitmap := uint64(bitmapLength(int(columns)))
	if kind.hasBefore {
		e.Before = r.take(bitmap)
	}
	if kind.hasAfter {
		e.After = r.take(bitmap)
	}
	e.Data = r.b
	if err := r.err(); err != nil {
		return nil, fmt.Errorf("read rows event: %w", err)
	}
	if kind.compressed {
		rows, err := uncompressEvent(e.Data)
		if err != nil {
			return nil, fmt.Errorf("read compressed rows event: %w", err)
		}
		e.Data = rows
	}
	return e, nil
}
