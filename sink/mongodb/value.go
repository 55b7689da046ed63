package mongodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/sluice-cdc/sluice/change"
)

// decimalDigits is how many digits a Decimal128 holds.
const decimalDigits = 34

var errNotUTF8 = errors.New("the text is not UTF-8")

// form is what a target makes of values where there is a choice.
type form struct {
	dates bool // BSON dates
	json  bool // embedded documents
}

// keyForm is how values stand in _id: nothing may be lost there, so dates are text.
var keyForm = form{}

func (c *Config) form() form { return form{dates: c.Dates == Date, json: c.JSON == Document} }

// appendValue appends a column's value as an element of that name. exact reports that the element does not say all of it: then
// the value's text has to be kept beside.
func (f form) appendValue(dst []byte, name string, c *change.Column, v change.Value) (_ []byte, exact bool, err error) {
	switch v.Kind {
	case change.Null:
		return bsoncore.AppendNullElement(dst, name), false, nil
	case change.Int64:
		return appendInteger(dst, name, c, v.Int()), false, nil
	case change.Uint64:
		return appendUnsigned(dst, name, c, v.Uint()), false, nil
	case change.Float32, change.Float64:
		return bsoncore.AppendDoubleElement(dst, name, v.Float()), false, nil
	case change.Raw:
		return appendRaw(dst, name, c, v.Bytes), false, nil
	}
	if !utf8.Valid(v.Bytes) {
		return dst, false, errNotUTF8
	}
	switch {
	case c.Type == change.Decimal && c.Precision <= decimalDigits:
		d, err := bson.ParseDecimal128(string(v.Bytes))
		if err != nil {
			return dst, false, err
		}
		return appendDecimal(dst, name, d), false, nil
	case f.dates && (c.Type == change.Date || c.Type == change.DateTime || c.Type == change.Timestamp):
		if at, ok := parseDate(string(v.Bytes)); ok {
			millis := at.UnixMilli()
			return bsoncore.AppendDateTimeElement(dst, name, millis), dateText(c, millis) != string(v.Bytes), nil
		}
	case f.json && c.Type == change.JSON:
		dst, exact = appendJSON(dst, name, v.Bytes)
		return dst, exact, nil
	}
	return bsoncore.AppendStringElement(dst, name, string(v.Bytes)), false, nil
}

// appendInteger uses 32 bits for the types that have no more.
func appendInteger(dst []byte, name string, c *change.Column, n int64) []byte {
	if c.Type != change.BigInt && n >= math.MinInt32 && n <= math.MaxInt32 {
		return bsoncore.AppendInt32Element(dst, name, int32(n))
	}
	return bsoncore.AppendInt64Element(dst, name, n)
}

// appendUnsigned writes what 64 bits with a sign cannot hold as a decimal: the server compares numbers of all kinds by value.
func appendUnsigned(dst []byte, name string, c *change.Column, n uint64) []byte {
	switch {
	case n > math.MaxInt64:
		return appendDecimal(dst, name, unsignedDecimal(n))
	case n > math.MaxInt32 || c.Type == change.BigInt || c.Type == change.Int:
		return bsoncore.AppendInt64Element(dst, name, int64(n))
	}
	return bsoncore.AppendInt32Element(dst, name, int32(n))
}

func unsignedDecimal(n uint64) bson.Decimal128 {
	d, _ := bson.ParseDecimal128FromBigInt(new(big.Int).SetUint64(n), 0) // 20 digits always fit
	return d
}

func appendDecimal(dst []byte, name string, d bson.Decimal128) []byte {
	high, low := d.GetBytes()
	return bsoncore.AppendDecimal128Element(dst, name, high, low)
}

// appendRaw writes BIT as a number (BIT(1) as true or false), VECTOR as its floats and all else as binary data.
func appendRaw(dst []byte, name string, c *change.Column, b []byte) []byte {
	switch c.Type {
	case change.Bit:
		var n uint64
		for _, x := range b {
			n = n<<8 | uint64(x)
		}
		if c.Length == 1 {
			return bsoncore.AppendBooleanElement(dst, name, n != 0)
		}
		return appendUnsigned(dst, name, &change.Column{Type: change.BigInt}, n)
	case change.Vector:
		at, dst := bsoncore.AppendArrayElementStart(dst, name)
		for i := 0; i+4 <= len(b); i += 4 {
			dst = bsoncore.AppendDoubleElement(dst, strconv.Itoa(i/4), float64(math.Float32frombits(binary.LittleEndian.Uint32(b[i:]))))
		}
		dst, _ = bsoncore.AppendArrayEnd(dst, at) // fails for an at that is not in dst only
		return dst
	}
	return bsoncore.AppendBinaryElement(dst, name, bson.TypeBinaryGeneric, b)
}

// parseDate reads what MySQL writes. Dates that are none (0000-00-00, 2026-02-00) are not read.
func parseDate(text string) (time.Time, bool) {
	layout := "2006-01-02 15:04:05"
	if len(text) <= len("2006-01-02") {
		layout = "2006-01-02"
	}
	at, err := time.Parse(layout, text)
	return at, err == nil
}

