package handler

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// Value is one column of an event.
type Value struct {
	name   string
	column *change.Column // nil where the table has no such column
	value  change.Value
	known  bool
}

// Known reports whether the event says anything of the column.
func (v Value) Known() bool { return v.known }

// Null reports whether the column is NULL, or nothing is known of it.
func (v Value) Null() bool { return v.value.IsNull() }

// String is the text as MySQL prints it; bytes as they are; empty for NULL.
func (v Value) String() string {
	if v.Null() {
		return ""
	}
	return v.value.String()
}

// Bytes are a binary column's, or the text's; nil for NULL.
func (v Value) Bytes() []byte {
	if v.Null() {
		return nil
	}
	return v.value.Append(nil)
}

// Int is a whole number: of an integer column, of BIT, or of a text that is one. NULL is an error.
func (v Value) Int() (int64, error) {
	switch v.value.Kind {
	case change.Int64:
		return v.value.Int(), nil
	case change.Uint64:
		if v.value.Uint() > math.MaxInt64 {
			return 0, v.wrong("a number that int64 can hold (Uint has it)")
		}
		return int64(v.value.Uint()), nil
	case change.Raw:
		if v.column.Type == change.Bit && v.bits() <= math.MaxInt64 {
			return int64(v.bits()), nil
		}
	case change.Str:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, v.wrong("a whole number")
}

// Uint is a whole number that is not negative.
func (v Value) Uint() (uint64, error) {
	if v.value.Kind == change.Uint64 {
		return v.value.Uint(), nil
	}
	if v.value.Kind == change.Raw && v.column.Type == change.Bit {
		return v.bits(), nil
	}
	n, err := v.Int()
	if err == nil && n < 0 {
		err = v.wrong("a number that is not negative")
	}
	return uint64(n), err
}

// bits are a BIT column's as a number.
func (v Value) bits() (n uint64) {
	for _, b := range v.value.Bytes {
		n = n<<8 | uint64(b)
	}
	return n
}

// Float is a number: a DECIMAL's is rounded. NULL is an error.
func (v Value) Float() (float64, error) {
	switch v.value.Kind {
	case change.Int64:
		return float64(v.value.Int()), nil
	case change.Uint64:
		return float64(v.value.Uint()), nil
	case change.Float32, change.Float64:
		return v.value.Float(), nil
	case change.Str:
		if f, err := strconv.ParseFloat(v.String(), 64); err == nil {
			return f, nil
		}
	}
	return 0, v.wrong("a number")
}

// Bool is false for 0 and true for any other whole number. NULL is an error.
func (v Value) Bool() (bool, error) {
	if v.value.Kind == change.Int64 || v.value.Kind == change.Uint64 {
		return v.value.Num != 0, nil
	}
	n, err := v.Uint()
	return n != 0, err
}

// Time is a DATE, DATETIME or TIMESTAMP, in UTC. A TIMESTAMP is one; of the others MySQL says no zone. NULL and dates that
// do not exist (0000-00-00) are errors.
func (v Value) Time() (time.Time, error) {
	if v.value.Kind == change.Str {
		for _, layout := range []string{time.DateTime, time.DateOnly} { // fractions are read by both
			if t, err := time.Parse(layout, v.String()); err == nil {
				return t, nil
			}
		}
	}
	return time.Time{}, v.wrong("a date or time")
}

// JSON reads a JSON column, or a text that is JSON, into a Go value as json.Unmarshal does.
func (v Value) JSON(into any) error {
	if v.value.Kind != change.Str {
		return v.wrong("JSON")
	}
	if err := json.Unmarshal(v.value.Bytes, into); err != nil {
		return fmt.Errorf("column %s: %w", v.name, err)
	}
	return nil
}

// Any is the value as Go and encoding/json have it: nil, int64, uint64, float64, bool for BIT(1), json.RawMessage for JSON,
// []float32 for VECTOR, []byte for other bytes, else string (DECIMAL too, so that no digit is lost).
func (v Value) Any() any {
	switch v.value.Kind {
	case change.Null:
		return nil
	case change.Int64:
		return v.value.Int()
	case change.Uint64:
		return v.value.Uint()
	case change.Float32, change.Float64:
		return v.value.Float()
	case change.Raw:
		return v.anyRaw()
	}
	if v.column.Type == change.JSON {
		return json.RawMessage(v.value.Bytes)
	}
	return v.String()
}

func (v Value) anyRaw() any {
	switch {
	case v.column.Type == change.Bit && v.column.Length == 1:
		return v.bits() != 0
	case v.column.Type == change.Bit:
		return v.bits()
	case v.column.Type == change.Vector:
		vector := make([]float32, len(v.value.Bytes)/4)
		for i := range vector {
			vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(v.value.Bytes[4*i:]))
		}
		return vector
	}
	return v.value.Bytes
}

// wrong is the error of a value that is not what it was asked for.
func (v Value) wrong(want string) error {
	switch {
	case v.column == nil:
		return fmt.Errorf("there is no column %s", v.name)
	case !v.known:
		return fmt.Errorf("column %s is not known at this event: want %s", v.name, want)
	case v.Null():
		return fmt.Errorf("column %s is NULL: want %s", v.name, want)
	}
	text := strings.ToValidUTF8(v.String(), "?")
	if len(text) > 40 {
		text = text[:40] + "…"
	}
	return fmt.Errorf("column %s is %q: want %s", v.name, text, want)
}
