package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	linesPerQuery   = 200 // lines of a side table that one query asks for
	carefulTriesMax = 10  // of one row, when others write its unique values meanwhile
)

// carefully goes on in the transaction whose guarded INSERT failed: BEGIN, progress and deletes are done, the
// upserts may be done in part, which by version does no harm. The rows in conflict are few: the others are
// written by the guard, those few one by one in version order.
func (tx *transaction) carefully(ctx context.Context) error {
	st := tx.table.shards[tx.shard.index]
	upserts, err := tx.newer(ctx, st)
	if err != nil {
		return err
	}
	few, clear, err := tx.suspects(ctx, st, upserts)
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

// newer takes back what the guarded INSERTs have done, and returns the upserts that are newer than the lines of the side table. Without one
// that is left to the guard.
func (tx *transaction) newer(ctx context.Context, st *shardTable) ([]*sink.Change, error) {
	if st.side == nil {
		return tx.work.upserts, nil
	}
	if err := tx.undo(ctx, st); err != nil {
		return nil, err
	}
	if err := tx.dropOrphans(ctx, st, tx.work.upserts); err != nil {
		return nil, err
	}
	return tx.fresh(ctx, st, tx.work.upserts)
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
	if st.side != nil {
		if err := tx.dropOrphans(ctx, st, tx.work.upserts); err != nil {
			return err
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
func (tx *transaction) suspects(ctx context.Context, st *shardTable, upserts []*sink.Change) (few, clear []*sink.Change, err error) {
	suspect := make([]bool, len(upserts))
	for u := range st.uniques {
		if !st.uniques[u].plain() {
			continue
		}
		for from := 0; from < len(upserts); from += rowsPerStatementMax {
			some := upserts[from:min(len(upserts), from+rowsPerStatementMax)]
			if err := tx.suspectsBy(ctx, st, &st.uniques[u], some, suspect[from:]); err != nil {
				return nil, nil, err
			}
		}
	}
	for i, c := range upserts {
		if suspect[i] {
			few = append(few, c)
		} else {
			clear = append(clear, c)
		}
	}
	return few, clear, nil
}

// suspectsBy asks for the rows that hold the upserts' values of a unique key, in one list: a SELECT for each value costs the server several times
// as much. Which upsert a row is in the way of is then found by text, so of values that are equal to the server alone some are not found.
func (tx *transaction) suspectsBy(ctx context.Context, st *shardTable, u *unique, upserts []*sink.Change, suspect []bool) error {
	query, columns := st.holdersHead(u)
	wanted := make(map[string][]int)
	for i, c := range upserts {
		list, text := u.appendHeld(query, c.After, len(wanted) > 0)
		if text == "" {
			continue
		}
		query = list
		wanted[text] = append(wanted[text], i)
	}
	switch half := len(upserts) / 2; {
	case len(wanted) == 0:
		return nil
	case len(query) >= tx.shard.packetMax() && half > 0:
		err := tx.suspectsBy(ctx, st, u, upserts[:half], suspect)
		if err != nil {
			return err
		}
		return tx.suspectsBy(ctx, st, u, upserts[half:], suspect[half:])
	}
	return tx.query(ctx, append(query, ')'), func(fields []sql.RawBytes) error {
		values, err := parseFields(columns, fields)
		if err != nil {
			return err
		}
		held, key := foldedText(values[:len(u.parts)]), foldedText(values[len(u.parts):])
		for _, i := range wanted[held] {
			suspect[i] = suspect[i] || foldedText(upserts[i].KeyValues) != key
		}
		return nil
	})
}

// holdersHead begins the query for the rows that hold certain values of a unique key, and returns the columns that it selects: the unique key's,
// and the row's key.
func (st *shardTable) holdersHead(u *unique) (query []byte, columns []change.Column) {
	var names []string
	for _, part := range u.parts {
		columns, names = append(columns, part.column), append(names, server.QuoteName(part.column.Name))
	}
	columns = append(columns, st.key...)
	query = []byte("SELECT ")
	for i := range columns {
		if i > 0 {
			query = append(query, ',')
		}
		query = append(query, server.SelectText(&columns[i])...)
	}
	return append(query, " FROM "+st.quoted+" WHERE ("+strings.Join(names, ",")+") IN ("...), columns
}

// appendHeld appends the row's values of a unique key to a list, and returns their text. There is none where one of them is NULL, which nobody
// holds.
func (u *unique) appendHeld(dst []byte, row []change.Value, more bool) (list []byte, text string) {
	if more {
		dst = append(dst, ',')
	}
	dst = append(dst, '(')
	values := make([]change.Value, len(u.parts))
	for i, part := range u.parts {
		values[i] = row[part.source]
		if values[i].IsNull() {
			return nil, ""
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, values[i], part.column.Type)
	}
	return append(dst, ')'), foldedText(values)
}

// foldedText is a text of values that is the same for most of those that a server takes for equal: without case, and without blanks at their ends.
func foldedText(values []change.Value) string {
	var b strings.Builder
	for _, v := range values {
		text := strings.TrimRight(strings.ToLower(string(v.Append(nil))), " ")
		fmt.Fprintf(&b, "%d:%s", len(text), text)
	}
	return b.String()
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
		statement, n := st.insert(nil, rows, tx.ranks.source, st.rowBytes(tx.shard.packetMax()))
		err := tx.guarded(ctx, st, rows[:n], statement)
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

// guarded sends the guarded INSERT of the rows, with their lines in the side table before it. Where the guard failed, nothing of it is left.
func (tx *transaction) guarded(ctx context.Context, st *shardTable, rows []*sink.Change, statement []byte) error {
	if st.side == nil {
		_, err := tx.exec(ctx, statement)
		return err
	}
	out := &statements{max: tx.shard.packetMax()}
	out.add([]byte(savepoint))
	out.add(st.claim(rows, tx.ranks))
	out.add(statement)
	for _, packet := range out.done() {
		if _, err := tx.exec(ctx, packet); err != nil {
			if tx.guardFailed(err) {
				if failed := tx.undo(ctx, st); failed != nil {
					return failed
				}
			}
			return err
		}
	}
	return nil
}

// holder is an existing row that a row to be written meets.
type holder struct {
	key     []change.Value
	version change.Version
	source  int64
	unique  string // the key of the table that they share
	rowless bool   // it is a line in the side table alone
}

// writeOne writes one row by the rule, with all rows that it meets locked: not over a newer state of itself, not
// while a newer row holds one of its unique values; an older holder is deleted.
func (tx *transaction) writeOne(ctx context.Context, st *shardTable, c *sink.Change) error {
	if st.version == "" {
		return tx.blame(c, tx.insertOne(ctx, st, c, nil))
	}
	var last error
	for range carefulTriesMax {
		own, others, err := tx.lockMet(ctx, st, c)
		if err == nil && own == nil {
			own, err = tx.takenOver(ctx, st, c)
		}
		if err != nil {
			return tx.blame(c, err)
		}
		switch tx.ranks.decide(own, c.Version) {
		case conflict:
			return tx.foreign(ctx, c, own)
		case drop:
			return nil
		}
		way, done, err := tx.clearHolders(ctx, st, c, others)
		if err != nil || done {
			return err
		}
		if last = tx.insertOne(ctx, st, c, way); last == nil {
			return nil
		}
		if !tx.guardFailed(last) {
			return tx.blame(c, last)
		}
		if st.side != nil {
			if err := tx.dropOrphans(ctx, st, []*sink.Change{c}); err != nil {
				return tx.blame(c, err)
			}
		}
	}
	return tx.table.refuse(c, tx.shard, "another row holds one of its unique values, and could not be found by it",
		"compare the unique keys of the target with the source's, and drop what the source has not", last)
}

// lockMet locks the row that has the change's key, nil where there is none, and the others that hold the row's unique values. It asks for all of
// them at once: the way to the server and back is most of what a row costs here.
func (tx *transaction) lockMet(ctx context.Context, st *shardTable, c *sink.Change) (own *holder, others []holder, err error) {
	version, origin := st.locked()
	head := "SELECT " + version + "," + origin
	for k := range st.key {
		head += "," + server.SelectText(&st.key[k])
	}
	head += " FROM " + st.quoted + " WHERE "
	query := append(st.appendKey([]byte(head), c.KeyValues), " FOR UPDATE"...)
	names := []string{"PRIMARY"}
	for i := range st.uniques {
		if condition, ok := st.uniqueCondition(&st.uniques[i], c.After); ok {
			query = append(query, ";"+head+condition+" AND NOT ("...)
			query = append(st.appendKey(query, c.KeyValues), ") FOR UPDATE"...)
			names = append(names, st.uniques[i].name)
		}
	}
	err = querySets(ctx, tx.conn, string(query), func(set int, fields []sql.RawBytes) error {
		h, err := st.readHolder(fields, names[set])
		if set == 0 {
			own = &h
		} else {
			others = append(others, h)
		}
		return err
	})
	return own, others, err
}

// locked returns the expressions of a row's version and source for a query that locks it.
func (st *shardTable) locked() (version, origin string) {
	if st.side != nil {
		return st.side.lockedVersion, st.side.lockedOrigin
	}
	return st.version, st.origin
}

// clearHolders returns the statements that delete the other rows that hold the row's unique values, if all are older. It
// returns true where one is newer: then nothing may be written. Both are done in trust that a next change is on
// its way, of the holder's key or of this one, and leave a debt.
func (tx *transaction) clearHolders(ctx context.Context, st *shardTable, c *sink.Change, others []holder) (way []byte, done bool, err error) {
	for i := range others {
		if h := &others[i]; h.source != 0 && h.source != tx.ranks.source {
			return nil, false, tx.foreign(ctx, c, h)
		}
		if others[i].version > c.Version {
			_, err := tx.exec(ctx, tx.appendOwe(nil, st, c, c.KeyValues, c.Version))
			return nil, true, err
		}
	}
	for i := range others {
		key := others[i].key
		way = append(st.appendKey(append(way, "DELETE FROM "+st.quoted+" WHERE "...), key), " LIMIT 1;"...)
		if st.side != nil && len(tx.ranks.below) == 0 { // else it says to whom the key belongs until its next change comes
			way = append(st.appendKey(append(way, "DELETE FROM "+st.side.quoted+" WHERE "...), key), ';')
		}
		way = append(tx.appendOwe(way, st, c, key, others[i].version), ';')
	}
	return way, false, nil
}

// readHolder reads a row of version, source, and the key's columns where the query has them.
func (st *shardTable) readHolder(fields []sql.RawBytes, unique string) (h holder, err error) {
	version, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return h, err
	}
	source, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return h, err
	}
	key, err := parseFields(st.key, fields[2:])
	return holder{key: key, version: change.Version(version), source: source, unique: unique}, err
}

// parseFields returns the values of a row's first columns, as many as there are fields.
func parseFields(columns []change.Column, fields []sql.RawBytes) ([]change.Value, error) {
	values := make([]change.Value, len(fields))
	for i, field := range fields {
		v, err := server.ParseText(&columns[i], slices.Clone(field)) // the next row overwrites it
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

// insertOne writes one row, by the guard, when the statements that clear its way are done. The empty name of an ENUM that lists none is
// put in afterwards, with the strictness off for nothing but that: written so at once, any other value that does not fit would be bent in silence.
func (tx *transaction) insertOne(ctx context.Context, st *shardTable, c *sink.Change, way []byte) error {
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
	statement, _ := st.insert(nil, []*sink.Change{&row}, tx.ranks.source, 0)
	if len(statement) > tx.shard.packetMax() {
		return &rowTooLarge{bytes: len(statement), max: tx.shard.packetMax()}
	}
	if patched == nil && st.side == nil && len(way)+len(statement) <= tx.shard.packetMax() {
		_, err := tx.exec(ctx, append(way, statement...))
		return err
	}
	if len(way) > 0 {
		if _, err := tx.exec(ctx, way[:len(way)-1]); err != nil {
			return err
		}
	}
	if patched == nil {
		return tx.guarded(ctx, st, []*sink.Change{c}, statement)
	}
	statement = append(statement, ";SET SESSION sql_mode='"+laxMode+"';UPDATE "+st.quoted+" SET "...)
	statement = append(append(statement, patched[1:]...), " WHERE "...)
	statement = append(st.appendKey(statement, c.KeyValues), ";SET SESSION sql_mode='"+strictMode+"'"...)
	err := tx.guarded(ctx, st, []*sink.Change{c}, statement)
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
		"keep the sources' keys apart, write them to tables of their own, declare mysql.moves, or delete the other source's row if it has moved here", nil)
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
