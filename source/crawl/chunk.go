package crawl

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/fault"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/merge"
)

// chunk is what the steps with the server gave: rows for the stream, and where the range stands after them.
type chunk struct {
	window Window
	rows   []merge.Row
	memory *rowMemory // that rows lie in; nil: of their own
	high   change.Position
	next   []string // the place after which the range goes on
	done   bool     // the range has no more
	asked  int      // rows that the statement looked at, or keys that it named
	bytes  int64
	took   time.Duration
}

// errChanged says that the table is not what it was taken for.
var errChanged = errors.New("the table's definition has changed")

// do takes one task to its end: what it finds is noted in the crawl. Only the stream's own errors are returned.
func (m *Manager) do(ctx context.Context, t *task) error {
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.crawl.over, cancel)()
	var err error
	switch t.step {
	case prepareStep:
		err = m.prepare(within, t)
	case finishStep:
		err = m.finish(ctx, t)
	default:
		err = m.chunk(within, t)
	}
	if ctx.Err() != nil {
		return nil // Run is ending; what the task was about is in the checkpoint or was not published
	}
	var own streamError
	if errors.As(err, &own) && (t.step == finishStep || within.Err() == nil) {
		return fmt.Errorf("crawl %s of %s: %w", t.crawl.id, t.crawl.table, own.error)
	}
	m.settle(t, err)
	return nil
}

