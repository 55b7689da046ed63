package binlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sluice-cdc/sluice/internal/mutant"
)

// XA is an open XA transaction: prepared, and neither committed nor rolled back.
type XA struct {
	XID    string `json:"xid"`
	GTID   string `json:"gtid,omitempty"` // of the XA PREPARE
	File   string `json:"file"`           // where the transaction begins: Event.Start
	Offset uint64 `json:"offset"`
}

// hold takes an event of a transaction under XA START.
func (d *decoder) hold(h header, raw []byte) error {
	body := raw[headerLength:]
	switch h.kind {
	case typeXAPrepare:
		return d.prepare(h, body)
	case typeXID: // XA COMMIT ... ONE PHASE, as a plain commit
		return d.commitHeld(h)
	case typeQuery, typeMariaDBQueryCompressed:
		q, err := parseQuery(body, h.kind == typeMariaDBQueryCompressed, d.flavor)
		if err != nil {
			return err
		}
		switch verb, rest := transactionVerb(q.text); verb {
		case verbXAStart:
			d.tx.thread = q.thread
			if rest != d.tx.xid {
				return fmt.Errorf("XA START %s within XA transaction %s", rest, d.tx.xid)
			}
			return nil
		case verbXAEnd, verbSavepoint, verbBegin:
			return nil
		case verbCommit:
			return d.commitHeld(h)
		case verbXAPrepare:
			return d.prepared(h)
		}
	}
	if d.tx.skipped && !d.resume.reopen(d.tx.gtid, d.tx.start) {
		return nil
	}
	return d.xa.add(d.tx.held, raw)
}

func (d *decoder) prepare(h header, body []byte) error {
	xid, onePhase, err := parseXAPrepare(body)
	if err != nil {
		return err
	}
	if d.tx.xid != "" && d.tx.xid != xid {
		return fmt.Errorf("XA PREPARE %s within XA transaction %s", xid, d.tx.xid)
	}
	d.tx.xid = xid
	if onePhase {
		return d.commitHeld(h)
	}
	if d.tx.held == nil {
		d.tx.held = d.xa.open(xid)
	}
	return d.prepared(h)
}

// prepared ends the transaction and keeps its rows.
func (d *decoder) prepared(h header) error {
	if mutant.XAAtPrepare {
		return d.commitHeld(h)
	}
	if d.tx.skipped && !d.resume.reopen(d.tx.gtid, d.tx.start) {
		d.xa.drop(d.tx.held)
	} else {
		d.xa.keep(d.tx.held)
		d.resume.reopened(d.tx.gtid, d.tx.start)
	}
	return d.finish(h, Prepared)
}

// commitHeld delivers at once what XA COMMIT ... ONE PHASE commits.
func (d *decoder) commitHeld(h header) error {
	held := d.tx.held
	d.tx.held = nil
	if held != nil {
		if err := d.replay(h, held); err != nil {
			return err
		}
	}
	return d.finish(h, Commit)
}

// completeXA takes XA COMMIT and XA ROLLBACK of a prepared transaction. The rows that were held are part of
// this one.
func (d *decoder) completeXA(h header, q query, commit bool, xid string) error {
	d.tx.thread, d.tx.xid = q.thread, xid
	if d.tx.skipped {
		return d.finish(h, Commit)
	}
	held := d.xa.take(xid)
	switch {
	case !commit:
		if held != nil {
			d.xa.drop(held)
		}
		return d.finish(h, Dropped)
	case held == nil:
		d.position = d.before
		if err := d.tell(h, &Event{Kind: UnknownXA, Query: q.text, QueryDB: q.db}); err != nil {
			return err
		}
	default:
		if err := d.replay(h, held); err != nil {
			return err
		}
	}
	return d.finish(h, Commit)
}

// replay delivers held events within the transaction at hand and forgets them.
func (d *decoder) replay(h header, held *held) error {
	defer d.xa.drop(held)
	d.tx.timestamp, d.tx.explicit = h.timestamp, true
	d.position = d.before // the rows are not behind the transaction yet
	return held.each(func(raw []byte) error {
		inner, err := parseHeader(withLength(raw))
		if err != nil {
			return err
		}
		return d.inside(inner, raw[headerLength:])
	})
}

