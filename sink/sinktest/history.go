package sinktest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// history is what a database did, as the source writes it down: one log a partition, versions growing over all of
// them, and the state that it ended with.
type history struct {
	table Table
	logs  [][]sink.Change // by partition, in offset order, with gaps in the offsets
	ends  []int64         // by partition: the offset after the log's last record
	rows  map[string]*held
	clock change.Version
	r     *rand.Rand
	last  map[string]int // by key: how many records of it the log has, to know which are compacted
}

// held is a row of the model database.
type held struct {
	values  []change.Value
	version change.Version
}

// newHistory does steps random things to a database that starts empty. keys and codes are few, so that rows and
// unique values meet each other.
func newHistory(r *rand.Rand, table Table, partitions, steps int) *history {
	h := &history{table: table, logs: make([][]sink.Change, partitions), ends: make([]int64, partitions),
		rows: make(map[string]*held), clock: 1_000_000, r: r, last: make(map[string]int)}
	for range steps {
		h.step()
	}
	if r.IntN(2) == 0 {
		h.compact()
	}
	return h
}

func (h *history) step() {
	switch n := h.r.IntN(20); {
	case n < 8:
		h.insertOrUpdate(h.randomRow())
	case n < 11:
		if key := h.randomKey(); key != "" {
			h.delete(key)
		}
	case n < 13:
		h.changeKey()
	case n < 17:
		h.swap()
	default:
		if key := h.randomKey(); key != "" {
			h.read(key)
		}
	}
}

// randomRow fills a row by column name: the tables of the suite share the names.
func (h *history) randomRow() []change.Value {
	row := make([]change.Value, len(h.table.Columns))
	for i := range h.table.Columns {
		row[i] = h.randomValue(&h.table.Columns[i])
	}
	return row
}

func (h *history) randomValue(c *change.Column) change.Value {
	switch {
	case c.Nullable && h.r.IntN(4) == 0:
		return change.Value{}
	case c.Name == "id":
		return change.IntValue(int64(h.r.IntN(8)))
	case c.Unsigned:
		return change.UintValue(uint64(h.r.IntN(3)))
	case c.Type == change.Int:
		return change.IntValue(int64(h.r.IntN(4)))
	}
	return change.StringValue(fmt.Sprintf("%s%d", c.Name, h.r.IntN(6)))
}

func (h *history) key(row []change.Value) ([]change.Value, string) {
	key := make([]change.Value, len(h.table.Key))
	for i, c := range h.table.Key {
		key[i] = row[c]
	}
	return key, encode(key)
}

func (h *history) randomKey() string {
	if len(h.rows) == 0 {
		return ""
	}
	n := h.r.IntN(len(h.rows))
	for _, key := range sortedKeys(h.rows) {
		if n == 0 {
			return key
		}
		n--
	}
	return ""
}

// allowed reports whether the database would take the row: no other row holds one of its unique values.
func (h *history) allowed(row []change.Value, except string) bool {
	_, own := h.key(row)
	for key, other := range h.rows {
		if key == own || key == except {
			continue
		}
		for _, unique := range h.table.Uniques {
			if h.clash(unique, row, other.values) {
				return false
			}
		}
	}
	return true
}

func (h *history) clash(unique []string, a, b []change.Value) bool {
	for _, name := range unique {
		i := h.table.Column(name)
		if a[i].IsNull() || !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

func (h *history) insertOrUpdate(row []change.Value) {
	if !h.allowed(row, "") {
		return
	}
	_, key := h.key(row)
	if before := h.rows[key]; before != nil {
		h.put(change.Update, before.values, row)
		return
	}
	h.put(change.Create, nil, row)
}

func (h *history) put(op change.Op, before, row []change.Value) {
	_, key := h.key(row)
	c := h.record(op, row)
	c.Before, c.After = before, row
	c.TrustedBefore = op != change.Read
	h.rows[key] = &held{values: row, version: c.Version}
	h.append(c)
}

// read is a row that a crawl saw: the state is the same, the version is newer.
func (h *history) read(key string) { h.put(change.Read, nil, h.rows[key].values) }

func (h *history) delete(key string) {
	before := h.rows[key].values
	c := h.record(change.Delete, before)
	c.Before, c.TrustedBefore = before, true
	h.append(c)
	if h.r.IntN(2) == 0 {
		h.clock++
	}
	t := h.record(change.Delete, before)
	t.Version = c.Version + change.Version(h.r.IntN(2))
	h.clock = max(h.clock, t.Version)
	t.Tombstone = true
	h.append(t)
	delete(h.rows, key)
}

// changeKey moves a row to another key: a delete and a create, the delete first (rule R1).
func (h *history) changeKey() {
	from := h.randomKey()
	if from == "" {
		return
	}
	row := append([]change.Value(nil), h.rows[from].values...)
	for _, c := range h.table.Key {
		row[c] = h.randomValue(&h.table.Columns[c])
	}
	_, to := h.key(row)
	if h.rows[to] != nil || !h.allowed(row, from) {
		return
	}
	h.delete(from)
	h.put(change.Create, nil, row)
}

// swap exchanges the unique values of two rows as a transaction does it: one row gives way to NULL first.
func (h *history) swap() {
	one, two := h.randomKey(), h.randomKey()
	if one == two || one == "" {
		return
	}
	a, b := h.rows[one].values, h.rows[two].values
	parked := append([]change.Value(nil), a...)
	left := append([]change.Value(nil), a...)
	right := append([]change.Value(nil), b...)
	for _, name := range []string{"code", "b"} {
		i := h.table.Column(name)
		parked[i] = change.Value{}
		left[i], right[i] = b[i], a[i]
	}
	i := h.table.Column("a")
	left[i], right[i] = b[i], a[i]
	h.put(change.Update, a, parked)
	h.put(change.Update, b, right)
	h.put(change.Update, parked, left)
}

func (h *history) record(op change.Op, row []change.Value) sink.Change {
	h.clock += 1 + change.Version(h.r.IntN(3))
	key, encoded := h.key(row)
	return sink.Change{Op: op, Table: h.table.Table, KeyNames: h.table.KeyNames(), KeyValues: key, Key: []byte(encoded),
		Version: h.clock, AppendMillis: int64(h.clock), Bytes: 100}
}

func (h *history) append(c sink.Change) {
	hash := fnv.New32a()
	hash.Write(c.Key)
	p := int(hash.Sum32() % uint32(len(h.logs)))
	c.Offset = h.ends[p]
	h.ends[p]++
	if h.r.IntN(4) == 0 { // a transaction marker
		h.ends[p]++
	}
	h.logs[p] = append(h.logs[p], c)
	h.last[string(c.Key)]++
}

// compact removes records that have a newer one of the same key, as the broker does up to some offset. What
// follows a removed record cannot trust its before image.
func (h *history) compact() {
	for p, log := range h.logs {
		clean := h.r.IntN(len(log) + 1)
		newest := make(map[string]int64)
		for _, c := range log[:clean] {
			newest[string(c.Key)] = c.Offset
		}
		var kept []sink.Change
		for i, c := range log {
			if i < clean {
				if newest[string(c.Key)] != c.Offset {
					continue
				}
				c.TrustedBefore = false
			}
			kept = append(kept, c)
		}
		h.logs[p] = kept
	}
}

// encode gives equal text for equal values and for no others, in an order that groups equal kinds.
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
