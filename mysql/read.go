package mysql

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// SelectText returns what is selected of a column so that its text is exact, in a session with UTF-8 for results, UTC and an sql_mode
// without PAD_CHAR_TO_FULL_LENGTH. ParseText reads it.
func SelectText(c *change.Column) string {
	name := QuoteName(c.Name)
	if c.Type == change.Float || c.Type == change.Double {
		return "(" + name + "*1e0)" // as it stands, a FLOAT comes with 6 digits and a DOUBLE(M,D) with D decimals
	}
	return name
}

// ParseText makes a column's text a canonical value, which aliases the text.
func ParseText(c *change.Column, text []byte) (change.Value, error) {
	if text == nil {
		return change.Value{}, nil
	}
	switch {
	case c.Type.Integer() && c.Unsigned:
		n, err := strconv.ParseUint(string(text), 10, 64)
		return change.UintValue(n), err
	case c.Type.Integer(), c.Type == change.Year:
		n, err := strconv.ParseInt(string(text), 10, 64)
		return change.IntValue(n), err
	case c.Type == change.Float:
		f, err := strconv.ParseFloat(string(text), 64)
		return change.Float32Value(float32(f)), err
	case c.Type == change.Double:
		f, err := strconv.ParseFloat(string(text), 64)
		return change.Float64Value(f), err
	}
	switch {
	case c.Type.Opaque(), c.Type == change.Bit, c.Type == change.Geometry, c.Type == change.Vector:
		return change.RawValue(text), nil
	case c.Type == change.Decimal:
		for len(text) > 1 && text[0] == '0' && text[1] != '.' { // ZEROFILL is about how a number is shown
			text = text[1:]
		}
	}
	return change.Value{Kind: change.Str, Bytes: text}, nil
}

// KeyLiteral returns a literal that compares with the column as the value does that it is: by the column's collation; ENUM, SET
// and BIT by their numbers.
func KeyLiteral(c *change.Column, v change.Value) (string, error) {
	switch {
	case v.IsNull():
		return "", fmt.Errorf("column %s: a key is never NULL", c.Name)
	case v.Kind == change.Int64, v.Kind == change.Uint64:
		return string(v.Append(nil)), nil
	case c.Type == change.Bit && len(v.Bytes) <= 8:
		var wide [8]byte
		copy(wide[len(wide)-len(v.Bytes):], v.Bytes)
		return strconv.FormatUint(binary.BigEndian.Uint64(wide[:]), 10), nil
	case c.Type == change.Enum:
		return enumNumber(c, string(v.Bytes))
	case c.Type == change.Set:
		return setNumber(c, string(v.Bytes))
	case c.Type.Character() && c.Charset == "utf8mb4":
		return "_utf8mb4 x'" + hex.EncodeToString(v.Bytes) + "' COLLATE " + c.Collation, nil
	case c.Type.Character():
		return "CONVERT(_utf8mb4 x'" + hex.EncodeToString(v.Bytes) + "' USING " + c.Charset + ") COLLATE " + c.Collation, nil
	case c.Type.Opaque():
		return "x'" + hex.EncodeToString(v.Bytes) + "'", nil
	case c.Type == change.Decimal && strings.Trim(string(v.Bytes), "-.0123456789") == "":
		return string(v.Bytes), nil
	case c.Type == change.Date, c.Type == change.Time, c.Type == change.DateTime, c.Type == change.Timestamp:
		return QuoteString(string(v.Bytes)), nil
	}
	return "", fmt.Errorf("column %s: no literal for %s", c.Name, c.Type)
}

func enumNumber(c *change.Column, name string) (string, error) {
	at := slices.Index(c.Elements, name)
	if at < 0 && name != "" { // the empty name with number 0 is what an invalid value became
		return "", fmt.Errorf("column %s: no element %q", c.Name, name)
	}
	return strconv.Itoa(at + 1), nil
}

func setNumber(c *change.Column, names string) (string, error) {
	var bits uint64
	if names != "" {
		for name := range strings.SplitSeq(names, ",") {
			at := slices.Index(c.Elements, name)
			if at < 0 {
				return "", fmt.Errorf("column %s: no element %q", c.Name, name)
			}
			bits |= 1 << at
		}
	}
	return strconv.FormatUint(bits, 10), nil
}