// chunk takes one chunk through the five steps.
func (m *Manager) chunk(ctx context.Context, t *task) error {
	if err := paced(ctx, m.cfg.Pace); err != nil {
		return err
	}
	c, err := m.readChunk(ctx, t)
	if err != nil {
		return err
	}
	fault.Point("crawl/after-read")
	progress := func(published int) Progress {
		m.mu.Lock()
		defer m.mu.Unlock()
		return t.crawl.advance(t, c.next, c.done, published)
	}
	out, err := m.stream.Read(ctx, c.window, c.rows, c.high, progress)
	if err != nil {
		return fromStream(err)
	}
	if c.memory != nil { // published or thrown away, the stream has no more to do with the rows
		rowMemories.Put(c.memory)
	}
	if !out.Published {
		return &discardedError{reason: out.Reason, asked: c.asked}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t.crawl.size.took(c.asked, c.bytes, c.took)
	t.crawl.size.published(c.asked)
	t.crawl.meter.add(time.Now(), out.Rows)
	return nil
}

// discardedError says that the stream threw a chunk of so many rows away.
type discardedError struct {
	reason string
	asked  int
}

func (e *discardedError) Error() string { return "chunk discarded: " + e.reason }

// readChunk is steps 1 to 4, on one session, which is given back before the chunk waits for the stream.
func (m *Manager) readChunk(ctx context.Context, t *task) (c *chunk, err error) {
	s, err := m.session(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { m.release(s, err) }()
	c = &chunk{}
	end := t.to
	if t.step == rowsStep && t.where != "" {
		if end, err = s.stretch(ctx, t); err != nil {
			return nil, err
		}
	}
	if err := m.open(ctx, s, t.crawl, c); err != nil {
		return nil, err
	}
	fault.Point("crawl/after-open")
	if err := m.see(ctx, s, t, c, end); err != nil {
		m.stream.Discard(c.window)
		return nil, err
	}
	return c, nil
}

// open is step 1: the window is opened when the server shows what was delivered until now, so that step 2's
// wait, in which the window fills, is short.
func (m *Manager) open(ctx context.Context, s *session, c *crawl, to *chunk) error {
	note := func(note string) { m.note(c, note) }
	delivered, err := m.stream.Delivered(ctx)
	if err != nil {
		return fromStream(err)
	}
	if err := s.waitExecuted(ctx, delivered, note); err != nil {
		return err
	}
	to.window, err = m.stream.Open(ctx, c.table)
	return fromStream(err)
}

// see is steps 2 to 4.
func (m *Manager) see(ctx context.Context, s *session, t *task, c *chunk, end []string) error {
	if err := s.checkServer(ctx, c.window.ServerUUID); err != nil {
		return err
	}
	note := func(note string) { m.note(t.crawl, note) }
	if err := s.waitExecuted(ctx, c.window.Delivered, note); err != nil {
		return err
	}
	var err error
	if mutant.MarkFirst {
		c.high, err = s.highMark(ctx)
	}
	if err := m.fill(ctx, s, t, c, end); err != nil {
		return err
	}
	if !mutant.MarkFirst {
		c.high, err = s.highMark(ctx)
	}
	if err != nil {
		return err
	}
	return s.checkServer(ctx, c.window.ServerUUID)
}

// fill is step 3: the SELECT, and a look at whether its columns are what the encoder takes them for.
func (m *Manager) fill(ctx context.Context, s *session, t *task, c *chunk, end []string) error {
	if t.shape == nil || c.window.Table == nil {
		return s.nothing(ctx, t, c)
	}
	if c.window.Table != t.shape.table && !reflect.DeepEqual(c.window.Table, t.shape.table) {
		return errChanged
	}
	q := &selection{
		shape: t.shape, encoder: c.window.Encoder, source: c.window.Source,
		millis: time.Now().UnixMilli(), budget: m.cfg.Bytes, expect: t.expect,
	}
	var err error
	if t.step == rowsStep {
		err = s.fillRange(ctx, t, q, c, end)
	} else {
		err = s.fillKeys(ctx, t, q, c)
	}
	if err == nil && c.window.Table == t.shape.table {
		return nil // this very definition was seen at the server by prepare
	}
	if encoding := new(change.Problem); err != nil && !errors.As(err, &encoding) {
		return err
	}
	// An error of the encoder, or a definition that is new to us: is it still the server's?
	if changed := m.verify(ctx, s, c.window.Table); changed != nil {
		return changed
	}
	return err
}

// verify compares a definition with the server's. Whatever DDL comes after this look is carried by the stream
// after the window was opened, and throws the chunk away.
func (m *Manager) verify(ctx context.Context, s *session, t *change.Table) error {
	now, _, err := mysql.LoadTable(ctx, s.conn, m.cfg.Facts, t.TableName, m.key(t.TableName))
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(now, t) {
		return errChanged
	}
	return nil
}

func (m *Manager) key(table change.TableName) []string {
	if m.cfg.Key == nil {
		return nil
	}
	return m.cfg.Key(table)
}

// fillRange reads the next rows of a range.
func (s *session) fillRange(ctx context.Context, t *task, q *selection, c *chunk, end []string) error {
	q.where = t.shape.between(t.from, end)
	if t.where == "" {
		q.limit = t.limit
	} else {
		q.where += " AND (" + t.where + ")"
	}
	got, err := s.read(ctx, q)
	if err != nil {
		return err
	}
	c.rows, c.memory, c.bytes, c.took, c.asked = got.rows, got.memory, got.bytes, got.took, max(got.seen, 1)
	switch {
	case got.cut:
		c.next = got.last
	case t.where != "":
		c.next, c.done, c.asked = end, slices.Equal(end, t.to), t.limit
	case got.seen == t.limit:
		c.next = got.last
	default:
		c.done = true
	}
	return nil
}

// stretch finds where a chunk with a condition ends: so many rows on, whatever the condition thinks of them.
// A LIMIT on rows that meet it could walk the whole table in one statement.
func (s *session) stretch(ctx context.Context, t *task) ([]string, error) {
	p, err := s.probe(ctx, t.shape, t.shape.between(t.from, t.to), false, t.limit-1)
	if err != nil || p == nil {
		return t.to, err
	}
	return p.bound, nil
}

// fillKeys looks named keys up.
func (s *session) fillKeys(ctx context.Context, t *task, q *selection, c *chunk) error {
	if err := s.complete(ctx, t, q); err != nil {
		return err
	}
	q.where = t.shape.anyOf(t.keys)
	got, err := s.read(ctx, q)
	if err != nil {
		return err
	}
	if got.cut {
		return &tooWideError{rows: got.seen}
	}
	c.rows, err = answer(t.keys, got.rows, t.step == sweepStep, func(key []byte) ([]byte, error) { return deleted(q, key) })
	c.bytes, c.took, c.asked = got.bytes, got.took, len(t.keys)
	if t.step == keysStep {
		at := t.from0 + len(t.keys)
		c.next, c.done = []string{strconv.Itoa(at)}, at >= t.to0
	}
	return err
}

// complete finds what is not known of the keys yet: of a sweep's their literals, of a person's their bodies.
func (s *session) complete(ctx context.Context, t *task, q *selection) error {
	if t.step == keysStep {
		return s.bodies(ctx, t.shape, q.encoder, t.keys)
	}
	for i := range t.keys {
		if err := t.shape.locate(&t.keys[i]); err != nil {
			return err
		}
	}
	return nil
}

// deleted is the envelope of a key that is gone. Its image before has the key alone: nobody knows what the row was.
func deleted(q *selection, key []byte) ([]byte, error) {
	return q.encoder.AppendValue(nil, &avro.Event{Op: change.Delete, BeforeKey: key, Source: q.source, TsMs: q.millis})
}

// nothing answers for a table that does not exist: all keys of a sweep are gone.
func (s *session) nothing(ctx context.Context, t *task, c *chunk) error {
	if t.shape != nil || c.window.Table != nil {
		return errChanged // it has come or gone meanwhile
	}
	var one int
	err := s.conn.QueryRowContext(ctx, "SELECT 1 FROM "+mysql.QuoteTable(t.crawl.table)+" LIMIT 1").Scan(&one)
	if number := mysql.ErrorNumber(err); number != mysql.ErrorNoSuchTable && number != errorUnknownDatabase {
		return errors.Join(errChanged, err)
	}
	for i := range t.keys {
		c.rows = append(c.rows, merge.Row{Key: t.keys[i].body, Delete: true})
	}
	c.asked = len(t.keys)
	return nil
}

// settle notes how a task ended.
func (m *Manager) settle(t *task, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.wake()
	c := t.crawl
	t.lane.busy = false
	c.flying--
	if err == nil {
		t.lane.tries, t.lane.most, c.note = 0, 0, ""
		if t.batch != nil {
			c.batches = slices.DeleteFunc(c.batches, func(b *batch) bool { return b == t.batch })
		}
		if c.settled() {
			m.cfg.Log.Info("crawl has read all rows; sweep begins", "crawl", c.id, "table", c.table.String(), "rows", c.record.Rows)
		}
		return
	}
	if c.phase == finishing || c.phase == closed {
		return
	}
	m.react(t, err)
}

// react does what an error asks for. The lock is held.
func (m *Manager) react(t *task, err error) {
	c, l := t.crawl, t.lane
	l.tries++
	what, note, pause := again, err.Error(), backoff(l.tries)
	var discarded *discardedError
	var wide *tooWideError
	switch {
	case errors.As(err, &wide):
		c.size.tooWide(wide.rows)
		m.split(t, wide.rows)
		l.tries, l.most = 0, max(wide.rows, 1)
		return // at once
	case errors.As(err, &discarded) && discarded.reason == merge.ReasonChanged, errors.Is(err, errChanged):
		what = reload
	case errors.As(err, &discarded) && discarded.reason == merge.ErrDuplicate.Error():
		m.fail(c, err)
		return
	case errors.As(err, &discarded):
		what = smaller
	default:
		what = judge(err, l.tries-1)
	}
	switch what {
	case fail:
		m.fail(c, err)
		return
	case reload:
		m.reprepare(c)
	case smaller:
		m.split(t, t.limit/2)
		l.most = max(t.limit/2, 1)
		if c.size.smaller(t.limit) {
			pause = backoffFirst // that it is smaller is what helps
		} else {
			note += "; the smallest chunk does not get through"
		}
	}
	l.after = time.Now().Add(pause)
	if l.tries >= starvedNote || what == again {
		if c.note == "" {
			m.cfg.Log.Warn("crawl is held up", "crawl", c.id, "table", c.table.String(), "tries", l.tries, "why", note)
		}
		c.note = fmt.Sprintf("%s; tried %d times", note, l.tries)
	}
}

// split cuts a sweep's batch into pieces of at most so many keys. The lock is held.
func (m *Manager) split(t *task, size int) {
	b := t.batch
	if b == nil || size >= len(b.keys) {
		return
	}
	size = max(size, 1)
	rest := b.keys[size:]
	b.keys = b.keys[:size]
	for piece := range slices.Chunk(rest, size) {
		t.crawl.batches = append(t.crawl.batches, &batch{keys: piece})
	}
}

// reprepare has a crawl look at its table again; its ranges stay. The lock is held.
func (m *Manager) reprepare(c *crawl) {
	if c.phase == reading || c.phase == sweeping {
		c.phase = preparing
	}
}

// fail ends a crawl with the error. The lock is held.
func (m *Manager) fail(c *crawl, err error) {
	err = explain(err, c.table)
	m.cfg.Log.Error("crawl failed", "crawl", c.id, "table", c.table.String(), "error", err)
	var problem *change.Problem
	if errors.As(err, &problem) {
		c.record.Why, c.record.Mend = problem.Why, problem.Mend
	}
	c.end(Failed, err.Error())
}
