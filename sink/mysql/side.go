package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// sideTable holds the version and the source of each row of a table that may get no columns: one line for a key, in the same database,
// written and deleted in the transaction of its row.
//
// A line counts only while its row is there. What others do to the table leaves lines without rows, which say nothing (dropOrphans), and
// rows without lines, which have no version: any change is newer.
type sideTable struct {
	name    change.TableName
	quoted  string
	origin  string // its columns, quoted
	version string
	joined  string    // the condition that a line is that of a row
	head    []byte    // INSERT INTO ... VALUES
	tail    [2][]byte // AS ... ON DUPLICATE KEY UPDATE ..., without and with what moves allow in between
	alias   bool      // the new row has one

	// The version and the source of a row, read with the locks that a row to be written over needs. At READ COMMITTED what is read without
	// a lock may be what was there before the row's own lock was waited for.
	lockedVersion, lockedOrigin string
}

const (
	sidePrefix   = "_sluice_version_"
	nameCharsMax = 64 // of a table
)

// sideName returns the name of a table's side table. One that would be too long ends in a hash.
func sideName(table string) string {
	if utf8.RuneCountInString(sidePrefix+table) <= nameCharsMax {
		return sidePrefix + table
	}
	sum := sha256.Sum256([]byte(table))
	hash := "_" + hex.EncodeToString(sum[:8])
	return sidePrefix + string([]rune(table)[:nameCharsMax-len(sidePrefix)-len(hash)]) + hash
}

// beside reports whether the versions of the table's rows stand in a side table.
func (c Config) beside(table change.TableName) bool {
	return slices.ContainsFunc(c.SideTables, func(pattern string) bool {
		ok, err := path.Match(pattern, table.String())
		return err == nil && ok
	})
}

// ownColumns reports whether the table has the two columns of the target's own.
func (c Config) ownColumns(table change.TableName) bool {
	return c.Mode == ModeVersioned && !c.beside(table)
}

func (c Config) checkSideTables(wrong func(format string, args ...any)) {
	for i, pattern := range c.SideTables {
		if _, err := path.Match(pattern, ""); err != nil || !strings.Contains(pattern, ".") {
			wrong("mysql: side_tables[%d]: %q: want database.table, where * and ? may stand for other characters", i, pattern)
		}
	}
	if len(c.SideTables) > 0 && c.Mode == ModeOverwrite {
		wrong("mysql: side_tables hold versions, which mode %s has not: leave one of them out", ModeOverwrite)
	}
}

// side returns the name of the shard's side table for a table of the source.
func (s *shard) side(t change.TableName) change.TableName {
	return change.TableName{DB: s.config.Database, Name: sideName(s.target(t).Name)}
}

// ofLine returns an expression over a row of the table: the value that its line has in a column, 0 where it has no line.
func ofLine(side, joined, column, lock string) string {
	return "COALESCE((SELECT " + side + "." + column + " FROM " + side + " WHERE " + joined + lock + "),0)"
}

// joinedBy returns the condition that a line is that of a row. The columns have the table's names, so that every condition on a key is
// one on its line too.
func joinedBy(side, table string, key []string) string {
	parts := make([]string, len(key))
	for i, name := range key {
		parts[i] = side + "." + server.QuoteName(name) + "=" + table + "." + server.QuoteName(name)
	}
	return strings.Join(parts, " AND ")
}

// originOf returns an expression over a row of the shard's table, the number of the source that it came from.
func (c Config) originOf(s *shard, t *change.Table) string {
	if !c.beside(t.TableName) {
		return server.QuoteName(c.SourceColumn)
	}
	side := server.QuoteTable(s.side(t.TableName))
	return ofLine(side, joinedBy(side, server.QuoteTable(s.target(t.TableName)), t.KeyNames()), server.QuoteName(c.SourceColumn), "")
}

