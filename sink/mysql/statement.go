package mysql

import (
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	server "github.com/sluice-cdc/sluice/mysql"
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
	if st.version != "" {
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, source, 10)
		dst = append(dst, ',')
		dst = strconv.AppendInt(dst, int64(c.Version), 10)
	}
	return append(dst, ')')
}

// insert returns a statement of the first n rows: as many as fit into max bytes, one at least.
func (st *shardTable) insert(rows []*sink.Change, source int64, maxBytes int) (statement []byte, n int) {
	b := append([]byte(nil), st.head...)
	for n < len(rows) && n < rowsPerStatementMax {
		mark := len(b)
		if n > 0 {
			b = append(b, ',')
		}
		b = st.appendRow(b, rows[n], source)
		if n > 0 && len(b)+len(st.tail) > maxBytes {
			b = b[:mark]
			break
		}
		n++
	}
	return append(b, st.tail...), n
}

// appendKey appends the condition that names a row by its key: `id`=5, or (`a`='x' AND `b`=7).
func (st *shardTable) appendKey(dst []byte, key []change.Value) []byte {
	if len(key) > 1 {
		dst = append(dst, '(')
	}
	for i, v := range key {
		if i > 0 {
			dst = append(dst, " AND "...)
		}
		dst = append(dst, server.QuoteName(st.key[i].Name)...)
		dst = append(dst, '=')
		dst = appendValue(dst, v, st.key[i].Type)
	}
	if len(key) > 1 {
		dst = append(dst, ')')
	}
	return dst
}

// appendDeleteHead begins a DELETE of several keys; see appendDeleteKey.
func (st *shardTable) appendDeleteHead(dst []byte, source int64) []byte {
	dst = append(append(append(dst, "DELETE FROM "...), st.quoted...), " WHERE "...)
	if st.version == "" {
		return append(dst, '(')
	}
	dst = append(append(dst, st.origin...), " IN (0,"...)
	return append(strconv.AppendInt(dst, source, 10), ") AND ("...)
}

// appendDeleteKey appends one key of a DELETE: by version, a row that is newer stays. A row of another source is
// not ours to delete: ours is not there.
func (st *shardTable) appendDeleteKey(dst []byte, key []change.Value, version change.Version) []byte {
	if st.version == "" || mutant.DeleteUnversioned {
		return st.appendKey(dst, key)
	}
	dst = append(st.appendKey(append(dst, '('), key), " AND "...)
	dst = append(append(dst, st.version...), '<')
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
	if len(s.current) > 0 && len(s.current)+1+len(statement) > s.max {
		s.packets = append(s.packets, s.current)
		s.current = nil
	}
	if len(s.current) > 0 {
		s.current = append(s.current, ';')
	}
	s.current = append(s.current, statement...)
}

func (s *statements) done() [][]byte {
	if len(s.current) > 0 {
		s.packets = append(s.packets, s.current)
		s.current = nil
	}
	return s.packets
}

// addUpserts adds guarded INSERTs of the rows, as few as there can be.
func (s *statements) addUpserts(t *table, st *shardTable, rows []*sink.Change, source int64) error {
	for len(rows) > 0 {
		statement, n := st.insert(rows, source, s.max)
		if len(statement) > s.max {
			return t.refuse(rows[0], st.shard, "a statement cannot be larger than the server's max_allowed_packet",
				"SET PERSIST max_allowed_packet = 1073741824; and restart the sink", &rowTooLarge{bytes: len(statement), max: s.max})
		}
		s.add(statement)
		rows = rows[n:]
	}
	return nil
}

// addDeletes adds versioned DELETEs of the keys.
func (s *statements) addDeletes(st *shardTable, keys []*sink.Change, source int64) {
	var b []byte
	count := 0
	for i, c := range keys {
		if count == 0 {
			b = st.appendDeleteHead(nil, source)
		} else {
			b = append(b, " OR "...)
		}
		b = st.appendDeleteKey(b, c.KeyValues, c.Version)
		count++
		if i == len(keys)-1 || count == rowsPerStatementMax || len(b) > s.max/2 {
			s.add(append(b, ')'))
			count = 0
		}
	}
}
