package elasticsearch

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// readValue reads what appendValue wrote. A missing field is NULL.
func readValue(c *change.Column, raw json.RawMessage) (change.Value, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
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
		f, err := strconv.ParseFloat(string(raw), 64)
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
	return change.RawValue(full[8-(c.Length+7)/8:]), err
}

func readVector(raw []byte) (change.Value, error) {
	var floats []float64
	if err := json.Unmarshal(raw, &floats); err != nil {
		return change.Value{}, err
	}
	var b []byte
	for _, f := range floats {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(f)))
	}
	return change.RawValue(b), nil
}
