package rowimage

import (
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/charset"
)

// Value gives a cell's value in change.Value's canonical form. It allocates; it is for tests and for paths
// that are not hot.
func (tm *TableMap) Value(column int, cell Cell) (change.Value, error) {
	if !cell.Present || cell.Null {
		return change.Value{}, nil
	}
	tm.mu.Lock()
	columns, _, err := tm.describedLocked()
	tm.mu.Unlock()
	if err != nil {
		return change.Value{}, err
	}
	v, err := valueOf(&columns[column], cell.Data)
	if err != nil {
		return v, fmt.Errorf("column %s of %s: %w", columns[column].Name, tm.Name, err)
	}
	return v, nil
}

// valueOf gives the value of a column's bytes.
func valueOf(c *change.Column, data []byte) (change.Value, error) {
	switch {
	case c.Type.Integer() && c.Unsigned:
		return change.UintValue(Uint(data)), nil
	case c.Type.Integer():
		return change.IntValue(Int(data)), nil
	case c.Type.Character():
		return textValue(c, data)
	case c.Type == change.Binary:
		return change.RawValue(AppendBinary(nil, data, c.Length)), nil
	}
	switch c.Type {
	case change.Year:
		return change.IntValue(Year(data)), nil
	case change.Float:
		return change.Float32Value(Float32(data)), nil
	case change.Double:
		return change.Float64Value(Float64(data)), nil
	case change.Enum:
		return str(AppendEnum(nil, data, c.Elements))
	case change.Set:
		return str(AppendSet(nil, data, c.Elements))
	case change.JSON:
		return str(AppendJSON(nil, data))
	case change.Decimal:
		return str(AppendDecimal(nil, data, c.Precision, c.Scale))
	case change.Date, change.Time, change.DateTime, change.Timestamp:
		return timeValue(c, data)
	}
	return change.RawValue(data), nil
}

func str(text []byte, err error) (change.Value, error) {
	if err != nil {
		return change.Value{}, err
	}
	return change.Value{Kind: change.Str, Bytes: text}, nil
}

func textValue(c *change.Column, data []byte) (change.Value, error) {
	set, ok := charset.Lookup(c.Charset)
	if !ok {
		return change.Value{}, fmt.Errorf("character set %s is not known", c.Charset)
	}
	return str(set.AppendUTF8([]byte{}, data))
}

func timeValue(c *change.Column, data []byte) (change.Value, error) {
	switch c.Type {
	case change.Date:
		d, err := DecodeDate(data)
		if err != nil {
			return change.Value{}, err
		}
		return str(AppendDate(nil, d), nil)
	case change.Time:
		t, err := DecodeTime(data, c.Scale)
		if err != nil {
			return change.Value{}, err
		}
		return str(AppendTime(nil, t, c.Scale), nil)
	case change.DateTime:
		d, err := DecodeDateTime(data, c.Scale)
		if err != nil {
			return change.Value{}, err
		}
		return str(AppendDateTime(nil, d, c.Scale), nil)
	}
	seconds, micros, err := DecodeTimestamp(data, c.Scale)
	if err != nil {
		return change.Value{}, err
	}
	return str(AppendTimestamp(nil, seconds, micros, c.Scale), nil)
}

// AppendBinary appends a BINARY(length) column: the row image leaves out the zero bytes at its end.
func AppendBinary(dst, data []byte, length int) []byte {
	dst = append(dst, data...)
	return appendNull(dst, length-len(data))
}

func appendNull(dst []byte, count int) []byte {
	for range count {
		dst = append(dst, 0)
	}
	return dst
}

// AppendEnum appends the name of an ENUM's value. Index 0 is the empty string, which the server stores for a
// value that is none when it is not strict.
func AppendEnum(dst, data []byte, names []string) ([]byte, error) {
	index := Uint(data)
	if index > uint64(len(names)) {
		return dst, fmt.Errorf("ENUM index %d of %d names", index, len(names))
	}
	if index == 0 {
		return dst, nil
	}
	return append(dst, names[index-1]...), nil
}

// AppendSet appends the names of a SET's value, joined by commas.
func AppendSet(dst, data []byte, names []string) ([]byte, error) {
	bits := Uint(data)
	if len(names) < 64 && bits>>len(names) != 0 {
		return dst, fmt.Errorf("SET bits %#x of %d names", bits, len(names))
	}
	first := true
	for i := 0; bits != 0; i, bits = i+1, bits>>1 {
		if bits&1 == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = append(dst, names[i]...), false
	}
	return dst, nil
}
