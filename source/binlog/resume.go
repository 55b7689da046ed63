package binlog

import (
	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// From says where to begin: behind all that was delivered and made durable.
type From struct {
	// GTID is all that was delivered, the XA PREPAREs of OpenXA included. Nil on a server without GTIDs.
	GTID *gtid.Set
	// File and Offset are a place between two transactions. They count where GTID is nil, and for MariaDB
	// when XA transactions are open.
	File   string
	Offset uint64
	OpenXA []XA
}

// resume knows, in the stream of a connection that had to begin earlier, what was delivered before.
type resume struct {
	gtid *gtid.Set       // what was delivered; nil: the positions count
	from change.Position // without GTIDs: what ends here or before was delivered
	open map[XA]struct{} // the open XA transactions, by key, whose rows are not held again yet
}

// newResume returns what to skip, given the open XA transactions that can be read again.
func newResume(from From, readable []XA) resume {
	r := resume{gtid: from.GTID, open: map[XA]struct{}{}}
	if from.GTID == nil {
		r.from = change.Position{File: from.File, Offset: from.Offset}
	}
	for _, xa := range readable {
		r.open[r.key(xa)] = struct{}{}
	}
	return r
}

// key is what identifies a prepared transaction: an xid can be used again once it is closed.
func (r *resume) key(xa XA) XA {
	if r.gtid != nil {
		return XA{GTID: xa.GTID}
	}
	return XA{File: xa.File, Offset: xa.Offset}
}

func (r *resume) keyOf(g GTID, start change.Position) XA {
	return r.key(XA{GTID: g.String(), File: start.File, Offset: start.Offset})
}

// delivered reports whether a transaction was delivered before.
func (r *resume) delivered(g GTID, start change.Position) bool {
	if r.gtid != nil {
		return g.In(r.gtid)
	}
	return start.Compare(r.from) < 0
}

// reopen reports whether a delivered XA PREPARE is still open, so that its rows must be held again.
func (r *resume) reopen(g GTID, start change.Position) bool {
	if len(r.open) == 0 {
		return false
	}
	_, open := r.open[r.keyOf(g, start)]
	return open
}

// reopened notes that the rows are held again.
func (r *resume) reopened(g GTID, start change.Position) {
	if len(r.open) > 0 {
		delete(r.open, r.keyOf(g, start))
	}
}

// behind reports whether the stream is still where it was delivered before: without GTIDs the position is all
// that the handler has, and Idle events must not take it back.
func (r *resume) behind(p change.Position) bool { return r.gtid == nil && p.Compare(r.from) < 0 }
