package rowimage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// columnsMax is the server's limit on the columns of a table.
const columnsMax = 4096

// TableMap is a parsed TABLE_MAP event. It is immutable and may be shared between goroutines.
type TableMap struct {
	ID      uint64 // what rows events name; means something until the next event of the same id
	Flags   uint16
	Name    change.TableName
	Columns []Wire // as SELECT * has them, with invisible columns too

	wire     []Wire // as the row images have them: Columns, but for columns that WrittenBy hides
	flavor   gtid.Flavor
	yearSign yearSign
	body     []byte // the whole event body, our own copy
	optional []byte // the optional metadata inside body
	jsons    int    // how many columns are JSON: partial updates have a bit for each

	mu sync.Mutex
	// mu guards the following.
	columns    []change.Column // from the optional metadata, once asked for
	primary    []int
	columnsErr error
	described  bool
	tables     []keyedTable
}

// keyedTable is an answer that Table has given.
type keyedTable struct {
	key   string
	table *change.Table
}

// ParseTableMap reads the body of a TABLE_MAP event, without header and checksum. It copies what it keeps.
// Optional metadata is read by Table only: rows of a table can be walked without it.
func ParseTableMap(body []byte, flavor gtid.Flavor) (*TableMap, error) {
	body = bytes.Clone(body)
	tm := &TableMap{flavor: flavor, body: body}
	r := reader{b: body}
	tm.ID = r.uint48()
	tm.Flags = r.uint16()
	tm.Name.DB = string(r.take(uint64(r.uint8())))
	r.skip(1) // the name's closing zero
	tm.Name.Name = string(r.take(uint64(r.uint8())))
	r.skip(1)
	count := r.packed()
	types := r.take(count)
	metadata := r.take(r.packed())
	nullable := r.take(uint64(bitmapLength(len(types))))
	tm.optional = r.b
	if err := r.err(); err != nil {
		return nil, fmt.Errorf("read table map: %w", err)
	}
	if count > columnsMax {
		return nil, fmt.Errorf("read table map of %s: %d columns, the server's limit is %d", tm.Name, count, columnsMax)
	}
	if err := tm.parseColumns(types, metadata, nullable); err != nil {
		return nil, fmt.Errorf("read table map of %s: %w", tm.Name, err)
	}
	return tm, nil
}

// Same reports whether body is, but for its flags, the event that tm was parsed from, so that a reader may
// keep tm, and all that hangs on its Table, instead of parsing the same description for each statement.
func (tm *TableMap) Same(body []byte) bool {
	const flagsAt, flagsEnd = 6, 8
	return len(body) == len(tm.body) && len(body) >= flagsEnd &&
		bytes.Equal(body[:flagsAt], tm.body[:flagsAt]) && bytes.Equal(body[flagsEnd:], tm.body[flagsEnd:])
}

func (tm *TableMap) parseColumns(types, metadata, nullable []byte) error {
	tm.wire = make([]Wire, len(types))
	r := reader{b: metadata}
	for i, t := range types {
		w := &tm.wire[i]
		w.Type, w.Nullable = t, bit(nullable, i)
		w.readMeta(&r)
		if err := r.err(); err != nil {
			return fmt.Errorf("metadata of column %d (type %d): %w", i+1, t, err)
		}
		if err := w.layOut(); err != nil {
			return fmt.Errorf("column %d: %w", i+1, err)
		}
		w.plain = w.prefix == 0 && !w.rework
		if w.Type == wireJSON {
			tm.jsons++
		}
	}
	tm.Columns = tm.wire
	return nil
}

