package crawl

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/merge"
)

// selection is one SELECT of whole rows.
type selection struct {
	shape   *shape
	where   string
	limit   int // 0: none
	encoder *avro.Encoder
	source  avro.Source
	millis  int64 // since 1970: when the rows are read
	budget  int64 // bytes of encoded rows
	expect  int64 // about how many there will be
}

// rowMemory is what rows of a chunk lie in. It is used again when the stream is done with them.
type rowMemory struct {
	buffer []byte // keys and values, one behind the other
	ends   []int  // of key, value, key, value ... in buffer
	rows   []merge.Row
}

// rowMemories are those that nobody uses.
var rowMemories = sync.Pool{New: func() any { return new(rowMemory) }}

// chunkRows is what a SELECT gave.
type chunkRows struct {
	memory *rowMemory
	rows   []merge.Row
	last   []string // the place of the last row, as literals; nil without rows
	bytes  int64    // encoded
	seen   int      // rows that the server gave: those that do not pass are not among rows
	cut    bool     // the budget was full before the result ended
	took   time.Duration
}

// tooWideError says that rows were so much longer than expected that what follows the budget is not worth
// being thrown away: the connection was closed instead, and the chunk is to be read again with fewer rows.
type tooWideError struct{ rows int }

func (e *tooWideError) Error() string {
	return fmt.Sprintf("%d rows fill the chunk's bytes, and many more follow", e.rows)
}

