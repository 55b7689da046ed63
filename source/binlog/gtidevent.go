package binlog

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// begin is what the event before a transaction says of it.
type begin struct {
	gtid         GTID
	commitMicros int64 // 0: not known

	// MariaDB says more here than MySQL.
	standalone bool   // one statement, without COMMIT
	prepares   bool   // an XA PREPARE
	completes  bool   // an XA COMMIT or XA ROLLBACK
	xid        string // of the two
}

// parseGTID reads GTID_LOG_EVENT (33) and ANONYMOUS_GTID_LOG_EVENT (34): flags 1, SID 16, GNO 8, then a byte 2
// and two logical clocks of 8 each, then from 8.0.1 the commit times, 7 bytes each: immediate, and if its top
// bit is set the original one too. Microseconds.
func parseGTID(body []byte, anonymous bool) (begin, error) {
	var b begin
	c := cursor{rest: body}
	c.take(1)
	copy(b.gtid.SID[:], c.take(16))
	b.gtid.GNO = int64(c.number(8))
	if err := c.err(); err != nil {
		return b, fmt.Errorf("read GTID event: %w", err)
	}
	if anonymous {
		b.gtid = GTID{}
	}
	const logicalClocks, timeBits = 2, 55
	if len(c.rest) < 1+16+7 || c.rest[0] != logicalClocks {
		return b, nil // an older server
	}
	c.take(1 + 16)
	immediate := c.number(7)
	b.commitMicros = int64(immediate &^ (1 << timeBits))
	if immediate>>timeBits != 0 {
		b.commitMicros = int64(c.number(7))
	}
	if err := c.err(); err != nil {
		return b, fmt.Errorf("read GTID event: %w", err)
	}
	return b, nil
}

// The fields of GTID_TAGGED_LOG_EVENT (42), by id.
const (
	taggedFlags     = 0
	taggedUUID      = 1
	taggedGNO       = 2
	taggedTag       = 3
	taggedImmediate = 6
	taggedOriginal  = 7
	taggedLast      = 11 // commit_group_ticket
)

// parseTaggedGTID reads a GTID event with a tag (8.3 and later). It is a message of mysql::serialization:
// version, size of the message, id of the last field that must be understood; then fields, each its id and
// its value, in order, absent ones left out. Integers are of variable length, strings have their length
// before them, and the UUID is 16 integers of one byte.
// https://dev.mysql.com/doc/dev/mysql-server/latest/PageLibsMysqlSerialization.html
func parseTaggedGTID(body []byte) (begin, error) {
	var b begin
	r := serial{cursor{rest: body}}
	r.unsigned() // version of the format: fields are only ever added to it
	size := r.unsigned()
	read := uint64(len(body) - len(r.rest)) // the size counts them
	if r.short || size > uint64(len(body)) || size < read {
		return b, fmt.Errorf("read tagged GTID event: %w", errTruncated)
	}
	r.rest = r.rest[:size-read]
	mustUnderstand := r.unsigned()
	if mustUnderstand > taggedLast+1 {
		return b, fmt.Errorf("read tagged GTID event: field %d is not known", mustUnderstand-1)
	}
	var immediate, original uint64
	for len(r.rest) > 0 && !r.short {
		switch id := r.unsigned(); id {
		case taggedUUID:
			for i := range b.gtid.SID {
				b.gtid.SID[i] = byte(r.unsigned())
			}
		case taggedGNO:
			b.gtid.GNO = r.signed()
		case taggedTag:
			b.gtid.Tag = string(r.take(int(r.unsigned())))
		case taggedImmediate:
			immediate = r.unsigned()
		case taggedOriginal:
			original = r.unsigned()
		case taggedFlags, 4, 5, 8, 9, 10, taggedLast: // integers that do not matter here
			r.unsigned()
		default:
			r.rest = nil // a field of a later version: all that follow are later too
		}
	}
	if err := r.err(); err != nil || b.gtid.GNO < 1 {
		return b, fmt.Errorf("read tagged GTID event: %w", errTruncated)
	}
	b.commitMicros = int64(immediate)
	if original != 0 {
		b.commitMicros = int64(original)
	}
	return b, nil
}

// serial reads mysql::serialization's values.
type serial struct{ cursor }

// unsigned reads 1 to 9 bytes. As many one bits as the first byte ends with, so many bytes follow it; the
// value is what is left of the bits above them.
func (r *serial) unsigned() uint64 {
	if len(r.rest) == 0 {
		r.short = true
		return 0
	}
	follow := bits.TrailingZeros8(^r.rest[0])
	if follow == 8 {
		r.take(1)
		raw := r.take(8)
		if raw == nil {
			return 0
		}
		return binary.LittleEndian.Uint64(raw)
	}
	return r.number(follow+1) >> (follow + 1)
}

// signed reads what unsigned reads, with the sign in the lowest bit.
func (r *serial) signed() int64 {
	value := r.unsigned()
	return int64(value>>1) ^ -int64(value&1)
}

// The flags of MariaDB's GTID event.
const (
	mariaDBStandalone  = 0x01
	mariaDBGroupCommit = 0x02
	mariaDBPreparedXA  = 0x40
	mariaDBCompletedXA = 0x80
)

// parseMariaDBGTID reads MARIADB_GTID_EVENT (162): sequence 8, domain 4, flags 1; then for a group commit its
// id, 8; then for XA the format id 4, the lengths of gtrid and bqual, 1 each, and both.
func parseMariaDBGTID(body []byte, server uint32) (begin, error) {
	c := cursor{rest: body}
	var b begin
	b.gtid = GTID{Flavor: gtid.MariaDB, Server: server, Sequence: c.number(8), Domain: uint32(c.number(4))}
	flags := c.number(1)
	b.standalone = flags&mariaDBStandalone != 0
	b.prepares, b.completes = flags&mariaDBPreparedXA != 0, flags&mariaDBCompletedXA != 0
	if flags&mariaDBGroupCommit != 0 {
		c.take(8)
	}
	if b.prepares || b.completes {
		format := uint32(c.number(4))
		lengths := c.take(2)
		if lengths == nil {
			return b, fmt.Errorf("read MariaDB GTID event: %w", errTruncated)
		}
		b.xid = formatXID(format, c.take(int(lengths[0])), c.take(int(lengths[1])))
	}
	if err := c.err(); err != nil {
		return b, fmt.Errorf("read MariaDB GTID event: %w", err)
	}
	return b, nil
}
