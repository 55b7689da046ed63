package clickhouse

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// StateTarget keeps a row for each row of the source, as it is now.
type StateTarget struct {
	*base

	mu      sync.Mutex // guards the following
	layouts map[layoutKey]*layout
}

// layoutKey is a schema of a source's table. There is one pointer a schema.
type layoutKey struct {
	source string
	table  *change.Table
}

var (
	_ sink.Target   = (*StateTarget)(nil)
	_ sink.Preparer = (*StateTarget)(nil)
	_ sink.Checker  = (*StateTarget)(nil)
	_ sink.Scanner  = (*StateTarget)(nil)
	_ sink.Emptier  = (*StateTarget)(nil)
)

// Prepare makes missing tables and columns, or says which statements would.
func (t *StateTarget) Prepare(ctx context.Context, _, source string, tables []*change.Table) error {
	for _, table := range tables {
		if _, err := t.layout(ctx, source, table); err != nil {
			return named(err, table)
		}
	}
	return nil
}

// Apply writes the batch: the newest change of each key, with its version, by which the server chooses when it is read.
func (t *StateTarget) Apply(ctx context.Context, b *sink.Batch) error {
	newest := sink.NewestPerKey(b.Changes)
	for len(newest) > 0 { // mostly once: a batch has one schema, where none changed just now
		table := b.Changes[newest[0]].Table
		l, err := t.layout(ctx, b.Source, table)
		if err != nil {
			return named(err, table)
		}
		rows, count, size := make([]byte, 0, b.Bytes/2), 0, 0
		var others []int
		for _, i := range newest {
			c := &b.Changes[i]
			if c.Table != table {
				others = append(others, i)
				continue
			}
			if rows, err = l.appendRow(rows, c); err != nil {
				return refused(c, err)
			}
			count, size = count+1, size+c.Bytes
		}
		if err := t.gatherer.insert(ctx, l.sheet, rows, count, size); err != nil {
			if change.SeverityOf(err) == change.Poison {
				t.forget(l) // the table may have been altered
			}
			return named(err, table)
		}
		newest = others
	}
	return nil
}

// refused says which change cannot be written.
func refused(c *sink.Change, err error) error {
	return &sink.Refused{Offset: c.Offset, Err: &change.Problem{Kind: change.Poison, Table: c.Table.TableName, What: "a row cannot be written",
		Why: "it would be missing, or bent", Err: err,
		Mend: "mend the value at the source, give the column a type that holds it (String holds every date), or set the record aside (on_error: dead_letter)"}}
}

// layout returns how rows of the schema are written, and completes the table at the first sight of it.
func (t *StateTarget) layout(ctx context.Context, source string, table *change.Table) (*layout, error) {
	key := layoutKey{source, table}
	t.mu.Lock()
	l := t.layouts[key]
	t.mu.Unlock()
	if l != nil {
		return l, nil
	}
	f, err := t.ask(ctx)
	if err != nil {
		return nil, err
	}
	for i := range table.Columns {
		name := table.Columns[i].Name
		own := strings.HasPrefix(strings.ToLower(name), ownPrefix)
		if own || !f.modern && virtualColumns[name] {
			return nil, &change.Problem{Kind: change.Poison, What: "a column is named " + name, Where: t.where(),
				Why: "names that begin with " + ownPrefix + " are Sluice's own; at servers before 23.2 some that begin with _ are the server's", Mend: "rename it at the source"}
		}
	}
	x, err := t.complete(ctx, t.wanted(f, source, table))
	if err != nil {
		return nil, err
	}
	l = newLayout(f, table, t.place(x.name), x)
	t.mu.Lock()
	t.layouts[key] = l
	t.mu.Unlock()
	return l, nil
}

// virtualColumns are those by whose names old servers show something of their own.
var virtualColumns = map[string]bool{"_part": true, "_part_index": true, "_partition_id": true, "_sample_factor": true, "_table": true}

// forget lets the table be looked at anew.
func (t *StateTarget) forget(l *layout) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, known := range t.layouts {
		if known.place == l.place {
			delete(t.layouts, key)
		}
	}
}

// wanted is a table's copy as it should be.
func (t *StateTarget) wanted(f form, source string, table *change.Table) *wanted {
	keys := table.KeyNames()
	w := &wanted{name: t.config.tableName(source, table.TableName), owner: t.config.owner(source, table), sorting: keys, dividing: keys,
		engine: "ReplacingMergeTree(" + columnVersion + ")", replaces: columnVersion}
	if f.modern {
		w.engine = "ReplacingMergeTree(" + columnVersion + ", " + columnDeleted + ")"
		w.settings = durable
	}
	if n := t.config.HashPartitions; n > 0 {
		w.divided = fmt.Sprintf("cityHash64(%s) %% %d", strings.Join(quoteNames(keys), ", "), n)
	}
	for i := range table.Columns {
		c, key := &table.Columns[i], table.IsKey(i)
		w.columns = append(w.columns, wantedColumn{name: c.Name, typeName: f.typeOf(c, key), lacks: func(have string) string {
			typ, known := parseType(have)
			if !known {
				return "what Sluice can write: it knows no such type"
			}
			return typ.lacks(c)
		}})
	}
	for _, c := range ownColumns {
		w.columns = append(w.columns, wantedColumn{name: c.name, typeName: c.typeName, lacks: exactly(c.typeName)})
	}
	return w
}

// durable has a block on the disk before the server says that it is inserted.
const durable = " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"

var ownColumns = []struct{ name, typeName string }{{columnVersion, "UInt64"}, {columnDeleted, "UInt8"}, {columnExact, "String"}}

func exactly(typeName string) func(string) string {
	return func(have string) string {
		if have == typeName {
			return ""
		}
		return "a " + typeName
	}
}

// newLayout is how rows are written to a table that has all columns.
func newLayout(f form, table *change.Table, place string, x *existing) *layout {
	l := &layout{table: table}
	var names, types []string
	for i := range table.Columns {
		name := table.Columns[i].Name
		typ, _ := parseType(x.columns[name].typeName)
		l.columns = append(l.columns, typ)
		names, types = append(names, name), append(types, x.columns[name].typeName)
	}
	for _, c := range ownColumns {
		names, types = append(names, c.name), append(types, c.typeName)
	}
	l.sheet = newSheet(f, place, names, types)
	return l
}

// newSheet is how rows of these columns are inserted. Newer servers are told their types, so that rows do not go into a column that was
// altered meanwhile; older ones have no form that says them.
func newSheet(f form, place string, names, types []string) *sheet {
	s := &sheet{place: place, statement: fmt.Sprintf("INSERT INTO %s (%s) FORMAT RowBinary", place, strings.Join(quoteNames(names), ", "))}
	if f.modern {
		s.statement += "WithNamesAndTypes"
		s.header = binary.AppendUvarint(nil, uint64(len(names)))
		for _, text := range slices.Concat(names, types) {
			s.header = appendText(s.header, text)
		}
	}
	return s
}
