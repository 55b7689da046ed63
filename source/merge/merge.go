package merge

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
)

// WindowID names a chunk from Open until Due or Discard. IDs grow and are never given twice by one Merger.
type WindowID int64

// Row is one row of a chunk, ready to be published.
type Row struct {
	Key    []byte // the Avro body of the key
	Value  []byte // the Avro body of the envelope, op r; of a Delete op d, or nil where the table is gone
	Delete bool   // there is no such row at the server: publish a delete and a tombstone
}

// Limits bound what a Merger holds.
type Limits struct {
	// Bytes is the most that remembered keys and waiting rows may take together, with an allowance for each
	// one's bookkeeping. Too small and busy tables never get a chunk through; too large and a stalled
	// crawl beside a fast stream costs that much memory. Zero means DefaultBytes.
	Bytes int64
}

// DefaultBytes is the limit when none is set: some hundred thousand keys and a few chunks of the usual size.
const DefaultBytes = 128 << 20

// Phase is where a chunk stands.
type Phase uint8

// The phases of a chunk.
const (
	Gone      Phase = iota // never opened, published, or forgotten by Discard
	Open                   // its window remembers keys; its rows are being read
	Waiting                // its rows are here; the stream has not passed the high mark yet
	Discarded              // thrown away; the reason is known until Discard is called
)

// String returns the phase's name.
func (p Phase) String() string { return [...]string{"gone", "open", "waiting", "discarded"}[p] }

// The reasons that a Merger itself gives for throwing a chunk away.
const (
	// ReasonFull asks for a smaller chunk: its window would have remembered more keys than fit.
	ReasonFull = "window full"
	// ReasonChanged asks for the same chunk again, read by the table's new definition.
	ReasonChanged = "table changed"
)

// ErrGone is Read's answer for a window that is not open and was not discarded: a programmer's error, or a
// Merger that has been replaced meanwhile.
var ErrGone = errors.New("no such window")

// ErrDuplicate is Read's answer for a chunk that holds a key twice: the rows are not identified by their
// key bytes, so nothing can be said of which one is newer.
var ErrDuplicate = errors.New("key occurs twice in one chunk")

// DiscardedError is Read's answer for a window that was thrown away while its rows were read.
type DiscardedError struct{ Reason string }

// Error returns "chunk discarded: reason".
func (e *DiscardedError) Error() string { return "chunk discarded: " + e.Reason }

// Due is a chunk whose rows can be published now, before the stream's next event.
type Due struct {
	ID     WindowID
	Table  change.TableName
	Rows   []Row // in the chunk's order; struck ones are left out
	Struck int   // how many rows the stream carried meanwhile
}

// Merger holds the open windows and the chunks that wait for their high mark. Make one with New.
type Merger struct {
	limit  int64
	bytes  int64
	last   WindowID
	tables map[change.TableName]*table
	chunks map[WindowID]*chunk

	waiting []*chunk // of all tables, so that Due looks at nothing else
}

// chunk is one window and, after Read, its rows.
type chunk struct {
	id     WindowID
	table  change.TableName
	phase  Phase
	reason string

	// From Read on.
	high   change.Position
	rows   []Row // struck ones are zero
	index  index
	struck int
	bytes  int64
}

// entryBytes is what a remembered key or a waiting row takes beside its own bytes: its place in a map or an index, and headers.
const entryBytes = 96

// New returns an empty Merger.
func New(limits Limits) *Merger {
	if limits.Bytes <= 0 {
		limits.Bytes = DefaultBytes
	}
	return &Merger{
		limit:  limits.Bytes,
		tables: make(map[change.TableName]*table),
		chunks: make(map[WindowID]*chunk),
	}
}

// Open opens a window on the table: from here every key of it that Touch names is remembered. The caller
// notes in the same critical section what the stream has carried so far.
func (m *Merger) Open(name change.TableName) WindowID {
	m.last++
	c := &chunk{id: m.last, table: name, phase: Open}
	m.chunks[c.id] = c
	t := m.tables[name]
	if t == nil {
		t = newTable()
		m.tables[name] = t
	}
	t.open(c)
	return c.id
}

// Watched reports whether any window is open or any chunk waits on the table: where it is false, Touch need
// not be called.
func (m *Merger) Watched(name change.TableName) bool { return m.tables[name] != nil }

// Touch says that the stream has carried this key of the table; for an update call it for the key before
// and the key after. It must be called before Due is asked with the position of that event. The key is
// copied where it is kept.
func (m *Merger) Touch(name change.TableName, key []byte) {
	t := m.tables[name]
	if t == nil {
		return
	}
	for _, c := range t.waiting {
		if mutant.NoStrike {
			break
		}
		m.strike(c, key)
	}
	if len(t.windows) == 0 {
		return
	}
	m.bytes += t.remember(key)
	for m.bytes > m.limit && len(t.windows) > 0 {
		// The oldest window holds the keys that nobody else needs any more.
		m.discard(t.windows[0], ReasonFull)
	}
}