// text returns the statement, and the columns of the bound that it selects beside the row's own: those whose
// place is not said by the row's text.
func (q *selection) text(locking bool) (statement string, extra []int) {
	list := q.encoder.SelectList()
	for i, c := range q.shape.columns {
		column := &q.shape.table.Columns[c]
		if expression := asked(column); expression != list[c] {
			list = append(list, expression)
			extra = append(extra, i)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "SELECT %s FROM %s WHERE %s ORDER BY %s", strings.Join(list, ", "), q.shape.source(), q.where, q.shape.order(false))
	if q.limit > 0 {
		fmt.Fprintf(&b, " LIMIT %d", q.limit)
	}
	if locking {
		b.WriteString(" LOCK IN SHARE MODE")
	}
	return b.String(), extra
}

// read runs the SELECT and encodes its rows until the budget is full. A first row is always taken. It reads from the driver itself: database/sql
// would make each number text by way of an interface, and look at its locks and contexts for each row.
func (s *session) read(ctx context.Context, q *selection) (*chunkRows, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	statement, extra := q.text(s.locking)
	start := time.Now()
	r := newRowReader(q, extra)
	drained := true
	var broken error // the encoder's, which is not the connection's
	err := s.conn.Raw(func(connection any) error {
		rows, err := connection.(driver.QueryerContext).QueryContext(ctx, statement, nil)
		if err != nil {
			return err
		}
		if broken, err = r.all(rows); err == nil && broken == nil && r.out.cut {
			drained, err = r.drain(rows)
		}
		if !drained {
			cancel() // the server stops sending
			rows.Close()
			return driver.ErrBadConn // closes the connection
		}
		return errors.Join(err, rows.Close())
	})
	switch {
	case broken != nil:
		return nil, broken
	case !drained:
		s.close()
		return nil, &tooWideError{rows: r.out.seen}
	case err != nil:
		return nil, err
	}
	r.out.took = time.Since(start)
	return r.finish()
}

// rowReader encodes rows. Keys and values lie in one buffer that grows, so their places are noted and made slices at the end.
type rowReader struct {
	q       *selection
	extra   []int
	fields  []driver.Value // as the driver gives them; they hold until the next row
	numbers []byte         // the texts of those that the driver has made numbers
	raw     [][]byte       // the texts of all
	row     avro.Row       // raw without the bound's own
	event   avro.Event
	block   avro.SourceBlock

	*rowMemory
	last [][]byte // texts of the last row's bound
	out  chunkRows
}

func newRowReader(q *selection, extra []int) *rowReader {
	columns := len(q.shape.table.Columns)
	raw := make([][]byte, columns+len(extra))
	r := &rowReader{
		q: q, extra: extra, fields: make([]driver.Value, len(raw)), raw: raw,
		row:  avro.Row{Text: raw[:columns:columns]},
		last: make([][]byte, len(q.shape.columns)),

		rowMemory: rowMemories.Get().(*rowMemory),
	}
	r.buffer = slices.Grow(r.buffer[:0], int(q.expect))
	r.ends, r.rows = slices.Grow(r.ends[:0], 2*q.limit), slices.Grow(r.rows[:0], q.limit)
	r.out.memory = r.rowMemory
	r.block.Set(&q.source)
	r.event = avro.Event{Op: change.Read, After: r.row, Block: &r.block, TsMs: q.millis}
	return r
}

// all takes rows until they end or the budget is full, and returns its own errors apart from the driver's.
func (r *rowReader) all(rows driver.Rows) (broken, err error) {
	if n := len(rows.Columns()); n != len(r.fields) {
		return fmt.Errorf("the SELECT has %d columns, %d are wanted", n, len(r.fields)), nil
	}
	for {
		switch err := rows.Next(r.fields); {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, err
		}
		if err := r.texts(); err != nil {
			return err, nil
		}
		if r.out.cut = r.out.bytes >= r.q.budget; r.out.cut {
			return nil, nil
		}
		if err := r.take(); err != nil {
			return err, nil
		}
	}
}

// texts makes texts of what the driver gave: numbers it reads, which is undone.
func (r *rowReader) texts() error {
	r.numbers = r.numbers[:0]
	for i, field := range r.fields {
		start := len(r.numbers)
		switch v := field.(type) {
		case nil:
			r.raw[i] = nil
			continue
		case []byte:
			r.raw[i] = v
			continue
		case int64:
			r.numbers = strconv.AppendInt(r.numbers, v, 10)
		case uint64:
			r.numbers = strconv.AppendUint(r.numbers, v, 10)
		case float64:
			r.numbers = strconv.AppendFloat(r.numbers, v, 'g', -1, 64)
		default:
			return fmt.Errorf("the driver read %T, which nobody has asked for", field)
		}
		r.raw[i] = r.numbers[start:] // stays as it is when numbers moves
	}
	return nil
}

// take encodes the row.
func (r *rowReader) take() error {
	r.out.seen++
	for i, c := range r.q.shape.columns {
		r.last[i] = append(r.last[i][:0], r.raw[c]...)
	}
	for at, i := range r.extra {
		r.last[i] = append(r.last[i][:0], r.raw[len(r.row.Text)+at]...)
	}
	passes, err := r.q.encoder.Passes(r.row)
	if err != nil || !passes {
		return err
	}
	before := len(r.buffer)
	if r.buffer, err = r.q.encoder.AppendKey(r.buffer, r.row); err != nil {
		return err
	}
	key := len(r.buffer)
	if r.buffer, err = r.q.encoder.AppendValue(r.buffer, &r.event); err != nil {
		return err
	}
	r.ends = append(r.ends, key, len(r.buffer))
	r.rows = append(r.rows, merge.Row{})
	r.out.bytes += int64(len(r.buffer) - before)
	return nil
}

// drain reads the rows after the budget away, up to as much again, the one at hand included; it returns false when there are more.
func (r *rowReader) drain(rows driver.Rows) (all bool, err error) {
	for wasted := int64(0); ; {
		for _, text := range r.raw {
			wasted += int64(len(text))
		}
		if wasted > r.q.budget {
			return false, nil
		}
		switch err := rows.Next(r.fields); {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return true, err
		}
		if err := r.texts(); err != nil {
			return true, err
		}
	}
}

// finish makes the slices, and the last row's place.
func (r *rowReader) finish() (*chunkRows, error) {
	start := 0
	for i := range r.rows {
		key, value := r.ends[2*i], r.ends[2*i+1]
		r.rows[i] = merge.Row{Key: r.buffer[start:key:key], Value: r.buffer[key:value:value]}
		start = value
	}
	r.out.rows = r.rows
	if r.out.seen == 0 {
		return &r.out, nil
	}
	var err error
	r.out.last, err = r.q.shape.literals(r.last)
	return &r.out, err
}

// explainRows asks the optimizer how many rows a condition on the table would give, and by that whether the
// server takes the condition at all.
func (s *session) explainRows(ctx context.Context, source, where string) (rows int64, err error) {
	result, err := s.conn.QueryContext(ctx, "EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM "+source+" WHERE "+where)
	if err != nil {
		return 0, err
	}
	defer result.Close()
	names, err := result.Columns()
	if err != nil {
		return 0, err
	}
	estimate, filtered := sql.NullInt64{}, sql.NullFloat64{Float64: 100}
	into := make([]any, len(names))
	for i, name := range names {
		switch strings.ToLower(name) {
		case "rows":
			into[i] = &estimate
		case "filtered":
			into[i] = &filtered
		default:
			into[i] = new(sql.RawBytes)
		}
	}
	if result.Next() { // the first line is the table itself
		if err := result.Scan(into...); err != nil {
			return 0, err
		}
	}
	if err := result.Close(); err != nil {
		return 0, err
	}
	if err := result.Err(); err != nil {
		return 0, err
	}
	if !filtered.Valid {
		filtered.Float64 = 100
	}
	return int64(float64(estimate.Int64) * filtered.Float64 / 100), nil
}

// CheckWhere asks the server whether a condition can be used for a crawl of the table. The error names it.
func CheckWhere(ctx context.Context, db *sql.DB, table change.TableName, where string) error {
	if err := checkCondition(where); err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &session{conn: conn}
	if _, err := s.explainRows(ctx, mysql.QuoteTable(table), "("+where+")"); err != nil {
		return fmt.Errorf("condition %q on %s: %w", where, table, err)
	}
	return nil
}
