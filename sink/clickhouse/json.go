package clickhouse

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

var (
	errNotFinite = errors.New("JSON has no infinite number and no NaN")
	errNotJSON   = errors.New("the text is not JSON")
	errNotUTF8   = errors.New("the text is not UTF-8")
)

// appendImage appends those columns of a row as a JSON object. image is by the columns' order in the list. A JSON column that is NULL is left
// out.
func appendImage(dst []byte, t *change.Table, columns []int, image []change.Value) ([]byte, error) {
	dst = append(dst, '{')
	from := len(dst)
	for i, at := range columns {
		if t.Columns[at].Type == change.JSON && image[i].IsNull() {
			continue // JSON's own null is null
		}
		if len(dst) > from {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendString(dst, []byte(t.Columns[at].Name)); err != nil {
			return dst, err
		}
		if dst, err = appendValue(append(dst, ':'), &t.Columns[at], image[i]); err != nil {
			return dst, fmt.Errorf("column %s: %w", t.Columns[at].Name, err)
		}
	}
	return append(dst, '}'), nil
}

// appendValue appends a column's value as JSON: integers, BIT and floats as numbers, VECTOR as an array, JSON as itself, bytes in base64,
// all else by MySQL's text, DECIMAL too, which JSON's readers would round.
func appendValue(dst []byte, c *change.Column, v change.Value) ([]byte, error) {
	switch v.Kind {
	case change.Null:
		return append(dst, "null"...), nil
	case change.Int64, change.Uint64:
		return v.Append(dst), nil
	case change.Float32:
		return appendFloat(dst, v.Float(), 32)
	case change.Float64:
		return appendFloat(dst, v.Float(), 64)
	case change.Raw:
		return appendRaw(dst, c, v.Bytes)
	}
	if c.Type != change.JSON {
		return appendString(dst, v.Bytes)
	}
	if !json.Valid(v.Bytes) {
		return dst, errNotJSON
	}
	return append(dst, v.Bytes...), nil
}

// appendString does not escape what only HTML minds.
func appendString(dst, s []byte) ([]byte, error) {
	if !utf8.Valid(s) {
		return dst, errNotUTF8
	}
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, c)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"'), nil
}

func appendFloat(dst []byte, f float64, bits int) ([]byte, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return dst, errNotFinite
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits), nil
}

func appendRaw(dst []byte, c *change.Column, b []byte) ([]byte, error) {
	switch c.Type {
	case change.Bit:
		n, err := numberOf(c, change.RawValue(b))
		return strconv.AppendUint(dst, n, 10), err
	case change.Vector:
		dst = append(dst, '[')
		for i := 0; i+4 <= len(b); i += 4 {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))), 32); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"'), nil
}

// readImage reads what appendImage wrote of a whole row. A column that is missing is NULL: the row is older than it.
func readImage(t *change.Table, text []byte) ([]change.Value, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	values := make([]change.Value, len(t.Columns))
	for i := range t.Columns {
		var err error
		if values[i], err = readValue(&t.Columns[i], fields[t.Columns[i].Name]); err != nil {
			return nil, fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
		}
	}
	return values, nil
}

func readValue(c *change.Column, raw json.RawMessage) (change.Value, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" && c.Type != change.JSON {
		return change.Value{}, nil
	}
	switch {
	case c.Type.Integer() && c.Unsigned:
		n, err := strconv.ParseUint(string(raw), 10, 64)
		return change.UintValue(n), err
	case c.Type.Integer() || c.Type == change.Year:
		n, err := strconv.ParseInt(string(raw), 10, 64)
		return change.IntValue(n), err
	case c.Type == change.Bit:
		n, err := strconv.ParseUint(string(raw), 10, 64)
		return integerValue(c, n), err
	case c.Type == change.JSON:
		return change.StringValue(string(raw)), nil
	case c.Type == change.Float:
		f, err := strconv.ParseFloat(string(raw), 32)
		return change.Float32Value(float32(f)), err
	case c.Type == change.Double:
		f, err := strconv.ParseFloat(string(raw), 64)
		return change.Float64Value(f), err
	case c.Type == change.Vector:
		var numbers []float32
		err := json.Unmarshal(raw, &numbers)
		var b []byte
		for _, f := range numbers {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
		}
		return change.RawValue(b), err
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return change.Value{}, err
	}
	if c.Type.Opaque() || c.Type == change.Geometry {
		b, err := base64.StdEncoding.DecodeString(text)
		return change.RawValue(b), err
	}
	return change.StringValue(text), nil
}