// useSide has the table's versions in the side table.
func (st *shardTable) useSide(config Config, f *server.Facts, source change.TableName) {
	x := &sideTable{name: st.shard.side(source), version: server.QuoteName(config.VersionColumn), origin: server.QuoteName(config.SourceColumn)}
	x.quoted = server.QuoteTable(x.name)
	x.joined = joinedBy(x.quoted, st.quoted, columnNamesOf(st.key))
	x.lockedVersion, x.lockedOrigin = ofLine(x.quoted, x.joined, x.version, " FOR UPDATE"), ofLine(x.quoted, x.joined, x.origin, " FOR UPDATE")
	st.version, st.origin = ofLine(x.quoted, x.joined, x.version, ""), ofLine(x.quoted, x.joined, x.origin, "")
	x.head = []byte("INSERT INTO " + x.quoted + " (" + quoteNames(columnNamesOf(st.key)) + "," + x.origin + "," + x.version + ") VALUES ")
	st.side, x.alias = x, rowAlias(f)
	st.buildClaim()
}

func columnNamesOf(columns []change.Column) []string {
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = columns[i].Name
	}
	return names
}

// buildClaim writes the guard of the lines (R5): a line that is there must be older and of the same source, or of one that this one takes keys
// over from, else the source column becomes NULL, an error. So all lines are written, and then their rows may be; or none is, and the careful
// way finds out which is stale.
func (st *shardTable) buildClaim() {
	a, origin, version := aliasOf(st.side.alias, st.side.name.Name), st.side.origin, st.side.version
	old := server.QuoteName(st.side.name.Name) + "."
	st.side.tail[0] = []byte(a.as + " ON DUPLICATE KEY UPDATE " + origin + "=IF(" + old + origin + "=" + a.of(origin) + " AND " +
		old + version + "<" + a.of(version))
	b := "," + a.of(origin) + ",NULL)"
	for i := range st.key { // its new spelling lands, 'a' to 'A'
		name := server.QuoteName(st.key[i].Name)
		b += "," + name + "=" + a.of(name)
	}
	st.side.tail[1] = []byte(b + "," + version + "=" + a.of(version))
}

// buildOverwrite writes what follows the rows whose lines are written: they are newer than what is there, or they would not be. The first
// assignment is the guard against another row that holds one of their unique values: it is an error where the row met is not the row
// meant. There is no column of our own to put NULL into, and NULL into the key is 0 where it is AUTO_INCREMENT: so it is a number that is
// too large, and not a constant, which the server would compute for every row.
func (st *shardTable) buildOverwrite(alias bool) {
	a := aliasOf(alias, st.name.Name)
	old, guarded, key := server.QuoteName(st.name.Name)+".", server.QuoteName(st.columns[0].Name), server.QuoteName(st.key[0].Name)
	var same []string
	for i := range st.key {
		name := server.QuoteName(st.key[i].Name)
		same = append(same, old+name+"="+a.of(name))
	}
	b := a.as + " ON DUPLICATE KEY UPDATE " + guarded + "=IF(" + strings.Join(same, " AND ") +
		" OR " + largestNumber + "+(1+LENGTH(" + a.of(key) + "))," + a.of(guarded) + "," + a.of(guarded) + ")"
	for i := range st.columns[1:] {
		name := server.QuoteName(st.columns[1+i].Name)
		b += "," + name + "=" + a.of(name)
	}
	st.tail = []byte(b)
}

// largestNumber is what no BIGINT exceeds; the error of the guard above has it in its text.
const largestNumber = "18446744073709551615"

// rowBytes returns how long a statement of several rows may be: the lines of rows that are little more than a key are as long as they are.
func (st *shardTable) rowBytes(packetMax int) int {
	if st.side != nil {
		return packetMax / 2
	}
	return packetMax
}

// claim returns the statement that writes the rows' lines.
func (st *shardTable) claim(rows []*sink.Change, r ranks) []byte {
	x := st.side
	b := st.appendLines(append([]byte(nil), x.head...), rows, r.source)
	b = append(append(b, x.tail[0]...), among(" OR ", server.QuoteName(x.name.Name)+"."+x.origin, r.below)...)
	return append(b, x.tail[1]...)
}

