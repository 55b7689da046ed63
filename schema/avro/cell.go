package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
)

// appendCell writes a value of a row image.
func (c *column) appendCell(dst, data []byte) ([]byte, error) {
	switch c.repr {
	case schema.Short, schema.Int, schema.Long, schema.UnsignedLong:
		if err := c.checkSize(data, integerSize(c.Type)); err != nil {
			return dst, err
		}
		if c.Unsigned {
			return appendLong(dst, int64(rowimage.Uint(data))), nil
		}
		return appendLong(dst, rowimage.Int(data)), nil
	case schema.UnsignedBytes:
		if err := c.checkSize(data, 8); err != nil {
			return dst, err
		}
		return appendUnsigned(dst, rowimage.Uint(data)), nil
	case schema.Float, schema.Double:
		size := 4
		if c.repr == schema.Double {
			size = 8
		}
		if err := c.checkSize(data, size); err != nil {
			return dst, err
		}
		return append(dst, data...), nil // little-endian IEEE 754 here and there
	case schema.DecimalBytes, schema.DecimalText, schema.DecimalFloat64:
		var d decimal
		if err := d.setImage(data, c.Precision, c.Scale, c.limbs); err != nil {
			return dst, err
		}
		return c.emitDecimal(dst, &d)
	case schema.YearInt:
		if err := c.checkSize(data, 1); err != nil {
			return dst, err
		}
		return appendLong(dst, rowimage.Year(data)), nil
	case schema.Text:
		return c.emitText(dst, data)
	case schema.EnumName:
		return c.appendEnum(dst, data)
	case schema.SetNames:
		return c.appendSet(dst, data)
	case schema.JSONText:
		start, body, dst := reserve(dst, len(data))
		dst, err := rowimage.AppendJSON(dst, data)
		if err != nil {
			return dst, err
		}
		return settle(dst, start, body), nil
	case schema.Days, schema.ConnectDays, schema.MicroTime, schema.MilliTime,
		schema.Millis, schema.ConnectMillis, schema.Micros, schema.Zoned:
		return c.appendTemporalCell(dst, data)
	}
	return c.emitOpaque(dst, data)
}

func (c *column) appendTemporalCell(dst, data []byte) ([]byte, error) {
	switch c.Type {
	case change.Date:
		d, err := rowimage.DecodeDate(data)
		if err != nil {
			return dst, err
		}
		return c.emitDate(dst, d)
	case change.Time:
		t, err := rowimage.DecodeTime(data, c.Scale)
		if err != nil {
			return dst, err
		}
		return c.emitTime(dst, t)
	case change.DateTime:
		d, err := rowimage.DecodeDateTime(data, c.Scale)
		if err != nil {
			return dst, err
		}
		return c.emitDateTime(dst, d)
	}
	seconds, micros, err := rowimage.DecodeTimestamp(data, c.Scale)
	if err != nil {
		return dst, err
	}
	return c.emitTimestamp(dst, timestampOf(seconds, micros))
}

func (c *column) appendEnum(dst, data []byte) ([]byte, error) {
	if len(data) != 1 && len(data) != 2 {
		return dst, fmt.Errorf("ENUM of %d bytes", len(data))
	}
	switch n := rowimage.Uint(data); {
	case n == 0: // what a server that is not strict stores for a name that is none of the column's
		return append(dst, 0), nil
	case n > uint64(len(c.Elements)):
		return dst, fmt.Errorf("ENUM index %d of %d names", n, len(c.Elements))
	default:
		return appendString(dst, c.Elements[n-1]), nil
	}
}

func (c *column) appendSet(dst, data []byte) ([]byte, error) {
	if len(data) == 0 || len(data) > 8 {
		return dst, fmt.Errorf("SET of %d bytes", len(data))
	}
	members := rowimage.Uint(data)
	if n := len(c.Elements); n < 64 && members>>n != 0 {
		return dst, fmt.Errorf("SET bits %#x of %d names", members, n)
	}
	start, body, dst := reserve(dst, 0)
	for i, name := range c.Elements {
		if members>>i&1 == 0 {
			continue
		}
		if len(dst) > body {
			dst = append(dst, ',')
		}
		dst = append(dst, name...)
	}
	return settle(dst, start, body), nil
}

func (c *column) checkSize(data []byte, size int) error {
	if len(data) != size {
		return fmt.Errorf("%d bytes, not %d", len(data), size)
	}
	return nil
}

func integerSize(t change.Type) int {
	switch t {
	case change.TinyInt:
		return 1
	case change.SmallInt:
		return 2
	case change.MediumInt:
		return 3
	case change.Int:
		return 4
	}
	return 8
}

// reserve appends the length of a string that is expected to have that many bytes; settle corrects it once the
// string is there. So a string is made in place, with no second buffer, and seldom moved.
func reserve(dst []byte, expected int) (start, body int, out []byte) {
	out = binary.AppendVarint(dst, int64(expected))
	return len(dst), len(out), out
}

