package verify

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// ends finds where the key ranges of a table end, each of about so many rows.
//
// To walk along the key costs the server as much as to scan the table. So along a key of one integer column an end is guessed, and
// the optimizer asked how many rows that would be: it looks at both ends in the index, and not at what lies between.
type ends struct {
	table   *sourceTable
	session *session
	guess   *guess // nil: the key is walked
	rows    int
}

func newEnds(st *sourceTable, x *session, rows int) *ends {
	e := &ends{table: st, session: x, rows: rows}
	if len(st.key) == 1 && st.key[0].column.Type.Integer() && st.server.facts.Flavor == gtid.MySQL {
		e.guess = &guess{rows: uint64(rows), step: uint64(rows)}
	}
	return e
}

// next returns the end of the range that begins above a key, nil where it is the last.
func (e *ends) next(ctx context.Context, after []change.Value) ([]change.Value, error) {
	if e.guess == nil {
		return e.table.keyAfter(ctx, e.session, after, e.rows)
	}
	first, err := e.table.keyAfter(ctx, e.session, after, 1)
	if err != nil || first == nil {
		return nil, err
	}
	through, ok, err := e.guess.end(first[0], func(through change.Value) (uint64, error) { return e.estimate(ctx, after, through) })
	if err != nil {
		return nil, err
	}
	if !ok {
		return e.table.keyAfter(ctx, e.session, after, e.rows)
	}
	return []change.Value{through}, nil
}

// estimate asks the optimizer how many rows lie in a range.
func (e *ends) estimate(ctx context.Context, after []change.Value, through change.Value) (uint64, error) {
	condition, err := e.table.between(after, []change.Value{through})
	if err != nil {
		return 0, err
	}
	found, err := e.session.conn.QueryContext(ctx, fmt.Sprintf("EXPLAIN FORMAT=TRADITIONAL SELECT 1 FROM %s WHERE %s", e.table.from, condition))
	if err != nil {
		return 0, e.table.server.config.Problem(err)
	}
	defer found.Close()
	names, err := found.Columns()
	if err != nil {
		return 0, err
	}
	var rows sql.Null[uint64]
	into := make([]any, len(names))
	for i, name := range names {
		into[i] = new(sql.RawBytes)
		if name == "rows" {
			into[i] = &rows
		}
	}
	if found.Next() {
		err = found.Scan(into...)
	}
	if err == nil {
		err = found.Err()
	}
	if err == nil && !rows.Valid { // no row can be there, or the server has not looked
		return 0, nil
	}
	return rows.V, e.table.server.config.Problem(err)
}

// guess finds ends from how far the last were from their ranges' first keys. It is pure. It begins as if there were no gaps: so many
// integers are no more rows than that, whatever the server estimates.
type guess struct {
	rows uint64 // wanted in a range
	step uint64
}

const (
	guessTries = 10
	// guessGrowth bounds how much further the next end is looked for at once.
	guessGrowth = 8
)

// end returns the end of a range whose first key is known, such that it has about as many rows as are wanted, and not more than twice that; fewer
// where the keys end. ok is false where no such end was found.
func (g *guess) end(first change.Value, count func(through change.Value) (uint64, error)) (through change.Value, ok bool, err error) {
	nearer := false // what lies nearer than an end with too many rows may be few: it is not looked for further away again
	for range guessTries {
		through, ok = further(first, g.step-1)
		if !ok {
			return through, false, nil
		}
		n, err := count(through)
		switch {
		case err != nil:
			return through, false, err
		case n > 2*g.rows:
			if g.step == 1 {
				return through, false, nil
			}
			nearer, g.step = true, max(1, g.step/max(2, min(n/g.rows, guessGrowth)))
		case n < g.rows/2 && !nearer && g.step <= math.MaxUint64/guessGrowth:
			g.step *= min(guessGrowth, g.rows/max(n, 1))
		default:
			return through, true, nil
		}
	}
	return through, false, nil
}

// further returns the integer that lies so much above another, false where its kind has none.
func further(v change.Value, by uint64) (change.Value, bool) {
	if v.Kind == change.Uint64 {
		return change.UintValue(v.Num + by), v.Num <= math.MaxUint64-by
	}
	return change.IntValue(v.Int() + int64(by)), by <= math.MaxInt64 && v.Int() <= math.MaxInt64-int64(by)
}
