package memory

import (
	"bytes"
	"cmp"
	"context"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Scan calls each for the rows of the table, in no order.
func (t *Target) Scan(_ context.Context, r sink.Scan, each func(sink.Row) error) error {
	for _, row := range t.store.scan(r) {
		if err := each(row); err != nil {
			return err
		}
	}
	return nil
}

// Shape says in which shard a row belongs.
func (t *Target) Shape(_ string, table *change.Table, values []change.Value, into []sink.Row) ([]sink.Row, error) {
	return t.store.shape(table, values, into)
}

func (s *Store) shape(table *change.Table, values []change.Value, into []sink.Row) ([]sink.Row, error) {
	row := sink.Row{Shard: s.shards[0].name, Values: values}
	for i := range table.Columns {
		row.Columns = append(row.Columns, table.Columns[i].Name)
	}
	if s.config.Route != nil {
		var err error
		if row.Shard, err = s.config.Route(table, values); err != nil {
			return nil, err
		}
	}
	return append(into, row), nil
}

// scan copies the rows first: each may take its time, and may look at the store.
func (s *Store) scan(r sink.Scan) []sink.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	var columns []string
	for i := range r.Table.Columns {
		columns = append(columns, r.Table.Columns[i].Name)
	}
	named := make(map[string]bool)
	for _, key := range r.Keys {
		named[encode(key)] = true
	}
	var rows []sink.Row
	for _, sh := range s.shards {
		table := sh.tables[r.Table.TableName]
		if table == nil {
			continue
		}
		for key, row := range table.rows {
			if r.Source != "" && row.source != r.Source || len(named) > 0 && !named[key] {
				continue
			}
			if r.After != nil && compareKeys(row.key, r.After) <= 0 || r.Through != nil && compareKeys(row.key, r.Through) > 0 {
				continue
			}
			rows = append(rows, row.public(sh.name, columns))
		}
	}
	return rows
}

// Occupied returns the tables that hold rows.
func (t *Target) Occupied(_ context.Context, _ string, tables []*change.Table) ([]string, error) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, sh := range s.shards {
		for _, table := range tables {
			if held := sh.tables[table.TableName]; held != nil && len(held.rows) > 0 {
				names = append(names, strings.TrimPrefix(sh.name+"/"+table.String(), "/"))
			}
		}
	}
	return names, nil
}

// Empty forgets all about the tables.
func (t *Target) Empty(_ context.Context, _ string, tables []*change.Table) error {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.shards {
		for _, table := range tables {
			delete(sh.tables, table.TableName)
		}
	}
	return nil
}

// compareKeys orders keys column by column: numbers by value, all else by bytes.
func compareKeys(a, b []change.Value) int {
	for i := range min(len(a), len(b)) {
		if c := compareValues(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func compareValues(a, b change.Value) int {
	if a.Kind != b.Kind {
		return cmp.Compare(a.Kind, b.Kind)
	}
	switch a.Kind {
	case change.Int64:
		return cmp.Compare(a.Int(), b.Int())
	case change.Uint64:
		return cmp.Compare(a.Uint(), b.Uint())
	case change.Float32, change.Float64:
		return cmp.Compare(a.Float(), b.Float())
	}
	return bytes.Compare(a.Bytes, b.Bytes)
}

func text(key []change.Value) string {
	parts := make([]string, len(key))
	for i, v := range key {
		parts[i] = v.String()
	}
	return strings.Join(parts, ", ")
}
