package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
)

// tablesMax bounds the table maps that are remembered between transactions.
const tablesMax = 4096

// decoder turns a connection's events into Events. It is pure but for the files of its xaStore.
type decoder struct {
	flavor gtid.Flavor
	// foldNames: lower_case_table_names is not 0, so that table maps have names in lower case, and statements
	// as they were typed.
	foldNames bool

	wanted func(change.TableName) bool
	handle func(*Event) error
	resume resume
	xa     *xaStore

	position change.Position // what the next Event says
	before   change.Position // before the event at hand
	checksum bool            // events end with a CRC32
	formats  int             // format descriptions seen
	version  string          // of the server that wrote the file, by its format description
	told     bool            // handle was called for the event at hand
	tables   map[uint64]*table
	tx       transaction
}

// table is what the rows events of a table id need.
type table struct {
	name   change.TableName
	wanted bool
	layout *rowimage.TableMap // nil: cannot be read, and is not wanted
}

// transaction is the one that is being read; the zero value is none.
type transaction struct {
	begin
	open      bool
	start     change.Position
	end       change.Position // after the event at hand: where the transaction ends if this is its last
	skipped   bool            // it was delivered on an earlier connection
	explicit  bool            // it ends with COMMIT of some form, not with its first statement
	held      *held           // its rows go here and not to handle: an XA transaction not yet prepared
	thread    uint32
	query     string // the statement that the rows which follow come from
	timestamp uint32 // of XA COMMIT: the held rows' own headers are older
	xid       string
}

// errBroken is what makes an error of the stream's grammar one to be tried again: a server that crashed, or
// a dump that was cut, can end within a transaction.
var errBroken = errors.New("the stream ended within a transaction")

// event takes one event as it came, header and checksum included. It keeps raw and what handle gets aliases it.
func (d *decoder) event(raw []byte) error {
	h, err := parseHeader(raw)
	if err == nil {
		raw, err = d.strip(h, raw)
	}
	if err != nil {
		return d.fail(h, err)
	}
	return d.take(h, func() error {
		if h.kind == typePayload {
			return d.payload(bytes.NewReader(raw[headerLength:]), func() error { return nil })
		}
		d.position = d.after(h)
		return d.dispatch(h, raw)
	})
}

// stream takes a compressed transaction whose bytes, from the header on, are still to come. Its rows are delivered before
// the checksum can be looked at, its end after that: if the checksum is wrong, the transaction is read again, the rows that
// were delivered are compared with those that then come (RowChecksum), and where they differ their tables are crawled.
func (d *decoder) stream(raw io.Reader) error {
	var head [headerLength]byte
	if _, err := io.ReadFull(raw, head[:]); err != nil {
		return d.fail(header{kind: typePayload}, errTruncated)
	}
	h := headerOf(head[:])
	length := int64(h.length) - headerLength
	if d.checksum {
		length -= checksumLength
	}
	if length < 0 {
		return d.fail(h, errTruncated)
	}
	sum := crc32.NewIEEE()
	sum.Write(head[:])
	body := io.TeeReader(io.LimitReader(raw, length), sum)
	return d.take(h, func() error {
		return d.payload(body, func() error {
			if _, err := io.Copy(io.Discard, body); err != nil || !d.checksum {
				return err
			}
			var want [checksumLength]byte
			if _, err := io.ReadFull(raw, want[:]); err != nil {
				return errTruncated
			}
			if sum.Sum32() != binary.LittleEndian.Uint32(want[:]) {
				return errChecksum
			}
			return nil
		})
	})
}

// take lets read take the event's content, and places what comes of it: handle has then heard of the position behind it.
func (d *decoder) take(h header, read func() error) error {
	d.told = false
	next := d.after(h)
	d.before, d.tx.end = d.position, next
	if err := read(); err != nil {
		return d.fail(h, err)
	}
	d.position = later(d.position, next)
	if d.told || d.resume.behind(d.position) {
		return nil
	}
	if err := d.handle(&Event{Kind: Idle, Position: d.position, Timestamp: h.timestamp, ServerID: h.serverID}); err != nil {
		return handlerError{err}
	}
	return nil
}

