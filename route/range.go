package route

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Range places values by ranges that do not overlap, each inclusive at both ends. Where all bounds are
// integers the shard key must be an integer; otherwise it must be text, which is compared byte by byte
// in UTF-8, whatever the column's collation is. A value in no range is an error.
type Range struct {
	spans   []span
	text    bool
	shards  []string
	ordered string
}

// span is one range; a missing bound is open.
type span struct {
	from, to bound
	shard    int
}

type bound struct {
	open bool
	text string
	num  integer
}

// integer holds any signed or unsigned 64-bit number.
type integer struct {
	negative bool
	value    uint64 // two's complement where negative
}

func (a integer) compare(b integer) int {
	if a.negative != b.negative {
		if a.negative {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.value, b.value) // two's complement keeps the order among negatives
}

func parseInteger(s string) (integer, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return integer{negative: n < 0, value: uint64(n)}, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return integer{value: n}, err == nil
}

// NewRange reads ranges written "from..to", either side empty where it is open: "..100000", "100001..",
// "a..m"; a shard may have several. Shard indexes are those in shards.
func NewRange(ranges map[string][]string, shards []string) (*Range, error) {
	r := &Range{shards: shards}
	for name, list := range ranges {
		index := slices.Index(shards, name)
		if index < 0 {
			return nil, fmt.Errorf("range for shard %q, which is not configured (there are %s)", name, strings.Join(shards, ", "))
		}
		for _, text := range list {
			from, to, ok := strings.Cut(text, "..")
			if !ok {
				return nil, fmt.Errorf("range %q of shard %s: want from..to, as in \"..100000\" or \"100001..\"", text, name)
			}
			r.spans = append(r.spans, span{
				from: bound{open: from == "", text: from}, to: bound{open: to == "", text: to}, shard: index})
		}
	}
	if len(r.spans) == 0 {
		return nil, fmt.Errorf("a range rule needs at least one range")
	}
	r.readNumbers()
	return r, r.arrange()
}

// readNumbers makes the ranges numeric when every bound is an integer.
func (r *Range) readNumbers() {
	for i := range r.spans {
		for _, b := range [...]*bound{&r.spans[i].from, &r.spans[i].to} {
			if b.open {
				continue
			}
			num, ok := parseInteger(b.text)
			if !ok {
				r.text = true
				return
			}
			b.num = num
		}
	}
}

func (r *Range) compare(a, b bound) int {
	if r.text {
		return strings.Compare(a.text, b.text)
	}
	return a.num.compare(b.num)
}

// arrange sorts the ranges and refuses empty and overlapping ones.
func (r *Range) arrange() error {
	for _, s := range r.spans {
		if !s.from.open && !s.to.open && r.compare(s.from, s.to) > 0 {
			return fmt.Errorf("range %s of shard %s is empty", r.format(s), r.shards[s.shard])
		}
	}
	slices.SortFunc(r.spans, func(a, b span) int {
		switch {
		case a.from.open && b.from.open:
			return 0
		case a.from.open:
			return -1
		case b.from.open:
			return 1
		}
		return r.compare(a.from, b.from)
	})
	var words []string
	for i, s := range r.spans {
		if i > 0 {
			before := r.spans[i-1]
			if before.to.open || s.from.open || r.compare(before.to, s.from) >= 0 {
				return fmt.Errorf("ranges %s (shard %s) and %s (shard %s) overlap",
					r.format(before), r.shards[before.shard], r.format(s), r.shards[s.shard])
			}
		}
		words = append(words, r.shards[s.shard]+" "+r.format(s))
	}
	kind := "range "
	if r.text {
		kind = "text range "
	}
	r.ordered = kind + strings.Join(words, ", ")
	return nil
}

func (r *Range) format(s span) string {
	if r.text {
		return s.from.text + ".." + s.to.text
	}
	return s.from.number() + ".." + s.to.number()
}

func (b bound) number() string {
	switch {
	case b.open:
		return ""
	case b.num.negative:
		return strconv.FormatInt(int64(b.num.value), 10)
	}
	return strconv.FormatUint(b.num.value, 10)
}

// Gaps returns the stretches that no range holds, as "100..199", for a warning at start. Text ranges have
// no next value, so only open ends are reported for them.
func (r *Range) Gaps() []string {
	var gaps []string
	first, last := r.spans[0], r.spans[len(r.spans)-1]
	if !first.from.open {
		gaps = append(gaps, "below "+first.from.text)
	}
	for i := 1; i < len(r.spans) && !r.text; i++ {
		end, start := r.spans[i-1].to.num, r.spans[i].from.num
		next := integer{negative: end.negative && end.value != ^uint64(0), value: end.value + 1}
		if next != start {
			gaps = append(gaps, "between "+r.spans[i-1].to.text+" and "+r.spans[i].from.text)
		}
	}
	if !last.to.open {
		gaps = append(gaps, "above "+last.to.text)
	}
	return gaps
}

// Shard returns the shard of the range that holds the value.
func (r *Range) Shard(v change.Value) (int, error) {
	if v.IsNull() {
		return 0, errNull
	}
	at, err := r.position(v)
	if err != nil {
		return 0, err
	}
	// The last range that begins at or below the value is the only one that may hold it.
	i, _ := slices.BinarySearchFunc(r.spans, at, func(s span, at func(bound) int) int {
		if s.from.open || at(s.from) >= 0 {
			return -1
		}
		return 1
	})
	if i > 0 {
		if s := r.spans[i-1]; s.to.open || at(s.to) <= 0 {
			return s.shard, nil
		}
	}
	return 0, fmt.Errorf("no range holds %s (%s)", v, r.ordered)
}

// position returns a function that compares the value with a bound.
func (r *Range) position(v change.Value) (func(bound) int, error) {
	switch {
	case r.text && v.Kind == change.Str:
		return func(b bound) int { return bytes.Compare(v.Bytes, []byte(b.text)) }, nil
	case r.text:
		return nil, fmt.Errorf("the ranges are of text, the shard key %s is not", v)
	case v.Kind == change.Int64:
		n := integer{negative: v.Int() < 0, value: v.Num}
		return func(b bound) int { return n.compare(b.num) }, nil
	case v.Kind == change.Uint64:
		n := integer{value: v.Num}
		return func(b bound) int { return n.compare(b.num) }, nil
	}
	return nil, fmt.Errorf("the ranges are of integers, the shard key %s is not", v)
}

// String returns the ranges in order.
func (r *Range) String() string { return r.ordered }