// readMeta reads the metadata that the type has, and uncovers the real type behind STRING.
func (w *Wire) readMeta(r *reader) {
	switch w.Type {
	case wireString, wireEnum, wireSet:
		w.readStringMeta(r)
	case wireNewDecimal:
		precision := r.uint8()
		w.Meta = uint16(precision)<<8 | uint16(r.uint8())
	case wireVarchar, wireVarString, wireVarcharCompressed, wireBit:
		w.Meta = r.uint16()
	case wireFloat, wireDouble, wireBlob, wireBlobCompressed, wireGeometry, wireVector, wireJSON,
		wireTinyBlob, wireMediumBlob, wireLongBlob, wireTime2, wireDateTime2, wireTimestamp2:
		w.Meta = uint16(r.uint8())
	}
}

// readStringMeta reads the two bytes of CHAR, BINARY, ENUM and SET. The first is the real type. A CHAR of
// more than 255 bytes has two more bits of length: they stand inverted in bits 4 and 5 of the type's byte,
// which are set in all three types.
func (w *Wire) readStringMeta(r *reader) {
	const lengthBits = 0x30
	real, length := r.uint8(), uint16(r.uint8())
	if real == 0 { // as the first 5.x servers wrote it
		real = w.Type
	}
	if real&lengthBits != lengthBits {
		length |= uint16(real&lengthBits^lengthBits) << 4
		real |= lengthBits
	}
	w.Type, w.Meta = real, length
}

// layOut fills in how long a value is.
func (w *Wire) layOut() error {
	switch w.Type {
	case wireTiny, wireYear:
		w.fixed = 1
	case wireShort:
		w.fixed = 2
	case wireInt24, wireDate, wireNewDate:
		w.fixed = 3
	case wireLong, wireFloat:
		w.fixed = 4
	case wireLongLong, wireDouble:
		w.fixed = 8
	case wireNull:
		w.fixed = 0
	case wireTime, wireTimestamp, wireDateTime:
		w.rework = true
		w.fixed = map[byte]int32{wireTime: 3, wireTimestamp: 4, wireDateTime: 8}[w.Type]
	case wireTime2, wireTimestamp2, wireDateTime2:
		return w.layOutTime()
	case wireNewDecimal:
		return w.layOutDecimal()
	case wireBit:
		bits := int32(w.Meta>>8)*8 + int32(w.Meta&0xff)
		if bits < 1 || bits > 64 {
			return fmt.Errorf("BIT of %d bits", bits)
		}
		w.fixed = (bits + 7) / 8
	case wireEnum, wireSet:
		if w.Meta < 1 || w.Meta > 8 || w.Type == wireEnum && w.Meta > 2 {
			return fmt.Errorf("ENUM or SET value of %d bytes", w.Meta)
		}
		w.fixed = int32(w.Meta)
	case wireString, wireVarchar, wireVarString, wireVarcharCompressed:
		w.prefix = 1
		if w.Meta > 255 {
			w.prefix = 2
		}
		w.rework = w.Type == wireVarcharCompressed
	case wireBlob, wireBlobCompressed, wireGeometry, wireVector, wireJSON, wireTinyBlob, wireMediumBlob, wireLongBlob:
		if w.Meta < 1 || w.Meta > 4 {
			return fmt.Errorf("blob with a length of %d bytes", w.Meta)
		}
		w.prefix = uint8(w.Meta)
		w.rework = w.Type == wireBlobCompressed
	default:
		return fmt.Errorf("type %d is not known", w.Type)
	}
	return nil
}

func (w *Wire) layOutTime() error {
	if w.Meta > 6 {
		return fmt.Errorf("time with %d fractional digits", w.Meta)
	}
	w.fixed = map[byte]int32{wireTime2: 3, wireTimestamp2: 4, wireDateTime2: 5}[w.Type] + int32(w.Meta+1)/2
	return nil
}

func (w *Wire) layOutDecimal() error {
	precision, scale := int(w.Meta>>8), int(w.Meta&0xff)
	size, err := decimalSize(precision, scale)
	w.fixed = int32(size)
	return err
}

// uint32At is the length prefix of 4 bytes, the commonest of blobs and JSON.
func uint32At(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