// handlerError is an error of handle's own: Run returns it as it is.
type handlerError struct{ error }

func (d *decoder) fail(h header, err error) error {
	if own := (handlerError{}); errors.As(err, &own) {
		return own
	}
	return fmt.Errorf("binlog event of type %d that ends at %s: %w", h.kind, d.position, err)
}

func later(p, q change.Position) change.Position {
	if p.File == q.File && p.Offset < q.Offset {
		return q
	}
	return p
}

// strip takes the checksum off and learns from format descriptions whether there is one.
func (d *decoder) strip(h header, raw []byte) ([]byte, error) {
	switch {
	case h.kind == typeFormatDescription:
		var err error
		d.checksum, err = formatChecksum(raw)
		d.version = formatVersion(raw)
		d.formats++
		return raw[:len(raw)-checksumLength], err
	case d.formats == 0: // the first rotate: whether it has a checksum depends on the server's version
		if stripped, err := cutChecksum(raw); err == nil {
			return stripped, nil
		}
		return raw, nil
	case d.checksum:
		return cutChecksum(raw)
	}
	return raw, nil
}

// after returns the position behind the event. logPos has the low 32 bits of it; no event, and no gap that a
// server leaves without saying so, is 4 GiB long, so that the difference to our own offset tells the rest.
func (d *decoder) after(h header) change.Position {
	p := d.position
	switch {
	case h.flags&flagArtificial != 0 || h.kind == typeRotate || h.kind == typeHeartbeatV2:
	case h.logPos != 0:
		p.Offset += uint64(h.logPos - uint32(p.Offset))
	case d.flavor == gtid.MariaDB && h.kind != typeFormatDescription && h.kind != typeHeartbeat && h.kind != typeMariaDBGTIDList:
		p.Offset += uint64(h.length) // 11.4 leaves logPos empty within transactions
	}
	return p
}

// payload reads a compressed transaction. The position stays before it until its end, and the last of its events is held
// back until verify has said that all of its bytes are right.
func (d *decoder) payload(body io.Reader, verify func() error) error {
	p, err := openPayload(body)
	if err != nil {
		return err
	}
	defer p.close()
	var last []byte
	for {
		raw, err := p.next()
		ended := errors.Is(err, io.EOF)
		if ended {
			err = verify()
		}
		if err == nil && last != nil {
			err = d.inner(last)
		}
		if ended || err != nil {
			return err
		}
		last = raw
	}
}

// inner takes an event of a compressed transaction.
func (d *decoder) inner(raw []byte) error {
	h, err := parseHeader(raw)
	if err != nil {
		return err
	}
	if h.kind == typePayload {
		return errors.New("a transaction payload within a transaction payload")
	}
	return d.dispatch(h, raw)
}

// dispatch takes one event without its checksum.
func (d *decoder) dispatch(h header, raw []byte) error {
	body := raw[headerLength:]
	switch h.kind {
	case typeRotate:
		return d.rotate(h, body)
	case typeFormatDescription, typeStop:
		if d.tx.open {
			return errBroken
		}
		return nil
	case typeHeartbeatV2:
		return d.heartbeat(body)
	case typeHeartbeat, typePreviousGTIDs, typeIgnorable, typeContext, typeViewChange,
		typeMariaDBCheckpoint, typeMariaDBGTIDList, typeMariaDBStartEncryption:
		return nil
	case typeGTID, typeAnonymousGTID, typeTaggedGTID, typeMariaDBGTID:
		return d.begin(h, body)
	case typeIncident:
		return incidentProblem(d.position)
	}
	if !d.tx.open {
		if h.flags&flagIgnorable != 0 {
			return nil
		}
		return errors.New("it stands outside of a transaction")
	}
	if d.tx.held != nil {
		return d.hold(h, raw)
	}
	return d.inside(h, body)
}

func (d *decoder) rotate(h header, body []byte) error {
	if d.tx.open {
		return errBroken
	}
	c := cursor{rest: body}
	offset := c.number(8)
	if err := c.err(); err != nil {
		return err
	}
	d.position = change.Position{File: string(c.rest), Offset: offset}
	return nil
}

