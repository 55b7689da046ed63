package clickhouse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// The form RowBinary (https://clickhouse.com/docs/interfaces/formats/RowBinary): numbers little-endian, text with its length before it, a byte 1 for
// NULL and 0 before another value of a type that has NULL.

var (
	errNull    = errors.New("NULL, which the column does not take")
	errDecimal = errors.New("no decimal number of the column's size")
	errTime    = errors.New("no time")
)

// appendCell appends a value. exact is false where the column holds the nearest date only.
func (t columnType) appendCell(dst []byte, c *change.Column, v change.Value) (_ []byte, exact bool, err error) {
	if v.IsNull() {
		if !t.nullable && t.kind != floats {
			return dst, false, errNull
		}
		return t.appendDefault(dst), true, nil
	}
	if t.nullable {
		dst = append(dst, 0)
	}
	switch t.kind {
	case integer:
		var n uint64
		if n, err = numberOf(c, v); err == nil {
			dst = appendInteger(dst, t.bits, n)
		}
	case float:
		if t.bits == 32 {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v.Float())))
		} else {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float()))
		}
	case decimal:
		dst, err = t.appendDecimal(dst, string(v.Bytes))
	case text:
		dst = appendText(dst, v.Bytes)
	case floats: // as MySQL has them
		dst = append(binary.AppendUvarint(dst, uint64(len(v.Bytes)/4)), v.Bytes...)
	case date, date32, dateTime, dateTime64:
		n, whole := t.numberOfDate(v.Bytes)
		return appendInteger(dst, t.dateBits(), uint64(n)), whole, nil
	}
	return dst, true, err
}

// appendDefault appends NULL where the type has it, else 0 or nothing.
func (t columnType) appendDefault(dst []byte) []byte {
	switch {
	case t.nullable:
		return append(dst, 1)
	case t.kind == text || t.kind == floats:
		return append(dst, 0)
	}
	return appendInteger(dst, t.width(), 0)
}

func appendText[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// width is how many bits a value of a kind of fixed size has.
func (t columnType) width() int {
	if t.bits != 0 {
		return t.bits
	}
	return t.dateBits()
}

func (t columnType) dateBits() int {
	switch t.kind {
	case date:
		return 16
	case dateTime64:
		return 64
	}
	return 32
}

// appendInteger appends the low bits of n, extended with zeros.
func appendInteger(dst []byte, bits int, n uint64) []byte {
	for i := 0; i < bits; i += 8 {
		dst = append(dst, byte(n))
		n >>= 8
	}
	return dst
}

// numberOf is a value that the server holds as an integer.
func numberOf(c *change.Column, v change.Value) (uint64, error) {
	switch c.Type {
	case change.Bit:
		var n uint64
		for _, b := range v.Bytes {
			n = n<<8 | uint64(b)
		}
		return n, nil
	case change.Time:
		micros, ok := microsOfTime(v.Bytes)
		if !ok {
			return 0, errTime
		}
		return uint64(micros), nil
	}
	return v.Num, nil
}

// appendDecimal appends the number that the text is, times ten to the scale.
func (t columnType) appendDecimal(dst []byte, s string) ([]byte, error) {
	whole, rest, _ := strings.Cut(s, ".")
	if len(rest) > t.scale || strings.TrimPrefix(whole, "-") == "" {
		return dst, errDecimal
	}
	digits := whole + rest + strings.Repeat("0", t.scale-len(rest))
	n, ok := new(big.Int).SetString(digits, 10)
	if !ok || n.BitLen() >= t.bits {
		return dst, errDecimal
	}
	if n.Sign() < 0 { // two's complement
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(t.bits)))
	}
	from := len(dst)
	dst = append(dst, make([]byte, t.bits/8)...)
	n.FillBytes(dst[from:])
	slices.Reverse(dst[from:])
	return dst, nil
}

