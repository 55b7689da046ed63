package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	scanRows = 20_000 // of one query: a long one would hold an old snapshot and keep the server from cleaning up
	scanKeys = 500
)

// Scan reads the table in the order of the key, by queries of a bounded number of rows. Bounds are served where the key's columns have
// the same order here as at MySQL.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	if r.After != nil || r.Through != nil {
		for _, i := range r.Table.Key {
			if c := &r.Table.Columns[i]; !ordered(c) {
				return fmt.Errorf("scan of a key range by column %s, a %s, which PostgreSQL does not order as MySQL does: %w", c.Name, c.Type, errors.ErrUnsupported)
			}
		}
	}
	tab, err := t.table(ctx, t.setup.Group, r.Source, r.Table)
	if err != nil {
		return err
	}
	c, err := t.server.session(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	s := &scanner{session: c, table: tab, columns: columnNames(tab.schema), each: each}
	if s.sources, err = c.sourceNames(ctx); err != nil {
		return t.server.problem(err)
	}
	s.mine = c.ownRows(s.sources, r.Source)
	if len(r.Keys) > 0 {
		err = s.keys(ctx, r.Keys)
	} else {
		err = s.all(ctx, r.After, r.Through)
	}
	return t.server.problem(err)
}

// scanner reads one table.
type scanner struct {
	*session
	table   *table
	columns []string
	each    func(sink.Row) error
	sources map[int64]string // names by number
	mine    string           // the condition that leaves out other sources' rows: where several share the table, each has its own
}

// everyRow is the condition where no other source is known.
const everyRow = "true"

// ownRows returns the condition that a row is the source's, or nobody's.
func (s *server) ownRows(names map[int64]string, source string) string {
	var others []string
	for _, number := range slices.Sorted(maps.Keys(names)) {
		if names[number] != source {
			others = append(others, strconv.FormatInt(number, 10))
		}
	}
	if len(others) == 0 {
		return everyRow
	}
	return "_t." + s.origin + " NOT IN (" + strings.Join(others, ",") + ")"
}

// list is what is selected: the source's columns, the version and the source's number.
func (s *scanner) list() string {
	names := make([]string, 0, len(s.table.all)+2)
	for i := range s.table.all {
		names = append(names, "_t."+quoteName(s.table.all[i].name))
	}
	return strings.Join(append(names, "_t."+s.version, "_t."+s.origin), ",")
}

