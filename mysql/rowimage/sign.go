package rowimage

import (
	"slices"

	"github.com/sluice-cdc/sluice/change"
)

// yearSign says whether YEAR columns have a bit in the SIGNEDNESS metadata, between those of the numbers. Seen:
// 8.0.15 writes none; 9.7.4 and MariaDB 10.11 write one, always set; so does the source of 8.0.20. Nothing in
// the event tells which it is, and a wrong guess gives every number after the YEAR its neighbour's sign.
type yearSign uint8

const (
	yearCounted   yearSign = iota // the default: all servers of today
	yearUncounted                 // MySQL up to 8.0.15
	yearUnclear                   // MySQL 8.0.16 to 8.0.19: one or the other
)

// signs gives, for each column, whether it is an unsigned number.
func (tm *TableMap) signs(bitmap []byte) ([]bool, error) {
	with, withFits := tm.readSigns(bitmap, true)
	without, withoutFits := tm.readSigns(bitmap, false)
	switch {
	case tm.yearSign == yearCounted:
		return with, nil
	case tm.yearSign == yearUncounted:
		return without, nil
	case withFits && !withoutFits, slices.Equal(with, without):
		return with, nil
	case withoutFits && !withFits:
		return without, nil
	}
	return nil, &change.Problem{
		Kind:  change.Poison,
		What:  "the binlog does not tell which numbers are unsigned",
		Where: tm.Name.String(),
		Why: "MySQL 8.0.16 to 8.0.19 may or may not count YEAR columns among the numbers, and this table's description" +
			" makes sense both ways",
		Mend:  "upgrade the server to 8.0.20 or later, or move the table's YEAR columns behind its numbers, and crawl the table",
		Table: tm.Name,
	}
}

// readSigns reads the bitmap, whose highest bit comes first, with or without bits for YEAR columns. fits says
// whether it can have been meant so: the length is right, YEAR's bits are set, and those after the last column
// are not.
func (tm *TableMap) readSigns(bitmap []byte, years bool) (unsigned []bool, fits bool) {
	unsigned, fits = make([]bool, len(tm.wire)), true
	nth := 0
	next := func() bool {
		at := nth
		nth++
		return at>>3 < len(bitmap) && bitmap[at>>3]&(0x80>>(at&7)) != 0
	}
	for i := range tm.wire {
		switch {
		case tm.wire[i].isNumeric():
			unsigned[i] = next()
		case tm.wire[i].Type == wireYear && years:
			fits = next() && fits
		}
	}
	fits = fits && bitmapLength(nth) == len(bitmap)
	for nth < 8*len(bitmap) {
		fits = !next() && fits
	}
	return unsigned, fits
}
