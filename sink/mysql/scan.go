package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	scanRows = 20_000 // of one query: a long one would hold an old read view and a connection
	scanKeys = 200
)

// Scan reads the table in each shard, in key order, by queries of a bounded number of rows.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	tab, err := t.table(ctx, t.setup.Group, r.Source, r.Table)
	if err != nil {
		return err
	}
	for _, st := range tab.shards {
		s := newScanner(tab, st, r.ValuesOnly, each)
		if err := s.only(ctx, r.Source); err != nil {
			return err
		}
		if err := s.run(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func columnNames(t *change.Table) []string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return names
}

// scanner reads one shard's table.
type scanner struct {
	*shardTable
	table   *table
	columns []string
	each    func(sink.Row) error
	sources map[int64]string // names by number
	mine    string           // the condition that leaves out other sources' rows: where several share the table, each has its own

	list     string          // what is selected
	selected []change.Column // its columns: the table's and, if they are noted, the row's version and its source's number
	noted    bool
}

// newScanner returns one that has read nothing.
func newScanner(tab *table, st *shardTable, valuesOnly bool, each func(sink.Row) error) *scanner {
	s := &scanner{table: tab, shardTable: st, columns: columnNames(tab.schema), each: each}
	list := make([]string, 0, len(st.all)+2)
	for i := range st.all {
		list = append(list, server.SelectText(&st.all[i]))
	}
	s.selected = slices.Clone(st.all)
	if s.noted = st.version != "" && !valuesOnly; s.noted {
		list = append(list, "CAST("+st.version+" AS SIGNED)", "CAST("+st.origin+" AS SIGNED)")
		s.selected = append(s.selected, change.Column{Name: "version", Type: change.BigInt}, change.Column{Name: "source", Type: change.BigInt})
	}
	s.list = strings.Join(list, ",")
	return s
}

func (s *scanner) run(ctx context.Context, r sink.Scan) error {
	if len(r.Keys) > 0 {
		for keys := range slices.Chunk(r.Keys, scanKeys) {
			var b []byte
			for i, key := range keys {
				if i > 0 {
					b = append(b, " OR "...)
				}
				b = s.appendKey(b, key)
			}
			if _, err := s.read(ctx, string(b), -1); err != nil {
				return err
			}
		}
		return nil
	}
	through := ""
	if r.Through != nil {
		through = " AND NOT " + s.above(r.Through)
	}
	for after := r.After; ; {
		condition := "TRUE"
		if after != nil {
			condition = s.above(after)
		}
		last, err := s.read(ctx, condition+through, scanRows)
		if err != nil || last == nil {
			return err
		}
		after = last
	}
}

// above returns the condition that the key lies above the values, in an order that an index has.
func (s *scanner) above(key []change.Value) string {
	var b strings.Builder
	for i := range key {
		name, literal := server.QuoteName(s.key[i].Name), orderedLiteral(key[i], &s.key[i])
		if i == len(key)-1 {
			fmt.Fprintf(&b, "%s>%s", name, literal)
			break
		}
		fmt.Fprintf(&b, "%s>=%s AND (%s>%s OR (%s=%s AND ", name, literal, name, literal, name, literal)
	}
	return "(" + b.String() + strings.Repeat("))", len(key)-1) + ")"
}

// orderedLiteral returns a literal that compares as ORDER BY does: ENUM and SET by their numbers.
func orderedLiteral(v change.Value, c *change.Column) string {
	switch {
	case v.Kind != change.Str:
	case c.Type == change.Enum:
		return strconv.Itoa(slices.Index(c.Elements, string(v.Bytes)) + 1)
	case c.Type == change.Set:
		var bits uint64
		for _, name := range strings.Split(string(v.Bytes), ",") {
			if i := slices.Index(c.Elements, name); i >= 0 {
				bits |= 1 << i
			}
		}
		return strconv.FormatUint(bits, 10)
	}
	return string(appendValue(nil, v, c.Type))
}

// read runs one query and returns the key of its last row, nil where there were fewer than limit.
func (s *scanner) read(ctx context.Context, condition string, limit int) (last []change.Value, err error) {
	query := "SELECT " + s.list + " FROM " + s.quoted + " WHERE (" + condition + ")" + s.mine + " ORDER BY " + quoteNames(s.keyNames())
	if limit >= 0 {
		query += " LIMIT " + strconv.Itoa(limit)
	}
	c, err := s.shard.conn(ctx)
	if err != nil {
		return nil, err
	}
	defer c.release()
	found := 0
	var broken error // each's, which is not the server's
	err = server.SelectRows(ctx, c.conn, query, s.selected, func(values []change.Value) error {
		if found++; found == limit {
			for _, column := range s.table.schema.Key {
				v := values[column]
				v.Bytes = slices.Clone(v.Bytes)
				last = append(last, v)
			}
		}
		broken = s.each(s.row(values))
		return broken
	})
	if broken != nil {
		return nil, broken
	}
	return last, s.shard.problem(err)
}

func (s *scanner) keyNames() []string {
	names := make([]string, len(s.key))
	for i := range s.key {
		names[i] = s.key[i].Name
	}
	return names
}

// row makes a row of what is selected.
func (s *scanner) row(values []change.Value) sink.Row {
	n := len(s.all)
	row := sink.Row{Shard: s.shard.config.Name, Columns: s.columns, Values: values[:n:n]}
	if s.noted {
		row.Version, row.Source = change.Version(values[n].Int()), s.sourceOf(values[n+1].Int())
	}
	return row
}

// only reads the names of the sources' numbers, while the connection can still be asked, and leaves out the rows of all sources but one.
// Those of none, which somebody else wrote, stay.
func (s *scanner) only(ctx context.Context, source string) (err error) {
	if s.version == "" {
		return nil
	}
	if s.sources, err = s.shard.sourceNames(ctx); err == nil {
		if others := otherSources(s.sources, source); others != "" {
			s.mine = " AND " + notOf(s.origin, others)
		}
	}
	return err
}

// otherSources lists the numbers of all sources but one, as SQL does.
func otherSources(names map[int64]string, source string) string {
	var others []string
	for _, number := range slices.Sorted(maps.Keys(names)) {
		if names[number] != source {
			others = append(others, strconv.FormatInt(number, 10))
		}
	}
	return strings.Join(others, ",")
}

// sourceOf returns the name of a source's number.
func (s *scanner) sourceOf(number int64) string {
	if number == 0 {
		return ""
	}
	if name, ok := s.sources[number]; ok {
		return name
	}
	return "number " + strconv.FormatInt(number, 10)
}

// Shape says in which shards a row of the source belongs.
func (t *Target) Shape(_ string, schema *change.Table, values []change.Value, into []sink.Row) ([]sink.Row, error) {
	place, err := t.placementOf(schema)
	if err != nil {
		return nil, err
	}
	at, err := place.shard(values)
	if err != nil {
		return nil, fmt.Errorf("route a row of %s: %w", schema.TableName, err)
	}
	for i, s := range t.shards {
		if at == i || at == route.All {
			into = append(into, sink.Row{Shard: s.config.Name, Columns: place.columns, Values: values})
		}
	}
	return into, nil
}

// Explain says by what the row's shard was found.
func (t *Target) Explain(_ string, schema *change.Table, values []change.Value) ([]string, error) {
	place, err := t.placementOf(schema)
	if err != nil {
		return nil, err
	}
	if place.place != nil {
		at, err := place.routed(values)
		if err != nil || at == route.All {
			return []string{place.rule.String() + " -> all shards"}, err
		}
		return []string{place.rule.String() + " -> " + place.names[at]}, nil
	}
	var v change.Value
	if place.by != nil {
		if v, err = place.by.Eval(values); err != nil {
			return nil, err
		}
	}
	return []string{"route " + route.Explain(schema.TableName, place.text, place.rule, t.config.shardNames(), v)}, nil
}

// placementOf returns the table's placement, which needs no server.
func (t *Target) placementOf(schema *change.Table) (*placement, error) {
	if p, ok := t.placements.Load(schema); ok {
		return p.(*placement), nil
	}
	p, err := newPlacement(t.config, schema)
	if err != nil {
		return nil, err
	}
	p.columns = columnNames(schema)
	t.placements.Store(schema, &p)
	return &p, nil
}

// Occupied returns the target's tables that hold rows of the source, or of none.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	var occupied []string
	for _, s := range t.shards {
		db, _, err := s.pool(ctx)
		if err != nil {
			return nil, err
		}
		for _, schema := range tables {
			condition, err := s.ownRows(ctx, s.target(schema.TableName), t.config.originOf(s, schema), source)
			if err != nil {
				return nil, err
			}
			found := false
			err = queryRows(ctx, db, "SELECT 1 FROM "+server.QuoteTable(s.target(schema.TableName))+" WHERE "+condition+" LIMIT 1",
				func([]sql.RawBytes) error { found = true; return nil })
			if err != nil && server.ErrorNumber(err) != errorNoTable {
				return nil, s.problem(err)
			}
			if found {
				occupied = append(occupied, s.target(schema.TableName).String()+" in shard "+s.config.Name)
			}
		}
	}
	return occupied, nil
}