func (s *scanner) keys(ctx context.Context, keys [][]change.Value) error {
	for some := range slices.Chunk(keys, scanKeys) {
		rows := make([]*sink.Change, len(some))
		for i, key := range some {
			rows[i] = &sink.Change{KeyValues: key}
		}
		values, err := s.table.keyArrays(rows)
		if err != nil { // a key that cannot be here
			continue
		}
		var arrays, names, equal []string
		for k := range s.table.schema.Key {
			arrays, names = append(arrays, param(k+1, s.table.keyColumn(k).base)), append(names, fmt.Sprintf("_k%d", k))
			equal = append(equal, fmt.Sprintf("_t.%s=_k%d", quoteName(s.table.keyColumn(k).name), k))
		}
		text := fmt.Sprintf("SELECT %s FROM unnest(%s) AS _n(%s) JOIN %s AS _t ON %s WHERE %s", s.list(), strings.Join(arrays, ","), strings.Join(names, ","),
			s.table.place.quoted(), strings.Join(equal, " AND "), s.mine)
		if _, err := s.read(ctx, statement{text, values[:len(arrays)]}); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) all(ctx context.Context, after, through []change.Value) error {
	for {
		var values [][]byte
		conditions := []string{s.mine}
		for _, bound := range []struct {
			key []change.Value
			op  string
		}{{after, ">"}, {through, "<="}} {
			if bound.key == nil {
				continue
			}
			var params []string
			for k, v := range bound.key {
				text, err := appendText(nil, v, &s.table.schema.Columns[s.table.schema.Key[k]])
				if err != nil {
					return fmt.Errorf("a bound that PostgreSQL cannot hold (%w): %w", err, errors.ErrUnsupported)
				}
				values = append(values, text)
				params = append(params, fmt.Sprintf("$%d::%s", len(values), s.table.keyColumn(k).base))
			}
			conditions = append(conditions, "("+s.table.quotedKey("_t.")+")"+bound.op+"("+strings.Join(params, ",")+")")
		}
		text := fmt.Sprintf("SELECT %s FROM %s AS _t WHERE %s ORDER BY %s LIMIT %d", s.list(), s.table.place.quoted(), strings.Join(conditions, " AND "),
			s.table.quotedKey("_t."), scanRows)
		last, err := s.read(ctx, statement{text, values})
		if err != nil || last == nil {
			return err
		}
		after = last
	}
}

// read runs one query and returns the key of its last row, nil where there were fewer than scanRows.
func (s *scanner) read(ctx context.Context, query statement) (last []change.Value, err error) {
	n, found := len(s.table.all), 0
	values := make([]change.Value, n)
	err = s.query(ctx, query, func(fields [][]byte) (err error) {
		found++
		for i := range values {
			if values[i], err = parseText(&s.table.schema.Columns[i], fields[i]); err != nil {
				return fmt.Errorf("column %s of %s: %w", s.columns[i], s.table.place, err)
			}
		}
		version, source, err := numbers(fields[n:])
		if err != nil {
			return err
		}
		if found == scanRows {
			for _, i := range s.table.schema.Key {
				last = append(last, values[i])
			}
		}
		return s.each(sink.Row{Columns: s.columns, Values: values, Version: change.Version(version), Source: s.sourceOf(source)})
	})
	return last, err
}

func (s *scanner) sourceOf(number int64) string {
	if name, ok := s.sources[number]; ok || number == 0 {
		return name
	}
	return "number " + strconv.FormatInt(number, 10)
}

// Shape says what the target holds for a row of the source: its values, but for those that PostgreSQL cannot hold and the
// configuration has changed.
func (t *Target) Shape(_ string, schema *change.Table, values []change.Value, into []sink.Row) ([]sink.Row, error) {
	shaped := values
	for i, v := range values {
		stored := t.config.stored(v, &schema.Columns[i], schema.IsKey(i))
		if stored.Equal(v) {
			continue
		}
		if &shaped[0] == &values[0] {
			shaped = slices.Clone(values)
		}
		shaped[i] = stored
	}
	return append(into, sink.Row{Columns: t.names(schema), Values: shaped}), nil
}

// Occupied returns the target's tables that hold rows of the source, or of none.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) (occupied []string, err error) {
	return occupied, t.eachTable(ctx, source, tables, func(c *session, p place, mine string) error {
		found, err := c.exec(ctx, statement{text: "SELECT FROM " + p.quoted() + " AS _t WHERE " + mine + " LIMIT 1"})
		if err == nil && len(found[0].rows) > 0 {
			occupied = append(occupied, p.String())
		}
		return err
	})
}

// Empty removes all rows of the source, and of none, in the target's tables, and their debts.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	if err := t.server.prepareOwn(ctx); err != nil {
		return err
	}
	return t.eachTable(ctx, source, tables, func(c *session, p place, mine string) error {
		remove := statement{text: "TRUNCATE TABLE " + p.quoted()}
		shared, err := c.exec(ctx, statement{text: "SELECT FROM " + p.quoted() + " AS _t WHERE NOT (" + mine + ") LIMIT 1"})
		if err != nil {
			return err
		}
		if len(shared[0].rows) > 0 {
			remove.text = "DELETE FROM " + p.quoted() + " AS _t WHERE " + mine
		}
		c.open = true
		_, err = c.exec(ctx, begin, statement{"DELETE FROM " + c.own(debtTable) + " WHERE table_name=$1 AND starts_with(topic, $2)",
			[][]byte{[]byte(p.String()), []byte(source + ".")}}, remove, commit)
		if c.open = err != nil; c.open {
			return errors.Join(err, c.rollback())
		}
		return nil
	})
}

// eachTable runs f for the target's tables that are there, with the condition that a row is not another source's.
func (t *Target) eachTable(ctx context.Context, source string, tables []*change.Table, f func(c *session, p place, mine string) error) error {
	return t.server.withSession(ctx, func(c *session) error {
		names, err := c.sourceNames(ctx)
		if err != nil && stateOf(err) != stateNoTable && stateOf(err) != stateNoSchema {
			return err
		}
		mine := c.ownRows(names, source)
		for _, schema := range tables {
			p, err := t.config.place(source, schema.TableName)
			if err != nil {
				return err
			}
			err = f(c, p, mine)
			if stateOf(err) == stateNoColumn { // whose rows they are is not noted
				err = f(c, p, everyRow)
			}
			if err != nil && stateOf(err) != stateNoTable && stateOf(err) != stateNoSchema {
				return err
			}
		}
		return nil
	})
}