// dateText is a BSON date as the column's type writes it.
func dateText(c *change.Column, millis int64) string {
	layout := "2006-01-02 15:04:05"
	switch {
	case c.Type == change.Date:
		layout = "2006-01-02"
	case c.Scale > 0:
		layout += "." + strings.Repeat("0", c.Scale)
	}
	return time.UnixMilli(millis).UTC().Format(layout)
}

// readValue reads what appendValue wrote; exact is the text that was kept beside, "" where there is none. A field that is missing is
// NULL. What Sluice did not write becomes text, which is a difference to whatever should be there.
func (f form) readValue(c *change.Column, raw bson.RawValue, exact string) change.Value {
	if exact != "" {
		// It counts only if the field is what Sluice made of it: somebody may have changed the field alone.
		if made, beside, err := f.appendValue(nil, "", c, change.StringValue(exact)); err == nil && beside && isElement(made, raw) {
			return change.StringValue(exact)
		}
	}
	v, ok := f.read(c, raw)
	if !ok {
		return change.StringValue("not written by Sluice: " + raw.String())
	}
	return v
}

// isElement reports whether an element without a name has that value.
func isElement(element []byte, v bson.RawValue) bool {
	return len(element) > 1 && element[0] == byte(v.Type) && bytes.Equal(element[2:], v.Value)
}

func (f form) read(c *change.Column, raw bson.RawValue) (change.Value, bool) {
	switch {
	case raw.Type == 0 || raw.Type == bson.TypeNull:
		return change.Value{}, true
	case c.Type == change.JSON && f.json:
		return readJSON(raw)
	case c.Type.Integer() || c.Type == change.Year:
		return readInteger(c, raw)
	case c.Type == change.Float:
		d, ok := raw.DoubleOK()
		return change.Float32Value(float32(d)), ok && (float64(float32(d)) == d || math.IsNaN(d))
	case c.Type == change.Double:
		d, ok := raw.DoubleOK()
		return change.Float64Value(d), ok
	case c.Type == change.Bit:
		return readBit(c, raw)
	case c.Type == change.Vector:
		return readVector(raw)
	case c.Type.Opaque() || c.Type == change.Geometry:
		kind, b, ok := raw.BinaryOK()
		return change.RawValue(b), ok && kind == bson.TypeBinaryGeneric
	case raw.Type == bson.TypeDecimal128 && c.Type == change.Decimal:
		return readDecimal(raw, c.Scale)
	case raw.Type == bson.TypeDateTime && (c.Type == change.Date || c.Type == change.DateTime || c.Type == change.Timestamp):
		millis, ok := raw.DateTimeOK()
		return change.StringValue(dateText(c, millis)), ok
	}
	s, ok := raw.StringValueOK()
	return change.StringValue(s), ok
}

// readInteger reads a number without a fraction, of whatever kind.
func readInteger(c *change.Column, raw bson.RawValue) (change.Value, bool) {
	var n int64
	switch raw.Type {
	case bson.TypeInt32:
		n = int64(raw.Int32())
	case bson.TypeInt64:
		n = raw.Int64()
	case bson.TypeDecimal128:
		whole, exp, err := raw.Decimal128().BigInt()
		ok := err == nil && exp == 0 && c.Unsigned && whole.IsUint64()
		if !ok {
			return change.Value{}, false
		}
		return change.UintValue(whole.Uint64()), true
	default:
		return change.Value{}, false
	}
	if c.Unsigned {
		return change.UintValue(uint64(n)), n >= 0
	}
	return change.IntValue(n), true
}

// readDecimal writes a decimal with the column's digits after the point.
func readDecimal(raw bson.RawValue, scale int) (change.Value, bool) {
	whole, exp, err := raw.Decimal128().BigInt()
	if err != nil || exp != -scale {
		return change.Value{}, false
	}
	digits := new(big.Int).Abs(whole).String()
	if scale > 0 {
		if missing := scale + 1 - len(digits); missing > 0 {
			digits = strings.Repeat("0", missing) + digits
		}
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if whole.Sign() < 0 {
		digits = "-" + digits
	}
	return change.StringValue(digits), true
}

func readBit(c *change.Column, raw bson.RawValue) (change.Value, bool) {
	n := change.Value{}
	ok := true
	if b, is := raw.BooleanOK(); is && c.Length == 1 {
		if b {
			n.Num = 1
		}
	} else {
		n, ok = readInteger(&change.Column{Type: change.BigInt, Unsigned: true}, raw)
	}
	full := binary.BigEndian.AppendUint64(nil, n.Num)
	return change.RawValue(full[8-min((c.Length+7)/8, 8):]), ok
}

func readVector(raw bson.RawValue) (change.Value, bool) {
	array, ok := raw.ArrayOK()
	if !ok {
		return change.Value{}, false
	}
	values, err := array.Values()
	if err != nil {
		return change.Value{}, false
	}
	b := []byte{}
	for _, v := range values {
		d, ok := v.DoubleOK()
		if !ok {
			return change.Value{}, false
		}
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(d)))
	}
	return change.RawValue(b), true
}

// documentError says which column could not be written.
func documentError(c *change.Column, err error) error {
	return fmt.Errorf("column %s: %w", c.Name, err)
}
