package shape

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// Texts that are made here are compared byte by byte, at every target.
const (
	madeCharset   = "utf8mb4"
	madeCollation = "utf8mb4_bin"
)

var typePattern = regexp.MustCompile(`^([a-z]+)(?:\((\d+)(?:,\s*(\d+))?\))?( unsigned)?$`)

const typeForms = "want tinyint, smallint, mediumint, int, bigint (each maybe unsigned), decimal(p,s), double, varchar(n), text, mediumtext, longtext, date, datetime(n) or json"

// ParseType reads a type as SQL writes it, of those that values can be turned into. The column has no name and may be NULL.
func ParseType(text string) (change.Column, error) {
	match := typePattern.FindStringSubmatch(strings.ToLower(strings.TrimSpace(text)))
	c := change.Column{Nullable: true}
	wrong := fmt.Errorf("type %q: %s", text, typeForms)
	if match == nil {
		return c, wrong
	}
	t, ok := change.ParseType(match[1])
	if !ok || match[4] != "" && !t.Integer() {
		return c, wrong
	}
	c.Type, c.Unsigned = t, match[4] != ""
	first, second := number(match[2]), number(match[3])
	switch {
	case t.Integer(), t == change.Double, t == change.Date, t == change.JSON:
		ok = match[2] == ""
	case t == change.Decimal:
		c.Precision, c.Scale = first, second
		ok = first >= 1 && first <= 65 && second <= 30 && second <= first
	case t == change.VarChar:
		c.Length = first
		ok = match[2] != "" && match[3] == "" && first >= 1 && first <= 16383
	case t == change.Text || t == change.MediumText || t == change.LongText:
		ok = match[2] == ""
	case t == change.DateTime:
		c.Scale = first
		ok = first <= 6 && match[3] == ""
	default:
		ok = false
	}
	if !ok {
		return c, wrong
	}
	if t.Character() {
		c.Charset, c.Collation = madeCharset, madeCollation
	}
	return c, nil
}

func number(digits string) int {
	n, _ := strconv.Atoi(digits) // the pattern lets digits through, or nothing
	return n
}

// conversion turns a value into another; it is never asked about NULL.
type conversion func(v change.Value) (change.Value, error)

// converter returns what turns values of one column into values of another's type. bits says that the values are a BIT's.
func converter(to *change.Column, bits bool) conversion {
	convert := typeConversion(to)
	if !bits {
		return convert
	}
	return func(v change.Value) (change.Value, error) { return convert(change.UintValue(bigEndian(v.Bytes))) }
}

func typeConversion(to *change.Column) conversion {
	switch {
	case to.Type.Integer():
		return func(v change.Value) (change.Value, error) { return toInteger(v, to) }
	case to.Type == change.Decimal:
		return func(v change.Value) (change.Value, error) { return toDecimal(v, to) }
	case to.Type == change.Double:
		return toDouble
	case to.Type == change.Date:
		return func(v change.Value) (change.Value, error) { return toTime(v, to, "2006-01-02") }
	case to.Type == change.DateTime:
		return func(v change.Value) (change.Value, error) { return toTime(v, to, "2006-01-02 15:04:05") }
	case to.Type == change.JSON:
		return toJSON
	}
	return func(v change.Value) (change.Value, error) { return toText(v, to) }
}

func unfit(v change.Value, to *change.Column) error {
	text := v.String()
	if len(text) > 60 {
		text = text[:60] + "..."
	}
	return fmt.Errorf("%q is no %s", text, sayType(to))
}

func sayType(c *change.Column) string {
	text := c.Type.String()
	switch c.Type {
	case change.Decimal:
		text = fmt.Sprintf("%s(%d,%d)", text, c.Precision, c.Scale)
	case change.VarChar, change.Char:
		text = fmt.Sprintf("%s(%d)", text, c.Length)
	case change.DateTime:
		text = fmt.Sprintf("%s(%d)", text, c.Scale)
	}
	if c.Unsigned {
		text += " unsigned"
	}
	return text
}

var integerBits = map[change.Type]int{change.TinyInt: 8, change.SmallInt: 16, change.MediumInt: 24, change.Int: 32, change.BigInt: 64}

