package clickhouse

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// HistoryTarget keeps a row for each change.
type HistoryTarget struct {
	*base

	mu      sync.Mutex        // guards the following
	sheets  map[string]*sheet // by the name of the table
	reached map[sink.Partition]reach
}

// reach is what is known of one partition.
type reach struct {
	next   int64 // where the next batch begins, if none is lost
	stored int64 // the greatest offset that was stored when the partition was taken up; above it nothing can be there twice
}

var (
	_ sink.Target   = (*HistoryTarget)(nil)
	_ sink.Preparer = (*HistoryTarget)(nil)
	_ sink.Checker  = (*HistoryTarget)(nil)
	_ sink.Scanner  = (*HistoryTarget)(nil)
	_ sink.Emptier  = (*HistoryTarget)(nil)
	_ sink.Floor    = (*HistoryTarget)(nil)
	_ sink.Resender = (*HistoryTarget)(nil)
)

// tombstoneOp is the op of a tombstone: the mark that follows each delete in the log, and stands alone where compaction has taken the delete.
const tombstoneOp = "tombstone"

// historyColumns are those that are written.
var historyColumns = []struct{ name, typeName string }{
	{"op", "LowCardinality(String)"}, {"key", "String"}, {"before", "String"}, {"after", "String"}, {"version", "UInt64"}, {"committed_ms", "Int64"},
	{"transaction", "String"}, {"snapshot", "LowCardinality(String)"}, {"kafka_topic", "LowCardinality(String)"}, {"kafka_topic_id", "String"},
	{"kafka_partition", "Int32"}, {"kafka_offset", "Int64"},
}

// historySorting tells records apart: one that comes again replaces itself.
var historySorting = []string{"kafka_topic", "kafka_topic_id", "kafka_partition", "kafka_offset"}

// Floor bounds how far behind the sink may fall: each change is wanted, and the log keeps each for so long.
func (t *HistoryTarget) Floor(s sink.LogSettings) time.Duration {
	if !s.Compacted {
		return 0
	}
	return s.MinCompactionLag
}

// Prepare makes missing tables, or says which statements would. All schemas of a table go into one: images are JSON.
func (t *HistoryTarget) Prepare(ctx context.Context, _, source string, tables []*change.Table) error {
	for _, table := range tables {
		if _, err := t.sheet(ctx, source, table); err != nil {
			return named(err, table)
		}
	}
	return nil
}

// Apply writes each change of the batch that is not there yet.
func (t *HistoryTarget) Apply(ctx context.Context, b *sink.Batch) error {
	if len(b.Changes) == 0 {
		t.advance(b)
		return nil
	}
	table := b.Changes[0].Table
	s, err := t.sheet(ctx, b.Source, table)
	if err != nil {
		return named(err, table)
	}
	there, err := t.stored(ctx, s, b)
	if err != nil {
		return named(err, table)
	}
	rows, count, size := make([]byte, 0, b.Bytes*2), 0, 0
	for i := range b.Changes {
		c := &b.Changes[i]
		if there[c.Offset] {
			continue
		}
		if rows, err = appendChange(rows, b.Partition, c); err != nil {
			return refused(c, err)
		}
		count, size = count+1, size+c.Bytes
	}
	if count > 0 {
		if err := t.gatherer.insert(ctx, s, rows, count, size); err != nil {
			t.forget(b.Partition, s, err)
			return named(err, table)
		}
	}
	t.advance(b)
	return nil
}

// Resend writes one old record. Where it is there already, it replaces itself.
func (t *HistoryTarget) Resend(ctx context.Context, p sink.Partition, c *sink.Change) error {
	s, err := t.sheet(ctx, p.Source, c.Table)
	if err != nil {
		return named(err, c.Table)
	}
	row, err := appendChange(nil, p, c)
	if err != nil {
		return refused(c, err)
	}
	return t.gatherer.send(ctx, s, [][]byte{row})
}

// advance notes that the batch is done.
func (t *HistoryTarget) advance(b *sink.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, known := t.reached[b.Partition]; known && r.next == b.From {
		r.next = b.Next
		t.reached[b.Partition] = r
	}
}

// forget lets what is stored be asked for anew: nobody knows whether a block that failed was inserted.
func (t *HistoryTarget) forget(p sink.Partition, s *sheet, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.reached, p)
	if change.SeverityOf(err) == change.Poison { // the table may have been altered
		for name, known := range t.sheets {
			if known == s {
				delete(t.sheets, name)
			}
		}
	}
}

