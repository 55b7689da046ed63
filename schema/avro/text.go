package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
)

// appendText writes a value of the text protocol.
func (c *column) appendText(dst, text []byte) ([]byte, error) {
	switch c.repr {
	case schema.Short, schema.Int, schema.Long, schema.UnsignedLong, schema.UnsignedBytes:
		return c.appendIntegerText(dst, text)
	case schema.Float:
		f, err := strconv.ParseFloat(string(text), 64) // the text is of a DOUBLE: see SelectList
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), err
	case schema.Double:
		f, err := strconv.ParseFloat(string(text), 64)
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), err
	case schema.DecimalBytes, schema.DecimalText, schema.DecimalFloat64:
		var d decimal
		if err := d.setText(text, c.Precision, c.Scale, c.limbs); err != nil {
			return dst, err
		}
		return c.emitDecimal(dst, &d)
	case schema.YearInt:
		n, ok := digits(text) // "0000" may have become 0 in the driver
		if !ok || n != 0 && (n < 1901 || n > 2155) {
			return dst, errTextForm
		}
		return appendLong(dst, int64(n)), nil
	case schema.Text, schema.EnumName, schema.SetNames:
		return c.emitText(dst, text)
	case schema.JSONText:
		return emitUTF8(dst, text)
	case schema.Days, schema.ConnectDays, schema.MicroTime, schema.MilliTime,
		schema.Millis, schema.ConnectMillis, schema.Micros, schema.Zoned:
		return c.appendTemporalText(dst, text)
	}
	return c.emitOpaque(dst, text)
}

var errTextForm = errors.New("text that is not of the type's form")

func (c *column) appendIntegerText(dst, text []byte) ([]byte, error) {
	bits := 8 * integerSize(c.Type)
	n, negative, err := parseInteger(text)
	if err != nil {
		return dst, err
	}
	limit := uint64(1)<<(bits-1) - 1 // the greatest
	switch {
	case c.Unsigned && negative:
		return dst, errTextForm
	case c.Unsigned:
		limit = limit<<1 | 1
	case negative:
		limit++
	}
	if n > limit {
		return dst, fmt.Errorf("an integer of more than %d bits", bits)
	}
	if c.repr == schema.UnsignedBytes {
		return appendUnsigned(dst, n), nil
	}
	if negative {
		n = -n
	}
	return appendLong(dst, int64(n)), nil
}

// parseInteger reads a decimal integer; leading zeros (ZEROFILL) are allowed.
func parseInteger(text []byte) (n uint64, negative bool, err error) {
	if len(text) > 0 && text[0] == '-' {
		negative, text = true, text[1:]
	}
	if len(text) == 0 {
		return 0, false, errTextForm
	}
	for _, b := range text {
		if b -= '0'; b > 9 || n > (math.MaxUint64-uint64(b))/10 {
			return 0, false, errTextForm
		}
		n = n*10 + uint64(b)
	}
	return n, negative, nil
}

func (c *column) appendTemporalText(dst, text []byte) ([]byte, error) {
	if c.Type == change.Time {
		t, err := parseTime(text, c.Scale)
		if err != nil {
			return dst, err
		}
		return c.emitTime(dst, t)
	}
	var d rowimage.DateTime
	ok := len(text) >= len("2006-01-02")
	if ok {
		d.Date, ok = parseDate(text[:10])
	}
	if c.Type == change.Date {
		if !ok || len(text) != 10 {
			return dst, errTextForm
		}
		return c.emitDate(dst, d.Date)
	}
	if !ok || len(text) < 19 || text[10] != ' ' {
		return dst, errTextForm
	}
	if d.Hour, ok = digits(text[11:13]); !ok {
		return dst, errTextForm
	}
	if d.Minute, d.Second, d.Micros, ok = parseClock(text[13:], c.Scale); !ok {
		return dst, errTextForm
	}
	if c.Type == change.DateTime {
		return c.emitDateTime(dst, d)
	}
	return c.emitTimestamp(dst, d)
}

// parseTime reads "[-]HH:MM:SS" with hours of two or three digits and fsp fractional digits.
func parseTime(text []byte, fsp int) (t rowimage.Time, err error) {
	if len(text) > 0 && text[0] == '-' {
		t.Negative, text = true, text[1:]
	}
	hours := 2
	if len(text) > 2 && text[2] != ':' {
		hours = 3
	}
	if len(text) < hours+6 {
		return t, errTextForm
	}
	var ok1, ok2 bool
	t.Hours, ok1 = digits(text[:hours])
	t.Minutes, t.Seconds, t.Micros, ok2 = parseClock(text[hours:], fsp)
	if !ok1 || !ok2 {
		return t, errTextForm
	}
	return t, nil
}

// parseDate reads "2006-01-02".
func parseDate(text []byte) (d rowimage.Date, ok bool) {
	var ok1, ok2, ok3 bool
	d.Year, ok1 = digits(text[:4])
	d.Month, ok2 = digits(text[5:7])
	d.Day, ok3 = digits(text[8:10])
	return d, ok1 && ok2 && ok3 && text[4] == '-' && text[7] == '-'
}

// parseClock reads ":04:05" and exactly fsp fractional digits; text has 6 bytes at least.
func parseClock(text []byte, fsp int) (minute, second, micros int, ok bool) {
	var ok1, ok2 bool
	minute, ok1 = digits(text[1:3])
	second, ok2 = digits(text[4:6])
	if !ok1 || !ok2 || text[0] != ':' || text[3] != ':' {
		return 0, 0, 0, false
	}
	if fsp <= 0 {
		return minute, second, 0, len(text) == 6
	}
	if len(text) != 7+fsp || text[6] != '.' || fsp > 6 {
		return 0, 0, 0, false
	}
	micros, ok = digits(text[7:])
	for ; fsp < 6; fsp++ {
		micros *= 10
	}
	return minute, second, micros, ok
}

// digits reads a number of up to 9 digits and nothing else.
func digits(text []byte) (n int, ok bool) {
	if len(text) == 0 || len(text) > 9 {
		return 0, false
	}
	for _, b := range text {
		if b -= '0'; b > 9 {
			return 0, false
		}
		n = n*10 + int(b)
	}
	return n, true
}

// quoteName is mysql.QuoteName, which would link a driver into everything that writes Avro.
func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
