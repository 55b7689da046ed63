package source

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/source/merge"
)

// chunk is a chunk that waits in the merger for its high mark, and the crawl worker that waits for it.
type chunk struct {
	valueID  int
	progress func(published int) crawl.Progress
	done     chan crawl.Outcome // room for one
}

func (c *chunk) published(rows, struck int) {
	c.done <- crawl.Outcome{Published: true, Rows: rows, Struck: struck}
}

func (c *chunk) discarded(reason string) { c.done <- crawl.Outcome{Reason: reason} }

// stream is the loop as the crawl sees it.
type stream struct {
	*loop
	serverUUID string
	learn      func(ctx context.Context, t change.TableName, key []string) (*change.Table, error) // from INFORMATION_SCHEMA
}

var _ crawl.Stream = (*stream)(nil)

// Delivered returns all that the binlog has handed over.
func (s *stream) Delivered(ctx context.Context) (set *gtid.Set, err error) {
	err = s.call(ctx, func(context.Context) error {
		if s.delivered != nil {
			set = s.delivered.Clone()
		}
		return nil
	})
	return set, err
}

// Open opens a window. The table's definition is read before, outside of the loop; if a statement that may have changed
// it has come by meanwhile it is read again. A change that the stream has not met yet throws the chunk away when it comes,
// for it lies below the chunk's high mark.
func (s *stream) Open(ctx context.Context, name change.TableName) (w crawl.Window, err error) {
	for {
		sh, at, err := s.definition(ctx, name)
		if err != nil {
			return w, err
		}
		opened := false
		err = s.call(ctx, func(context.Context) error {
			t := s.tables[name]
			if t == nil || t.definitions != at {
				return nil
			}
			if !t.live() {
				return stoppedError(t)
			}
			opened = true
			w = crawl.Window{
				ID: s.merger.Open(name), ServerUUID: s.serverUUID, Version: s.version, Table: sh.table, Encoder: sh.encoder,
				Source: avro.Source{
					Version: Version, Name: s.cfg.Name, TsMs: time.Now().UnixMilli(), Snapshot: "incremental", DB: name.DB, Table: name.Name,
					ServerID: int64(s.identity.ServerID), File: s.position.File, Pos: int64(s.position.Offset),
				},
			}
			s.windows[w.ID] = sh.valueID
			if t.state.Fresh {
				w.Source.Snapshot = "true" // as Debezium's first snapshot: no older state of the row stands anywhere
			}
			w.Source.TsUs, w.Source.TsNs = w.Source.TsMs*1000, w.Source.TsMs*1_000_000
			if s.delivered != nil {
				w.Delivered = s.delivered.Clone()
			}
			return nil
		})
		if err != nil || opened {
			return w, err
		}
	}
}

// definition returns the table as the server has it now, and the count of definitions that it goes with.
func (s *stream) definition(ctx context.Context, name change.TableName) (sh *form, at int, err error) {
	var key []string
	var topic string
	err = s.call(ctx, func(ctx context.Context) error {
		t, err := s.known(ctx, name)
		if err != nil {
			return err
		}
		if t == nil {
			return &change.Problem{Kind: change.Poison, Table: name, What: name.String() + " is not captured by this source",
				Mend: "add a rule for it under tables: in the config"}
		}
		if !t.live() {
			return stoppedError(t)
		}
		key, topic, at = t.rule.Key, t.state.Topic, t.definitions
		if t.crawledAt == at {
			sh = t.crawled
		}
		return nil
	})
	if err != nil || sh != nil {
		return sh, at, err
	}
	tbl, err := s.learn(ctx, name, key)
	if errors.Is(err, sql.ErrNoRows) {
		return &form{}, at, nil // it does not exist: a sweep takes all its rows out of the topic
	}
	if err != nil {
		return nil, 0, err
	}
	if sh, err = s.lookup.Shape(ctx, tbl, topic); err != nil {
		return nil, 0, err
	}
	err = s.call(ctx, func(ctx context.Context) error {
		t := s.tables[name]
		if t.definitions != at {
			return nil // Open will see it and ask again
		}
		if err := s.pin(ctx, t, sh); err != nil {
			return err
		}
		if !t.live() {
			return stoppedError(t)
		}
		t.crawled, t.crawledAt = sh, at
		return nil
	})
	return sh, at, err
}