// stored returns those offsets of the batch that are stored. It asks only where that can be: when the partition is taken up, records after the
// group's committed offset may have been written, and after a replay all may. (The engine would replace them too, when it merges.)
func (t *HistoryTarget) stored(ctx context.Context, s *sheet, b *sink.Batch) (map[int64]bool, error) {
	of := fmt.Sprintf(" FROM %s WHERE kafka_topic = %s AND kafka_topic_id = '%s' AND kafka_partition = %d", s.place, quoteText(b.Topic),
		hex.EncodeToString(b.TopicID[:]), b.Partition.Partition)
	t.mu.Lock()
	r, known := t.reached[b.Partition]
	t.mu.Unlock()
	if !known || r.next != b.From {
		said, err := t.client.lines(ctx, "SELECT max(kafka_offset), count()"+of)
		if err != nil || len(said) != 1 {
			return nil, t.client.judge("how far "+s.place+" is could not be asked", err)
		}
		r = reach{next: b.From, stored: -1}
		if said[0][1] != "0" {
			if r.stored, err = strconv.ParseInt(said[0][0], 10, 64); err != nil {
				return nil, fmt.Errorf("the greatest offset of %s: %w", s.place, err)
			}
		}
		t.mu.Lock()
		t.reached[b.Partition] = r
		t.mu.Unlock()
	}
	if b.From > r.stored {
		return nil, nil
	}
	said, err := t.client.lines(ctx, fmt.Sprintf("SELECT DISTINCT kafka_offset%s AND kafka_offset >= %d AND kafka_offset < %d", of, b.From, b.Next))
	if err != nil {
		return nil, t.client.judge("what "+s.place+" has could not be asked", err)
	}
	there := make(map[int64]bool, len(said))
	for _, line := range said {
		offset, err := strconv.ParseInt(line[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("an offset of %s: %w", s.place, err)
		}
		there[offset] = true
	}
	return there, nil
}

// appendChange appends a change as a row of historyColumns.
func appendChange(dst []byte, p sink.Partition, c *sink.Change) ([]byte, error) {
	op, all := c.Op.String(), make([]int, len(c.Table.Columns))
	for i := range all {
		all[i] = i
	}
	if c.Tombstone {
		op = tombstoneOp
	}
	key, err := appendImage(nil, c.Table, c.Table.Key, c.KeyValues)
	if err != nil {
		return dst, err
	}
	before, after := []byte(nil), []byte(nil)
	if c.Before != nil && !(c.Op == change.Delete && c.Origin.Snapshot == incremental) {
		if before, err = appendImage(nil, c.Table, all, c.Before); err != nil {
			return dst, err
		}
	}
	if c.After != nil {
		if after, err = appendImage(nil, c.Table, all, c.After); err != nil {
			return dst, err
		}
	}
	transaction := c.Origin.Transaction
	if transaction == "" {
		transaction = c.Origin.GTID
	}
	dst = appendText(appendText(appendText(appendText(dst, op), key), before), after)
	dst = appendInteger(dst, 64, uint64(c.Version))
	dst = appendInteger(dst, 64, uint64(committedMillis(c)))
	dst = appendText(appendText(dst, transaction), c.Origin.Snapshot)
	dst = appendText(appendText(dst, p.Topic), hex.EncodeToString(p.TopicID[:]))
	dst = appendInteger(dst, 32, uint64(p.Partition))
	return appendInteger(dst, 64, uint64(c.Offset)), nil
}

// incremental is what the envelope's snapshot says of what a crawl over the top has found. A delete that one has found says nothing of
// the row but its key.
const incremental = "incremental"

// committedMillis is when the change was committed. A tombstone does not say; its version, which is at least the commit time in microseconds,
// comes near.
func committedMillis(c *sink.Change) int64 {
	if c.Origin.CommitMillis > 0 {
		return c.Origin.CommitMillis
	}
	return int64(c.Version) / 1000
}

// sheet returns how changes of the table are written, and completes the table's history at the first sight of it.
func (t *HistoryTarget) sheet(ctx context.Context, source string, table *change.Table) (*sheet, error) {
	w := t.wanted(source, table)
	t.mu.Lock()
	s := t.sheets[w.name]
	t.mu.Unlock()
	if s != nil {
		return s, nil
	}
	f, err := t.ask(ctx)
	if err != nil {
		return nil, err
	}
	w.fill(f, &t.config)
	x, err := t.complete(ctx, w)
	if err != nil {
		return nil, err
	}
	var names, types []string
	for _, c := range historyColumns {
		names, types = append(names, c.name), append(types, x.columns[c.name].typeName)
	}
	s = newSheet(f, t.place(x.name), names, types)
	t.mu.Lock()
	t.sheets[w.name] = s
	t.mu.Unlock()
	return s, nil
}

// wanted is a table's history as it should be, without what depends on the server.
func (t *HistoryTarget) wanted(source string, table *change.Table) *wanted {
	return &wanted{name: t.config.tableName(source, table.TableName), owner: t.config.owner(source, table), sorting: historySorting, engine: "ReplacingMergeTree"}
}

// fill adds what depends on the server.
func (w *wanted) fill(f form, c *Config) {
	for _, column := range historyColumns {
		typeName, plain := column.typeName, column.typeName
		if inner, low := unwrap(plain, "LowCardinality"); low {
			plain = inner
		}
		if !f.modern {
			typeName = plain // old servers have none
		}
		w.columns = append(w.columns, wantedColumn{name: column.name, typeName: typeName, lacks: func(have string) string {
			if inner, _ := unwrap(have, "LowCardinality"); inner != plain {
				return "a " + plain
			}
			return ""
		}})
	}
	committed := wantedColumn{name: "committed", typeName: "DateTime('UTC')", more: " MATERIALIZED toDateTime(intDiv(committed_ms, 1000), 'UTC')",
		lacks: func(string) string { return "" }}
	if f.modern {
		committed.typeName, committed.more = "DateTime64(3, 'UTC')", " MATERIALIZED fromUnixTimestamp64Milli(committed_ms, 'UTC')"
		w.settings = durable
	}
	w.columns = append(w.columns, committed)
	// The parts of one record's copies are in one partition: its commit time does not change.
	switch c.HistoryPartition {
	case Day:
		w.divided = "toYYYYMMDD(committed)"
	case Month:
		w.divided = "toYYYYMM(committed)"
	}
}
