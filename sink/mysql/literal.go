package mysql

import (
	"math"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
)

// appendValue appends a canonical value as a literal that, stored into a column of that type, gives the same
// value again. The session's sql_mode is the target's own (sessionMode), so backslash is an escape character.
func appendValue(dst []byte, v change.Value, t change.Type) []byte {
	switch v.Kind {
	case change.Null:
		return append(dst, "NULL"...)
	case change.Int64:
		return strconv.AppendInt(dst, v.Int(), 10)
	case change.Uint64:
		return strconv.AppendUint(dst, v.Num, 10)
	case change.Float32, change.Float64:
		return appendFloat(dst, v.Float())
	case change.Raw:
		if t == change.Bit {
			return strconv.AppendUint(dst, bigEndian(v.Bytes), 10)
		}
		return appendQuoted(append(dst, "_binary"...), v.Bytes)
	}
	switch {
	case t == change.Decimal && plainNumber(v.Bytes):
		return append(dst, v.Bytes...)
	case t == change.JSON:
		return appendJSON(dst, v.Bytes)
	}
	return appendQuoted(dst, v.Bytes)
}

// appendFloat appends a DOUBLE literal. A FLOAT is written as the double that it widens to: stored, it is
// rounded to itself, and compared with a FLOAT column it is equal, which its short form is not (0.1).
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) { // MySQL holds none; the server refuses the word with the row named
		return append(dst, "'not a number'"...)
	}
	return strconv.AppendFloat(dst, f, 'e', -1, 64)
}

// appendQuoted appends bytes in quotes. Everything but these three may stand in a literal as it is, in utf8mb4
// and, after _binary, in any bytes.
func appendQuoted(dst, text []byte) []byte {
	dst = append(dst, '\'')
	from := 0
	for i, c := range text {
		var escaped byte
		switch c {
		case '\'', '\\':
			escaped = c
		case 0:
			escaped = '0'
		default:
			continue
		}
		dst = append(append(dst, text[from:i]...), '\\', escaped)
		from = i + 1
	}
	return append(append(dst, text[from:]...), '\'')
}

// plainNumber reports whether the text is a decimal number and nothing else, so that it may stand unquoted:
// then a comparison is one of decimals, not of doubles.
func plainNumber(text []byte) bool {
	digits := 0
	for i, c := range text {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c == '-' && i == 0, c == '.' && digits > 0:
		default:
			return false
		}
	}
	return digits > 0
}

func bigEndian(bytes []byte) uint64 {
	var n uint64
	for _, b := range bytes {
		n = n<<8 | uint64(b)
	}
	return n
}

// emptyEnum reports whether the value is the empty name that MySQL stores for one that an ENUM did not have
// (index 0). No strict session can write it again.
func emptyEnum(v change.Value, c *change.Column) bool {
	if c.Type != change.Enum || v.Kind != change.Str || len(v.Bytes) > 0 {
		return false
	}
	for _, name := range c.Elements {
		if name == "" {
			return false
		}
	}
	return true
}
