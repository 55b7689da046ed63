package avro

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
)

// textMax is how many bytes of text a value of the column can take outside of the record: all but the variable
// ones, which have no bound and grow the buffer.
func (c *column) textMax() int {
	switch c.repr {
	case schema.DecimalBytes, schema.DecimalFloat64:
		return c.Precision + 3
	case schema.Bits:
		return (c.Length + 7) / 8
	case schema.Boolean:
		return 1
	case schema.Days, schema.ConnectDays, schema.MicroTime, schema.MilliTime,
		schema.Millis, schema.ConnectMillis, schema.Micros, schema.Zoned:
		return len("2006-01-02 15:04:05.999999")
	case schema.Point:
		return 4 + wkbPointSize
	}
	return 0
}

// read reads one value in canonical form. What does not stand in the record is appended to text.
func (c *column) read(r *reader, v *change.Value, text []byte) ([]byte, error) {
	switch c.repr {
	case schema.Short, schema.Int, schema.Long, schema.UnsignedLong:
		return text, c.readInteger(r, v)
	case schema.UnsignedBytes:
		return text, readUnsigned(r.bytes(), v)
	case schema.Text, schema.EnumName, schema.SetNames, schema.JSONText, schema.DecimalText:
		*v = change.Value{Kind: change.Str, Bytes: r.bytes()}
	case schema.Bytes:
		*v = change.Value{Kind: change.Raw, Bytes: r.bytes()}
		if c.Type == change.Binary && len(v.Bytes) != c.Length {
			return text, fmt.Errorf("BINARY(%d) of %d bytes", c.Length, len(v.Bytes))
		}
	case schema.YearInt:
		*v = change.IntValue(int64(r.int()))
	case schema.Float:
		if b := r.take(4); b != nil {
			*v = change.Float32Value(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case schema.Double:
		if b := r.take(8); b != nil {
			*v = change.Value{Kind: change.Float64, Num: binary.LittleEndian.Uint64(b)}
		}
	case schema.DecimalBytes, schema.DecimalFloat64:
		return c.readDecimal(r, v, text)
	case schema.Boolean, schema.Bits:
		return c.readBits(r, v, text)
	case schema.Geometry, schema.Point:
		return c.readGeometry(r, v, text)
	case schema.Vector:
		return c.readVector(r, v, text)
	default:
		return c.readTemporal(r, v, text)
	}
	return text, nil
}

// made sets v to what was appended to text since start.
func made(v *change.Value, kind change.Kind, text []byte, start int) {
	*v = change.Value{Kind: kind, Bytes: text[start:len(text):len(text)]}
}

var errRange = errors.New("a number out of the column's range")

func (c *column) readInteger(r *reader, v *change.Value) error {
	n := r.long()
	*v = change.Value{Kind: change.Int64, Num: uint64(n)}
	if c.Unsigned {
		v.Kind = change.Uint64
	}
	bits := 8 * integerSize(c.Type)
	switch {
	case bits == 64:
		return nil
	case c.Unsigned && uint64(n)>>bits != 0, !c.Unsigned && n>>(bits-1) != n>>63:
		return errRange
	}
	return nil
}

func readUnsigned(b []byte, v *change.Value) error {
	if len(b) == 9 && b[0] == 0 {
		b = b[1:]
	} else if len(b) == 0 || len(b) > 8 || b[0] >= 0x80 {
		return errRange
	}
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	*v = change.UintValue(n)
	return nil
}

func (c *column) readDecimal(r *reader, v *change.Value, text []byte) ([]byte, error) {
	start := len(text)
	if c.repr == schema.DecimalFloat64 {
		b := r.take(8)
		if b == nil {
			return text, nil
		}
		f := math.Float64frombits(binary.LittleEndian.Uint64(b))
		if math.IsNaN(f) || math.Abs(f) > 1e66 {
			return text, errRange
		}
		text = strconv.AppendFloat(text, f, 'f', c.Scale, 64)
	} else {
		var d decimal
		b := r.bytes()
		if r.failed {
			return text, nil
		}
		if err := d.setBytes(b); err != nil {
			return text, err
		}
		var err error
		if text, err = d.appendText(text, c.Precision, c.Scale); err != nil {
			return text, err
		}
	}
	made(v, change.Str, text, start)
	return text, nil
}

func (c *column) readBits(r *reader, v *change.Value, text []byte) ([]byte, error) {
	start := len(text)
	b := []byte(nil)
	if c.repr == schema.Boolean {
		b = r.take(1)
	} else {
		b = r.bytes()
	}
	if r.failed {
		return text, nil
	}
	if size := (max(c.Length, 1) + 7) / 8; len(b) != size {
		return text, fmt.Errorf("BIT(%d) of %d bytes", c.Length, len(b))
	}
	if over := max(c.Length, 1) % 8; over != 0 && b[len(b)-1]>>over != 0 {
		return text, errRange
	}
	for i := len(b) - 1; i >= 0; i-- {
		text = append(text, b[i])
	}
	made(v, change.Raw, text, start)
	return text, nil
}

func (c *column) readGeometry(r *reader, v *change.Value, text []byte) ([]byte, error) {
	var wkb []byte
	if c.repr == schema.Point {
		r.take(16)
		if r.branch(2) == 1 {
			wkb = r.bytes()
		}
	} else {
		wkb = r.bytes()
	}
	srid := int32(0)
	if r.branch(2) == 1 {
		srid = r.int()
	}
	start := len(text)
	if len(wkb) > 0 {
		text = append(binary.LittleEndian.AppendUint32(text, uint32(srid)), wkb...)
	}
	made(v, change.Raw, text, start)
	return text, nil
}

// readVector reads an array of floats. The floats of one block stand in the record as MySQL has them.
func (c *column) readVector(r *reader, v *change.Value, text []byte) ([]byte, error) {
	const floatSize = 4
	start, whole := len(text), []byte{}
	for block := 0; ; block++ {
		count := r.long()
		if count == 0 || r.failed {
			if block < 2 {
				*v = change.RawValue(whole)
			} else {
				made(v, change.Raw, text, start)
			}
			return text, nil
		}
		if count < 0 {
			r.long()
			count = -count
		}
		if count < 0 || count > int64(len(r.rest))/floatSize {
			r.fail()
			return text, nil
		}
		floats := r.take(count * floatSize)
		if block == 0 {
			whole = floats
		} else if block == 1 {
			text = append(text, whole...)
		}
		if block > 0 {
			text = append(text, floats...)
		}
	}
}

func (c *column) readTemporal(r *reader, v *change.Value, text []byte) ([]byte, error) {
	start := len(text)
	var ok bool
	switch c.repr {
	case schema.Days, schema.ConnectDays:
		var d rowimage.Date
		if d, ok = dateOf(int(r.int())); ok {
			text = appendDate(text, d)
		}
	case schema.MicroTime:
		text, ok = c.appendMicroTime(text, r.long())
	case schema.MilliTime:
		if ms := r.int(); ms >= 0 && ms < millisADay {
			text, ok = c.appendMicroTime(text, int64(ms)*1_000)
		}
	case schema.Zoned:
		text, ok = c.appendZoned(text, r.bytes())
	case schema.Micros:
		text, ok = c.appendMicros(text, r.long(), microsADay)
	default:
		text, ok = c.appendMicros(text, r.long(), millisADay)
	}
	if !ok {
		return text, errRange
	}
	made(v, change.Str, text, start)
	return text, nil
}

// fits reports whether the microseconds have no more digits than the column.
func (c *column) fits(micros int) bool {
	if c.Scale >= 6 || c.Scale < 0 {
		return true
	}
	return micros%int(powersOf10[6-c.Scale]) == 0
}

func (c *column) appendMicroTime(text []byte, micros int64) ([]byte, bool) {
	if micros < 0 {
		text = append(text, '-')
		micros = -micros
	}
	seconds, micros := micros/1_000_000, micros%1_000_000
	if micros < 0 || seconds/3600 > hoursMax || !c.fits(int(micros)) {
		return text, false
	}
	return appendClock(text, int(seconds/3600), int(seconds/60%60), int(seconds%60), int(micros), c.Scale), true
}

// appendMicros appends a DATETIME that is counted in units of which a day has so many.
func (c *column) appendMicros(text []byte, n, unitsADay int64) ([]byte, bool) {
	day := n / unitsADay
	if n%unitsADay < 0 {
		day--
	}
	date, ok := dateOf(int(day))
	micros := (n - day*unitsADay) * (microsADay / unitsADay)
	if !ok || !c.fits(int(micros%1_000_000)) {
		return text, false
	}
	text = append(appendDate(text, date), ' ')
	seconds := int(micros / 1_000_000)
	return appendClock(text, seconds/3600, seconds/60%60, seconds%60, int(micros%1_000_000), c.Scale), true
}

// appendZoned appends a TIMESTAMP; 1970-01-01 00:00:00 stands for the zero value.
func (c *column) appendZoned(text, zoned []byte) ([]byte, bool) {
	const whole = len("2006-01-02T15:04:05")
	if len(zoned) <= whole || zoned[10] != 'T' || zoned[len(zoned)-1] != 'Z' {
		return text, false
	}
	date, ok := parseDate(zoned[:10])
	hour, ok2 := digits(zoned[11:13])
	minute, second, micros, ok3 := parseClock(zoned[13:len(zoned)-1], c.Scale)
	d := rowimage.DateTime{Date: date, Hour: hour, Minute: minute, Second: second, Micros: micros}
	if !ok || !ok2 || !ok3 {
		return text, false
	}
	if date == (rowimage.Date{Year: 1970, Month: 1, Day: 1}) && hour == 0 && minute == 0 && second == 0 {
		d = rowimage.DateTime{}
	} else if checkTimestamp(&d) != nil {
		return text, false
	}
	text = append(appendDate(text, d.Date), ' ')
	return appendClock(text, d.Hour, d.Minute, d.Second, d.Micros, c.Scale), true
}