// everyRow is the condition where a table has no rows of other sources.
const everyRow = "TRUE"

// ownRows returns the condition that leaves out the rows that other sources have in the table.
func (s *shard) ownRows(ctx context.Context, table change.TableName, origin, source string) (string, error) {
	db, _, err := s.pool(ctx)
	if err != nil {
		return "", err
	}
	names, err := s.sourceNames(ctx)
	if err != nil {
		return "", err
	}
	others, shared := otherSources(names, source), false
	if others == "" {
		return everyRow, nil
	}
	err = queryRows(ctx, db, "SELECT 1 FROM "+server.QuoteTable(table)+" WHERE "+origin+" IN ("+others+") LIMIT 1",
		func([]sql.RawBytes) error { shared = true; return nil })
	if n := server.ErrorNumber(err); err != nil && n != errorNoTable && n != errorNoColumn { // without the column rows have no source
		return "", s.problem(err)
	}
	if !shared {
		return everyRow, nil
	}
	return notOf(origin, others), nil
}

// notOf is the condition that a row is of none of the sources.
func notOf(origin, numbers string) string {
	return "(" + origin + " IS NULL OR " + origin + " NOT IN (" + numbers + "))"
}

// emptyRows is how many rows one statement removes where others' rows stay.
const emptyRows = 10_000

