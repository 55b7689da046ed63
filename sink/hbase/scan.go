package hbase

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// scanKeys is how many single keys one scanner looks for.
const scanKeys = 500

// Scan reads a table's rows back: whole tables, single keys, and key ranges where row keys have the order of the key at the source.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	p, err := t.planOf(r.Source, r.Table)
	if err != nil {
		return err
	}
	s := scanner{t: t, p: p, source: r.Source, each: each}
	if len(r.Keys) > 0 {
		for keys := range slices.Chunk(r.Keys, scanKeys) {
			if err := s.named(ctx, keys); err != nil {
				return err
			}
		}
		return nil
	}
	if r.After == nil && r.Through == nil {
		return s.read(ctx, scanRequest{})
	}
	if !p.key.ordered() {
		return fmt.Errorf("scan of a key range of %s, whose row keys do not have the order of the key: %w", p.name, errors.ErrUnsupported)
	}
	var from, to string // both are made of what lies just behind a key
	if r.After != nil {
		if from, err = s.key(r.After); err != nil {
			return err
		}
		from += "\x00"
	}
	to = markerKey
	if r.Through != nil {
		if to, err = s.key(r.Through); err != nil {
			return err
		}
		to += "\x00"
	}
	return s.read(ctx, scanRequest{start: []byte(from), filter: rangesFilter([]keyRange{{from, to}})})
}

// scanner is one scan.
type scanner struct {
	t      *Target
	p      *plan
	source string
	each   func(sink.Row) error
}

func (s *scanner) key(values []change.Value) (string, error) {
	key, err := s.p.key.append(nil, values)
	return string(key), err
}

// named reads single keys.
func (s *scanner) named(ctx context.Context, keys [][]change.Value) error {
	ranges := make([]keyRange, len(keys))
	for i, values := range keys {
		key, err := s.key(values)
		if err != nil {
			return err
		}
		ranges[i] = keyRange{key, key + "\x00"}
	}
	slices.SortFunc(ranges, keyRange.compare)
	return s.read(ctx, scanRequest{start: []byte(ranges[0].from), filter: rangesFilter(ranges)})
}

func (s *scanner) read(ctx context.Context, request scanRequest) error {
	r := reader{client: s.t.client, table: s.p.name, marked: true}
	return r.rows(ctx, request, func(have row) error {
		row, there, err := s.row(have)
		if err != nil || !there {
			return err
		}
		return s.each(row)
	})
}

// row makes a row of its cells; false for a tombstone. What Sluice did not write has no version.
func (s *scanner) row(have row) (row sink.Row, there bool, err error) {
	row = sink.Row{Columns: s.p.columns, Source: s.source, Values: make([]change.Value, len(s.p.columns))}
	var st state
	if own, ok := have.cell(s.p.state); ok {
		if st, err = parseState(own.value); err != nil {
			return row, false, s.bent(have.key, err)
		}
		row.Version = change.Version(own.timestamp)
	}
	if st.word == stateDeleted {
		return row, false, nil
	}
	for i := range s.p.table.Columns {
		column := &s.p.table.Columns[i]
		c, ok := have.cell(s.p.cells[i])
		if !ok || c.timestamp < int64(row.Version) {
			continue // NULL, in a row of before the column was there; or what is left of a column of before
		}
		if len(c.value) == 0 && (slices.Contains(st.nulls, column.Name) || !mayBeEmpty(column)) {
			continue
		}
		if row.Values[i], err = readText(column, c.value); err != nil {
			return row, false, s.bent(have.key, err)
		}
	}
	// A row elsewhere than where its key is looked for would be an extra row that no second look finds.
	if key, err := s.p.key.append(nil, keyOf(s.p.table, row.Values)); err != nil || !bytes.Equal(key, have.key) {
		return row, false, s.bent(have.key, errors.New("the columns of its key say another row key"))
	}
	return row, true, nil
}

func keyOf(t *change.Table, values []change.Value) []change.Value {
	key := make([]change.Value, len(t.Key))
	for i, at := range t.Key {
		key[i] = values[at]
	}
	return key
}

// mayBeEmpty reports whether a value of the column can be the empty text.
func mayBeEmpty(c *change.Column) bool {
	return c.Type.Character() || c.Type.Opaque() || c.Type == change.Enum || c.Type == change.Set
}

func (s *scanner) bent(key []byte, err error) error {
	return &change.Problem{Kind: change.Poison, Table: s.p.table.TableName, What: fmt.Sprintf("the row %q of %s is none of Sluice's", key, s.p.name), Where: s.t.client.base,
		Err: err, Why: "somebody else writes there", Mend: fmt.Sprintf("in the HBase shell: deleteall '%s', %q, TIMESTAMP (the greatest that get shows), and run sluice repair", s.p.name, key)}
}

// keyRange is from <= key < to.
type keyRange struct{ from, to string }

func (r keyRange) compare(other keyRange) int {
	if r.from < other.from {
		return -1
	}
	if r.from > other.from {
		return 1
	}
	return 0
}

// rangesFilter is the gateway's form of a filter that jumps from range to range, and to the table's own row. Ranges that touch make the
// server complain: equal ones are left out.
func rangesFilter(ranges []keyRange) string {
	type jsonRange struct {
		Start     []byte `json:"startRow"`
		StartIncl bool   `json:"startRowInclusive"`
		Stop      []byte `json:"stopRow"`
		StopIncl  bool   `json:"stopRowInclusive"`
	}
	var list []jsonRange
	for _, r := range append(slices.Compact(ranges), keyRange{markerKey, markerKey + "\x00"}) {
		list = append(list, jsonRange{[]byte(r.from), true, []byte(r.to), false})
	}
	text, err := json.Marshal(map[string]any{"type": "MultiRowRangeFilter", "ranges": list})
	if err != nil {
		panic(err) // it is all plain values
	}
	return string(text)
}

// stateFilter lets rows through whose state begins so, and those without a state unless strict.
func stateFilter(family, word string, strict bool) string {
	text, err := json.Marshal(map[string]any{"type": "SingleColumnValueFilter", "family": []byte(family), "qualifier": []byte(stateQualifier),
		"op": "EQUAL", "comparator": map[string]any{"type": "BinaryPrefixComparator", "value": []byte(word)}, "ifMissing": strict, "latestVersion": true})
	if err != nil {
		panic(err)
	}
	return string(text)
}
