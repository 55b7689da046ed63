package hbase

import (
	"encoding/binary"
	"math/big"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
)

// appendText appends a value as a cell has it. NULL is nothing, as the empty text is: the row's state tells them apart.
func appendText(dst []byte, c *change.Column, v change.Value) []byte {
	switch {
	case v.IsNull():
		return dst
	case c.Type == change.Bit && v.Kind == change.Raw:
		return append(dst, new(big.Int).SetBytes(v.Bytes).String()...)
	}
	return v.Append(dst)
}

// readText reads what appendText wrote.
func readText(c *change.Column, text []byte) (change.Value, error) {
	switch {
	case c.Type.Integer() && c.Unsigned:
		n, err := strconv.ParseUint(string(text), 10, 64)
		return change.UintValue(n), err
	case c.Type.Integer() || c.Type == change.Year:
		n, err := strconv.ParseInt(string(text), 10, 64)
		return change.IntValue(n), err
	case c.Type == change.Float:
		f, err := strconv.ParseFloat(string(text), 32)
		return change.Float32Value(float32(f)), err
	case c.Type == change.Double:
		f, err := strconv.ParseFloat(string(text), 64)
		return change.Float64Value(f), err
	case c.Type == change.Bit:
		n, err := strconv.ParseUint(string(text), 10, 64)
		return change.RawValue(binary.BigEndian.AppendUint64(nil, n)[8-min((c.Length+7)/8, 8):]), err
	case c.Type.Opaque() || c.Type == change.Geometry || c.Type == change.Vector:
		return change.RawValue(text), nil
	}
	return change.Value{Kind: change.Str, Bytes: text}, nil
}
