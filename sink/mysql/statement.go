package mysql

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/sink"
)

// rowsPerStatementMax bounds how many rows a failed statement must be searched for, and how long the list of
// conditions of a DELETE grows.
const rowsPerStatementMax = 500

// appendRow appends one row of an INSERT.
func (st *shardTable) appendRow(dst []byte, c *sink.Change, source int64) []byte {
	dst = append(dst, '(')
	for i, column := range st.written {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, c.After[column], st.columns[i].Type)
	}
	if st.ownColumns() {
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, source, 10)
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, int64(c.Version), 10)
	}
	return append(dst, ')')
}

// insert appends a statement of the first n rows: as many as fit into max bytes, one at least.
func (st *shardTable) insert(dst []byte, rows []*sink.Change, source int64, maxBytes int) (out []byte, n int) {
	begin, rowsMax := len(dst), min(len(rows), rowsPerStatementMax)
	b := append(dst, st.head...)
	for n < rowsMax {
		mark := len(b)
		if n > 0 {
			b = append(b, ',')
		}
		b = st.appendRow(b, rows[n], source)
		if n > 0 && len(b)-begin+len(st.tail) > maxBytes {
			b = b[:mark]
			break
		}
		if n++; n == 1 {
			b = slices.Grow(b, min(roomFor(len(b)-mark+1, rows[1:rowsMax]), maxBytes)+len(st.tail))
		}
	}
	return append(b, st.tail...), n
}

// roomFor guesses how many bytes rows take in a statement: as many as the first did each, but in all no more than their records hold.
func roomFor(first int, rows []*sink.Change) int {
	held := 0
	for _, c := range rows {
		held += c.Bytes
	}
	return min(first*len(rows), held)
}

// appendKey appends the condition that names a row by its key: `id`=5, or (`a`='x' AND `b`=7). It names a row's line in the side table too.
func (st *shardTable) appendKey(dst []byte, key []change.Value) []byte {
	return st.appendKeyOf(dst, "", key)
}

// appendKeyOf is appendKey where columns of several tables could be meant.
func (st *shardTable) appendKeyOf(dst []byte, table string, key []change.Value) []byte {
	if len(key) > 1 {
		dst = append(dst, '(')
	}
	for i, v := range key {
		if i > 0 {
			dst = append(dst, " AND "...)
		}
		if table != "" {
			dst = append(append(dst, table...), '.')
		}
		dst = append(append(dst, st.keyNames[i]...), '=')
		dst = appendValue(dst, v, st.key[i].Type)
	}
	if len(key) > 1 {
		dst = append(dst, ')')
	}
	return dst
}

// appendDeleteHead begins a DELETE of several keys; see appendDeleteKey. A row in a side table's keeping goes with its line.
func (st *shardTable) appendDeleteHead(dst []byte, source int64) []byte {
	origin := st.origin
	if x := st.side; x != nil {
		origin = "COALESCE(" + x.quoted + "." + x.origin + ",0)"
		dst = append(dst, "DELETE "+st.quoted+","+x.quoted+" FROM "+st.quoted+st.byKey+" LEFT JOIN "+x.quoted+" ON "+x.joined+" WHERE "...)
	} else {
		dst = append(dst, "DELETE "+st.quoted+" FROM "+st.quoted+st.byKey+" WHERE "...)
	}
	if st.version == "" {
		return append(dst, '(')
	}
	dst = append(append(dst, origin...), " IN (0,"...)
	return append(strconv.AppendInt(dst, source, 10), ") AND ("...)
}

// appendDeleteKey appends one key of a DELETE: by version, a row that is newer stays. A row of another source is
// not ours to delete: ours is not there.
func (st *shardTable) appendDeleteKey(dst []byte, key []change.Value, version change.Version) []byte {
	table, stored := "", st.version
	if x := st.side; x != nil {
		table, stored = st.quoted, "COALESCE("+x.quoted+"."+x.version+",0)"
	}
	if st.version == "" || mutant.DeleteUnversioned {
		return st.appendKeyOf(dst, table, key)
	}
	dst = append(st.appendKeyOf(append(dst, '('), table, key), " AND "...)
	dst = append(append(dst, stored...), '<')
	return append(strconv.AppendInt(dst, int64(version), 10), ')')
}

// statements collects the statements of a transaction and cuts them into packets.
type statements struct {
	max     int      // bytes of a packet
	packets [][]byte // finished
	current []byte
}

// add appends a whole statement.
func (s *statements) add(statement []byte) {
	end := s.begin()
	s.current = append(s.current, statement...)
	s.cut(end)
}

// begin is called before a statement is appended to current, and returns what cut is called with behind it.
func (s *statements) begin() (end int) {
	end = len(s.current)
	if end > 0 {
		s.current = append(s.current, ';')
	}
	return end
}

// cut begins a new packet with the last statement where the packet has become too large with it.
func (s *statements) cut(end int) {
	if end > 0 && len(s.current) > s.max {
		last := bytes.Clone(s.current[end+1:])
		s.packets = append(s.packets, s.current[:end])
		s.current = last
	}
}

func (s *statements) done() [][]byte {
	if len(s.current) > 0 {
		s.packets = append(s.packets, s.current)
		s.current = nil
	}
	return s.packets
}

// addUpserts adds guarded INSERTs of the rows, as few as there can be.
func (s *statements) addUpserts(t *table, st *shardTable, rows []*sink.Change, r ranks) error {
	if st.side != nil && len(rows) > 0 {
		s.add([]byte(savepoint))
	}
	for len(rows) > 0 {
		n, size := s.addInsert(st, rows, r)
		if size > s.max {
			return t.refuse(rows[0], st.shard, "a statement cannot be larger than the server's max_allowed_packet",
				"SET PERSIST max_allowed_packet = 1073741824; and restart the sink", &rowTooLarge{bytes: size, max: s.max})
		}
		rows = rows[n:]
	}
	return nil
}

// addInsert adds an INSERT of the first n rows, behind that of their lines in the side table, and returns how many bytes it has.
func (s *statements) addInsert(st *shardTable, rows []*sink.Change, r ranks) (n, size int) {
	if st.side != nil {
		statement, n := st.insert(nil, rows, r.source, st.rowBytes(s.max))
		s.add(st.claim(rows[:n], r))
		s.add(statement)
		return n, len(statement)
	}
	end := s.begin()
	begin := len(s.current)
	s.current, n = st.insert(s.current, rows, r.source, s.max)
	size = len(s.current) - begin
	s.cut(end)
	return n, size
}

// addDeletes adds versioned DELETEs of the keys.
func (s *statements) addDeletes(st *shardTable, keys []*sink.Change, source int64) {
	end, begin, count := 0, 0, 0
	for i, c := range keys {
		if count == 0 {
			end = s.begin()
			begin = len(s.current)
			s.current = st.appendDeleteHead(s.current, source)
		} else {
			s.current = append(s.current, " OR "...)
		}
		mark := len(s.current)
		s.current = st.appendDeleteKey(s.current, c.KeyValues, c.Version)
		if count++; count == 1 {
			rest := keys[i+1 : min(len(keys), i+rowsPerStatementMax)]
			s.current = slices.Grow(s.current, min(roomFor(len(s.current)-mark+len(" OR "), rest), s.max)+1)
		}
		if i == len(keys)-1 || count == rowsPerStatementMax || len(s.current)-begin > s.max/2 {
			s.current = append(s.current, ')')
			s.cut(end)
			count = 0
		}
	}
}
