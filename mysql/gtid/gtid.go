package gtid

import (
	"fmt"
	"maps"
	"slices"
)

// Flavor is the family of servers, whose GTIDs differ in form and meaning.
type Flavor uint8

// The flavors.
const (
	MySQL Flavor = iota
	MariaDB
)

// String returns "mysql" or "mariadb".
func (f Flavor) String() string {
	if f == MariaDB {
		return "mariadb"
	}
	return "mysql"
}

// Set is a set of GTIDs of one flavor. Only Parse and New make one.
type Set struct {
	flavor  Flavor
	sources map[source]intervals  // MySQL: never holds an empty list
	domains map[uint32]domainLast // MariaDB
}

// New returns an empty set.
func New(flavor Flavor) *Set {
	if flavor == MariaDB {
		return &Set{flavor: flavor, domains: map[uint32]domainLast{}}
	}
	return &Set{flavor: flavor, sources: map[source]intervals{}}
}

// Parse reads a set as the server prints it (@@gtid_executed, @@gtid_binlog_pos): white space and line
// breaks between the parts, letters of either case, and the same source twice are all right.
func Parse(flavor Flavor, text string) (*Set, error) {
	s := New(flavor)
	parse := s.parseMySQL
	if flavor == MariaDB {
		parse = s.parseMariaDB
	}
	if err := parse(text); err != nil {
		return nil, fmt.Errorf("%s GTID set %q: %w", flavor, shorten(text), err)
	}
	return s, nil
}

// shorten keeps an error's line readable: sets of old servers run to many kilobytes.
func shorten(text string) string {
	const textMax = 200
	if len(text) <= textMax {
		return text
	}
	return text[:textMax] + "..."
}

// Flavor returns the family of servers whose GTIDs the set holds.
func (s *Set) Flavor() Flavor { return s.flavor }

// Add adds the GTIDs of text: one GTID or a whole set.
func (s *Set) Add(text string) error {
	o, err := Parse(s.flavor, text)
	if err != nil {
		return err
	}
	s.AddSet(o)
	return nil
}

// AddSet adds all of o, which is left as it is. Sets of different flavors are a programmer's error.
func (s *Set) AddSet(o *Set) {
	s.mustMatch(o)
	for source, list := range o.sources {
		s.sources[source] = union(s.sources[source], slices.Clone(list)) // add changes lists in place
	}
	for domain, last := range o.domains {
		s.addDomain(domain, last)
	}
}

// Union returns a new set with all of s and o.
func (s *Set) Union(o *Set) *Set {
	u := s.Clone()
	u.AddSet(o)
	return u
}

// Minus returns a new set with what is in s and not in o. Of MariaDB's it keeps the domains in which s is
// further than o.
func (s *Set) Minus(o *Set) *Set {
	s.mustMatch(o)
	d := New(s.flavor)
	for source, list := range s.sources {
		if left := minus(list, o.sources[source]); len(left) > 0 {
			d.sources[source] = left
		}
	}
	for domain, last := range s.domains {
		if other, ok := o.domains[domain]; !ok || last.sequence > other.sequence {
			d.domains[domain] = last
		}
	}
	return d
}

// Contains reports whether all of o is in s. Of MariaDB's it asks whether s is at least as far in each of
// o's domains.
func (s *Set) Contains(o *Set) bool {
	s.mustMatch(o)
	for source, list := range o.sources {
		if !contains(s.sources[source], list) {
			return false
		}
	}
	for domain, last := range o.domains {
		if mine, ok := s.domains[domain]; !ok || mine.sequence < last.sequence {
			return false
		}
	}
	return true
}

// Equal reports whether both sets hold the same.
func (s *Set) Equal(o *Set) bool {
	return s.flavor == o.flavor && s.Contains(o) && o.Contains(s)
}

// Empty reports whether the set holds nothing.
func (s *Set) Empty() bool { return len(s.sources) == 0 && len(s.domains) == 0 }

// Clone returns a copy that shares nothing with s.
func (s *Set) Clone() *Set {
	c := New(s.flavor)
	for source, list := range s.sources {
		c.sources[source] = slices.Clone(list)
	}
	maps.Copy(c.domains, s.domains)
	return c
}

// String returns the set as the server takes it, in one order and without white space.
func (s *Set) String() string {
	if s.flavor == MariaDB {
		return s.stringMariaDB()
	}
	return s.stringMySQL()
}

// MarshalText returns String, so that JSON and YAML hold a set as text. The flavor is not in it; reading
// back is Parse.
func (s *Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s *Set) mustMatch(o *Set) {
	if s.flavor != o.flavor {
		panic(fmt.Sprintf("gtid: a %s set met a %s set", s.flavor, o.flavor))
	}
}
