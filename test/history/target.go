package history

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/sluice-cdc/sluice/change"
)

// shown is what one target has shown of one key. Looks that showed the same are kept once.
type shown struct {
	looks []Observation
	rest  *Observation
}

// Observe takes a look at a target with a floor: one that keeps its progress with the rows. Looks at one target come in
// the order in which they were made.
func (c *Checker) Observe(o Observation) {
	if !c.Wants(o.Key) {
		return
	}
	s := c.shownBy(o)
	c.counts.Observations++
	if n := len(s.looks); n > 0 {
		last := s.looks[n-1]
		if last.Present == o.Present && last.Version == o.Version && last.Row == o.Row && o.Next == last.Next {
			return
		}
	}
	s.looks = append(s.looks, o)
}

// Rest takes the last look at any target, when nothing moves any more. Every key that the topic has should be looked at.
func (c *Checker) Rest(o Observation) {
	if !c.Wants(o.Key) {
		return
	}
	c.shownBy(o).rest = &o
	c.counts.Observations++
}

func (c *Checker) shownBy(o Observation) *shown {
	l := c.life(o.Key)
	if l.targets == nil {
		l.targets = make(map[string]*shown)
	}
	s := l.targets[o.Target]
	if s == nil {
		s = &shown{}
		l.targets[o.Target] = s
	}
	return s
}

func (c *Checker) checkTargets(k Key, l *life) {
	names := make([]string, 0, len(l.targets))
	for name := range l.targets {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		s := l.targets[name]
		c.checkLooks(k, l, name, s)
		if s.rest != nil {
			c.checkRest(k, l, name, s.rest)
		}
	}
}

// checkLooks follows one key at one target.
func (c *Checker) checkLooks(k Key, l *life, name string, s *shown) {
	var last change.Version // the newest that was shown
	absent := false         // since then it was absent
	for i := range s.looks {
		o := &s.looks[i]
		fault := func(kind Kind, format string, args ...any) {
			c.fault(Fault{kind, k, name, fmt.Sprintf("look %d: ", i+1) + fmt.Sprintf(format, args...)})
		}
		c.checkAgainstProgress(l, o, fault)
		if !o.Present {
			absent = true
			continue
		}
		r := l.record(o.Version)
		switch {
		case o.Version == 0: // a target without versions can be held against the topic at rest only
			continue
		case r == nil || r.Op == change.Delete:
			fault(Unpublished, "version %d, which no put of the topic has", o.Version)
		case r.After != o.Row:
			fault(Unpublished, "%s as version %d, the topic has %s", o.Row.text(), o.Version, r.After.text())
		}
		switch {
		case o.Version < last:
			fault(WentBack, "version %d after %d", o.Version, last)
		case absent && last > 0 && o.Version == last:
			fault(Revived, "version %d again after it was absent", o.Version)
		}
		last, absent = max(last, o.Version), false
	}
}

// checkAgainstProgress holds a look against the newest record below the progress of the same snapshot: that is the row,
// or it was deleted. Where rows have unique values, the newest may have given way to another row's: the row is then absent, or
// as it was before.
func (c *Checker) checkAgainstProgress(l *life, o *Observation, fault func(Kind, string, ...any)) {
	if o.Next < 0 {
		return
	}
	newest := l.below(o.Next)
	switch {
	case newest == nil && o.Present && o.Version > 0:
		fault(Unpublished, "version %d before any record was applied (progress %d)", o.Version, o.Next)
	case newest == nil:
	case newest.Op == change.Delete && o.Present:
		fault(Revived, "version %d although %s is applied: its delete", o.Version, newest.place())
	case newest.Op == change.Delete:
	case o.Present && o.Version > 0 && o.Version < newest.Version && !c.options.Holders:
		fault(Missed, "version %d although %s with version %d is applied", o.Version, newest.place(), newest.Version)
	case o.Present && o.Version > newest.Version:
		fault(Unpublished, "version %d, the newest applied is %d (progress %d)", o.Version, newest.Version, o.Next)
	case !o.Present && !c.options.Holders:
		fault(Missed, "absent although %s with version %d is applied", newest.place(), newest.Version)
	}
}

func (c *Checker) checkRest(k Key, l *life, name string, o *Observation) {
	want, version := Row(""), change.Version(0)
	if n := len(l.records); n > 0 && l.records[n-1].Op != change.Delete {
		want, version = l.records[n-1].After, l.records[n-1].Version
	}
	switch {
	case o.Present != (want != ""), o.Present && o.Row != want:
		c.fault(Fault{Different, k, name, fmt.Sprintf("it has %s, the topic %s", o.Row.text(), want.text())})
	case o.Present && o.Version != 0 && o.Version != version:
		c.fault(Fault{Different, k, name, fmt.Sprintf("it has version %d, the topic %d", o.Version, version)})
	}
}

// record returns the put or delete of that version. A tombstone may have its delete's.
func (l *life) record(v change.Version) *Record {
	i, found := slices.BinarySearchFunc(l.records, v, func(r Record, v change.Version) int { return cmp.Compare(r.Version, v) })
	if !found {
		return nil
	}
	return &l.records[i]
}

// below returns the newest record with an offset below next.
func (l *life) below(next int64) *Record {
	i := sort.Search(len(l.records), func(i int) bool { return l.records[i].Offset >= next })
	if i == 0 {
		return nil
	}
	return &l.records[i-1]
}