// heartbeat reads HEARTBEAT_LOG_EVENT_V2, which has the offset in full: fields of id, length and value.
func (d *decoder) heartbeat(body []byte) error {
	const end, fileField, offsetField = 0, 1, 2
	c := cursor{rest: body}
	next := d.position
	for len(c.rest) > 0 {
		id := packed(&c)
		if id == end {
			break
		}
		value := cursor{rest: c.take(int(packed(&c)))}
		switch id {
		case fileField:
			next.File = string(value.rest)
		case offsetField:
			next.Offset = packed(&value)
		}
	}
	if err := c.err(); err != nil {
		return fmt.Errorf("read heartbeat: %w", err)
	}
	if !d.tx.open {
		d.position = next
	}
	return nil
}

// begin starts a transaction.
func (d *decoder) begin(h header, body []byte) error {
	if d.tx.open {
		return errBroken
	}
	var b begin
	var err error
	switch h.kind {
	case typeTaggedGTID:
		b, err = parseTaggedGTID(body)
	case typeMariaDBGTID:
		b, err = parseMariaDBGTID(body, h.serverID)
	default:
		b, err = parseGTID(body, h.kind == typeAnonymousGTID)
	}
	if err != nil {
		return err
	}
	start := d.position
	start.Offset -= min(start.Offset, uint64(h.length))
	d.tx = transaction{begin: b, open: true, start: start, xid: b.xid}
	d.tx.explicit = h.kind == typeMariaDBGTID && !b.standalone
	d.tx.skipped = d.resume.delivered(b.gtid, start)
	if len(d.tables) > tablesMax {
		clear(d.tables)
	}
	if b.prepares {
		d.tx.held = d.xa.open(b.xid)
	}
	return d.tell(h, &Event{Kind: Begin})
}

// tell hands an event to handle, unless its transaction was delivered before.
func (d *decoder) tell(h header, e *Event) error {
	if d.tx.skipped {
		return nil
	}
	d.told = true
	e.Position, e.Start, e.GTID, e.CommitMicros = d.position, d.tx.start, d.tx.gtid, d.tx.commitMicros
	e.Timestamp, e.ServerID, e.XID = h.timestamp, h.serverID, d.tx.xid
	if d.tx.timestamp != 0 {
		e.Timestamp = d.tx.timestamp
	}
	if e.Thread == 0 {
		e.Thread = d.tx.thread
	}
	e.Bytes += len(e.Query)
	if err := d.handle(e); err != nil {
		return handlerError{err}
	}
	return nil
}

// finish ends the transaction.
func (d *decoder) finish(h header, kind Kind) error {
	d.position = later(d.position, d.tx.end)
	err := d.tell(h, &Event{Kind: kind})
	d.tx = transaction{}
	return err
}

// inside takes an event of an open transaction whose rows are not held.
func (d *decoder) inside(h header, body []byte) error {
	if rowimage.IsRows(h.kind) {
		return d.rows(h, body)
	}
	switch h.kind {
	case typeTableMap:
		return d.tableMap(body)
	case typeRowsQuery:
		if len(body) > 0 { // a length of one byte, which long texts do not fit
			d.tx.query = strings.ToValidUTF8(string(body[1:]), "\uFFFD") // its charset is not logged
		}
		return nil
	case typeMariaDBAnnotate:
		d.tx.query = strings.ToValidUTF8(string(body), "\uFFFD")
		return nil
	case typeXID:
		return d.finish(h, Commit)
	case typeXAPrepare: // not held: nothing was written under XA START
		return d.prepare(h, body)
	case typeQuery, typeMariaDBQueryCompressed:
		q, err := parseQuery(body, h.kind == typeMariaDBQueryCompressed, d.flavor)
		if err != nil {
			return err
		}
		return d.query(h, q)
	case typeIntvar, typeRand, typeUserVar:
		return nil // they come before a statement, which is reported
	case typeBeginLoad, typeExecuteLoad:
		return d.tell(h, &Event{Kind: Statement, Query: "LOAD DATA", Parsed: ParsedStatement{Verb: "LOAD DATA", DML: true}})
	}
	if h.flags&flagIgnorable != 0 {
		return nil
	}
	return errors.New("it is of a type that is not known")
}

