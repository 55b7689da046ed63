package binlog

import (
	"fmt"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
)

// Kind is the kind of an Event.
type Kind uint8

// The kinds of events.
const (
	Idle      Kind = iota // nothing but the position moved
	Begin                 // a transaction begins: its GTID counts as delivered from here
	Rows                  // rows of one table
	Statement             // a statement: DDL, or DML that was logged as a statement
	UnknownXA             // XA COMMIT of a transaction whose rows are not known: any table may have changed
	Commit                // the transaction is over, all of it was delivered
	Prepared              // the transaction is over as an XA PREPARE: its rows are held until XA COMMIT
	Dropped               // the transaction is over as an XA ROLLBACK: the held rows are gone
)

// String returns the kind's name in lower case.
func (k Kind) String() string {
	return [...]string{"idle", "begin", "rows", "statement", "unknown-xa", "commit", "prepared", "dropped"}[k]
}

// GTID is one transaction's identifier. The zero GTID is that of an anonymous transaction (gtid_mode=OFF).
// It is comparable.
type GTID struct {
	Flavor gtid.Flavor

	SID [16]byte // MySQL
	Tag string
	GNO int64

	Domain, Server uint32 // MariaDB
	Sequence       uint64
}

// IsZero reports whether the transaction is anonymous.
func (g GTID) IsZero() bool { return g.GNO == 0 && g.Sequence == 0 }

// String returns the GTID as the server prints it, and nothing for an anonymous one.
func (g GTID) String() string {
	switch {
	case g.IsZero():
		return ""
	case g.Flavor == gtid.MariaDB:
		return fmt.Sprintf("%d-%d-%d", g.Domain, g.Server, g.Sequence)
	}
	var room [36 + 1 + 33 + 20]byte // UUID, tag, number
	text := append(gtid.AppendUUID(room[:0], g.SID), ':')
	if g.Tag != "" {
		text = append(append(text, g.Tag...), ':')
	}
	return string(strconv.AppendInt(text, g.GNO, 10))
}

// AddTo adds the GTID to a set of its flavor; an anonymous one adds nothing.
func (g GTID) AddTo(s *gtid.Set) {
	switch {
	case g.IsZero():
	case g.Flavor == gtid.MariaDB:
		s.AddMariaDB(g.Domain, g.Server, g.Sequence)
	default:
		s.AddRaw(g.SID, g.Tag, g.GNO)
	}
}

// In reports whether the GTID is in the set; an anonymous one is in none.
func (g GTID) In(s *gtid.Set) bool {
	switch {
	case g.IsZero() || s == nil:
		return false
	case g.Flavor == gtid.MariaDB:
		return s.ContainsMariaDB(g.Domain, g.Sequence)
	}
	return s.ContainsRaw(g.SID, g.Tag, g.GNO)
}

// Event is one step of the stream. It is the handler's to keep: nothing in it is written to again. TableMap
// may be the same for many events.
type Event struct {
	Kind Kind
	// Position is after this event; its GTID text is left empty. Of a transaction's Events only the last is
	// at or behind the transaction's end: the rows of a compressed transaction, and those of an XA COMMIT, stay
	// before it.
	Position change.Position
	Start    change.Position // where the transaction begins: to be read again, read from here
	GTID     GTID            // of the transaction that this belongs to

	CommitMicros int64  // original_commit_timestamp, microseconds since 1970 UTC; 0 where the server has none
	Timestamp    uint32 // the event header's, seconds since 1970 UTC; a session's SET timestamp moves it
	ServerID     uint32 // the server on which it was written first

	Table    change.TableName    // Rows
	TableMap *rowimage.TableMap  // Rows
	Rows     *rowimage.RowsEvent // Rows
	Wanted   bool                // Rows: Config.Wanted said so; other tables' rows are here to be counted

	Query   string          // Statement; Rows: the statement that made them, where the server logs it
	QueryDB string          // Statement: the session's default database
	Thread  uint32          // the session's thread, 0 where it is not known
	Parsed  ParsedStatement // Statement

	// XID names the XA transaction, as XA RECOVER CONVERT XID's columns and the binlog's statements spell it:
	// X'6775',X'',1. Of Prepared, Dropped, UnknownXA, and of the Rows and the Commit of an XA COMMIT.
	XID string

	Bytes int // what the event holds in memory
}