// toInteger takes whole numbers, in whatever form: 12, 12.0, "12", "12.00".
func toInteger(v change.Value, to *change.Column) (change.Value, error) {
	text := v.String()
	if v.Kind == change.Float32 || v.Kind == change.Float64 {
		text = strconv.FormatFloat(v.Float(), 'f', -1, 64)
	}
	if whole, fraction, ok := strings.Cut(text, "."); ok && strings.Trim(fraction, "0") == "" && whole != "" {
		text = whole
	}
	bits := integerBits[to.Type]
	if to.Unsigned {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || bits < 64 && n >= 1<<bits {
			return v, unfit(v, to)
		}
		return change.UintValue(n), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < -1<<(bits-1) || n > 1<<(bits-1)-1 {
		return v, unfit(v, to)
	}
	return change.IntValue(n), nil
}

var decimalPattern = regexp.MustCompile(`^([+-]?)0*(\d*)(?:\.(\d*))?$`)

// toDecimal takes numbers whose digits have room. Only what is a floating point number already is rounded.
func toDecimal(v change.Value, to *change.Column) (change.Value, error) {
	text := v.String()
	if v.Kind == change.Float32 || v.Kind == change.Float64 {
		text = strconv.FormatFloat(v.Float(), 'f', to.Scale, 64)
	}
	match := decimalPattern.FindStringSubmatch(text)
	if match == nil || match[2] == "" && match[3] == "" && !strings.Contains(text, "0") {
		return v, unfit(v, to)
	}
	whole, fraction := match[2], strings.TrimRight(match[3], "0")
	if len(fraction) > to.Scale || len(whole) > to.Precision-to.Scale {
		return v, unfit(v, to)
	}
	fraction += strings.Repeat("0", to.Scale-len(fraction))
	zero := strings.Trim(whole+fraction, "0") == ""
	if whole == "" {
		whole = "0"
	}
	out := whole
	if to.Scale > 0 {
		out += "." + fraction
	}
	if match[1] == "-" && !zero {
		out = "-" + out
	}
	return change.StringValue(out), nil
}

func toDouble(v change.Value) (change.Value, error) {
	f, err := strconv.ParseFloat(v.String(), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return v, unfit(v, &change.Column{Type: change.Double})
	}
	return change.Float64Value(f), nil
}

var textBytesMax = map[change.Type]int{change.Text: 1<<16 - 1, change.MediumText: 1<<24 - 1, change.LongText: 1<<32 - 1}

func toText(v change.Value, to *change.Column) (change.Value, error) {
	text := v.Append(nil)
	switch {
	case !utf8.Valid(text):
		return v, fmt.Errorf("%d bytes are no text in UTF-8", len(text))
	case to.Length > 0 && utf8.RuneCount(text) > to.Length, to.Length == 0 && len(text) > textBytesMax[to.Type]:
		return v, fmt.Errorf("%d characters do not fit into %s", utf8.RuneCount(text), sayType(to))
	}
	return change.Value{Kind: change.Str, Bytes: text}, nil
}

// toTime takes dates, and dates with a time. A DATE is the day of a time; a DATETIME of a date is its midnight.
func toTime(v change.Value, to *change.Column, form string) (change.Value, error) {
	if v.Kind != change.Str {
		return v, unfit(v, to)
	}
	text, fraction, _ := strings.Cut(string(v.Bytes), ".")
	if len(text) == len("2006-01-02") {
		text += " 00:00:00"
	}
	text = strings.Replace(text, "T", " ", 1)
	if len(text) != len("2006-01-02 15:04:05") || strings.Trim(fraction, "0123456789") != "" {
		return v, unfit(v, to)
	}
	if !strings.HasPrefix(text, "0000-00-00") { // a date that is none, which the source can hold: it stays what it is
		if _, err := time.Parse("2006-01-02 15:04:05", text); err != nil {
			return v, unfit(v, to)
		}
	}
	if text = text[:len(form)]; to.Type == change.Date {
		return change.StringValue(text), nil
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > to.Scale {
		return v, unfit(v, to)
	}
	if to.Scale > 0 {
		text += "." + fraction + strings.Repeat("0", to.Scale-len(fraction))
	}
	return change.StringValue(text), nil
}

func toJSON(v change.Value) (change.Value, error) {
	text := v.Append(nil)
	if !json.Valid(bytes.TrimSpace(text)) {
		return v, unfit(v, &change.Column{Type: change.JSON})
	}
	return change.Value{Kind: change.Str, Bytes: text}, nil
}