func stoppedError(t *table) error {
	return &change.Problem{Kind: change.Poison, Table: t.name, What: t.name.String() + " is stopped: " + t.state.Stopped.Reason,
		Mend: t.state.Stopped.Mend}
}

// Read hands over a chunk's rows and waits until they are published or thrown away.
func (s *stream) Read(ctx context.Context, w crawl.Window, rows []merge.Row, high change.Position, progress func(int) crawl.Progress) (crawl.Outcome, error) {
	c := &chunk{progress: progress, done: make(chan crawl.Outcome, 1)}
	err := s.call(ctx, func(ctx context.Context) error {
		c.valueID = s.windows[w.ID]
		delete(s.windows, w.ID)
		if err := s.merger.Read(w.ID, rows, high); err != nil {
			reason := err.Error()
			if phase, why := s.merger.State(w.ID); phase == merge.Discarded {
				reason = why
			}
			s.merger.Discard(w.ID)
			c.discarded(reason)
			return nil
		}
		s.waiting[w.ID] = c
		for _, due := range s.merger.Due(s.position) { // the stream may have passed the mark already
			if err := s.publishChunk(ctx, due); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return crawl.Outcome{}, err
	}
	select {
	case out := <-c.done:
		return out, nil
	case <-ctx.Done():
		return crawl.Outcome{}, context.Cause(ctx)
	}
}

// Refresh forgets what INFORMATION_SCHEMA said of the table: it was asked while a DDL was being committed.
func (s *stream) Refresh(ctx context.Context, name change.TableName) error {
	return s.call(ctx, func(context.Context) error {
		if t := s.tables[name]; t != nil {
			t.crawled = nil
		}
		return nil
	})
}

// Discard forgets a window.
func (s *stream) Discard(w crawl.Window) {
	f := func(context.Context) error {
		s.merger.Discard(w.ID)
		delete(s.windows, w.ID)
		return nil
	}
	select {
	case s.calls <- f:
	case <-s.over:
	}
}

// Finish makes a crawl's record durable, and with the end of a table's first crawl that all of it has been read.
func (s *stream) Finish(ctx context.Context, p crawl.Progress) error {
	done := make(chan struct{})
	err := s.call(ctx, func(ctx context.Context) error {
		if t := s.tables[p.Table]; t != nil && p.State == crawl.Done && p.Where == t.rule.Crawl.Where && p.Keys == "" && !t.state.Crawled {
			t.state.Crawled, t.state.Fresh = true, false
			if err := s.pub.Set(&t.state); err != nil {
				return err
			}
		}
		if t := s.tables[p.Table]; t != nil && p.State == crawl.Failed && t.live() && p.Sweep {
			// Rows that should be in the topic are not, or are and should not: the table is not what it seems (R9). A part that a
			// person has asked for may fail without that; it has no sweep.
			err := &change.Problem{Kind: change.Poison, Table: p.Table, What: "a crawl of the table failed: " + p.Reason, Why: p.Why, Mend: p.Mend}
			if err := s.stop(ctx, t, err); err != nil {
				return err
			}
		}
		if t := s.tables[p.Table]; t != nil {
			t.doubt(&p)
		}
		s.dirty = true
		s.then = append(s.then, func() { close(done) })
		return s.pub.Set(&p)
	})
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sweepDiscarded tells the workers whose chunks the merger has thrown away.
func (l *loop) sweepDiscarded() {
	for id, c := range l.waiting {
		if phase, reason := l.merger.State(id); phase == merge.Discarded || phase == merge.Gone {
			l.merger.Discard(id)
			delete(l.waiting, id)
			c.discarded(reason)
		}
	}
}
