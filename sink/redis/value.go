package redis

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// appendText appends a value as the text of a hash's field or of a string. NULL is not written at all.
func appendText(dst []byte, c *change.Column, v change.Value) []byte {
	if c.Type == change.Bit && v.Kind == change.Raw {
		return append(dst, new(big.Int).SetBytes(v.Bytes).String()...)
	}
	return v.Append(dst)
}

// readText reads what appendText wrote.
func readText(c *change.Column, text string) (change.Value, error) {
	switch {
	case c.Type.Integer() && c.Unsigned:
		n, err := strconv.ParseUint(text, 10, 64)
		return change.UintValue(n), err
	case c.Type.Integer() || c.Type == change.Year:
		n, err := strconv.ParseInt(text, 10, 64)
		return change.IntValue(n), err
	case c.Type == change.Float:
		f, err := strconv.ParseFloat(text, 32)
		return change.Float32Value(float32(f)), err
	case c.Type == change.Double:
		f, err := strconv.ParseFloat(text, 64)
		return change.Float64Value(f), err
	case c.Type == change.Bit:
		n, err := strconv.ParseUint(text, 10, 64)
		return change.RawValue(binary.BigEndian.AppendUint64(nil, n)[8-min((c.Length+7)/8, 8):]), err
	case c.Type.Opaque() || c.Type == change.Geometry || c.Type == change.Vector:
		return change.RawValue([]byte(text)), nil
	}
	return change.StringValue(text), nil
}

// exactDigits is how many digits a JSON number may have for every reader to get it right.
const exactDigits = 15

var (
	errNotUTF8   = errors.New("the text is not UTF-8")
	errNotFinite = errors.New("JSON has no infinite number and no NaN")
	errNotJSON   = errors.New("the text is not JSON")
)

// appendRow appends a row as a JSON object. Columns that are NULL are left out: in a JSON column null is a value.
func appendRow(dst []byte, t *change.Table, row []change.Value) ([]byte, error) {
	dst = append(dst, '{')
	for i := range t.Columns {
		if row[i].IsNull() {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendString(dst, t.Columns[i].Name); err != nil {
			return dst, err
		}
		if dst, err = appendJSON(append(dst, ':'), &t.Columns[i], row[i]); err != nil {
			return dst, fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
		}
	}
	return append(dst, '}'), nil
}

// appendJSON appends a value as JSON. Nothing is bent: a decimal that a reader might round is a string, and what JSON cannot say is an
// error.
func appendJSON(dst []byte, c *change.Column, v change.Value) ([]byte, error) {
	switch v.Kind {
	case change.Float32, change.Float64:
		if f := v.Float(); math.IsInf(f, 0) || math.IsNaN(f) {
			return dst, errNotFinite
		}
		return v.Append(dst), nil
	case change.Int64, change.Uint64:
		return v.Append(dst), nil
	case change.Raw:
		if c.Type == change.Bit {
			return appendText(dst, c, v), nil
		}
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v.Bytes), '"'), nil
	}
	if c.Type == change.Decimal && c.Precision <= exactDigits && json.Valid(v.Bytes) {
		return append(dst, v.Bytes...), nil
	}
	if c.Type == change.JSON {
		if !json.Valid(v.Bytes) {
			return dst, errNotJSON
		}
		return append(dst, v.Bytes...), nil
	}
	return appendString(dst, string(v.Bytes))
}

// appendString appends a JSON string. Text that is no UTF-8 is refused: any way to write it would bend it.
func appendString(dst []byte, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return dst, errNotUTF8
	}
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"'), nil
}

// readRow reads what appendRow wrote into the values of the table's columns.
func readRow(t *change.Table, text string, into []change.Value) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return err
	}
	for i := range t.Columns {
		raw, there := fields[t.Columns[i].Name]
		into[i] = change.Value{}
		if !there {
			continue
		}
		var err error
		if into[i], err = readJSON(&t.Columns[i], raw); err != nil {
			return fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
		}
	}
	return nil
}

func readJSON(c *change.Column, raw json.RawMessage) (change.Value, error) {
	if c.Type == change.JSON {
		return change.StringValue(string(raw)), nil
	}
	if len(raw) == 0 || raw[0] != '"' {
		return readText(c, string(raw))
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return change.Value{}, err
	}
	if c.Type.Opaque() || c.Type == change.Geometry || c.Type == change.Vector {
		b, err := base64.StdEncoding.DecodeString(text)
		return change.RawValue(b), err
	}
	return readText(c, text)
}
