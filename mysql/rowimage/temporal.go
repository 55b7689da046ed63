package rowimage

import (
	"fmt"
	"time"
)

// Date is a DATE as it is stored: any part may be zero, and the day may be past its month's end where the
// server allowed it (ALLOW_INVALID_DATES).
type Date struct{ Year, Month, Day int }

// Time is a TIME: up to 838 hours either way.
type Time struct {
	Negative                        bool
	Hours, Minutes, Seconds, Micros int
}

// DateTime is a DATETIME.
type DateTime struct {
	Date
	Hour, Minute, Second, Micros int
}

// IsZero reports whether it is 0000-00-00.
func (d Date) IsZero() bool { return d == Date{} }

// DecodeDate reads a DATE.
func DecodeDate(data []byte) (Date, error) {
	if len(data) != 3 {
		return Date{}, fmt.Errorf("DATE of %d bytes, not 3", len(data))
	}
	n := int(littleEndian(data))
	return Date{Year: n >> 9, Month: n >> 5 & 15, Day: n & 31}, nil
}

// fraction reads the 0 to 3 bytes of a time's fractional part as microseconds.
func fraction(data []byte) int {
	n := int(bigEndian(data))
	switch len(data) {
	case 1:
		return n * 10_000
	case 2:
		return n * 100
	}
	return n
}

// checkLength wants base bytes and those of the fraction.
func checkLength(what string, data []byte, base, fsp int) error {
	if fsp < 0 || fsp > 6 || len(data) != base+(fsp+1)/2 {
		return fmt.Errorf("%s(%d) of %d bytes", what, fsp, len(data))
	}
	return nil
}

// checkMicros wants a fraction below one second.
func checkMicros(what string, micros int) error {
	if micros < 0 || micros > 999_999 {
		return fmt.Errorf("%s with %d microseconds", what, micros)
	}
	return nil
}

// DecodeTime reads a TIME with fsp fractional digits. The whole is one big-endian number, shifted so that its
// order is that of the bytes: an integer part of hours, minutes and seconds, then the fraction; so the
// fraction of a negative time counts up from the next lower second.
func DecodeTime(data []byte, fsp int) (Time, error) {
	if err := checkLength("TIME", data, 3, fsp); err != nil {
		return Time{}, err
	}
	width := uint(8 * (len(data) - 3))
	n := int64(bigEndian(data)) - int64(0x800000)<<width
	t := Time{Negative: n < 0}
	if n < 0 {
		n = -n
	}
	whole := n >> width
	switch part := int(n & (1<<width - 1)); len(data) - 3 {
	case 1:
		t.Micros = part * 10_000
	case 2:
		t.Micros = part * 100
	default:
		t.Micros = part
	}
	t.Hours, t.Minutes, t.Seconds = int(whole>>12), int(whole>>6&63), int(whole&63)
	return t, checkMicros("TIME", t.Micros)
}

// DecodeDateTime reads a DATETIME with fsp fractional digits.
func DecodeDateTime(data []byte, fsp int) (DateTime, error) {
	if err := checkLength("DATETIME", data, 5, fsp); err != nil {
		return DateTime{}, err
	}
	const sign = 0x8000000000
	n := int64(bigEndian(data[:5])) - sign
	if n < 0 {
		return DateTime{}, fmt.Errorf("DATETIME before the year 0: % x", data)
	}
	d := dateTimeOf(n)
	d.Micros = fraction(data[5:])
	return d, checkMicros("DATETIME", d.Micros)
}

// dateTimeOf splits the packed integer part of a DATETIME.
func dateTimeOf(n int64) DateTime {
	yearMonth := int(n >> 22)
	return DateTime{
		Date: Date{Year: yearMonth / 13, Month: yearMonth % 13, Day: int(n >> 17 & 31)},
		Hour: int(n >> 12 & 31), Minute: int(n >> 6 & 63), Second: int(n & 63),
	}
}

