package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// between writes the condition of a key range; nil bounds are open.
func (st *sourceTable) between(after, through []change.Value) (string, error) {
	condition := "TRUE"
	if after != nil {
		bound, err := st.literals(after)
		if err != nil {
			return "", err
		}
		condition = st.above(bound)
	}
	if through != nil {
		bound, err := st.literals(through)
		if err != nil {
			return "", err
		}
		condition += " AND NOT " + st.above(bound)
	}
	return condition, nil
}

// keyAfter returns the key that lies so many rows above another, nil where there are fewer.
func (st *sourceTable) keyAfter(ctx context.Context, x *session, after []change.Value, rows int) (key []change.Value, err error) {
	condition, err := st.between(after, nil)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(st.key))
	key = make([]change.Value, len(st.key))
	fields := make([]sql.RawBytes, len(st.key))
	into := make([]any, len(st.key))
	for i, k := range st.key {
		names[i], into[i] = k.name, &fields[i]
	}
	found, err := x.conn.QueryContext(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT 1 OFFSET %d",
		strings.Join(names, ","), st.from, condition, st.order(), rows-1))
	if err != nil {
		return nil, x.server.config.Problem(err)
	}
	defer found.Close()
	if !found.Next() {
		return nil, x.server.config.Problem(found.Err())
	}
	if err := found.Scan(into...); err != nil {
		return nil, err
	}
	for i, k := range st.key {
		text := append([]byte(nil), fields[i]...)
		if fields[i] != nil && text == nil {
			text = []byte{}
		}
		if key[k.at], err = mysql.ParseText(k.column, text); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// rowsBetween calls each with the rows of a key range; see rowsAfter.
func (st *sourceTable) rowsBetween(ctx context.Context, x *session, after, through []change.Value, each func([]change.Value) error) error {
	condition, err := st.between(after, through)
	if err != nil {
		return err
	}
	return st.query(ctx, x, fmt.Sprintf("SELECT %s FROM %s WHERE %s", st.list, st.from, condition), st.rule.passing(each))
}

// sum has the source's server sum up a key range.
func (st *sourceTable) sum(ctx context.Context, x *session, after, through []change.Value) (sum sink.RowSum, err error) {
	condition, err := st.between(after, through)
	if err != nil {
		return sum, err
	}
	query := fmt.Sprintf("SELECT %s FROM %s WHERE %s", st.hash, st.from, condition)
	err = x.conn.QueryRowContext(ctx, query).Scan(&sum.Rows, &sum.Sum)
	return sum, x.server.config.Problem(err)
}

// summed compares one range by the sums of both servers, side by side. equal is false where they are not the same, which while rows
// are changed says little: then the rows are compared.
func (t *tableRun) summed(ctx context.Context, c *chunk) (equal bool, err error) {
	x, err := t.source.server.session(ctx)
	if err != nil {
		return false, err
	}
	defer x.close()
	type answer struct {
		sums []sink.RowSum
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		sums, err := t.summer.Sums(ctx, sink.Scan{Source: t.topic.Source, Table: t.table, After: c.after, Through: c.through, Charsets: t.charsets})
		answers <- answer{sums, err}
	}()
	want, err := t.source.sum(ctx, x, c.after, c.through)
	target := <-answers
	if err != nil {
		return false, err
	}
	if errors.Is(target.err, errors.ErrUnsupported) {
		return false, nil
	}
	if target.err != nil {
		return false, fmt.Errorf("sum up %s at the target: %w", t.table, target.err)
	}
	found := int64(0)
	for _, s := range target.sums {
		if s.Rows != want.Rows || s.Sum != want.Sum {
			return false, nil
		}
		found += s.Rows
	}
	if equal = len(target.sums) > 0; equal {
		t.rows.Add(want.Rows)
		c.result.SourceRows, c.result.SummedRows, c.result.TargetRows = want.Rows, want.Rows, found
	}
	return equal, nil
}

// summable reports whether the servers can sum up the table's rows: the target says so by doing it. Texts are taken as the source holds them
// where the target has them so too, for to convert them to UTF-8 costs both.
func (t *tableRun) summable(ctx context.Context) (bool, error) {
	summer, ok := sink.Ability[sink.Summer](t.run.Target)
	if !ok || t.view != nil || t.source.rule != nil || t.run.ByRows || !t.source.server.facts.IsMySQL(8, 0, 1) {
		return false, nil
	}
	x, err := t.source.server.session(ctx)
	if err != nil {
		return false, err
	}
	defer x.close()
	first, err := t.source.keyAfter(ctx, x, nil, 1)
	if err != nil || first == nil {
		return false, err
	}
	nothing := sink.Scan{Source: t.topic.Source, Table: t.table, After: first, Through: first} // a range without rows
	for _, nothing.Charsets = range [][]string{mysql.Charsets(t.source.types), nil} {
		if t.source.hash, ok = mysql.RowsHash(t.table, t.source.types, nothing.Charsets); !ok {
			return false, nil
		}
		_, err = summer.Sums(ctx, nothing)
		switch {
		case err == nil:
			t.summer, t.charsets = summer, nothing.Charsets
			return true, nil
		case !errors.Is(err, errors.ErrUnsupported):
			return false, err
		}
	}
	return false, nil
}