// Invalidate throws away all open windows and waiting chunks of the table: a DDL has changed what their
// rows mean. The chunks are to be read again by the new definition.
func (m *Merger) Invalidate(name change.TableName) {
	t := m.tables[name]
	if t == nil {
		return
	}
	for _, c := range slices.Concat(t.waiting, t.windows) {
		m.discard(c, ReasonChanged)
	}
}

// Read brings the rows of a window's chunk and the server's position after they were read. The keys that
// the window remembered strike their rows and are forgotten; from here each Touch strikes. The rows belong
// to the Merger from here.
//
// It returns a *DiscardedError when the chunk was thrown away meanwhile or does not fit, ErrDuplicate when
// a key occurs twice (the chunk is then thrown away) and ErrGone for a window that does not exist.
func (m *Merger) Read(id WindowID, rows []Row, high change.Position) error {
	c := m.chunks[id]
	switch {
	case c == nil || c.phase == Waiting:
		return fmt.Errorf("window %d: %w", id, ErrGone)
	case c.phase == Discarded:
		return &DiscardedError{Reason: c.reason}
	}
	t := m.tables[c.table]
	if err := c.fill(rows, t); err != nil {
		m.discard(c, err.Error())
		return fmt.Errorf("%s: %w", c.table, err)
	}
	m.bytes += c.bytes - t.close(c)
	c.phase, c.high = Waiting, high
	t.waiting = append(t.waiting, c)
	m.waiting = append(m.waiting, c)
	if m.bytes > m.limit {
		m.discard(c, ReasonFull)
		return &DiscardedError{Reason: ReasonFull}
	}
	return nil
}

// Due returns the chunks whose high mark the stream has passed, in the order of their IDs, and forgets them.
// The caller publishes their rows before the stream's next event. pos is the position after the last event
// whose keys were all named by Touch.
func (m *Merger) Due(pos change.Position) []Due {
	var due []Due
	for _, c := range m.waiting {
		if pos.Compare(c.high) < 0 {
			continue
		}
		due = append(due, Due{ID: c.id, Table: c.table, Rows: c.left(), Struck: c.struck})
	}
	for _, d := range due {
		m.forget(m.chunks[d.ID])
		delete(m.chunks, d.ID)
	}
	slices.SortFunc(due, func(a, b Due) int { return cmp.Compare(a.ID, b.ID) })
	return due
}

// Discard throws a chunk away and forgets it, its reason too. Whoever opened a window must see it through
// to Due or call Discard, also after it was discarded by the Merger itself.
func (m *Merger) Discard(id WindowID) {
	if c := m.chunks[id]; c != nil {
		m.discard(c, "")
		delete(m.chunks, id)
	}
}

// State returns where a chunk stands, and for a discarded one the reason.
func (m *Merger) State(id WindowID) (Phase, string) {
	if c := m.chunks[id]; c != nil {
		return c.phase, c.reason
	}
	return Gone, ""
}

// Bytes returns what the remembered keys and waiting rows take, by the reckoning of Limits.
func (m *Merger) Bytes() int64 { return m.bytes }

// Waiting returns how many chunks wait for their high mark.
func (m *Merger) Waiting() int { return len(m.waiting) }

// strike drops the row of that key from a waiting chunk.
func (m *Merger) strike(c *chunk, key []byte) {
	at := c.index.find(c.rows, key)
	if at < 0 {
		return
	}
	freed := rowBytes(&c.rows[at])
	c.rows[at] = Row{}
	c.struck++
	c.bytes -= freed
	m.bytes -= freed
}

// discard ends a chunk that is open or waiting and keeps the reason.
func (m *Merger) discard(c *chunk, reason string) {
	if c.phase == Open || c.phase == Waiting {
		m.forget(c)
		c.phase, c.reason = Discarded, reason
	}
}

// forget takes a chunk that is open or waiting out of its table and frees what it holds.
func (m *Merger) forget(c *chunk) {
	t := m.tables[c.table]
	if c.phase == Open {
		m.bytes -= t.close(c)
	} else {
		same := func(w *chunk) bool { return w == c }
		t.waiting = slices.DeleteFunc(t.waiting, same)
		m.waiting = slices.DeleteFunc(m.waiting, same)
		m.bytes -= c.bytes
	}
	c.rows, c.index, c.bytes = nil, nil, 0
	if len(t.windows) == 0 && len(t.waiting) == 0 {
		delete(m.tables, c.table)
	}
}

// fill takes the rows that the window did not see carried.
func (c *chunk) fill(rows []Row, t *table) error {
	c.index = newIndex(len(rows))
	for i := range rows {
		if !c.index.add(rows, i) {
			return ErrDuplicate
		}
	}
	c.rows = rows
	for i := range rows {
		if len(t.touched) > 0 && t.touched[string(rows[i].Key)] >= c.id {
			rows[i] = Row{}
			c.struck++
			continue
		}
		c.bytes += rowBytes(&rows[i])
	}
	return nil
}

// left returns the rows that were not struck, in order.
func (c *chunk) left() []Row {
	if c.struck == 0 {
		return c.rows
	}
	return slices.DeleteFunc(c.rows, func(r Row) bool { return r.Key == nil })
}

func rowBytes(r *Row) int64 { return int64(len(r.Key)+len(r.Value)) + entryBytes }
