package avro

import (
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
)

const (
	secondsADay = 86_400
	microsADay  = secondsADay * 1_000_000
	millisADay  = secondsADay * 1_000
	// hoursMax is the greatest hour of a TIME.
	hoursMax = 838
)

// days returns the days from 1970-01-01 to a date of the proleptic Gregorian calendar. (Howard Hinnant,
// "chrono-Compatible Low-Level Date Algorithms": years begin in March, so that the leap day is the last.)
func days(year, month, day int) int {
	if month <= 2 {
		year--
	}
	era := floorDiv(year, 400)
	yearOfEra := year - era*400
	dayOfYear := (153*((month+9)%12)+2)/5 + day - 1
	return era*146_097 + yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear - 719_468
}

// civil is the inverse of days.
func civil(days int) rowimage.Date {
	days += 719_468
	era := floorDiv(days, 146_097)
	dayOfEra := days - era*146_097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36_524 - dayOfEra/146_096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	shifted := (5*dayOfYear + 2) / 153
	d := rowimage.Date{Year: yearOfEra + era*400, Month: shifted + 3, Day: dayOfYear - (153*shifted+2)/5 + 1}
	if d.Month > 12 {
		d.Month -= 12
		d.Year++
	}
	return d
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

var monthDays = [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// inCalendar reports whether the proleptic Gregorian calendar has the date.
func inCalendar(d rowimage.Date) bool {
	if d.Month < 1 || d.Month > 12 || d.Day < 1 || d.Day > monthDays[d.Month] {
		return false
	}
	return d.Month != 2 || d.Day != 29 || d.Year%4 == 0 && (d.Year%100 != 0 || d.Year%400 == 0)
}

var errNoDate = errors.New("a date outside the years 0 to 9999, months to 12, days to 31")

// dayNumber returns the day of a date, as schema's package comment has it, and whether the calendar has the date.
func dayNumber(d rowimage.Date) (day int, real bool, err error) {
	if inCalendar(d) && d.Year >= 0 && d.Year <= 9999 {
		return days(d.Year, d.Month, d.Day), true, nil
	}
	if d.Year < 0 || d.Year > 9999 || d.Month < 0 || d.Month > 12 || d.Day < 0 || d.Day > 31 {
		return 0, false, errNoDate
	}
	return schema.InvalidDay - (d.Year*10_000 + d.Month*100 + d.Day), false, nil
}

// dateOf is the inverse of dayNumber; ok is false for a number that no date has.
func dateOf(day int) (d rowimage.Date, ok bool) {
	if day <= schema.InvalidDay {
		n := schema.InvalidDay - day
		d = rowimage.Date{Year: n / 10_000, Month: n / 100 % 100, Day: n % 100}
		return d, d.Year <= 9999 && d.Month <= 12 && d.Day <= 31 && !inCalendar(d)
	}
	const dayMin, dayMax = -719_528, 2_932_896 // 0000-01-01, 9999-12-31
	if day < dayMin || day > dayMax {
		return d, false
	}
	return civil(day), true
}

// bent writes null or reports false, where the options ask for Debezium's way with dates that are none. The
// union's branch is the last byte that was written.
func (c *column) bent(dst []byte) bool {
	if c.optional && c.Nullable {
		dst[len(dst)-1] = branch0
		return true
	}
	return false
}

func (c *column) emitDate(dst []byte, d rowimage.Date) ([]byte, error) {
	day, real, err := dayNumber(d)
	if err != nil {
		return dst, err
	}
	if !real && c.bend {
		if c.bent(dst) {
			return dst, nil
		}
		day = 0
	}
	return appendLong(dst, int64(day)), nil
}

func (c *column) emitDateTime(dst []byte, d rowimage.DateTime) ([]byte, error) {
	if err := checkClock(&d); err != nil {
		return dst, err
	}
	day, real, err := dayNumber(d.Date)
	if err != nil {
		return dst, err
	}
	micros := int64((d.Hour*60+d.Minute)*60+d.Second)*1_000_000 + int64(d.Micros)
	if !real && c.bend {
		if c.bent(dst) {
			return dst, nil
		}
		day, micros = 0, 0
	}
	if c.repr == schema.Micros {
		return appendLong(dst, int64(day)*microsADay+micros), nil
	}
	return appendLong(dst, int64(day)*millisADay+micros/1_000), nil
}

func (c *column) emitTime(dst []byte, t rowimage.Time) ([]byte, error) {
	if t.Hours > hoursMax || t.Minutes > 59 || t.Seconds > 59 {
		return dst, fmt.Errorf("TIME of %d:%d:%d", t.Hours, t.Minutes, t.Seconds)
	}
	micros := int64((t.Hours*60+t.Minutes)*60+t.Seconds)*1_000_000 + int64(t.Micros)
	if t.Negative {
		micros = -micros
	}
	if c.repr == schema.MicroTime {
		return appendLong(dst, micros), nil
	}
	if micros < 0 || micros >= microsADay {
		return dst, errors.New("time_precision_mode connect has only times of one day, 00:00:00 to 23:59:59")
	}
	return appendLong(dst, micros/1_000), nil
}

// emitTimestamp writes a TIMESTAMP in UTC, given in parts.
func (c *column) emitTimestamp(dst []byte, d rowimage.DateTime) ([]byte, error) {
	if d.IsZero() {
		if c.bend && c.bent(dst) {
			return dst, nil
		}
		d = rowimage.DateTime{Date: rowimage.Date{Year: 1970, Month: 1, Day: 1}}
	} else if err := checkTimestamp(&d); err != nil {
		return dst, err
	}
	length := len("2006-01-02T15:04:05Z")
	if c.Scale > 0 {
		length += 1 + c.Scale
	}
	dst = appendLong(dst, int64(length))
	dst = appendDate(dst, d.Date)
	dst = append(dst, 'T')
	dst = appendClock(dst, d.Hour, d.Minute, d.Second, d.Micros, c.Scale)
	return append(dst, 'Z'), nil
}

func checkClock(d *rowimage.DateTime) error {
	if uint(d.Hour) > 23 || uint(d.Minute) > 59 || uint(d.Second) > 59 {
		return fmt.Errorf("a time of day %d:%d:%d", d.Hour, d.Minute, d.Second)
	}
	return nil
}

// checkTimestamp refuses what no server can hold, and 1970-01-01 00:00:00, whose text stands for the zero value.
func checkTimestamp(d *rowimage.DateTime) error {
	if !inCalendar(d.Date) || d.Year < 1970 || d.Year > 9999 || d.Year == 1970 && d.Month == 1 && d.Day == 1 &&
		d.Hour == 0 && d.Minute == 0 && d.Second == 0 {
		return fmt.Errorf("TIMESTAMP of %04d-%02d-%02d %02d:%02d:%02d", d.Year, d.Month, d.Day, d.Hour, d.Minute, d.Second)
	}
	return checkClock(d)
}

// timestampOf returns the parts of a TIMESTAMP in UTC; 0 seconds are the zero value.
func timestampOf(seconds int64, micros int) rowimage.DateTime {
	if seconds == 0 {
		return rowimage.DateTime{}
	}
	day := floorDiv(int(seconds), secondsADay)
	clock := int(seconds) - day*secondsADay
	return rowimage.DateTime{Date: civil(day), Hour: clock / 3600, Minute: clock / 60 % 60, Second: clock % 60, Micros: micros}
}

// append2 appends n, below 100, with two digits.
func append2(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

func appendDate(dst []byte, d rowimage.Date) []byte {
	dst = append2(append2(dst, d.Year/100), d.Year%100)
	dst = append2(append(dst, '-'), d.Month)
	return append2(append(dst, '-'), d.Day)
}

func appendClock(dst []byte, hour, minute, second, micros, fsp int) []byte {
	if hour > 99 {
		dst = append(dst, byte('0'+hour/100))
		hour %= 100
	}
	dst = append2(dst, hour)
	dst = append2(append(dst, ':'), minute)
	dst = append2(append(dst, ':'), second)
	if fsp <= 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := 100_000; fsp > 0; fsp-- {
		dst = append(dst, byte('0'+micros/unit%10))
		unit /= 10
	}
	return dst
}
