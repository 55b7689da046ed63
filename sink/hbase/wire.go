package hbase

import (
	"errors"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of the gateway's messages (CellSetMessage, CellMessage and ScannerMessage of hbase-rest). They are few, and rows are
// written straight from the changes, so no code is generated for them.
const (
	fieldRows = 1 // of CellSet

	fieldRowKey   = 1 // of Row
	fieldRowCells = 2

	fieldCellColumn    = 2 // of Cell
	fieldCellTimestamp = 3
	fieldCellData      = 4

	fieldScanStart    = 1 // of Scanner
	fieldScanEnd      = 2
	fieldScanColumns  = 3
	fieldScanBatch    = 4
	fieldScanVersions = 7
	fieldScanFilter   = 8
	fieldScanCaching  = 9
)

// cell is one cell of a row; column is family:qualifier.
type cell struct {
	column    []byte
	timestamp int64
	value     []byte
}

// row is a row of a CellSet.
type row struct {
	key   []byte
	cells []cell
}

// value returns the cell of that column.
func (r *row) cell(column string) (cell, bool) {
	i := slices.IndexFunc(r.cells, func(c cell) bool { return string(c.column) == column })
	if i < 0 {
		return cell{}, false
	}
	return r.cells[i], true
}

// appendCell appends a cell as a field of its row.
func appendCell(dst []byte, column string, timestamp int64, value []byte) []byte {
	size := protowire.SizeTag(fieldCellColumn) + protowire.SizeBytes(len(column)) +
		protowire.SizeTag(fieldCellTimestamp) + protowire.SizeVarint(uint64(timestamp)) +
		protowire.SizeTag(fieldCellData) + protowire.SizeBytes(len(value))
	dst = protowire.AppendVarint(protowire.AppendTag(dst, fieldRowCells, protowire.BytesType), uint64(size))
	dst = protowire.AppendString(protowire.AppendTag(dst, fieldCellColumn, protowire.BytesType), column)
	dst = protowire.AppendVarint(protowire.AppendTag(dst, fieldCellTimestamp, protowire.VarintType), uint64(timestamp))
	return protowire.AppendBytes(protowire.AppendTag(dst, fieldCellData, protowire.BytesType), value)
}

// appendRow appends a row as a field of a CellSet; cells are what appendCell made.
func appendRow(dst, key, cells []byte) []byte {
	size := protowire.SizeTag(fieldRowKey) + protowire.SizeBytes(len(key)) + len(cells)
	dst = protowire.AppendVarint(protowire.AppendTag(dst, fieldRows, protowire.BytesType), uint64(size))
	dst = protowire.AppendBytes(protowire.AppendTag(dst, fieldRowKey, protowire.BytesType), key)
	return append(dst, cells...)
}

var errBadMessage = errors.New("the gateway's answer is no message of protobuf")

// eachField calls each with the fields of a message: number for those of varints, bytes for the others.
func eachField(b []byte, each func(field protowire.Number, number uint64, bytes []byte) error) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errBadMessage
		}
		b = b[n:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return errBadMessage
		}
		if err := each(field, number, bytes); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// parseRows reads a CellSet. The rows alias it.
func parseRows(b []byte) ([]row, error) {
	var rows []row
	err := eachField(b, func(field protowire.Number, _ uint64, message []byte) error {
		if field != fieldRows {
			return nil
		}
		var r row
		err := eachField(message, func(field protowire.Number, _ uint64, bytes []byte) error {
			switch field {
			case fieldRowKey:
				r.key = bytes
			case fieldRowCells:
				c, err := parseCell(bytes)
				r.cells = append(r.cells, c)
				return err
			}
			return nil
		})
		rows = append(rows, r)
		return err
	})
	return rows, err
}

func parseCell(b []byte) (c cell, err error) {
	err = eachField(b, func(field protowire.Number, number uint64, bytes []byte) error {
		switch field {
		case fieldCellColumn:
			c.column = bytes
		case fieldCellTimestamp:
			c.timestamp = int64(number)
		case fieldCellData:
			c.value = bytes
		}
		return nil
	})
	return c, err
}

// scanRequest is what a scanner is opened with.
type scanRequest struct {
	start, end []byte   // start <= key < end; empty: no bound
	columns    []string // none: all
	filter     string   // the gateway's JSON form
	cells      int      // how many cells an answer has at most
}

// scanCaching is how many rows the gateway asks a region for at once.
const scanCaching = 500

func (s *scanRequest) encode() []byte {
	var b []byte
	add := func(field protowire.Number, bytes []byte) {
		if len(bytes) > 0 {
			b = protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), bytes)
		}
	}
	number := func(field protowire.Number, n int) {
		b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(n))
	}
	add(fieldScanStart, s.start)
	add(fieldScanEnd, s.end)
	for _, c := range s.columns {
		add(fieldScanColumns, []byte(c))
	}
	number(fieldScanBatch, s.cells)
	number(fieldScanVersions, 1)
	add(fieldScanFilter, []byte(s.filter))
	number(fieldScanCaching, scanCaching)
	return b
}