// Empty removes all rows of the source, and of none, in the target's tables, and their debts.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	for _, s := range t.shards {
		if err := s.prepareOwn(ctx); err != nil {
			return err
		}
		db, _, err := s.pool(ctx)
		if err != nil {
			return err
		}
		for _, schema := range tables {
			if err := t.emptyTable(ctx, s, db, source, schema); err != nil {
				return err
			}
			_, err = db.ExecContext(ctx, "DELETE FROM "+s.qualify(debtTable)+" WHERE table_name=? AND LEFT(topic, CHAR_LENGTH(?)+1)=CONCAT(?, '.')",
				s.target(schema.TableName).Name, source, source)
			if err != nil {
				return s.problem(err)
			}
		}
	}
	return nil
}

// emptyTable removes the rows, and their lines in the side table after them: a line without a row says nothing. Lines of others stay, for
// theirs may say that they have taken keys over.
func (t *Target) emptyTable(ctx context.Context, s *shard, db *sql.DB, source string, schema *change.Table) error {
	name := s.target(schema.TableName)
	condition, err := s.ownRows(ctx, name, t.config.originOf(s, schema), source)
	if err == nil {
		err = s.empty(ctx, db, server.QuoteTable(name), condition)
	}
	if err != nil || !t.config.beside(schema.TableName) {
		return err
	}
	name = s.side(schema.TableName)
	if condition, err = s.ownRows(ctx, name, server.QuoteName(t.config.SourceColumn), source); err != nil {
		return err
	}
	return s.empty(ctx, db, server.QuoteTable(name), condition)
}

// empty removes the rows of a table of which the condition is true.
func (s *shard) empty(ctx context.Context, db *sql.DB, table, condition string) error {
	if condition == everyRow {
		if _, err := db.ExecContext(ctx, "TRUNCATE TABLE "+table); server.ErrorNumber(err) != errorNoTable {
			return s.problem(err)
		}
		return nil
	}
	for deleted := int64(emptyRows); deleted == emptyRows; {
		result, err := db.ExecContext(ctx, fmt.Sprintf("DELETE FROM %s WHERE %s LIMIT %d", table, condition, emptyRows))
		if err == nil {
			deleted, err = result.RowsAffected()
		}
		if err != nil {
			return s.problem(err)
		}
	}
	return nil
}
