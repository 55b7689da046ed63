package source

import (
	"bytes"
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/source/merge"
	"github.com/sluice-cdc/sluice/source/publish"
)

// rows takes one rows event: each row is counted, and published if its table is captured and was not published before
// a restart.
func (l *loop) rows(ctx context.Context, ev *binlog.Event) error {
	t, err := l.tableFor(ctx, ev)
	if err != nil {
		return err
	}
	if ev.Wanted {
		l.txn.tables[ev.TableMap.Name] = struct{}{}
	}
	if t != nil {
		l.sourceBlock(t, ev)
	}
	l.rowInEvent = -1
	return l.walker.Walk(ev, func(before, after []rowimage.Cell, raw []byte) error {
		l.rowInEvent++
		published, err := l.wasPublished(ev, raw)
		if err != nil || published || t == nil || !t.live() {
			return err
		}
		if err := l.emit(ctx, t, ev, before, after); err != nil {
			return err
		}
		if l.pub.Bytes() >= l.cfg.Limits.TransactionBytes {
			return l.commit(ctx)
		}
		return nil
	})
}

// wasPublished counts the row and reports whether an earlier session has published it.
func (l *loop) wasPublished(ev *binlog.Event, raw []byte) (bool, error) {
	x := &l.txn
	x.rows.Add(ev, raw)
	if mutant.NoRowSkip {
		x.skip = nil
	}
	if x.skip == nil {
		return false, nil
	}
	if x.rows.Rows < x.skip.Row {
		return true, nil
	}
	if x.rows.Sum != x.skip.Checksum && !mutant.SkipUnchecked {
		return true, l.differs("the rows that were published are others")
	}
	x.skip = nil
	return true, nil
}

// emit publishes one row's change: one event, or, where the key's bytes change, a delete of the old key and a create of
// the new one, the delete with the lower version.
func (l *loop) emit(ctx context.Context, t *table, ev *binlog.Event, before, after []rowimage.Cell) error {
	l.scratch.reset()
	var b, a avro.Row
	var oldKey, newKey []byte
	before, after, err := l.passing(t, before, after)
	if err != nil {
		return l.stop(ctx, t, err)
	}
	if before == nil && after == nil {
		// No window is told: a row that was not published before nor after has no event that could stand for what a chunk says of it.
		return nil
	}
	if before != nil {
		b = avro.Row{Cells: before}
		if oldKey, err = l.key(t, b); err != nil {
			return l.stop(ctx, t, err)
		}
	}
	if after != nil {
		a = avro.Row{Cells: after}
		if newKey, err = l.key(t, a); err != nil {
			return l.stop(ctx, t, err)
		}
	}
	var out [3]publish.Record
	records := out[:0]
	switch {
	case before == nil:
		records, err = l.append(records, t, newKey, change.Create, avro.Row{}, a)
	case after == nil:
		records, err = l.appendDelete(records, t, oldKey, b)
	case bytes.Equal(oldKey, newKey):
		records, err = l.append(records, t, newKey, change.Update, b, a)
	default:
		if records, err = l.appendDelete(records, t, oldKey, b); err == nil {
			records, err = l.append(records, t, newKey, change.Create, avro.Row{}, a)
		}
		if last := len(records) - 1; mutant.CreateFirst && err == nil {
			records[0].Version, records[last].Version = records[last].Version, records[0].Version
		}
	}
	if err != nil {
		return l.stop(ctx, t, err)
	}
	if err := l.beginMetadata(); err != nil {
		return err
	}
	l.touch(t, oldKey, newKey)
	l.stats.published(t, ev.Rows.Op)
	return l.add(ctx, t, records)
}

// passing leaves out the images that the table's rule does not let out. To all who read the topic a row that comes to pass is created, and
// one that passes no more deleted.
func (l *loop) passing(t *table, before, after []rowimage.Cell) (b, a []rowimage.Cell, err error) {
	passes := true
	if before != nil {
		if passes, err = t.shape.encoder.Passes(avro.Row{Cells: before}); err != nil {
			return nil, nil, err
		}
		if !passes {
			before = nil
		}
	}
	if after != nil {
		if passes, err = t.shape.encoder.Passes(avro.Row{Cells: after}); err != nil {
			return nil, nil, err
		}
		if !passes {
			after = nil
		}
	}
	return before, after, nil
}

// touch tells the windows which keys the stream carries.
func (l *loop) touch(t *table, keys ...[]byte) {
	if !l.merger.Watched(t.name) || mutant.NoTouch {
		return
	}
	for _, k := range keys {
		if k != nil {
			l.merger.Touch(t.name, k[registry.FrameBytes:])
		}
	}
}

// key returns the row's framed key.
func (l *loop) key(t *table, r avro.Row) ([]byte, error) {
	b, err := t.shape.encoder.AppendKey(registry.AppendFrame(l.scratch.room(), t.state.KeySchemaID), r)
	if err != nil {
		return nil, err
	}
	return l.scratch.keep(b), nil
}

// doubted is the header of events of a table that is in doubt. It has a value though its presence says all: Kafka Connect makes of a
// header without one a field without a schema, at which Debezium's JDBC sink ends.
var doubted = []kgo.RecordHeader{{Key: change.DoubtHeader, Value: []byte("true")}}

