package clickhouse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	// scanKeys is how many keys one query asks for.
	scanKeys = 500
	// scanBuffer is how much of an answer is read at once, in bytes.
	scanBuffer = 256 << 10
	// rowMark stands before each row of an answer. An exception in the middle of an answer, which began as a success, has none: it begins with
	// its words.
	rowMark = 1
)

// Scan reads the newest state of the rows. Key ranges are served where the key's columns have the same order here as at MySQL.
func (t *StateTarget) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	f, err := t.ask(ctx)
	if err != nil {
		return err
	}
	x, w, err := t.open(ctx, r, t.wanted(f, r.Source, r.Table))
	if err != nil {
		return err
	}
	for _, c := range w.columns {
		have, ok := x.columns[c.name]
		if !ok {
			return &change.Problem{Kind: change.Poison, Table: r.Table.TableName, What: fmt.Sprintf("%s has no column %s", x.name, c.name), Where: t.where(),
				Mend: "let the sink run: it adds the column, or says the statement"}
		}
		if lacks := c.lacks(have.typeName); lacks != "" {
			return &change.Problem{Kind: change.Poison, Table: r.Table.TableName, What: fmt.Sprintf("%s.%s is a %s and does not hold %s", x.name, c.name, have.typeName, lacks), Where: t.where()}
		}
	}
	l := newLayout(f, r.Table, t.place(x.name), x)
	s := &scanner{base: t.base, columns: columnNames(r.Table), each: each, ctx: ctx}
	s.settings = url.Values{}
	if f.modern {
		s.settings.Set("do_not_merge_across_partitions_select_final", "0")
	}
	query := fmt.Sprintf("SELECT toUInt8(%d), %s FROM %s FINAL WHERE %s = 0", rowMark, strings.Join(l.names(), ", "), l.place, columnDeleted)
	values := make([]change.Value, len(s.columns))
	read := func(rd *reader) (sink.Row, bool, error) {
		version, err := l.read(rd, values)
		return sink.Row{Values: values, Version: version}, true, err
	}
	if len(r.Keys) > 0 {
		return l.keys(r.Keys, func(condition string) error { return s.query(query+" AND "+condition+" FORMAT RowBinary", read) })
	}
	condition, err := l.between(r.After, r.Through)
	if err != nil {
		return err
	}
	return s.query(query+condition+" FORMAT RowBinary", read)
}

// open looks at the table that is to be read.
func (b *base) open(ctx context.Context, r sink.Scan, w *wanted) (*existing, *wanted, error) {
	x, err := b.look(ctx, w.name)
	if err != nil {
		return nil, nil, err
	}
	if x == nil {
		return nil, nil, &change.Problem{Kind: change.Poison, Table: r.Table.TableName, What: "the table " + w.name + " is not there", Where: b.where(),
			Mend: "let the sink run first"}
	}
	return x, w, x.check(w, b.where())
}

func columnNames(t *change.Table) []string {
	names := make([]string, len(t.Columns))
	for i := range names {
		names[i] = t.Columns[i].Name
	}
	return names
}

// keys calls ask with conditions that together name all the keys. A key that the column cannot hold is not there.
func (l *layout) keys(keys [][]change.Value, ask func(condition string) error) error {
	for some := range slices.Chunk(keys, scanKeys) {
		var tuples []string
		for _, key := range some {
			if tuple, ok := l.tuple(key); ok {
				tuples = append(tuples, tuple)
			}
		}
		if len(tuples) == 0 {
			continue
		}
		if err := ask("(" + strings.Join(quoteNames(l.table.KeyNames()), ", ") + ") IN (" + strings.Join(tuples, ", ") + ")"); err != nil {
			return err
		}
	}
	return nil
}

// tuple is a key as the server compares it.
func (l *layout) tuple(key []change.Value) (string, bool) {
	literals := make([]string, len(key))
	for k, at := range l.table.Key {
		var ok bool
		if literals[k], ok = l.columns[at].literal(&l.table.Columns[at], key[k]); !ok {
			return "", false
		}
	}
	return "(" + strings.Join(literals, ", ") + ")", true
}

// literal is a value of a key in SQL. ok is false where the column cannot hold it.
func (t columnType) literal(c *change.Column, v change.Value) (string, bool) {
	switch t.kind {
	case integer:
		n, err := numberOf(c, v)
		if t.signed {
			return fmt.Sprint(int64(n)), err == nil
		}
		return fmt.Sprint(n), err == nil
	case decimal:
		return fmt.Sprintf("CAST(%s AS Decimal(%d, %d))", quoteText(v.Bytes), t.precision, t.scale), true
	case date, date32, dateTime, dateTime64:
		_, exact := t.numberOfDate(v.Bytes)
		arguments := map[kind]string{date: "Date(%s)", date32: "Date32(%s)", dateTime: "DateTime(%s, 'UTC')", dateTime64: "DateTime64(%s, " + fmt.Sprint(t.scale) + ", 'UTC')"}[t.kind]
		return fmt.Sprintf("to"+arguments, quoteText(v.Bytes)), exact
	}
	return quoteText(v.Bytes), true
}