// appendLines appends the changes' lines as they stand behind VALUES.
func (st *shardTable) appendLines(b []byte, rows []*sink.Change, source int64) []byte {
	for i, c := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '(')
		for k, v := range c.KeyValues {
			b = append(appendValue(b, v, st.key[k].Type), ',')
		}
		b = append(strconv.AppendInt(b, source, 10), ',')
		b = append(strconv.AppendInt(b, int64(c.Version), 10), ')')
	}
	return b
}

// savepoint is where a transaction goes back to when a guarded INSERT has failed: lines that are written before their rows would say that
// these are.
const savepoint = "SAVEPOINT _sluice_guarded"

// undo takes back what a guarded INSERT that failed has left of itself.
func (tx *transaction) undo(ctx context.Context, st *shardTable) error {
	if st.side == nil {
		return nil // rows have their versions in them
	}
	_, err := tx.exec(ctx, []byte("ROLLBACK TO "+savepoint))
	return err
}

// dropOrphans deletes lines of the changes' keys whose rows are gone, but for those of sources that have taken the keys over. Both tables are
// named as what is deleted from, so that both are read with locks, the line first: a line whose row another transaction is about to write is
// waited for.
func (tx *transaction) dropOrphans(ctx context.Context, st *shardTable, changes []*sink.Change) error {
	for some := range slices.Chunk(changes, rowsPerStatementMax) {
		b := []byte("DELETE " + st.side.quoted + "," + st.quoted + " FROM " + st.side.quoted + forceIndex("PRIMARY") + " LEFT JOIN " + st.quoted + " ON " + st.side.joined +
			" WHERE " + st.quoted + "." + server.QuoteName(st.key[0].Name) + " IS NULL" +
			among(" AND NOT ", st.side.quoted+"."+st.side.origin, tx.ranks.above) + " AND (")
		for i, c := range some {
			if i > 0 {
				b = append(b, " OR "...)
			}
			b = st.appendKeyOf(b, st.side.quoted, c.KeyValues)
		}
		if _, err := tx.exec(ctx, append(b, ')')); err != nil {
			return err
		}
	}
	return nil
}

