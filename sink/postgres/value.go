package postgres

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

var (
	errNUL  = errors.New("text holds the character NUL, which PostgreSQL cannot store")
	errDate = errors.New("a date that no calendar has, which PostgreSQL cannot store")
)

// appendText appends a value, not NULL, in PostgreSQL's text form.
func appendText(dst []byte, v change.Value, c *change.Column) ([]byte, error) {
	switch v.Kind {
	case change.Raw:
		if c.Type == change.Bit {
			return appendBits(dst, v.Bytes, c.Length), nil
		}
		return hex.AppendEncode(append(dst, `\x`...), v.Bytes), nil
	case change.Str:
		if dated(c.Type) && !realDate(v.Bytes) {
			return dst, errDate
		}
		if bytes.IndexByte(v.Bytes, 0) >= 0 {
			return dst, errNUL
		}
		return append(dst, v.Bytes...), nil
	}
	return v.Append(dst), nil
}

// appendBits appends the lowest n bits of a big-endian number, as digits.
func appendBits(dst, b []byte, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		bit := byte('0')
		if at := len(b) - 1 - i/8; at >= 0 && b[at]>>(i%8)&1 == 1 {
			bit = '1'
		}
		dst = append(dst, bit)
	}
	return dst
}

// dated reports whether values of the type begin with a date.
func dated(t change.Type) bool {
	return t == change.Date || t == change.DateTime || t == change.Timestamp
}

// realDate reports whether "2006-01-02..." is a date of the calendar, which begins with the year 1.
func realDate(b []byte) bool {
	if len(b) < 10 {
		return false
	}
	number := func(from, to int) int {
		n, err := strconv.Atoi(string(b[from:to]))
		if err != nil {
			return 0
		}
		return n
	}
	year, month, day := number(0, 4), number(5, 7), number(8, 10)
	return year > 0 && month > 0 && month <= 12 && day > 0 && day <= daysIn(year, month)
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// appendElement appends a value as an element of an array's text form.
func appendElement(dst []byte, v change.Value, c *change.Column) ([]byte, error) {
	if v.IsNull() {
		return append(dst, "NULL"...), nil
	}
	from := len(dst)
	dst, err := appendText(append(dst, '"'), v, c)
	if err != nil {
		return dst, err
	}
	if text := dst[from+1:]; bytes.IndexByte(text, '"') >= 0 || bytes.IndexByte(text, '\\') >= 0 {
		text = bytes.Clone(text)
		dst = dst[:from+1]
		for _, b := range text {
			if b == '"' || b == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, b)
		}
	}
	return append(dst, '"'), nil
}

// parseText reads the text form that the server gave for a column of the source; nil is NULL. What the source's type could not
// have printed stays as it is, and then differs.
func parseText(c *change.Column, text []byte) (change.Value, error) {
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
	case c.Type.Opaque(), c.Type == change.Geometry, c.Type == change.Vector:
		return parseBytes(text)
	}
	switch c.Type {
	case change.Float:
		f, err := strconv.ParseFloat(string(text), 32)
		return change.Float32Value(float32(f)), err
	case change.Double:
		f, err := strconv.ParseFloat(string(text), 64)
		return change.Float64Value(f), err
	case change.Bit:
		return parseBits(text, c.Length), nil
	case change.Decimal, change.Time:
		return change.StringValue(withScale(string(text), c.Scale)), nil
	case change.DateTime, change.Timestamp:
		return change.StringValue(withScale(strings.TrimSuffix(string(text), "+00"), c.Scale)), nil
	}
	return change.StringValue(string(text)), nil
}

func parseBytes(text []byte) (change.Value, error) {
	digits, ok := bytes.CutPrefix(text, []byte(`\x`))
	if !ok {
		return change.Value{}, fmt.Errorf("bytea is printed as %.20q, not in hexadecimal", text)
	}
	b, err := hex.AppendDecode(make([]byte, 0, len(digits)/2), digits)
	return change.RawValue(b), err
}

// parseBits reads digits into a big-endian number.
func parseBits(digits []byte, length int) change.Value {
	b := make([]byte, (length+7)/8)
	for i, digit := range digits {
		bit := len(digits) - 1 - i
		if at := len(b) - 1 - bit/8; at >= 0 && digit == '1' {
			b[at] |= 1 << (bit % 8)
		}
	}
	return change.RawValue(b)
}

// withScale gives a number or a time as many fractional digits as its column has: the server prints a time's without the zeros at
// the end. Digits that are not zero are never taken away.
func withScale(text string, scale int) string {
	whole, fraction, _ := strings.Cut(text, ".")
	for len(fraction) > scale && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	if len(fraction) < scale {
		fraction += strings.Repeat("0", scale-len(fraction))
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}
