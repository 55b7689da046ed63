package clickhouse

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// kind is how the server holds a column's values.
type kind uint8

const (
	integer    kind = iota + 1 // bits wide, signed or not
	float                      // 32 or 64 bits
	decimal                    // an integer of 32 to 256 bits, scaled
	text                       // any bytes
	date                       // days since 1970, 16 bits
	date32                     // days since 1970, 32 bits, from 1900 to 2299
	dateTime                   // seconds since 1970, 32 bits
	dateTime64                 // ticks since 1970, 64 bits, from 1900 to 2299
	floats                     // Array(Float32)
)

// columnType is the type of a column at the server.
type columnType struct {
	kind      kind
	bits      int
	signed    bool
	precision int // decimal
	scale     int // decimal, dateTime64
	nullable  bool
}

var fixedTypes = map[string]columnType{
	"String": {kind: text}, "Date": {kind: date}, "Date32": {kind: date32}, "DateTime": {kind: dateTime},
	"Float32": {kind: float, bits: 32}, "Float64": {kind: float, bits: 64}, "Array(Float32)": {kind: floats},
}

// parseType reads a type as the server writes it. known is false for types that this package does not write.
func parseType(name string) (t columnType, known bool) {
	name, _ = unwrap(name, "LowCardinality")
	name, nullable := unwrap(name, "Nullable")
	base, arguments, _ := strings.Cut(name, "(")
	arguments = strings.TrimSuffix(arguments, ")")
	switch t, known = fixedTypes[name]; {
	case known:
	case base == "DateTime":
		t, known = columnType{kind: dateTime}, true
	case base == "DateTime64":
		scale, _, _ := strings.Cut(arguments, ",")
		n, err := strconv.Atoi(strings.TrimSpace(scale))
		t, known = columnType{kind: dateTime64, scale: n}, err == nil && n <= 9
	case base == "Decimal":
		var p, s int
		_, err := fmt.Sscanf(strings.ReplaceAll(arguments, " ", ""), "%d,%d", &p, &s)
		t, known = decimalType(p, s), err == nil
	case strings.HasPrefix(base, "Int"), strings.HasPrefix(base, "UInt"):
		rest, unsigned := strings.CutPrefix(base, "U")
		bits, err := strconv.Atoi(strings.TrimPrefix(rest, "Int"))
		t, known = columnType{kind: integer, bits: bits, signed: !unsigned}, err == nil && bits <= 64
	}
	t.nullable = nullable
	return t, known
}

func unwrap(name, wrapper string) (inner string, wrapped bool) {
	if rest, ok := strings.CutPrefix(name, wrapper+"("); ok && strings.HasSuffix(rest, ")") {
		return rest[:len(rest)-1], true
	}
	return name, false
}

func decimalType(precision, scale int) columnType {
	bits := 256
	for _, b := range []struct{ digits, bits int }{{38, 128}, {18, 64}, {9, 32}} {
		if precision <= b.digits {
			bits = b.bits
		}
	}
	return columnType{kind: decimal, bits: bits, signed: true, precision: precision, scale: scale}
}

// form is what a server can do. There are two: that of servers from 23.2 on, and that of older ones, which have no dates beyond
// 1970 to 2106, and whose engine knows no deleted rows.
type form struct {
	modern bool
	said   string // the version
}

// modernMajor and modernMinor are the first version whose ReplacingMergeTree takes a column of deleted rows.
const (
	modernMajor = 23
	modernMinor = 2
)

// formOf reads a version such as 24.8.4.13.
func formOf(version string) form {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return form{said: version, modern: err == nil && (major > modernMajor || major == modernMajor && minor >= modernMinor)}
}

// typeOf returns the type that a column is made with.
func (f form) typeOf(c *change.Column, key bool) string {
	name := f.plainType(c)
	if key || !c.Nullable || name == "Array(Float32)" { // arrays have no NULL; the empty one stands for it
		return name
	}
	if inner, ok := unwrap(name, "LowCardinality"); ok {
		return "LowCardinality(Nullable(" + inner + "))"
	}
	return "Nullable(" + name + ")"
}