// settle writes the length of what stands from body on into the place from start on.
func settle(dst []byte, start, body int) []byte {
	var length [binary.MaxVarintLen64]byte
	size := len(dst) - body
	n := binary.PutVarint(length[:], int64(size))
	if n > body-start {
		dst = append(dst, length[:n-(body-start)]...) // room: the bytes are overwritten
	}
	if n != body-start {
		copy(dst[start+n:], dst[body:body+size])
	}
	copy(dst[start:], length[:n])
	return dst[:start+n+size]
}

// What follows writes a scalar, and is common to both forms of a row.

// emitText writes text of the column's charset in UTF-8.
func (c *column) emitText(dst, text []byte) ([]byte, error) {
	start, body, dst := reserve(dst, len(text))
	dst, err := c.charset.AppendUTF8(dst, text)
	if err != nil {
		return dst, err
	}
	if len(dst)-body == len(text) {
		return dst, nil
	}
	return settle(dst, start, body), nil
}

func (c *column) emitDecimal(dst []byte, d *decimal) ([]byte, error) {
	if c.repr == schema.DecimalBytes {
		return d.appendBytes(dst), nil
	}
	start, body, dst := reserve(dst, c.Precision+1)
	dst, err := d.appendText(dst, c.Precision, c.Scale)
	if err != nil || c.repr == schema.DecimalText {
		return settle(dst, start, body), err
	}
	f, err := strconv.ParseFloat(string(dst[body:]), 64)
	return binary.LittleEndian.AppendUint64(dst[:start], math.Float64bits(f)), err
}

var (
	errNoUTF8   = errors.New("text that is not UTF-8")
	errGeometry = errors.New("bytes that are no geometry")
)

// emitOpaque writes types whose row image and text are the same bytes.
func (c *column) emitOpaque(dst, data []byte) ([]byte, error) {
	switch c.repr {
	case schema.Bytes:
		return c.emitBytes(dst, data)
	case schema.Boolean, schema.Bits:
		return c.emitBits(dst, data)
	case schema.Geometry, schema.Point:
		return c.emitGeometry(dst, data)
	case schema.Vector:
		if len(data)%4 != 0 {
			return dst, fmt.Errorf("VECTOR of %d bytes", len(data))
		}
		if len(data) == 0 {
			return append(dst, 0), nil
		}
		dst = appendLong(dst, int64(len(data)/4))
		return append(append(dst, data...), 0), nil // one block; floats are little-endian here and there
	}
	return dst, fmt.Errorf("no way to write form %d", c.repr)
}

// emitBytes writes bytes; BINARY gets the zeros back that the row image leaves out at the end.
func (c *column) emitBytes(dst, data []byte) ([]byte, error) {
	if c.Type != change.Binary {
		return appendBytes(dst, data), nil
	}
	if len(data) > c.Length {
		return dst, fmt.Errorf("BINARY(%d) of %d bytes", c.Length, len(data))
	}
	dst = append(appendLong(dst, int64(c.Length)), data...)
	for range c.Length - len(data) {
		dst = append(dst, 0)
	}
	return dst, nil
}

func (c *column) emitBits(dst, data []byte) ([]byte, error) {
	if len(data) != (c.Length+7)/8 || len(data) == 0 {
		return dst, fmt.Errorf("BIT(%d) of %d bytes", c.Length, len(data))
	}
	if over := c.Length % 8; over != 0 && data[0]>>over != 0 {
		return dst, fmt.Errorf("BIT(%d) with more bits", c.Length)
	}
	if c.repr == schema.Boolean {
		return append(dst, data[0]), nil
	}
	dst = appendLong(dst, int64(len(data)))
	for i := len(data) - 1; i >= 0; i-- {
		dst = append(dst, data[i])
	}
	return dst, nil
}

// wkbPointSize is the length of a point's WKB: byte order, type, x, y.
const wkbPointSize = 1 + 4 + 8 + 8

// emitGeometry writes MySQL's form, SRID and WKB. No bytes at all, which ALTER TABLE can leave behind in a NOT NULL
// column, are an empty (a point's: null) wkb without SRID.
func (c *column) emitGeometry(dst, data []byte) ([]byte, error) {
	if len(data) == 0 {
		if c.repr == schema.Point { // x and y: NaN
			nan := math.Float64bits(math.NaN())
			dst = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, nan), nan)
		}
		return append(dst, 0, branch0), nil
	}
	if len(data) < 4+5 {
		return dst, errGeometry
	}
	srid, wkb := binary.LittleEndian.Uint32(data), data[4:]
	if c.repr == schema.Point {
		if len(wkb) != wkbPointSize || wkb[0] != 1 {
			return dst, errGeometry
		}
		dst = append(append(dst, wkb[5:]...), branch1)
	}
	dst = appendBytes(dst, wkb)
	if srid == 0 {
		return append(dst, branch0), nil
	}
	return appendLong(append(dst, branch1), int64(int32(srid))), nil
}

// emitUTF8 writes text that must be UTF-8 already.
func emitUTF8(dst, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return dst, errNoUTF8
	}
	return appendBytes(dst, text), nil
}
