package binlog

import (
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
)

// Walker goes through the rows of Rows events. It keeps the cells between events; its zero value is ready.
type Walker struct {
	before, after []rowimage.Cell
}

// Walk calls row for each row of the event, in order, with the cells of its images (nil where the event has
// none) and with the row's own bytes. The cells hold until the next call; their Data aliases the event.
//
// Rows of a table whose layout cannot be read, which only an unwanted table's can be, count as one row.
func (w *Walker) Walk(e *Event, row func(before, after []rowimage.Cell, raw []byte) error) error {
	data := e.Rows.Data
	if e.TableMap == nil {
		return row(nil, nil, data)
	}
	columns := len(e.TableMap.Columns)
	for len(data) > 0 {
		var before, after []rowimage.Cell
		rest, err := data, error(nil)
		if e.Rows.Op != change.Create {
			before = cells(&w.before, columns)
			rest, err = e.TableMap.Image(e.Rows.Before, rest, before)
		}
		if err == nil && e.Rows.Op != change.Delete {
			after = cells(&w.after, columns)
			if e.Rows.Partial {
				rest, err = e.TableMap.AfterPartial(before, e.Rows.After, rest, after)
			} else {
				rest, err = e.TableMap.Image(e.Rows.After, rest, after)
			}
		}
		if err != nil {
			return fmt.Errorf("read rows of %s before %s: %w", e.Table, e.Position, err)
		}
		if len(rest) == len(data) {
			return fmt.Errorf("read rows of %s before %s: a row without bytes", e.Table, e.Position)
		}
		if err := row(before, after, data[:len(data)-len(rest)]); err != nil {
			return err
		}
		data = rest
	}
	return nil
}

func cells(keep *[]rowimage.Cell, count int) []rowimage.Cell {
	if cap(*keep) < count {
		*keep = make([]rowimage.Cell, count)
	}
	return (*keep)[:count]
}

// RowChecksum counts the raw rows of one transaction, over all tables, and sums them up, so that a resume
// within the transaction can tell whether it skips the same rows (R2). How the rows are cut into events does
// not matter: another server of a failover may cut them otherwise. Its zero value is the transaction's begin.
type RowChecksum struct {
	Rows int64
	Sum  uint64

	table change.TableName
	op    change.Op
}

// Add adds a row of the event.
func (c *RowChecksum) Add(e *Event, raw []byte) {
	if e.Table != c.table || e.Rows.Op != c.op {
		c.table, c.op = e.Table, e.Rows.Op
		var room [2*64 + 3]byte // names have 64 characters at most, and may take more bytes
		name := append(append(room[:0], e.Table.DB...), 0)
		c.mix(xxhash.Sum64(append(append(name, e.Table.Name...), 0, byte(e.Rows.Op))))
	}
	c.mix(xxhash.Sum64(raw))
	c.Rows++
}

// mix takes in the hash of what comes next: neither its order nor where it ends is lost, and no two sums become one.
func (c *RowChecksum) mix(hash uint64) {
	const odd = 0x9e3779b185ebca87
	c.Sum = (bits.RotateLeft64(c.Sum, 31) ^ hash) * odd
}