func (f form) plainType(c *change.Column) string {
	switch c.Type {
	case change.TinyInt, change.SmallInt, change.MediumInt, change.Int, change.BigInt:
		name := fmt.Sprintf("Int%d", integerBits[c.Type])
		if c.Unsigned {
			return "U" + name
		}
		return name
	case change.Year:
		return "UInt16"
	case change.Bit:
		for _, bits := range []int{8, 16, 32} {
			if c.Length <= bits {
				return fmt.Sprintf("UInt%d", bits)
			}
		}
		return "UInt64"
	case change.Decimal:
		if c.Precision > f.precisionMax() {
			return "String"
		}
		return fmt.Sprintf("Decimal(%d, %d)", c.Precision, c.Scale)
	case change.Float:
		return "Float32"
	case change.Double:
		return "Float64"
	case change.Time:
		return "Int64"
	case change.Date, change.DateTime, change.Timestamp:
		return f.dateType(c)
	case change.Vector:
		return "Array(Float32)"
	case change.Enum:
		if f.modern {
			return "LowCardinality(String)"
		}
	}
	return "String"
}

var integerBits = map[change.Type]int{change.TinyInt: 8, change.SmallInt: 16, change.MediumInt: 32, change.Int: 32, change.BigInt: 64}

func (f form) precisionMax() int {
	if f.modern {
		return 76
	}
	return 38
}

func (f form) dateType(c *change.Column) string {
	switch {
	case c.Type == change.Date && f.modern:
		return "Date32"
	case c.Type == change.Date:
		return "Date"
	case c.Type == change.Timestamp && c.Scale == 0:
		return "DateTime('UTC')"
	case f.modern:
		return fmt.Sprintf("DateTime64(%d, 'UTC')", c.Scale)
	case c.Scale == 0:
		return "DateTime('UTC')"
	}
	return "String" // nothing there has fractions of a second
}

// lacks says what of a column's values the type cannot hold, so that a row could not be read back as it was; empty where it holds all,
// with the help of the column of exact texts (see dates.go).
func (t columnType) lacks(c *change.Column) string {
	if c.Nullable && !t.nullable && t.kind != floats {
		return "NULL"
	}
	switch {
	case t.kind == text:
		return textLacks(c)
	case c.Type.Integer():
		return t.lacksIntegers(integerBits[c.Type], !c.Unsigned)
	case c.Type == change.Year:
		return t.lacksIntegers(16, false)
	case c.Type == change.Bit:
		return t.lacksIntegers(c.Length, false)
	case c.Type == change.Time:
		return t.lacksIntegers(64, true)
	case c.Type == change.Decimal:
		if t.kind != decimal || t.scale < c.Scale || t.precision-t.scale < c.Precision-c.Scale {
			return fmt.Sprintf("decimals of %d digits, %d of them after the point", c.Precision, c.Scale)
		}
		return ""
	case c.Type == change.Float || c.Type == change.Double:
		if t.kind != float || t.bits == 32 && c.Type == change.Double {
			return "its numbers exactly"
		}
		return ""
	case c.Type == change.Date && (t.kind == date || t.kind == date32),
		(c.Type == change.DateTime || c.Type == change.Timestamp) && (t.kind == dateTime || t.kind == dateTime64),
		c.Type == change.Vector && t.kind == floats:
		return ""
	}
	return "a " + c.Type.String()
}

// textLacks: all that MySQL has as text or bytes, and decimals and dates by their text.
func textLacks(c *change.Column) string {
	switch {
	case c.Type.Integer(), c.Type == change.Year, c.Type == change.Bit, c.Type == change.Float, c.Type == change.Double, c.Type == change.Vector:
		return "a " + c.Type.String() + " as a number"
	}
	return ""
}

func (t columnType) lacksIntegers(bits int, signed bool) string {
	room := t.bits
	if t.signed && !signed {
		room-- // for the sign
	}
	if t.kind != integer || room < bits || signed && !t.signed {
		sign := "unsigned "
		if signed {
			sign = ""
		}
		return fmt.Sprintf("%sintegers of %d bits", sign, bits)
	}
	return ""
}

// widens reports whether each value that a column of the type can have is a value of the other type, so that the server may turn the
// column into it.
func (t columnType) widens(to columnType) bool {
	if t.nullable && !to.nullable || t.kind != to.kind {
		return false
	}
	switch t.kind {
	case integer:
		return to.lacksIntegers(t.bits, t.signed) == ""
	case decimal:
		return to.scale >= t.scale && to.precision-to.scale >= t.precision-t.scale
	case float:
		return to.bits >= t.bits
	case dateTime64:
		return to.scale >= t.scale
	}
	return true
}
