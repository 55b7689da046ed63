package schema

import (
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// The words of Options; Debezium's where Debezium has the setting. The first of each is the default.
const (
	TimeAdaptive = "adaptive_time_microseconds"
	TimeConnect  = "connect" // Kafka Connect's own types: milliseconds; finer fractions are cut off

	DecimalPrecise = "precise"
	DecimalDouble  = "double" // loses digits past the 15th or so
	DecimalString  = "string"

	BigintPrecise = "precise"
	BigintLong    = "long" // above 2^63-1 the number is negative: two's complement, so nothing is lost

	ZeroDateExact    = "exact"
	ZeroDateDebezium = "debezium" // NULL, or 1970 where the column is NOT NULL: a sink can't tell any more
)

// Options are the type choices of a source's values. The zero value is the default, which loses nothing.
// They never apply to keys.
type Options struct {
	TimePrecision  string `yaml:"time_precision_mode" json:"time_precision_mode,omitempty"`
	Decimal        string `yaml:"decimal_handling_mode" json:"decimal_handling_mode,omitempty"`
	BigintUnsigned string `yaml:"bigint_unsigned_handling_mode" json:"bigint_unsigned_handling_mode,omitempty"`
	ZeroDate       string `yaml:"zero_date_handling_mode" json:"zero_date_handling_mode,omitempty"`
}

// choice is one option: its name in configs, the property that records it in a schema, its words.
type choice struct {
	name, property string
	words          []string
	of             func(*Options) *string
}

var choices = []choice{
	{"time_precision_mode", "sluice.time_precision", []string{TimeAdaptive, TimeConnect},
		func(o *Options) *string { return &o.TimePrecision }},
	{"decimal_handling_mode", "sluice.decimal", []string{DecimalPrecise, DecimalDouble, DecimalString},
		func(o *Options) *string { return &o.Decimal }},
	{"bigint_unsigned_handling_mode", "sluice.bigint_unsigned", []string{BigintPrecise, BigintLong},
		func(o *Options) *string { return &o.BigintUnsigned }},
	{"zero_date_handling_mode", "sluice.zero_date", []string{ZeroDateExact, ZeroDateDebezium},
		func(o *Options) *string { return &o.ZeroDate }},
}

// Check reports a word that is none of the option's.
func (o Options) Check() error {
	for _, c := range choices {
		word := *c.of(&o)
		if word == "" || contains(c.words, word) {
			continue
		}
		return &change.Problem{
			Kind: change.Configuration,
			What: fmt.Sprintf("%s: unknown value %q", c.name, word),
			Mend: "use one of " + strings.Join(c.words, ", "),
		}
	}
	return nil
}

// normal returns o with defaults as empty strings, so that equal choices are equal values.
func (o Options) normal() Options {
	for _, c := range choices {
		if p := c.of(&o); *p == c.words[0] {
			*p = ""
		}
	}
	return o
}

// Lossy returns the columns whose values these options bend, by name with the reason: what a sink gets is then
// not all that the source holds.
func (o Options) Lossy(t *change.Table) []string {
	var lossy []string
	add := func(c *change.Column, why string) { lossy = append(lossy, c.Name+": "+why) }
	for i := range t.Columns {
		c := &t.Columns[i]
		switch c.Type {
		case change.Decimal:
			if o.Decimal == DecimalDouble {
				add(c, "DECIMAL as double keeps about 15 digits")
			}
		case change.Time, change.DateTime:
			if o.TimePrecision == TimeConnect && c.Scale > 3 {
				add(c, "time_precision_mode connect keeps milliseconds")
			}
		}
		switch c.Type {
		case change.Date, change.DateTime, change.Timestamp:
			if o.ZeroDate == ZeroDateDebezium {
				add(c, "zero and invalid dates become NULL or 1970-01-01")
			}
		}
	}
	return lossy
}

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