// between is the condition of a key range.
func (l *layout) between(after, through []change.Value) (string, error) {
	if after == nil && through == nil {
		return "", nil
	}
	for _, at := range l.table.Key {
		if c := &l.table.Columns[at]; !ordered(c, l.columns[at]) {
			return "", fmt.Errorf("scan of a key range by column %s, a %s, which ClickHouse does not order as MySQL does: %w", c.Name, c.Type, errors.ErrUnsupported)
		}
	}
	names := quoteNames(l.table.KeyNames())
	condition := ""
	for _, bound := range []struct {
		key         []change.Value
		op, firstOp string
	}{{after, ">", ">="}, {through, "<=", "<="}} {
		if bound.key == nil {
			continue
		}
		tuple, ok := l.tuple(bound.key)
		first, _ := l.columns[l.table.Key[0]].literal(&l.table.Columns[l.table.Key[0]], bound.key[0])
		if !ok {
			return "", fmt.Errorf("a bound that the column cannot hold: %w", errors.ErrUnsupported)
		}
		// The server finds rows by the first column; of tuples it makes nothing.
		condition += fmt.Sprintf(" AND %s %s %s AND (%s) %s %s", names[0], bound.firstOp, first, strings.Join(names, ", "), bound.op, tuple)
	}
	return condition, nil
}

// ordered reports whether the column's values have the same order here as at MySQL.
func ordered(c *change.Column, t columnType) bool {
	return c.Type.Integer() || c.Type == change.Year || c.Type == change.Decimal && t.kind == decimal || c.Type.Opaque()
}

// scanner reads the answers of queries.
type scanner struct {
	*base
	ctx      context.Context
	settings url.Values
	columns  []string
	each     func(sink.Row) error
}

// query runs one query. read reads a row of its answer, and says whether it counts.
func (s *scanner) query(statement string, read func(*reader) (sink.Row, bool, error)) error {
	body, err := s.client.stream(s.ctx, statement, s.settings)
	if err != nil {
		return s.client.judge("the table could not be read", err)
	}
	defer body.Close()
	rd := &reader{Reader: bufio.NewReaderSize(body, scanBuffer)}
	for {
		mark, err := rd.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && mark != rowMark {
			words, _ := io.ReadAll(io.LimitReader(rd, reasonMax))
			err = newServerError(500, append([]byte{mark}, words...))
		}
		if err != nil {
			return s.client.judge("the table could not be read to its end", err)
		}
		row, counts, err := read(rd)
		if err != nil {
			return s.client.judge("an answer could not be read", err)
		}
		if !counts {
			continue
		}
		row.Columns = s.columns
		if err := s.each(row); err != nil {
			return err
		}
	}
}

// Scan reads the newest state of the rows, as their last changes leave them.
func (t *HistoryTarget) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	if r.After != nil || r.Through != nil {
		return fmt.Errorf("scan of a key range of a history: %w", errors.ErrUnsupported)
	}
	f, err := t.ask(ctx)
	if err != nil {
		return err
	}
	w := t.wanted(r.Source, r.Table)
	w.fill(f, &t.config)
	x, _, err := t.open(ctx, r, w)
	if err != nil {
		return err
	}
	s := &scanner{base: t.base, columns: columnNames(r.Table), each: each, ctx: ctx, settings: url.Values{"max_bytes_before_external_group_by": {"1000000000"}}}
	read := func(rd *reader) (row sink.Row, counts bool, err error) {
		text, err := rd.text()
		if err != nil {
			return row, false, err
		}
		version, err := rd.integer(64, false)
		if err != nil || len(text) == 0 {
			return row, false, err
		}
		row.Version = change.Version(version)
		row.Values, err = readImage(r.Table, text)
		return row, true, err
	}
	ask := func(condition string) error {
		return s.query(fmt.Sprintf("SELECT toUInt8(%d), argMax(after, version), max(version) FROM %s%s GROUP BY key FORMAT RowBinary", rowMark, t.place(x.name), condition), read)
	}
	if len(r.Keys) == 0 {
		return ask("")
	}
	for some := range slices.Chunk(r.Keys, scanKeys) {
		var texts []string
		for _, key := range some {
			text, err := appendImage(nil, r.Table, r.Table.Key, key)
			if err != nil {
				continue // such a key was never written
			}
			texts = append(texts, quoteText(text))
		}
		if len(texts) == 0 {
			continue
		}
		if err := ask(" WHERE key IN (" + strings.Join(texts, ", ") + ")"); err != nil {
			return err
		}
	}
	return nil
}