// append adds the record of one change event to records, with a version of its own.
func (l *loop) append(records []publish.Record, t *table, key []byte, op change.Op, before, after avro.Row) ([]publish.Record, error) {
	e := &t.event
	e.Op, e.Before, e.After, e.TsMs = op, before, after, l.now
	e.Source.Row = l.rowInEvent
	e.Transaction = l.metadata(t)
	b, err := t.shape.encoder.AppendValue(registry.AppendFrame(l.scratch.room(), t.shape.valueID), e)
	if err != nil {
		return nil, err
	}
	next := l.version.Next(l.txn.commitMicros)
	if mutant.TxnVersion {
		next = max(l.version, change.Version(l.txn.commitMicros))
	}
	l.version = next
	return append(records, t.record(key, l.scratch.keep(b), l.version)), nil
}

// appendDelete adds a delete and the tombstone that follows it: one event, so one version.
func (l *loop) appendDelete(records []publish.Record, t *table, key []byte, before avro.Row) ([]publish.Record, error) {
	records, err := l.append(records, t, key, change.Delete, before, avro.Row{})
	if err != nil || !l.cfg.Tombstones {
		return records, err
	}
	return append(records, t.record(key, nil, l.version)), nil
}

// add gives the records of one change to the publisher, or stops the table when one of them cannot be published.
func (l *loop) add(ctx context.Context, t *table, records []publish.Record) error {
	for i := range records {
		if err := l.pub.TooLarge(&records[i]); err != nil {
			return l.stop(ctx, t, err)
		}
	}
	for i := range records {
		if err := l.pub.Add(records[i]); err != nil {
			return err
		}
	}
	l.dirty = true
	return nil
}

// sourceBlock lays out what all rows of the event say of where they come from.
func (l *loop) sourceBlock(t *table, ev *binlog.Event) {
	micros := l.txn.commitMicros
	if micros == 0 {
		micros = int64(ev.Timestamp) * 1_000_000
	}
	l.now = time.Now().UnixMilli()
	l.behind = time.Duration(l.now-micros/1000) * time.Millisecond
	if l.txn.commitMicros == 0 { // the event tells whole seconds
		l.behind -= time.Second
	}
	query := ev.Query
	if !t.shape.encoder.Whole() { // the statement's text may have in it what must not go out
		query = ""
	}
	t.event.Source = avro.Source{
		Version: Version, Name: l.cfg.Name, TsMs: micros / 1000, TsUs: micros, TsNs: micros * 1000, Snapshot: "false",
		DB: t.name.DB, Table: t.name.Name, ServerID: int64(ev.ServerID), GTID: l.txn.gtid.String(),
		File: ev.Position.File, Pos: int64(ev.Position.Offset), Thread: int64(l.txn.thread), Query: query,
	}
	t.block.Set(&t.event.Source)
	t.event.Block = &t.block
}

// publishChunk publishes what the windows have left of a chunk, with its progress, in the open Kafka transaction.
func (l *loop) publishChunk(ctx context.Context, due merge.Due) error {
	c, t := l.waiting[due.ID], l.tables[due.Table]
	delete(l.waiting, due.ID)
	if c == nil || t == nil || !t.live() {
		if c != nil {
			c.discarded("the table is stopped")
		}
		return nil
	}
	before := l.pub.Records()
	for i := range due.Rows {
		if err := l.chunkRow(ctx, t, c, &due.Rows[i]); err != nil {
			return err
		}
		if !t.live() {
			c.discarded("the table is stopped")
			return nil
		}
	}
	state := c.progress(len(due.Rows))
	if err := l.pub.Set(&state); err != nil {
		return err
	}
	l.dirty = true
	l.stats.crawled(t.name, len(due.Rows), due.Struck)
	l.then = append(l.then, func() { c.published(len(due.Rows), due.Struck) })
	l.chunks.records += l.pub.Records() - before
	l.chunks.told++
	return nil
}

// chunkRow publishes one crawled row, or the delete of a key that the sweep found gone. Its version lies above all that
// was delivered and below the next event.
func (l *loop) chunkRow(ctx context.Context, t *table, c *chunk, r *merge.Row) error {
	l.scratch.reset()
	key := l.scratch.keep(append(registry.AppendFrame(l.scratch.room(), t.state.KeySchemaID), r.Key...))
	l.version = l.version.Next(0)
	if !r.Delete {
		value := l.scratch.keep(append(registry.AppendFrame(l.scratch.room(), c.valueID), r.Value...))
		return l.add(ctx, t, []publish.Record{t.record(key, value, l.version)})
	}
	var records []publish.Record
	if r.Value != nil { // the delete's envelope, where the table is still there to say its shape
		value := l.scratch.keep(append(registry.AppendFrame(l.scratch.room(), c.valueID), r.Value...))
		records = append(records, t.record(key, value, l.version))
	}
	return l.add(ctx, t, append(records, t.record(key, nil, l.version)))
}

// record returns a record for the table's topic.
func (t *table) record(key, value []byte, v change.Version) publish.Record {
	r := publish.Record{
		Topic: t.state.Topic, Partition: kafka.Partition(key[registry.FrameBytes:], t.state.Partitions),
		Key: key, Value: value, Version: v,
	}
	if t.doubts.Any() {
		r.Headers = doubted
	}
	return r
}
