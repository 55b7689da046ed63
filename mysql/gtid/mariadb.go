package gtid

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// domainLast is the last transaction of a MariaDB domain: everything of the domain up to it is executed.
type domainLast struct {
	server   uint32
	sequence uint64
}

// AddMariaDB moves a domain forward to one transaction; an older one changes nothing.
func (s *Set) AddMariaDB(domain, server uint32, sequence uint64) {
	if s.flavor != MariaDB {
		panic("gtid: a MariaDB GTID for a MySQL set")
	}
	s.addDomain(domain, domainLast{server, sequence})
}

// ContainsMariaDB reports whether the domain has come to the sequence number.
func (s *Set) ContainsMariaDB(domain uint32, sequence uint64) bool {
	last, ok := s.domains[domain]
	return ok && last.sequence >= sequence
}

func (s *Set) addDomain(domain uint32, last domainLast) {
	if mine, ok := s.domains[domain]; !ok || mine.sequence < last.sequence {
		s.domains[domain] = last
	}
}

// parseMariaDB reads "0-1-100,1-7-3" into an empty set. A domain that comes twice (@@gtid_binlog_state has
// one entry a server) is at its furthest.
func (s *Set) parseMariaDB(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		fields := strings.Split(part, "-")
		if len(fields) != 3 {
			return fmt.Errorf("%q is not domain-server-sequence", part)
		}
		var numbers [3]uint64
		for i, bits := range [...]int{32, 32, 64} {
			n, err := strconv.ParseUint(fields[i], 10, bits)
			if err != nil {
				return fmt.Errorf("%q is not domain-server-sequence: %w", part, err)
			}
			numbers[i] = n
		}
		s.addDomain(uint32(numbers[0]), domainLast{uint32(numbers[1]), numbers[2]})
	}
	return nil
}

func (s *Set) stringMariaDB() string {
	var b strings.Builder
	for i, domain := range slices.Sorted(maps.Keys(s.domains)) {
		if i > 0 {
			b.WriteByte(',')
		}
		last := s.domains[domain]
		fmt.Fprintf(&b, "%d-%d-%d", domain, last.server, last.sequence)
	}
	return b.String()
}
