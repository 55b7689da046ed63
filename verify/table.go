package verify

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	// chunkRowsMax is how many rows of the source one key range holds; of a row only its key and its hash are kept.
	chunkRowsMax = 10_000
	// chunkRowsMin is what a range has where a low rate asks for small ones.
	chunkRowsMin = 100
)

// chunkRows returns how many rows are read at once: no more than may be in a second.
func (r *Run) chunkRows() int {
	if r.Rate == 0 {
		return chunkRowsMax
	}
	return int(min(max(r.Rate, chunkRowsMin), chunkRowsMax))
}

// tableRun holds one table against the target.
type tableRun struct {
	run   *Run
	topic Topic
	table *change.Table // as the target has it: published, unless there is a view
	names []string

	published *change.Table // as the newest schema of the topic has it
	view      *sink.View    // nil: the target has the table as it is

	value   *avro.Decoder // of the newest schema, whose table is compared
	valueID int
	source  *sourceTable
	scanner sink.Scanner
	shaper  sink.Shaper
	summer  sink.Summer // nil: rows are hashed here

	charsets []string // what the servers take texts in when they sum up rows; nil: UTF-8

	rows   atomic.Int64 // of the source, read so far
	differ atomic.Int64 // keys that do, found so far
	shown  atomic.Int64 // of them, those kept with their images

	mu       sync.Mutex // guards the following
	result   TableResult
	place    tablePlace
	decoders map[int]*avro.KeyDecoder
}

// see has the table compared as the view has it.
func (t *tableRun) see(v *sink.View) {
	t.view, t.table, t.names = v, v.Table, published(v.Table)
	t.result.Target = v.Table.String()
}

// targetKey returns the target's key for one of the source's; nil stays nil.
func (t *tableRun) targetKey(source []change.Value) []change.Value {
	if t.view == nil || source == nil {
		return source
	}
	return t.view.Key(source)
}

// sourceKey returns the source's key for one of the target's.
func (t *tableRun) sourceKey(target []change.Value) []change.Value {
	if t.view == nil {
		return target
	}
	return t.view.SourceKey(target)
}

// compare goes over the whole table.
func (t *tableRun) compare(ctx context.Context) error {
	if t.place.End {
		return nil
	}
	began := time.Now()
	err := error(errors.ErrUnsupported)
	if t.place.Passes == 0 {
		err = t.ranges(ctx)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		t.rows.Store(0)
		err = t.passes(ctx)
	}
	t.mu.Lock()
	t.result.Seconds += time.Since(began).Seconds()
	t.mu.Unlock()
	return err
}

// chunk is a key range.
type chunk struct {
	number  int
	after   []change.Value // nil: from the first key
	through []change.Value // nil: to the last, and whatever the target has beyond
	result  TableResult    // of this range
}