// withLength corrects the length in an event's header after its checksum was taken off.
func withLength(raw []byte) []byte {
	binary.LittleEndian.PutUint32(raw[9:], uint32(len(raw)))
	return raw
}

// xaStore holds the rows of prepared XA transactions. All of them together take at most memoryMax bytes of
// memory; a transaction that goes beyond is moved to a file.
type xaStore struct {
	dir       string // of the files
	memoryMax int64
	memory    int64
	prepared  map[string]*held
	all       map[*held]struct{} // the one being read too: to be closed
}

// held are the events of one XA transaction, without checksums.
type held struct {
	xid    string
	events [][]byte
	memory int64
	file   *os.File // has no name any more: it vanishes with the process
	writer *bufio.Writer
}

func newXAStore(dir string, memoryMax int64) *xaStore {
	return &xaStore{dir: dir, memoryMax: memoryMax, prepared: map[string]*held{}, all: map[*held]struct{}{}}
}

// open begins a transaction under the xid.
func (s *xaStore) open(xid string) *held {
	h := &held{xid: xid}
	s.all[h] = struct{}{}
	return h
}

// keep makes it one that can be taken.
func (s *xaStore) keep(h *held) { s.prepared[h.xid] = h }

// take returns a prepared transaction, or nil. The caller drops it.
func (s *xaStore) take(xid string) *held {
	h := s.prepared[xid]
	delete(s.prepared, xid)
	return h
}

// drop forgets the rows.
func (s *xaStore) drop(h *held) {
	s.memory -= h.memory
	h.memory, h.events = 0, nil
	delete(s.all, h)
	if h.file != nil {
		h.file.Close() // nothing is lost with it
	}
}

// close forgets all.
func (s *xaStore) close() {
	for h := range s.all {
		s.drop(h)
	}
}

// add puts one event to the transaction.
func (s *xaStore) add(h *held, raw []byte) error {
	if h.file == nil && s.memory+int64(len(raw)) > s.memoryMax {
		if err := s.spill(h); err != nil {
			return fmt.Errorf("move the rows of XA transaction %s to a file: %w", h.xid, err)
		}
	}
	if h.file != nil {
		return h.write(raw)
	}
	h.events = append(h.events, raw)
	h.memory += int64(len(raw))
	s.memory += int64(len(raw))
	return nil
}

func (s *xaStore) spill(h *held) error {
	file, err := os.CreateTemp(s.dir, "sluice-xa-*")
	if err != nil {
		return err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return err
	}
	h.file, h.writer = file, bufio.NewWriterSize(file, 256<<10)
	for _, raw := range h.events {
		if err := h.write(raw); err != nil {
			return err
		}
	}
	s.memory -= h.memory
	h.memory, h.events = 0, nil
	return nil
}

// write appends an event to the file: length 4, bytes.
func (h *held) write(raw []byte) error {
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(raw)))
	_, err := h.writer.Write(length[:])
	if err == nil {
		_, err = h.writer.Write(raw)
	}
	if err != nil {
		return fmt.Errorf("write the rows of XA transaction %s: %w", h.xid, err)
	}
	return nil
}

// each gives the events in order. Their bytes are the receiver's.
func (h *held) each(give func(raw []byte) error) error {
	for _, raw := range h.events {
		if err := give(raw); err != nil {
			return err
		}
	}
	if h.file == nil {
		return nil
	}
	err := h.writer.Flush()
	if err == nil {
		_, err = h.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("read the rows of XA transaction %s: %w", h.xid, err)
	}
	reader := bufio.NewReaderSize(h.file, 256<<10)
	for {
		raw, err := readRecord(reader)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the rows of XA transaction %s: %w", h.xid, err)
		}
		if err := give(raw); err != nil {
			return err
		}
	}
}

func readRecord(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	raw := make([]byte, binary.LittleEndian.Uint32(length[:]))
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, errors.Join(errTruncated, err)
	}
	return raw, nil
}
