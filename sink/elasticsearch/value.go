package elasticsearch

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// maxExactDigits is how many digits a JSON number may have for every reader to get it right.
const maxExactDigits = 15

var (
	errNotFinite = errors.New("JSON has no infinite number and no NaN")
	errNotJSON   = errors.New("the text is not JSON")
)

// appendValue appends a column's value as JSON. Nothing is bent: a decimal that a reader might round is a string, and what JSON
// cannot say is an error.
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
	switch c.Type {
	case change.Decimal:
		if c.Precision <= maxExactDigits && json.Valid(v.Bytes) {
			return append(dst, v.Bytes...), nil
		}
	case change.JSON:
		return appendJSON(dst, v.Bytes)
	case change.DateTime:
		return appendMoment(dst, v.Bytes, "")
	case change.Timestamp:
		return appendMoment(dst, v.Bytes, "Z")
	}
	return appendString(dst, v.Bytes)
}

// appendMoment appends date and time with a T between them, and the zone.
func appendMoment(dst, text []byte, zone string) ([]byte, error) {
	from := len(dst)
	dst, err := appendString(dst, text)
	if err != nil {
		return dst, err
	}
	if blank := bytes.IndexByte(dst[from:], ' '); blank >= 0 {
		dst[from+blank] = 'T'
	}
	return append(append(dst[:len(dst)-1], zone...), '"'), nil
}

// appendJSON appends JSON text as it is. An end of line in it, which can stand between its parts only, would end the line of
// the _bulk request.
func appendJSON(dst, text []byte) ([]byte, error) {
	if !json.Valid(text) {
		return dst, errNotJSON
	}
	from := len(dst)
	dst = append(dst, text...)
	for i := from; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' '
		}
	}
	return dst, nil
}

func appendFloat(dst []byte, f float64, bits int) ([]byte, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return dst, errNotFinite
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits), nil
}

// appendRaw writes BIT as a number (BIT(1) as true or false), VECTOR as its floats and all else in base64.
func appendRaw(dst []byte, c *change.Column, b []byte) ([]byte, error) {
	switch c.Type {
	case change.Bit:
		var n uint64
		for _, x := range b {
			n = n<<8 | uint64(x)
		}
		if c.Length == 1 {
			return strconv.AppendBool(dst, n != 0), nil
		}
		return strconv.AppendUint(dst, n, 10), nil
	case change.Vector:
		return appendVector(dst, b)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"'), nil
}

func appendVector(dst, b []byte) ([]byte, error) {
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

// readValue reads what appendValue wrote. A missing field is NULL.
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
	case c.Type == change.JSON:
		return change.StringValue(string(raw)), nil
	case c.Type == change.Float:
		f, err := strconv.ParseFloat(string(raw), 32)
		return change.Float32Value(float32(f)), err
	case c.Type == change.Double:
		f, err := strconv.ParseFloat(string(raw), 64)
		return change.Float64Value(f), err
	case c.Type == change.Decimal && raw[0] != '"':
		return change.StringValue(string(raw)), nil
	case c.Type == change.Bit:
		return readBit(c, string(raw))
	case c.Type == change.Vector:
		return readVector(raw)
	}
	return readText(c, raw)
}

// readText reads the values that are JSON strings.
func readText(c *change.Column, raw json.RawMessage) (change.Value, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return change.Value{}, fmt.Errorf("%.60s: %w", raw, err)
	}
	switch {
	case c.Type == change.DateTime || c.Type == change.Timestamp:
		return change.StringValue(strings.TrimSuffix(strings.Replace(text, "T", " ", 1), "Z")), nil
	case c.Type.Opaque() || c.Type == change.Geometry:
		b, err := base64.StdEncoding.DecodeString(text)
		return change.RawValue(b), err
	}
	return change.StringValue(text), nil
}

func readBit(c *change.Column, text string) (change.Value, error) {
	var n uint64
	var err error
	switch text {
	case "true":
		n = 1
	case "false":
	default:
		n, err = strconv.ParseUint(text, 10, 64)
	}
	full := binary.BigEndian.AppendUint64(nil, n)
	return change.RawValue(full[8-min((c.Length+7)/8, 8):]), err
}

func readVector(raw []byte) (change.Value, error) {
	var floats []float32
	if err := json.Unmarshal(raw, &floats); err != nil {
		return change.Value{}, err
	}
	var b []byte
	for _, f := range floats {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return change.RawValue(b), nil
}