// DecodeTimestamp reads a TIMESTAMP with fsp fractional digits: seconds and microseconds since 1970 (UTC).
// 0 seconds are the zero value, 0000-00-00 00:00:00: the range of TIMESTAMP begins one second later.
func DecodeTimestamp(data []byte, fsp int) (seconds int64, micros int, err error) {
	if err := checkLength("TIMESTAMP", data, 4, fsp); err != nil {
		return 0, 0, err
	}
	micros = fraction(data[4:])
	return int64(bigEndian(data[:4])), micros, checkMicros("TIMESTAMP", micros)
}

// AppendDate appends "2006-01-02".
func AppendDate(dst []byte, d Date) []byte {
	dst = appendDigits(dst, uint32(d.Year), 4)
	dst = append(dst, '-')
	dst = appendDigits(dst, uint32(d.Month), 2)
	dst = append(dst, '-')
	return appendDigits(dst, uint32(d.Day), 2)
}

// AppendTime appends "[-]15:04:05" and fsp fractional digits; hours have two digits or, past 99, three.
func AppendTime(dst []byte, t Time, fsp int) []byte {
	if t.Negative {
		dst = append(dst, '-')
	}
	digits := 2
	if t.Hours > 99 {
		digits = 3
	}
	dst = appendDigits(dst, uint32(t.Hours), digits)
	return appendClock(dst, t.Minutes, t.Seconds, t.Micros, fsp)
}

// AppendDateTime appends "2006-01-02 15:04:05" and fsp fractional digits.
func AppendDateTime(dst []byte, d DateTime, fsp int) []byte {
	dst = append(AppendDate(dst, d.Date), ' ')
	dst = appendDigits(dst, uint32(d.Hour), 2)
	return appendClock(dst, d.Minute, d.Second, d.Micros, fsp)
}

// AppendTimestamp appends a TIMESTAMP in UTC in the form of AppendDateTime.
func AppendTimestamp(dst []byte, seconds int64, micros, fsp int) []byte {
	return AppendDateTime(dst, TimestampDateTime(seconds, micros), fsp)
}

// TimestampDateTime gives the parts of a TIMESTAMP in UTC.
func TimestampDateTime(seconds int64, micros int) DateTime {
	if seconds == 0 {
		return DateTime{Micros: micros}
	}
	t := time.Unix(seconds, 0).UTC()
	year, month, day := t.Date()
	d := DateTime{Date: Date{Year: year, Month: int(month), Day: day}, Micros: micros}
	d.Hour, d.Minute, d.Second = t.Clock()
	return d
}

func appendClock(dst []byte, minute, second, micros, fsp int) []byte {
	dst = append(dst, ':')
	dst = appendDigits(dst, uint32(minute), 2)
	dst = append(dst, ':')
	dst = appendDigits(dst, uint32(second), 2)
	if fsp > 0 {
		dst = append(dst, '.')
		dst = appendDigits(dst, uint32(micros)/powersOf10[6-fsp], fsp)
	}
	return dst
}

// newTime gives a TIME of before MySQL 5.6 (3 bytes little-endian: the digits hhmmss as a number) in today's
// form without fraction. Image has checked the length, here and below.
func newTime(data []byte) []byte {
	n := int64(littleEndian(data)) << 40 >> 40
	negative := n < 0
	if negative {
		n = -n
	}
	packed := n/10000<<12 | n/100%100<<6 | n%100
	if negative {
		packed = -packed
	}
	packed += 0x800000
	return []byte{byte(packed >> 16), byte(packed >> 8), byte(packed)}
}

// newTimestamp gives a TIMESTAMP of before MySQL 5.6 (4 bytes little-endian) in today's form.
func newTimestamp(data []byte) []byte { return []byte{data[3], data[2], data[1], data[0]} }

// newDateTime gives a DATETIME of before MySQL 5.6 (8 bytes little-endian: the digits yyyymmddhhmmss as a
// number) in today's form.
func newDateTime(data []byte) []byte {
	n := littleEndian(data)
	date, clock := n/1_000_000, n%1_000_000
	packed := (date/10000*13+date/100%100)<<22 | date%100<<17 | clock/10000<<12 | clock/100%100<<6 | clock%100
	packed |= 0x8000000000
	return []byte{byte(packed >> 32), byte(packed >> 24), byte(packed >> 16), byte(packed >> 8), byte(packed)}
}
