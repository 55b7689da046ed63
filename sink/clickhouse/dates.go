package clickhouse

import (
	"math"
	"strconv"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// Dates at the server begin in 1970 or 1900 and end in 2106 or 2299; MySQL's go from 0000-00-00 to 9999-12-31. A date that the column
// cannot hold is stored as the nearest one that it can, and its text stands in the row's column of exact texts.

// bounds are the first and last number that a kind of dates holds: days, or seconds since 1970.
func (t columnType) bounds() (first, last int64) {
	switch t.kind {
	case date:
		return 0, 49_709 // 2106-02-06: old servers' tables of days end there
	case date32:
		return -25_567, 120_529 // 1900-01-01, 2299-12-31
	case dateTime:
		return 0, math.MaxUint32 - 86_400
	}
	return -25_567 * 86_400, min(120_529*86_400+86_399, math.MaxInt64/pow10(t.scale)-1) // nanoseconds end in 2262
}

// numberOfDate returns how the column stores the text of a DATE, DATETIME or TIMESTAMP, and whether that says all of it.
func (t columnType) numberOfDate(s []byte) (n int64, exact bool) {
	first, last := t.bounds()
	days, rest, ok := civil(s)
	if !ok { // zero and partly zero dates lie before all others
		return t.ticks(first, 0), false
	}
	if t.kind == date || t.kind == date32 {
		n := min(max(days, first), last)
		return n, n == days && len(rest) == 0
	}
	second, micros, ok := clock(rest)
	at := days*86_400 + second
	switch {
	case at < first:
		return t.ticks(first, 0), false
	case at > last:
		return t.ticks(last, 0), false
	}
	n, whole := t.tick(at, micros)
	return n, ok && whole
}

// ticks is tick where nothing is lost.
func (t columnType) ticks(second, micros int64) int64 {
	n, _ := t.tick(second, micros)
	return n
}

// tick returns a moment as the column's kind counts, and whether it holds all the micros.
func (t columnType) tick(second, micros int64) (n int64, whole bool) {
	switch {
	case t.kind != dateTime64:
		return second, micros == 0
	case t.scale <= 6:
		unit := pow10(6 - t.scale)
		return second*pow10(t.scale) + micros/unit, micros%unit == 0
	}
	return second*pow10(t.scale) + micros*pow10(t.scale-6), true
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

// civil reads the date with which the text begins, as days since 1970. ok is false for one that no calendar has.
func civil(s []byte) (days int64, rest []byte, ok bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return 0, nil, false
	}
	y, m, d := digits(s[:4]), digits(s[5:7]), digits(s[8:10])
	if y < 1 || m < 1 || d < 1 {
		return 0, nil, false
	}
	at := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
	if at.Day() != d || int(at.Month()) != m { // MySQL lets 2024-02-31 in where ALLOW_INVALID_DATES says so
		return 0, nil, false
	}
	return floorDiv(at.Unix(), 86_400), s[10:], true
}

// clock reads " 15:04:05.678901".
func clock(s []byte) (second, micros int64, ok bool) {
	if len(s) < 9 || s[0] != ' ' || s[3] != ':' || s[6] != ':' {
		return 0, 0, false
	}
	h, m, sec := digits(s[1:3]), digits(s[4:6]), digits(s[7:9])
	if h < 0 || m < 0 || sec < 0 {
		return 0, 0, false
	}
	micros, ok = fraction(s[9:])
	return int64(h*3600 + m*60 + sec), micros, ok
}

// fraction reads ".678" as microseconds; nothing is none.
func fraction(s []byte) (micros int64, ok bool) {
	if len(s) == 0 {
		return 0, true
	}
	n := digits(s[1:])
	if s[0] != '.' || len(s) > 7 || n < 0 {
		return 0, false
	}
	return int64(n) * pow10(7-len(s)), true
}

// digits reads a number of nothing but digits, -1 where it is none.
func digits(s []byte) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	if len(s) == 0 {
		return -1
	}
	return n
}

// dateText is a stored number as MySQL writes the column's values.
func (t columnType) dateText(c *change.Column, n int64) string {
	if t.kind == date || t.kind == date32 {
		return time.Unix(n*86_400, 0).UTC().Format("2006-01-02")
	}
	unit := int64(1)
	if t.kind == dateTime64 {
		unit = pow10(t.scale)
	}
	second := floorDiv(n, unit)
	nanos := (n - second*unit) * (1_000_000_000 / unit)
	layout := "2006-01-02 15:04:05"
	if c.Scale > 0 {
		layout += "." + "000000"[:c.Scale]
	}
	return time.Unix(second, nanos).UTC().Format(layout)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// microsOfTime reads a TIME, "[-]HHH:MM:SS[.ffffff]".
func microsOfTime(s []byte) (micros int64, ok bool) {
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	at := 0
	for at < len(s) && s[at] != ':' {
		at++
	}
	if len(s) < at+6 || s[at+3] != ':' {
		return 0, false
	}
	h, m, sec := digits(s[:at]), digits(s[at+1:at+3]), digits(s[at+4:at+6])
	f, ok := fraction(s[at+6:])
	if !ok || h < 0 || m < 0 || sec < 0 {
		return 0, false
	}
	micros = (int64(h)*3600+int64(m)*60+int64(sec))*1_000_000 + f
	if negative {
		micros = -micros
	}
	return micros, true
}

// timeText is microseconds as MySQL writes a TIME.
func timeText(c *change.Column, micros int64) string {
	var b []byte
	if micros < 0 {
		b, micros = append(b, '-'), -micros
	}
	seconds := micros / 1_000_000
	b = appendPadded(b, seconds/3600, 2)
	b = appendPadded(append(b, ':'), seconds/60%60, 2)
	b = appendPadded(append(b, ':'), seconds%60, 2)
	if c.Scale > 0 {
		b = appendPadded(append(b, '.'), micros%1_000_000/pow10(6-c.Scale), c.Scale)
	}
	return string(b)
}

func appendPadded(b []byte, n int64, width int) []byte {
	s := strconv.FormatInt(n, 10)
	for i := len(s); i < width; i++ {
		b = append(b, '0')
	}
	return append(b, s...)
}