// ranges compares key range by key range, several side by side: where each ends is found ahead, at the source. The
// target compares the bounds by its own collation, which may be another: then rows differ at first and are settled one by one, but
// none is left out, for the ranges cover everything in any order.
func (t *tableRun) ranges(ctx context.Context) error {
	summable, err := t.summable(ctx)
	if err != nil {
		return err
	}
	if !summable {
		t.summer = nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chunks := make(chan *chunk)
	var workers sync.WaitGroup
	for range t.run.Parallel {
		workers.Go(func() {
			for c := range chunks {
				t.run.slots <- struct{}{}
				err := t.oneRange(ctx, c)
				<-t.run.slots
				if err != nil {
					cancel(err)
				}
				t.run.pace.add(c.result.SourceRows - int64(t.run.chunkRows()))
			}
		})
	}
	err = t.walk(ctx, chunks)
	close(chunks)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// walk finds the ranges and hands them out.
func (t *tableRun) walk(ctx context.Context, chunks chan<- *chunk) error {
	x, err := t.source.server.session(ctx)
	if err != nil {
		return err
	}
	defer x.close()
	rows := t.run.chunkRows()
	ends := newEnds(t.source, x, rows)
	for number, after := t.place.Chunk, t.place.after(); ; number++ {
		through, err := ends.next(ctx, after)
		if err != nil {
			return err
		}
		t.run.pace.add(int64(rows)) // what the range has not, its worker gives back
		select {
		case chunks <- &chunk{number: number, after: after, through: through}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if through == nil {
			return nil
		}
		if err := t.run.pace.wait(ctx, 0); err != nil {
			return err
		}
		after = through
	}
}

// want adds a row of the source, in all its places, if the key is one of those asked for.
func (t *tableRun) want(reader *Rows, d *Deltas, values []change.Value, ask func(key []byte) bool) error {
	places, err := t.shaped(reader, values)
	if err != nil {
		return fmt.Errorf("where a row of %s belongs: %w", t.published, err)
	}
	for i := range places {
		key, err := reader.Key(&places[i])
		if err != nil {
			return err
		}
		if ask != nil && !ask(key) {
			return nil
		}
		sum, err := reader.Sum(&places[i])
		if err != nil {
			return err
		}
		d.Want(key, sum)
	}
	return nil
}

// found takes a row of the target away.
func found(reader *Rows, d *Deltas, row *sink.Row, ask func(key []byte) bool) error {
	key, err := reader.Key(row)
	if err != nil || ask != nil && !ask(key) {
		return err
	}
	sum, err := reader.Sum(row)
	if err != nil {
		return err
	}
	d.Found(key, sum)
	return nil
}

// oneRange compares one range, and settles what differs.
func (t *tableRun) oneRange(ctx context.Context, c *chunk) error {
	equal := false
	if t.summer != nil {
		var err error
		if equal, err = t.summed(ctx, c); err != nil {
			return err
		}
	}
	if !equal {
		if err := t.compareRange(ctx, c); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, done := range t.place.done(c) {
		t.result.add(&done.result)
	}
	return nil
}

// compareRange compares a range row by row.
func (t *tableRun) compareRange(ctx context.Context, c *chunk) error {
	reader, deltas := NewRows(t.table), NewDeltas(t.run.chunkRows())
	if err := t.readRange(ctx, c, reader, deltas); err != nil {
		return err
	}
	request := sink.Scan{Source: t.topic.Source, Table: t.table, After: t.targetKey(c.after), Through: t.targetKey(c.through), ValuesOnly: true}
	err := t.scanner.Scan(ctx, request, func(row sink.Row) error {
		c.result.TargetRows++
		return found(reader, deltas, &row, nil)
	})
	if err != nil {
		return fmt.Errorf("read %s at the target: %w", t.table, err)
	}
	return t.settle(ctx, deltas.Keys(), &c.result)
}

// readRange reads a range at the source.
func (t *tableRun) readRange(ctx context.Context, c *chunk, reader *Rows, deltas *Deltas) error {
	x, err := t.source.server.session(ctx)
	if err != nil {
		return err
	}
	defer x.close()
	err = t.source.rowsBetween(ctx, x, c.after, c.through, func(values []change.Value) error {
		c.result.SourceRows++
		return t.want(reader, deltas, values, nil)
	})
	t.rows.Add(c.result.SourceRows)
	return err
}

// errTooMany says that a pass holds more keys than it may.
var errTooMany = errors.New("too many keys for one pass")

// passes compares where the target cannot be read by key range: a share of all keys at a time, by a hash of the key, so that the keys
// of a pass fit into memory. Both sides are read as a whole in each.
func (t *tableRun) passes(ctx context.Context) error {
	t.mu.Lock()
	if t.place.Passes == 0 {
		t.place.Passes = 1 + int(t.source.rows/int64(t.run.Keys))
	}
	t.mu.Unlock()
	for t.place.Pass < t.place.Passes {
		var result TableResult
		err := t.onePass(ctx, t.place.Pass, t.place.Passes, &result)
		if errors.Is(err, errTooMany) {
			t.mu.Lock()
			t.place.Pass, t.place.Passes = 2*t.place.Pass, 2*t.place.Passes // the keys of a pass done are those of two
			t.mu.Unlock()
			continue
		}
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.result.add(&result)
		t.place.Pass++
		t.mu.Unlock()
	}
	return nil
}

// passOf gives each key its pass, so that doubling the passes splits each in two: pass p of n becomes 2p and 2p+1 of 2n.
func passOf(key []byte, passes int) int {
	h := fnv.New64a()
	h.Write(key)
	spread := h.Sum64() * 0x9E3779B97F4A7C15 // the high bits decide, and FNV's are the poor ones
	return int((spread >> 32) * uint64(passes) >> 32)
}

func (t *tableRun) onePass(ctx context.Context, pass, passes int, result *TableResult) error {
	deltas := NewDeltas(min(t.run.Keys, int(t.source.rows)/passes+16))
	ask := func(key []byte) bool { return passOf(key, passes) == pass }
	reader := NewRows(t.table)
	request := sink.Scan{Source: t.topic.Source, Table: t.table, ValuesOnly: true}
	err := t.scanner.Scan(ctx, request, func(row sink.Row) error {
		if err := found(reader, deltas, &row, func(key []byte) bool {
			if !ask(key) {
				return false
			}
			result.TargetRows++
			return true
		}); err != nil {
			return err
		}
		if deltas.Len() > t.run.Keys {
			return errTooMany
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read %s at the target: %w", t.table, err)
	}
	x, err := t.source.server.session(ctx)
	if err != nil {
		return err
	}
	defer x.abandon()
	for after := []change.Value(nil); ; {
		read := int64(0)
		after, err = t.source.rowsAfter(ctx, x, after, t.run.chunkRows(), func(values []change.Value) error {
			read++
			return t.want(reader, deltas, values, func(key []byte) bool {
				if !ask(key) {
					return false
				}
				result.SourceRows++
				return true
			})
		})
		if err != nil {
			return err
		}
		t.rows.Add(read)
		if deltas.Len() > t.run.Keys {
			return errTooMany
		}
		if err := t.run.pace.wait(ctx, read); err != nil {
			return err
		}
		if after == nil {
			break
		}
	}
	return t.settle(ctx, deltas.Keys(), result)
}

// differs takes a difference down.
func (t *tableRun) differs(key string, kind Kind, l *Look, into *TableResult) error {
	values, err := parseKey([]byte(key))
	if err != nil {
		return err
	}
	d := Difference{Kind: kind, Key: KeyTexts(t.published, t.sourceKey(values))}
	if t.shown.Load() < int64(t.run.Limit) {
		t.shown.Add(1)
		d.show(t.table, l.Want[key], l.Found[key])
	}
	t.differ.Add(1)
	into.add(&TableResult{Differences: 1, Kinds: map[Kind]int64{kind: 1}, Rows: []Difference{d}})
	return nil
}
