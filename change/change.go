package change

import (
	"fmt"
	"strings"
)

// Op is the kind of a change event, with Debezium's letters.
type Op byte

// The kinds of change events.
const (
	Create Op = 'c' // the row was inserted
	Update Op = 'u' // the row was changed in place: its key's bytes are the same before and after
	Delete Op = 'd' // the row is gone
	Read   Op = 'r' // the row was read by a crawl: it exists now, no more is said
)

// String returns the letter, as it stands in the envelope.
func (o Op) String() string { return string(rune(o)) }

// Valid reports whether o is one of the four kinds.
func (o Op) Valid() bool { return o == Create || o == Update || o == Delete || o == Read }

// Version is the number that orders all changes of one source: 63 bits, growing with every event, at
// least the commit time in microseconds since 1970 (UTC). Versions of different sources are never compared.
type Version int64

// Next returns the version that follows v for an event that was committed at commitMicros
// (microseconds since 1970 UTC; 0 or less where no trustworthy time is known).
func (v Version) Next(commitMicros int64) Version {
	if c := Version(commitMicros); c > v {
		return c
	}
	return v + 1
}

// VersionHeader is the Kafka record header that carries the version: 8 bytes, big-endian.
const VersionHeader = "sluice.version"

// DoubtHeader is the Kafka record header of events whose before image may not say where the row stood: rows of the table may
// have changed without an event, and the crawl that looks for them is not over. Its value says nothing, but it has one: see source.
const DoubtHeader = "sluice.doubt"

// TableName names a table on a server. It is comparable, and so a map key.
type TableName struct {
	DB   string
	Name string
}

// String returns "db.name", as in topic names, configs and errors.
func (n TableName) String() string { return n.DB + "." + n.Name }

// ParseTableName reads "db.name".
func ParseTableName(s string) (TableName, error) {
	db, name, ok := strings.Cut(s, ".")
	if !ok || db == "" || name == "" {
		return TableName{}, fmt.Errorf("table name %q: want database.table", s)
	}
	return TableName{DB: db, Name: name}, nil
}

// Position is a place in the server's history: after an event of binlog file File that ends at byte Offset.
//
// Offset is Sluice's own 64-bit sum: the event header's is 32 bit and wraps in files over 4 GiB. GTID is the
// executed set up to there in text form, empty where the server has none; it is not part of the order.
type Position struct {
	File   string `json:"file"`
	Offset uint64 `json:"offset"`
	GTID   string `json:"gtid,omitempty"`
}

// Compare orders positions of one server by file number and offset: -1, 0 or +1. Binlog files are named
// base.NNNNNN with a number that may outgrow six digits, so the number is compared as one.
func (p Position) Compare(q Position) int {
	if c := compareFile(p.File, q.File); c != 0 {
		return c
	}
	switch {
	case p.Offset < q.Offset:
		return -1
	case p.Offset > q.Offset:
		return 1
	}
	return 0
}

// String returns "file:offset".
func (p Position) String() string { return fmt.Sprintf("%s:%d", p.File, p.Offset) }

func compareFile(a, b string) int {
	an, bn := fileNumber(a), fileNumber(b)
	if len(an) != len(bn) { // leading zeros are gone: the longer number is the larger
		if len(an) < len(bn) {
			return -1
		}
		return 1
	}
	return strings.Compare(an, bn)
}

func fileNumber(file string) string {
	return strings.TrimLeft(file[strings.LastIndexByte(file, '.')+1:], "0")
}
