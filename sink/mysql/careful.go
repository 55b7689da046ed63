package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	suspectsPerQuery = 200 // rows that one query asks the holders of
	carefulTriesMax  = 10  // of one row, when others write its unique values meanwhile
)

// carefully goes on in the transaction whose guarded INSERT failed: BEGIN, progress and deletes are done, the
// upserts may be done in part, which by version does no harm. The rows in conflict are few: the others are
// written by the guard, those few one by one in version order.
func (tx *transaction) carefully(ctx context.Context) error {
	st := tx.table.shards[tx.shard.index]
	few, clear, err := tx.suspects(ctx, st)
	if err == nil {
		var met []*sink.Change
		met, err = tx.write(ctx, st, clear)
		few = append(few, met...)
	}
	if ofRow(err) {
		return tx.slowly(ctx)
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(few, func(a, b *sink.Change) int { return int(a.Offset - b.Offset) }) // the version's order
	for _, c := range few {
		if err := tx.writeOne(ctx, st, c); err != nil {
			return err
		}
	}
	return tx.end(ctx)
}

// slowly does the transaction again, each key in a statement of its own, so that an error names its row.
func (tx *transaction) slowly(ctx context.Context) error {
	if err := tx.rollback(); err != nil {
		return tx.shard.problem(err)
	}
	if err := tx.start(ctx); err != nil {
		return err
	}
	st := tx.table.shards[tx.shard.index]
	for _, c := range tx.work.deletes {
		out := &statements{max: tx.shard.packetMax()}
		tx.addDeletes(out, st, []*sink.Change{c})
		for _, packet := range out.done() {
			if _, err := tx.exec(ctx, packet); err != nil {
				return tx.blame(c, err)
			}
		}
	}
	for _, c := range tx.work.upserts {
		if err := tx.writeOne(ctx, st, c); err != nil {
			return err
		}
	}
	return tx.end(ctx)
}

// suspects splits the upserts into those whose unique values another row is seen to hold, and the others. It
// need not find all: write finds the rest.
func (tx *transaction) suspects(ctx context.Context, st *shardTable) (few, clear []*sink.Change, err error) {
	suspect := make([]bool, len(tx.work.upserts))
	for u := range st.uniques {
		if !st.uniques[u].plain() {
			continue
		}
		var query []byte
		asked := 0
		for i, c := range tx.work.upserts {
			if condition, ok := st.uniqueCondition(&st.uniques[u], c.After); ok {
				if asked > 0 {
					query = append(query, " UNION ALL "...)
				}
				query = fmt.Appendf(query, "SELECT %d FROM %s WHERE %s AND NOT (", i, st.quoted, condition)
				query = append(st.appendKey(query, c.KeyValues), ')')
				asked++
			}
			if asked == suspectsPerQuery || (asked > 0 && (i == len(suspect)-1 || len(query) > tx.shard.packetMax()/2)) {
				if err := tx.query(ctx, query, func(fields []sql.RawBytes) error {
					n, err := strconv.Atoi(string(fields[0]))
					suspect[n] = true
					return err
				}); err != nil {
					return nil, nil, err
				}
				query, asked = nil, 0
			}
		}
	}
	for i, c := range tx.work.upserts {
		if suspect[i] {
			few = append(few, c)
		} else {
			clear = append(clear, c)
		}
	}
	return few, clear, nil
}

// uniqueCondition returns the condition that finds the holder of the row's value of a unique key. It is false where
// the value is NULL in part, which nobody holds. Equality is the server's: its collation, its padding.
func (st *shardTable) uniqueCondition(u *unique, row []change.Value) (string, bool) {
	var b []byte
	for i, part := range u.parts {
		if i > 0 {
			b = append(b, " AND "...)
		}
		if part.expression != "" {
			b = append(append(append(b, "("...), part.expression...), ")=(SELECT ("...)
			b = append(append(b, part.expression...), ") FROM ("...)
			b = append(st.appendRowSelect(b, row), ") AS _n)"...)
			continue
		}
		if part.source < 0 || row[part.source].IsNull() {
			return "", false
		}
		name := server.QuoteName(part.column.Name)
		literal := appendValue(nil, row[part.source], part.column.Type)
		if part.prefix > 0 {
			// LIKE has the server read the range of the index; LEFT is what the index compares.
			prefix := leading(row[part.source], part.prefix, part.column.Type.Opaque())
			pattern := appendValue(nil, likePattern(prefix, row[part.source].Kind), part.column.Type)
			b = fmt.Appendf(b, "%s LIKE %s AND LEFT(%s,%d)=LEFT(%s,%d)", name, pattern, name, part.prefix, literal, part.prefix)
			continue
		}
		b = append(append(append(b, name...), '='), literal...)
	}
	return string(b), true
}

// appendRowSelect appends a SELECT of the row's values under their columns' names and collations, for an
// expression to be computed of.
func (st *shardTable) appendRowSelect(dst []byte, row []change.Value) []byte {
	dst = append(dst, "SELECT "...)
	for i, column := range st.written {
		if i > 0 {
			dst = append(dst, ',')
		}
		c := &st.columns[i]
		if c.Type.Character() && !row[column].IsNull() {
			dst = append(appendValue(append(dst, "CONVERT("...), row[column], c.Type), " USING "+c.Charset+") COLLATE "+c.Collation...)
		} else {
			dst = appendValue(dst, row[column], c.Type)
		}
		dst = append(dst, " AS "+server.QuoteName(c.Name)...)
	}
	return dst
}

// write writes the rows by guarded INSERTs. One that fails is halved until the rows are found that meet another;
// those are returned.
func (tx *transaction) write(ctx context.Context, st *shardTable, rows []*sink.Change) (met []*sink.Change, err error) {
	for len(rows) > 0 {
		statement, n := st.insert(rows, tx.source, tx.shard.packetMax())
		_, err := tx.exec(ctx, statement)
		switch {
		case err == nil:
		case !tx.guardFailed(err):
			return nil, err
		case n == 1:
			met = append(met, rows[0])
		default:
			for _, half := range [][]*sink.Change{rows[:n/2], rows[n/2 : n]} {
				more, err := tx.write(ctx, st, half)
				if err != nil {
					return nil, err
				}
				met = append(met, more...)
			}
		}
		rows = rows[n:]
	}
	return met, nil
}

// holder is an existing row that a row to be written meets.
type holder struct {
	key     []change.Value
	version change.Version
	source  int64
	unique  string // the key of the table that they share
}

// writeOne writes one row by the rule, with all rows that it meets locked: not over a newer state of itself, not
// while a newer row holds one of its unique values; an older holder is deleted.
func (tx *transaction) writeOne(ctx context.Context, st *shardTable, c *sink.Change) error {
	if st.version == "" {
		return tx.blame(c, tx.insertOne(ctx, st, c))
	}
	var last error
	for range carefulTriesMax {
		own, err := tx.lockOwn(ctx, st, c)
		if err != nil {
			return tx.blame(c, err)
		}
		if own != nil && own.source != 0 && own.source != tx.source {
			return tx.foreign(ctx, c, own)
		}
		if own != nil && own.version >= c.Version {
			return nil // stale
		}
		done, err := tx.clearHolders(ctx, st, c)
		if err != nil || done {
			return err
		}
		if last = tx.insertOne(ctx, st, c); last == nil {
			return nil
		}
		if !tx.guardFailed(last) {
			return tx.blame(c, last)
		}
	}
	return tx.table.refuse(c, tx.shard, "another row holds one of its unique values, and could not be found by it",
		"compare the unique keys of the target with the source's, and drop what the source has not", last)
}

// lockOwn locks the row that has the change's key, nil where there is none.
func (tx *transaction) lockOwn(ctx context.Context, st *shardTable, c *sink.Change) (*holder, error) {
	query := []byte("SELECT " + st.version + "," + st.origin + " FROM " + st.quoted + " WHERE ")
	found, err := tx.holders(ctx, st, append(st.appendKey(query, c.KeyValues), " FOR UPDATE"...), "PRIMARY")
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

// clearHolders locks the other rows that hold the row's unique values, and deletes them if all are older. It
// returns true where one is newer: then nothing may be written. Both are done in trust that a next change is on
// its way, of the holder's key or of this one, and leave a debt.
func (tx *transaction) clearHolders(ctx context.Context, st *shardTable, c *sink.Change) (done bool, err error) {
	var all []holder
	for i := range st.uniques {
		condition, ok := st.uniqueCondition(&st.uniques[i], c.After)
		if !ok {
			continue
		}
		query := []byte("SELECT " + st.version + "," + st.origin)
		for k := range st.key {
			query = append(append(query, ','), server.SelectText(&st.key[k])...)
		}
		query = append(query, " FROM "+st.quoted+" WHERE "+condition+" AND NOT ("...)
		found, err := tx.holders(ctx, st, append(st.appendKey(query, c.KeyValues), ") FOR UPDATE"...), st.uniques[i].name)
		if err != nil {
			return false, tx.blame(c, err)
		}
		all = append(all, found...)
	}
	for i := range all {
		if h := &all[i]; h.source != 0 && h.source != tx.source {
			return false, tx.foreign(ctx, c, h)
		}
		if all[i].version > c.Version {
			return true, tx.owe(ctx, st, c, c.KeyValues, c.Version)
		}
	}
	for i := range all {
		statement := append(st.appendKey([]byte("DELETE FROM "+st.quoted+" WHERE "), all[i].key), " LIMIT 1"...)
		if _, err := tx.exec(ctx, statement); err != nil {
			return false, tx.blame(c, err)
		}
		if err := tx.owe(ctx, st, c, all[i].key, all[i].version); err != nil {
			return false, err
		}
	}
	return false, nil
}

// holders reads rows of version, source, and the key's columns where the query has them.
func (tx *transaction) holders(ctx context.Context, st *shardTable, query []byte, unique string) ([]holder, error) {
	var found []holder
	err := tx.query(ctx, query, func(fields []sql.RawBytes) error {
		version, err := strconv.ParseInt(string(fields[0]), 10, 64)
		if err != nil {
			return err
		}
		source, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return err
		}
		h := holder{version: change.Version(version), source: source, unique: unique}
		for i, field := range fields[2:] {
			v, err := server.ParseText(&st.key[i], slices.Clone(field)) // the next row overwrites it
			if err != nil {
				return err
			}
			h.key = append(h.key, v)
		}
		found = append(found, h)
		return nil
	})
	return found, err
}

// insertOne writes one row, by the guard. The empty name of an ENUM that lists none is put in afterwards, with the strictness off for
// nothing but that: written so at once, any other value that does not fit would be bent in silence.
func (tx *transaction) insertOne(ctx context.Context, st *shardTable, c *sink.Change) error {
	row, patched := *c, []byte(nil)
	for i, column := range st.written {
		if v := c.After[column]; emptyEnum(v, &st.columns[i]) {
			if patched == nil {
				row.After = slices.Clone(c.After)
			}
			row.After[column] = change.IntValue(1)
			patched = append(patched, ","+server.QuoteName(st.columns[i].Name)+"=''"...)
		}
	}
	statement, _ := st.insert([]*sink.Change{&row}, tx.source, 0)
	if len(statement) > tx.shard.packetMax() {
		return &rowTooLarge{bytes: len(statement), max: tx.shard.packetMax()}
	}
	if patched == nil {
		_, err := tx.exec(ctx, statement)
		return err
	}
	statement = append(statement, ";SET SESSION sql_mode='"+laxMode+"';UPDATE "+st.quoted+" SET "...)
	statement = append(append(statement, patched[1:]...), " WHERE "...)
	statement = append(st.appendKey(statement, c.KeyValues), ";SET SESSION sql_mode='"+strictMode+"'"...)
	_, err := tx.exec(ctx, statement)
	if err != nil {
		tx.tainted = true // the sql_mode may be the lax one
	}
	return err
}

// blame makes an error one that names the row, if the row is what it is about.
func (tx *transaction) blame(c *sink.Change, err error) error {
	var large *rowTooLarge
	switch {
	case errors.As(err, &large):
		return tx.table.refuse(c, tx.shard, "a statement cannot be larger than the server's max_allowed_packet",
			"SET PERSIST max_allowed_packet = 1073741824; and restart the sink", err)
	case ofRow(err):
		return tx.table.refuse(c, tx.shard, "the target's column or constraint does not take a value that the source holds",
			"alter the target's table so that it can hold what the source's does, then start the sink again", err)
	}
	return err
}

// foreign is the error for a row that another source wrote.
func (tx *transaction) foreign(ctx context.Context, c *sink.Change, h *holder) error {
	name := tx.shard.sourceName(ctx, tx.session, h.source)
	why := fmt.Sprintf("the row with its key %s was written from source %s; versions of two sources cannot be compared", h.unique, name)
	return tx.table.refuse(c, tx.shard, why,
		"keep the sources' keys apart, write them to tables of their own, or delete the other source's row if it has moved here", nil)
}

// leading returns the first n characters, or bytes.
func leading(v change.Value, n int, bytes bool) []byte {
	if bytes {
		return v.Bytes[:min(n, len(v.Bytes))]
	}
	end := 0
	for range n {
		if end >= len(v.Bytes) {
			break
		}
		_, size := utf8.DecodeRune(v.Bytes[end:])
		end += size
	}
	return v.Bytes[:end]
}

// likePattern returns a LIKE pattern for all that begins with the text.
func likePattern(prefix []byte, kind change.Kind) change.Value {
	pattern := make([]byte, 0, len(prefix)+1)
	for _, c := range prefix {
		if c == '%' || c == '_' || c == '\\' {
			pattern = append(pattern, '\\')
		}
		pattern = append(pattern, c)
	}
	return change.Value{Kind: kind, Bytes: append(pattern, '%')}
}