// query takes a statement of an open transaction.
func (d *decoder) query(h header, q query) error {
	verb, rest := transactionVerb(q.text)
	switch verb {
	case verbBegin:
		d.tx.explicit, d.tx.thread = true, q.thread
		return nil
	case verbCommit:
		return d.finish(h, Commit)
	case verbSavepoint, verbXAEnd, verbXAPrepare:
		return nil
	case verbXAStart:
		d.tx.explicit, d.tx.thread = true, q.thread
		d.tx.xid, d.tx.held = rest, d.xa.open(rest)
		return nil
	case verbXACommit, verbXARollback:
		return d.completeXA(h, q, verb == verbXACommit, rest)
	}
	parsed := parseStatement(q.text, q.db, q.noBackslash)
	if d.foldNames {
		parsed.fold()
	}
	if verb == verbRollback || verb == verbRollbackTo {
		// Rows that were delivered already are taken back: the log has them because tables without
		// transactions were changed beside them.
		parsed = ParsedStatement{Verb: q.text, DML: true}
	}
	if !d.tx.explicit {
		d.position = d.before // what is not the transaction's last Event is not behind it
	}
	if err := d.tell(h, &Event{Kind: Statement, Query: q.text, QueryDB: q.db, Thread: q.thread, Parsed: parsed}); err != nil {
		return err
	}
	if !d.tx.explicit || verb == verbRollback {
		return d.finish(h, Commit)
	}
	return nil
}

// tableMap keeps a table's description for the rows that follow. The same description is not parsed again,
// so that what the handler hangs on a TableMap lives on.
func (d *decoder) tableMap(body []byte) error {
	id, err := rowimage.RowsTableID(body)
	if err != nil {
		return fmt.Errorf("read table map: %w", err)
	}
	if known := d.tables[id]; known != nil && known.layout != nil && known.layout.Same(body) {
		known.wanted = d.wanted(known.name)
		return nil
	}
	t := &table{}
	if t.layout, err = rowimage.ParseTableMap(body, d.flavor); err == nil {
		t.layout.WrittenBy(d.version)
		t.name = t.layout.Name
	} else if t.name = tableName(body); t.name.Name == "" {
		return err
	}
	t.wanted = d.wanted(t.name)
	if err != nil && t.wanted {
		return err
	}
	d.tables[id] = t
	return nil
}

// tableName reads only the names of a TABLE_MAP: id 6, flags 2, each name with its length before and a zero
// behind it.
func tableName(body []byte) change.TableName {
	c := cursor{rest: body}
	c.take(8)
	db := c.take(int(c.number(1)))
	c.take(1)
	name := c.take(int(c.number(1)))
	if c.short {
		return change.TableName{}
	}
	return change.TableName{DB: string(db), Name: string(name)}
}

func (d *decoder) rows(h header, body []byte) error {
	const dummyTable = 0xffffff // ends a statement that changed nothing: no rows, no table map
	rows, err := rowimage.ParseRows(h.kind, body)
	if err != nil {
		return err
	}
	t := d.tables[rows.TableID]
	if t == nil {
		if rows.TableID == dummyTable && len(rows.Data) == 0 {
			return nil
		}
		return fmt.Errorf("there is no table map for its table, %d", rows.TableID)
	}
	query := d.tx.query
	if rows.EndOfStatement {
		d.tx.query = ""
	}
	return d.tell(h, &Event{
		Kind: Rows, Table: t.name, TableMap: t.layout, Rows: rows, Wanted: t.wanted, Query: query,
		Bytes: max(len(body), len(rows.Data)),
	})
}

func incidentProblem(at change.Position) error {
	return &change.Problem{
		Kind: change.Fatal, What: "the server says that changes are missing from its binlog (an incident event)", Where: at.String(),
		Why:  "what was lost is not known: topics and targets would miss it",
		Mend: "look into the server's error log; then: sluice-source --start-anew (it goes on from now, crawls all tables and takes out what is gone)",
	}
}
