package change

import (
	"bytes"
	"math"
	"strconv"
)

// Kind says how a Value is held.
type Kind uint8

// The kinds of values.
const (
	Null    Kind = iota // SQL NULL
	Int64               // signed integers and YEAR
	Uint64              // unsigned integers
	Float32             // FLOAT
	Float64             // DOUBLE
	Str                 // text in UTF-8: see Value
	Raw                 // bytes: see Value
)

// Value is one column's value in canonical form, the same whatever way and whatever settings it came by.
//
//	TINYINT ... BIGINT          Int64, or Uint64 when the column is unsigned; YEAR Int64
//	DECIMAL                     Str, as MySQL prints it, with exactly the column's scale of digits: "-12.340"
//	FLOAT, DOUBLE               Float32, Float64
//	DATE                        Str "2006-01-02", zero and partly zero dates as they are
//	TIME                        Str "[-]HHH:MM:SS[.ffffff]" with the column's fractional digits
//	DATETIME, TIMESTAMP         Str "2006-01-02 15:04:05[.ffffff]"; TIMESTAMP in UTC
//	CHAR ... LONGTEXT           Str in UTF-8, whatever the column's charset is
//	ENUM, SET                   Str: the name; the names joined by commas
//	JSON                        Str: the text that MySQL prints
//	BINARY ... LONGBLOB         Raw; BINARY padded to its length
//	BIT                         Raw, big-endian, (length+7)/8 bytes
//	GEOMETRY                    Raw in MySQL's form: 4 bytes SRID little-endian, then WKB
//	VECTOR                      Raw: 4 bytes little-endian float a dimension
type Value struct {
	Kind  Kind
	Num   uint64 // Int64: two's complement; Uint64; Float32 and Float64: math.Float64bits of the value widened
	Bytes []byte // Str and Raw; may alias the record it was decoded from
}

// IntValue returns a signed integer.
func IntValue(n int64) Value { return Value{Kind: Int64, Num: uint64(n)} }

// UintValue returns an unsigned integer.
func UintValue(n uint64) Value { return Value{Kind: Uint64, Num: n} }

// Float32Value returns a FLOAT.
func Float32Value(f float32) Value { return Value{Kind: Float32, Num: math.Float64bits(float64(f))} }

// Float64Value returns a DOUBLE.
func Float64Value(f float64) Value { return Value{Kind: Float64, Num: math.Float64bits(f)} }

// StringValue returns text.
func StringValue(s string) Value { return Value{Kind: Str, Bytes: []byte(s)} }

// RawValue returns bytes.
func RawValue(b []byte) Value { return Value{Kind: Raw, Bytes: b} }

// IsNull reports whether v is SQL NULL.
func (v Value) IsNull() bool { return v.Kind == Null }

// Int returns the number of an Int64 or Uint64.
func (v Value) Int() int64 { return int64(v.Num) }

// Uint returns the number of a Uint64.
func (v Value) Uint() uint64 { return v.Num }

// Float returns the number of a Float32 or Float64.
func (v Value) Float() float64 { return math.Float64frombits(v.Num) }

// Equal reports whether the two values are the same, byte for byte; NULL equals NULL.
func (v Value) Equal(w Value) bool {
	return v.Kind == w.Kind && v.Num == w.Num && bytes.Equal(v.Bytes, w.Bytes)
}

// Append appends v as text for people and for expressions: numbers in decimal, text as it is, bytes as they
// are, NULL as "NULL".
func (v Value) Append(dst []byte) []byte {
	switch v.Kind {
	case Int64:
		return strconv.AppendInt(dst, v.Int(), 10)
	case Uint64:
		return strconv.AppendUint(dst, v.Num, 10)
	case Float32:
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 32)
	case Float64:
		return strconv.AppendFloat(dst, v.Float(), 'g', -1, 64)
	case Str, Raw:
		return append(dst, v.Bytes...)
	}
	return append(dst, "NULL"...)
}

// String returns what Append appends.
func (v Value) String() string { return string(v.Append(nil)) }