// fresh returns the changes that are newer than the lines of their keys, and whose keys nobody has taken over. It reads without locks: what is
// stale now stays so, for a line that goes away leaves a debt or a newer one. Lines of any other source are left to writeOne.
func (tx *transaction) fresh(ctx context.Context, st *shardTable, changes []*sink.Change) ([]*sink.Change, error) {
	stale := make([]bool, len(changes))
	at := 0
	for some := range slices.Chunk(changes, linesPerQuery) {
		var query []byte
		for i, c := range some {
			if i > 0 {
				query = append(query, " UNION ALL "...)
			}
			query = fmt.Appendf(query, "SELECT %d FROM %s WHERE (%s=%d AND %s>=%d%s) AND ", at+i, st.side.quoted,
				st.side.origin, tx.ranks.source, st.side.version, c.Version, among(" OR ", st.side.origin, tx.ranks.above))
			query = st.appendKey(query, c.KeyValues)
		}
		at += len(some)
		err := tx.query(ctx, query, func(fields []sql.RawBytes) error {
			n, err := strconv.Atoi(string(fields[0]))
			stale[n] = true
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	var kept []*sink.Change
	for i, c := range changes {
		if !stale[i] {
			kept = append(kept, c)
		}
	}
	return kept, nil
}

// createSide returns the statement that makes the side table. Its key is as the target's, so that equal keys here are equal keys there.
func createSide(config Config, name change.TableName, key []change.Column) string {
	lines := make([]string, 0, len(key)+3)
	for i := range key {
		lines = append(lines, columnDefinition(&key[i], true))
	}
	lines = append(lines,
		server.QuoteName(config.SourceColumn)+" SMALLINT UNSIGNED NOT NULL",
		server.QuoteName(config.VersionColumn)+" BIGINT NOT NULL",
		"PRIMARY KEY ("+quoteNames(columnNamesOf(key))+")")
	return "CREATE TABLE IF NOT EXISTS " + server.QuoteTable(name) + " (\n  " + strings.Join(lines, ",\n  ") + "\n) ENGINE=InnoDB"
}

// keyColumns returns the target's columns of the source's key, the source's where the target has none.
func keyColumns(source, target *change.Table) []change.Column {
	columns := make([]change.Column, len(source.Key))
	for i, k := range source.Key {
		columns[i] = source.Columns[k]
		if target != nil {
			if at := target.Column(columns[i].Name); at >= 0 {
				columns[i] = target.Columns[at]
			}
		}
	}
	return columns
}

// prepareSide makes or checks the side table of a table that fits.
func (t *Target) prepareSide(ctx context.Context, s *shard, source, target *change.Table) error {
	problem, statement, err := t.checkSide(ctx, s, source, target)
	if err != nil || problem == nil {
		return err
	}
	if statement == "" || !t.config.CreateTables {
		return problem
	}
	return s.withLock(ctx, "ddl "+s.side(source.TableName).String(), func(c *session) error {
		if t.setup.Log != nil {
			t.setup.Log.Info("making the side table of the target's table", "table", target.String(), "target", s.config.Name, "statement", statement)
		}
		if _, err := c.exec(ctx, []byte(statement)); err != nil {
			if change.SeverityOf(s.problem(err)) == change.Retry {
				return s.problem(err)
			}
			problem.Err = err
			return problem
		}
		return nil
	})
}

// checkSide judges the side table as it is. Where it is missing, the statement that makes it comes with the problem.
func (t *Target) checkSide(ctx context.Context, s *shard, source, target *change.Table) (p *change.Problem, create string, err error) {
	db, facts, err := s.pool(ctx)
	if err != nil {
		return nil, "", err
	}
	name, key := s.side(source.TableName), keyColumns(source, target)
	p = &change.Problem{Kind: change.Poison, Table: source.TableName, Where: s.where()}
	side, extras, err := server.LoadTable(ctx, db, facts, name, nil)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		create = createSide(t.config, name, key)
		p.What = "the side table " + name.String() + " of " + target.String() + " does not exist"
		p.Why = "versions have no place, and newer rows could not be told from older ones"
		p.Mend = create + ";\nor set create_tables: true"
		return p, create, nil
	case err != nil:
		return nil, "", s.problem(err)
	}
	what, mend := t.misfit(side, extras, key)
	if what == "" {
		return nil, "", nil
	}
	if mend == "" {
		mend = "DROP TABLE " + server.QuoteTable(name) + ";\n" + createSide(t.config, name, key) +
			";\nand replay the topic with --empty: rows without versions give way to older changes too"
	}
	p.What, p.Mend = "the side table "+name.String()+" "+what, mend
	p.Why = "a row's line is found by the row's key"
	return p, "", nil
}

// misfit says what is wrong with a side table, nothing where it fits, and the statement that mends it if there is one that keeps the lines.
func (t *Target) misfit(side *change.Table, extras *server.TableExtras, key []change.Column) (what, mend string) {
	alter := "ALTER TABLE " + server.QuoteTable(side.TableName)
	if !strings.EqualFold(extras.Engine, "InnoDB") {
		return "has engine " + extras.Engine, alter + " ENGINE=InnoDB;"
	}
	if len(side.Columns) != len(key)+2 || len(extras.Uniques) != 1 || len(extras.Uniques[0].Columns) != len(key) {
		return "has other columns or another key than the table's key, " + t.config.SourceColumn + " and " + t.config.VersionColumn, ""
	}
	for i := range key {
		at := side.Column(key[i].Name)
		if at < 0 || !side.IsKey(at) {
			return "lacks the key column " + key[i].Name, ""
		}
		if have := &side.Columns[at]; describe(have) != describe(&key[i]) {
			return fmt.Sprintf("has key column %s as %s, its table as %s", have.Name, describe(have), describe(&key[i])),
				alter + " MODIFY COLUMN " + columnDefinition(&key[i], true) + ";"
		}
	}
	for _, name := range []string{t.config.SourceColumn, t.config.VersionColumn} {
		if at := side.Column(name); at < 0 || side.Columns[at].Nullable || !side.Columns[at].Type.Integer() {
			return "lacks the column " + name + ", a whole number that is NOT NULL", ""
		}
	}
	return "", ""
}
