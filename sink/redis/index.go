package redis

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// numeric reports whether values of the column are numbers.
func numeric(c *change.Column) bool {
	switch c.Type {
	case change.Decimal, change.Float, change.Double, change.Year, change.Bit:
		return true
	}
	return c.Type.Integer()
}

// scored reports whether a sorted index can be ordered by the column.
func scored(c *change.Column) bool {
	switch c.Type {
	case change.Date, change.Time, change.DateTime, change.Timestamp:
		return true
	}
	return numeric(c)
}

// score returns a value as a number in decimal; a time in seconds since 1970 UTC, a TIME in seconds. NULL, and what is no day of the
// calendar (0000-00-00, 2026-02-00), has none.
func score(c *change.Column, v change.Value) (string, bool) {
	if v.IsNull() {
		return "", false
	}
	switch c.Type {
	case change.Bit:
		return new(big.Int).SetBytes(v.Bytes).String(), true
	case change.Date, change.DateTime, change.Timestamp:
		whole, fraction, _ := strings.Cut(string(v.Bytes), ".")
		at, err := time.Parse("2006-01-02 15:04:05"[:min(len(whole), 19)], whole)
		if err != nil {
			return "", false
		}
		return seconds(at.Unix(), fraction), true
	case change.Time:
		return timeScore(string(v.Bytes))
	}
	return v.String(), true
}

// seconds writes whole seconds and the digits of a fraction that is added to them.
func seconds(whole int64, fraction string) string {
	if strings.Trim(fraction, "0") == "" {
		return strconv.FormatInt(whole, 10)
	}
	if whole >= 0 {
		return strconv.FormatInt(whole, 10) + "." + fraction
	}
	part, ok := new(big.Rat).SetString("0." + fraction)
	if !ok {
		return strconv.FormatInt(whole, 10)
	}
	return part.Add(part, new(big.Rat).SetInt64(whole)).FloatString(len(fraction))
}

func timeScore(text string) (string, bool) {
	text, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(text, ".")
	var h, m, s int64
	if _, err := fmt.Sscanf(whole, "%d:%d:%d", &h, &m, &s); err != nil {
		return "", false
	}
	out := seconds(h*3600+m*60+s, fraction)
	if negative {
		out = "-" + out
	}
	return out, true
}

// The bounds of a place that GEOADD takes.
const (
	longitudeMax = 180
	latitudeMax  = 85.05112878
)

// entry is where one index has the row.
type entry struct {
	field  string   // under which the row's meta remembers it: the kind's letter, ":" and the index's name
	suffix string   // of the index's key behind its name: "" or ":" and the value of By
	scores []string // none, the score, or longitude and latitude
}

// entry returns the row's entry in an index; false where it has none because a column of it is NULL.
func (x *index) entry(t *change.Table, row []change.Value) (e entry, ok bool, err error) {
	e.field = "z:" + x.Name
	if x.by >= 0 {
		if row[x.by].IsNull() {
			return e, false, nil
		}
		e.suffix = string(appendPart([]byte{':'}, row[x.by]))
	}
	switch x.Kind {
	case Set:
		e.field = "s:" + x.Name
	case Sorted:
		text, ok := score(&t.Columns[x.score], row[x.score])
		if !ok {
			return e, false, nil
		}
		e.scores = []string{text}
	case Geo:
		long, has := score(&t.Columns[x.longitude], row[x.longitude])
		lat, also := score(&t.Columns[x.latitude], row[x.latitude])
		if !has || !also {
			return e, false, nil
		}
		if err := within(x.Longitude, long, longitudeMax); err != nil {
			return e, false, err
		}
		if err := within(x.Latitude, lat, latitudeMax); err != nil {
			return e, false, err
		}
		e.scores = []string{long, lat}
	}
	return e, true, nil
}

func within(column, text string, limit float64) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return fmt.Errorf("column %s: %w", column, err)
	}
	if !(n >= -limit && n <= limit) {
		return fmt.Errorf("column %s is %s: a geo index takes -%[3]v to %[3]v", column, text, limit)
	}
	return nil
}
