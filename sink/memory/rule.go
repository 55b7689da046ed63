package memory

import (
	"encoding/binary"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// table is one table of one shard. Its methods are the rules; they decide by what the table holds and by
// nothing else.
type table struct {
	uniques [][]string
	rows    map[string]*row
	deleted map[string]change.Version // keys that were deleted, with the version of the real delete
	holders []map[string]string       // for each unique key: its value -> the key of the row that holds it
	debts   map[string]debt
}

type row struct {
	source  string
	version change.Version
	key     []change.Value
	columns []string
	values  []change.Value
}

// debt is a key whose next change, newer than above, must still come.
type debt struct {
	above change.Version
	key   []change.Value
	by    *sink.Change // what made the debt
	topic string
}

func newTable(uniques [][]string) *table {
	t := &table{
		uniques: uniques,
		rows:    make(map[string]*row),
		deleted: make(map[string]change.Version),
		debts:   make(map[string]debt),
	}
	for range uniques {
		t.holders = append(t.holders, make(map[string]string))
	}
	return t
}

// upsert is rule R5: a row that is there, or was deleted, with a version not below the change's stays as
// it is. If any other row that holds one of the unique values is newer, nothing is written: the row's own
// next change is on its way. Else those holders are deleted, without a marker, which would block their own next
// change, and the row is written.
func (t *table) upsert(b *sink.Batch, c *sink.Change, stats *Stats) {
	key := encode(c.KeyValues)
	if t.settled(key, c.Version) {
		stats.Stale++
		return
	}
	t.pay(key, c.Version)
	next := newRow(b.Source, c)
	others := t.othersHolding(key, next)
	for _, other := range others {
		if t.rows[other].version > c.Version {
			t.debts[key] = debt{above: c.Version, key: c.KeyValues, by: c, topic: b.Topic}
			stats.Conflicts++
			return
		}
	}
	for _, other := range others {
		held := t.rows[other]
		t.debts[other] = debt{above: held.version, key: held.key, by: c, topic: b.Topic}
		t.remove(other)
		stats.Conflicts++
	}
	t.remove(key)
	delete(t.deleted, key)
	t.rows[key] = next
	for i := range t.uniques {
		if value, ok := t.unique(i, next); ok {
			t.holders[i][value] = key
		}
	}
	stats.Written++
}

// delete deletes by version and leaves a marker with the version of this delete.
func (t *table) delete(c *sink.Change, stats *Stats) {
	key := encode(c.KeyValues)
	if t.settled(key, c.Version) {
		stats.Stale++
		return
	}
	t.pay(key, c.Version)
	if t.rows[key] != nil {
		stats.Deleted++
	}
	t.remove(key)
	t.deleted[key] = c.Version
}

// settled reports whether the key has a row or a marker that is not older than v.
func (t *table) settled(key string, v change.Version) bool {
	if r := t.rows[key]; r != nil && r.version >= v {
		return true
	}
	d, ok := t.deleted[key]
	return ok && d >= v
}

// pay strikes the key's debt, if a change of version v is what it waits for.
func (t *table) pay(key string, v change.Version) {
	if d, ok := t.debts[key]; ok && v > d.above {
		delete(t.debts, key)
	}
}

func (t *table) othersHolding(key string, r *row) []string {
	var others []string
	for i := range t.uniques {
		value, ok := t.unique(i, r)
		if !ok {
			continue
		}
		if holder, taken := t.holders[i][value]; taken && holder != key && !contains(others, holder) {
			others = append(others, holder)
		}
	}
	return others
}

func (t *table) remove(key string) {
	r := t.rows[key]
	if r == nil {
		return
	}
	for i := range t.uniques {
		if value, ok := t.unique(i, r); ok {
			delete(t.holders[i], value)
		}
	}
	delete(t.rows, key)
}

// unique returns the row's value of the i-th unique key; false where a column of it is NULL or absent, which
// holds nothing.
func (t *table) unique(i int, r *row) (string, bool) {
	values := make([]change.Value, 0, len(t.uniques[i]))
	for _, name := range t.uniques[i] {
		v := r.column(name)
		if v.IsNull() {
			return "", false
		}
		values = append(values, v)
	}
	return encode(values), true
}

func newRow(source string, c *sink.Change) *row {
	r := &row{source: source, version: c.Version, key: c.KeyValues, values: c.After}
	for i := range c.Table.Columns {
		r.columns = append(r.columns, c.Table.Columns[i].Name)
	}
	return r
}

// column returns the value of the column of that name, NULL where the row was written without it.
func (r *row) column(name string) change.Value {
	for i, n := range r.columns {
		if n == name {
			return r.values[i]
		}
	}
	return change.Value{}
}

func (r *row) public(shard string, columns []string) sink.Row {
	out := sink.Row{Shard: shard, Columns: columns, Version: r.version, Source: r.source}
	for _, name := range columns {
		out.Values = append(out.Values, r.column(name))
	}
	return out
}

// encode gives equal text for equal values and for no others.
func encode(values []change.Value) string {
	var b []byte
	for _, v := range values {
		b = append(b, byte(v.Kind))
		b = binary.BigEndian.AppendUint64(b, v.Num)
		b = binary.AppendUvarint(b, uint64(len(v.Bytes)))
		b = append(b, v.Bytes...)
	}
	return string(b)
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