// decimalText is a stored number as MySQL writes the column's values.
func (t columnType) decimalText(c *change.Column, stored []byte) string {
	b := slices.Clone(stored)
	slices.Reverse(b)
	n := new(big.Int).SetBytes(b)
	if b[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(t.bits)))
	}
	digits := new(big.Int).Abs(n).String()
	if pad := t.scale + 1 - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	whole, rest := digits[:len(digits)-t.scale], digits[len(digits)-t.scale:]
	for len(rest) > c.Scale && rest[len(rest)-1] == '0' {
		rest = rest[:len(rest)-1]
	}
	if rest != "" {
		whole += "." + rest
	}
	if n.Sign() < 0 {
		whole = "-" + whole
	}
	return whole
}

// reader reads rows in the form RowBinary.
type reader struct {
	*bufio.Reader
	fixed [32]byte
}

// textMax bounds one text that is read: no row in Kafka is as large.
const textMax = 1 << 30

func (r *reader) text() ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > textMax {
		return nil, fmt.Errorf("a text of %d bytes", n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

// integer reads an integer of so many bits, extended by its sign where it has one.
func (r *reader) integer(bits int, signed bool) (uint64, error) {
	b, err := r.bytes(bits / 8)
	if err != nil {
		return 0, err
	}
	var n uint64
	for i := len(b) - 1; i >= 0; i-- {
		n = n<<8 | uint64(b[i])
	}
	if signed {
		n = uint64(int64(n<<(64-bits)) >> (64 - bits))
	}
	return n, nil
}

// bytes reads at most 32 bytes, which are valid until the next call.
func (r *reader) bytes(n int) ([]byte, error) {
	b := r.fixed[:n]
	_, err := io.ReadFull(r, b)
	return b, err
}

// cell reads what appendCell wrote. stored is how a date is stored.
func (r *reader) cell(t columnType, c *change.Column) (v change.Value, stored int64, err error) {
	if t.nullable {
		if null, err := r.ReadByte(); err != nil || null != 0 {
			return v, 0, err
		}
	}
	switch t.kind {
	case integer:
		n, err := r.integer(t.bits, t.signed)
		return integerValue(c, n), 0, err
	case float:
		n, err := r.integer(t.bits, false)
		if t.bits == 32 {
			return change.Float32Value(math.Float32frombits(uint32(n))), 0, err
		}
		return floatValue(c, math.Float64frombits(n)), 0, err
	case decimal:
		b, err := r.bytes(t.bits / 8)
		if err != nil {
			return v, 0, err
		}
		return change.StringValue(t.decimalText(c, b)), 0, nil
	case floats:
		n, err := binary.ReadUvarint(r)
		if err != nil || n == 0 || n > textMax/4 {
			return v, 0, err
		}
		b := make([]byte, 4*n)
		_, err = io.ReadFull(r, b)
		return change.RawValue(b), 0, err
	case date, date32, dateTime, dateTime64:
		n, err := r.integer(t.dateBits(), t.kind == date32 || t.kind == dateTime64)
		return change.StringValue(t.dateText(c, int64(n))), int64(n), err
	}
	b, err := r.text()
	if c.Type.Opaque() || c.Type == change.Geometry {
		return change.RawValue(b), 0, err
	}
	return change.Value{Kind: change.Str, Bytes: b}, 0, err
}

func floatValue(c *change.Column, f float64) change.Value {
	if c.Type == change.Float {
		return change.Float32Value(float32(f))
	}
	return change.Float64Value(f)
}

// integerValue is what numberOf was made of.
func integerValue(c *change.Column, n uint64) change.Value {
	switch {
	case c.Type == change.Bit:
		full := binary.BigEndian.AppendUint64(nil, n)
		return change.RawValue(full[8-min((c.Length+7)/8, 8):])
	case c.Type == change.Time:
		return change.StringValue(timeText(c, int64(n)))
	case c.Unsigned:
		return change.UintValue(n)
	}
	return change.IntValue(int64(n))
}
