package rowimage

import (
	"errors"
	"fmt"
)

// Cell is one column of a row image.
type Cell struct {
	Present bool // the image has the column (with binlog_row_image=FULL it always does)
	Null    bool
	// Data is the column's bytes as the image has them, without the length that stands before them. It aliases
	// the event, except where the server stores an old or compressed form: times of before MySQL 5.6 are given
	// in today's form, and MariaDB's COMPRESSED columns uncompressed.
	Data []byte
}

// Image walks one row image that starts at data and puts its columns into cells, which must have one for each
// of tm.Columns. present is the rows event's bitmap of the columns that its images have. It returns what
// follows the image.
func (tm *TableMap) Image(present, data []byte, cells []Cell) (rest []byte, err error) {
	if err := tm.checkWalk(present, cells); err != nil {
		return nil, err
	}
	count := 0
	for i := range tm.wire {
		if bit(present, i) {
			count++
		}
	}
	nulls := data
	if len(data) < bitmapLength(count) {
		return nil, fmt.Errorf("row image of %s: NULL bitmap: %w", tm.Name, errShort)
	}
	data = data[bitmapLength(count):]
	nth, column := 0, 0 // among the present ones: the NULL bitmap has bits for them only; among the shown ones
	for i := range tm.wire {
		w := &tm.wire[i]
		cell := Cell{Present: bit(present, i)}
		if cell.Present {
			cell.Null = bit(nulls, nth)
			nth++
			switch size := int(w.fixed); {
			case cell.Null:
			case w.plain && size <= len(data): // most columns, without a call
				cell.Data, data = data[:size:size], data[size:]
			default:
				if cell.Data, data, err = w.value(data); err != nil {
					return nil, tm.columnError(w, i, err)
				}
			}
		}
		if !w.hidden {
			cells[column] = cell
			column++
		}
	}
	return data, nil
}

func (tm *TableMap) checkWalk(present []byte, cells []Cell) error {
	if len(cells) != len(tm.Columns) || len(present) != bitmapLength(len(tm.wire)) {
		return fmt.Errorf("row image of %s: %d cells and a bitmap of %d bytes for %d columns",
			tm.Name, len(cells), len(present), len(tm.wire))
	}
	return nil
}

func (tm *TableMap) columnError(w *Wire, column int, err error) error {
	return fmt.Errorf("row image of %s, column %d (type %d): %w", tm.Name, column+1, w.Type, err)
}

// value takes one value off data.
func (w *Wire) value(data []byte) (value, rest []byte, err error) {
	length := int(w.fixed)
	if w.prefix != 0 {
		if len(data) < int(w.prefix) {
			return nil, nil, errShort
		}
		switch w.prefix {
		case 1:
			length = int(data[0])
		case 2:
			length = int(data[0]) | int(data[1])<<8
		case 3:
			length = int(data[0]) | int(data[1])<<8 | int(data[2])<<16
		default:
			length = int(uint32At(data))
		}
		data = data[w.prefix:]
	}
	if uint(length) > uint(len(data)) {
		return nil, nil, errShort
	}
	value, rest = data[:length:length], data[length:]
	if w.rework {
		value, err = w.reworked(value)
	}
	return value, rest, err
}

var errRework = errors.New("the stored form is not readable")

// reworked gives a value of an old or compressed form in the usual one.
func (w *Wire) reworked(data []byte) ([]byte, error) {
	switch w.Type {
	case wireTime:
		return newTime(data), nil
	case wireTimestamp:
		return newTimestamp(data), nil
	case wireDateTime:
		return newDateTime(data), nil
	case wireBlobCompressed, wireVarcharCompressed:
		return uncompressColumn(data)
	}
	return nil, errRework
}
