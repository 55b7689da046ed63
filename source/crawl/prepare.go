package crawl

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/fault"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/avro"
)

// prepared is what a crawl needs to begin or to go on after its table has changed.
type prepared struct {
	shape    *shape // nil: the table does not exist
	named    []namedKey
	ranges   []Range // nil: it has some already
	estimate int64
	version  change.Version
}

// prepare looks at the table as it is when all that the stream has carried has happened, and cuts it into
// ranges if that was not done yet.
func (m *Manager) prepare(ctx context.Context, t *task) error {
	c := t.crawl
	m.mu.Lock()
	record := c.snapshot()
	m.mu.Unlock()
	if record.State == Planning { // so that it is not forgotten, however long planning takes
		if err := m.stream.Finish(ctx, record); err != nil {
			return fromStream(err)
		}
	}
	p, err := m.look(ctx, c, &record)
	if errors.Is(err, errChanged) {
		return errors.Join(err, m.refresh(ctx, c.table))
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	if err := m.adopt(c, p); err != nil {
		m.mu.Unlock()
		return err
	}
	record = c.snapshot()
	began := p.ranges != nil
	m.mu.Unlock()
	if !began {
		return nil
	}
	m.cfg.Log.Info("crawl begins", "crawl", c.id, "table", c.table.String(), "rows", record.Estimate, "ranges", len(record.Ranges))
	return fromStream(m.stream.Finish(ctx, record))
}

// refresh has the stream forget what it knows of the table's definition.
func (m *Manager) refresh(ctx context.Context, table change.TableName) error {
	if r, ok := m.stream.(Refresher); ok {
		return fromStream(r.Refresh(ctx, table))
	}
	return nil
}

// look asks the stream and the server.
func (m *Manager) look(ctx context.Context, c *crawl, record *Progress) (p *prepared, err error) {
	s, err := m.session(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { m.release(s, err) }()
	to := &chunk{}
	if err := m.open(ctx, s, c, to); err != nil {
		return nil, err
	}
	w := to.window
	m.stream.Discard(w) // what it remembers is of no use: no row is read yet
	if err := s.checkServer(ctx, w.ServerUUID); err != nil {
		return nil, err
	}
	if err := s.waitExecuted(ctx, w.Delivered, func(note string) { m.note(c, note) }); err != nil {
		return nil, err
	}
	p = &prepared{version: w.Version}
	if w.Table == nil {
		if !record.Sweep {
			return nil, errTableGone
		}
		return p, nil
	}
	if err := s.settle(ctx, c.table); err != nil {
		return nil, err
	}
	now, extras, err := mysql.LoadTable(ctx, s.conn, m.cfg.Facts, c.table, m.key(c.table))
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(now, w.Table) {
		return nil, errChanged
	}
	if p.shape, err = newShape(w.Table, extras); err != nil {
		return nil, err
	}
	if p.shape.decoder, err = avro.NewKeyDecoder(w.Encoder.KeySchema()); err != nil {
		return nil, err
	}
	return p, s.outline(ctx, m.cfg.Workers, record, p)
}

// outline finds the ranges and the estimate of a crawl that has none.
func (s *session) outline(ctx context.Context, workers int, record *Progress, p *prepared) (err error) {
	sh := p.shape
	if record.Keys != "" {
		if p.named, err = namedList(sh, record.Keys); err != nil {
			return &change.Problem{Kind: change.Poison, Table: sh.table.TableName, Where: sh.table.String(), What: err.Error()}
		}
		if record.Ranges == nil {
			p.ranges, p.estimate = namedRanges(len(p.named)), int64(len(p.named))
		}
		return nil
	}
	if record.Ranges != nil {
		return nil
	}
	p.estimate = sh.extras.Rows
	if record.Where != "" {
		p.estimate, err = s.explainRows(ctx, mysql.QuoteTable(sh.table.TableName), "("+record.Where+")")
		if mysql.ErrorNumber(err) != 0 && judge(err, 0) != again || err != nil && mysql.ErrorNumber(err) == errorUnknownColumn {
			return &change.Problem{
				Kind: change.Poison, Table: sh.table.TableName, Where: sh.table.String(), Err: err,
				What: fmt.Sprintf("the server does not take the condition %q", record.Where),
				Mend: "correct it and start the crawl again",
			}
		}
		if err != nil {
			return err
		}
	}
	const rangesAWorker = 4 // so that the last ones to end leave few workers idle
	p.ranges, err = s.plan(ctx, sh, rangesAWorker*workers)
	return err
}

// adopt gives a crawl what prepare found. The lock is held.
func (m *Manager) adopt(c *crawl, p *prepared) error {
	if c.phase != preparing {
		return nil // cancelled meanwhile
	}
	if c.shape != nil && p.shape != nil && !c.shape.sameKey(p.shape) {
		return &change.Problem{
			Kind: change.Poison, Table: c.table, Where: c.table.String(),
			What: "the key by which the table was read has changed", Mend: "sluice crawl start " + c.table.String(),
		}
	}
	c.shape, c.named = p.shape, p.named
	if c.size.target == 0 {
		length := int64(0)
		if p.shape != nil {
			length = p.shape.extras.AvgRowLength
		}
		c.size = newSizer(m.cfg.Target, m.cfg.Bytes, length)
	}
	if c.record.Started == 0 {
		if c.record.Sweep && p.version == 0 {
			return fmt.Errorf("the stream gave no version to sweep from")
		}
		c.record.Started = p.version + 1
	}
	if p.ranges != nil {
		c.record.Ranges, c.record.Estimate, c.record.State = p.ranges, p.estimate, Running
	}
	if p.shape == nil && c.record.State != Sweeping {
		c.record.Ranges, c.record.State = []Range{}, Running
	}
	if len(c.lanes) != len(c.record.Ranges) {
		c.lanes = make([]lane, len(c.record.Ranges))
	}
	c.phase = reading
	if c.record.State == Sweeping {
		c.phase = sweeping
	}
	return nil
}

// finish writes a crawl's last record.
func (m *Manager) finish(ctx context.Context, t *task) error {
	c := t.crawl
	fault.Point("crawl/before-finish")
	m.mu.Lock()
	c.record.Ranges = nil // a record that stays should be short
	record := c.snapshot()
	m.mu.Unlock()
	if err := m.stream.Finish(ctx, record); err != nil {
		return fromStream(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.phase, c.shape, c.named, c.lanes = closed, nil, nil, nil
	m.forgetOld()
	m.cfg.Log.Info("crawl is over", "crawl", c.id, "table", c.table.String(), "state", record.State, "rows", record.Rows,
		"seconds", time.Since(time.UnixMilli(record.Millis)).Round(time.Second).Seconds())
	return nil
}
