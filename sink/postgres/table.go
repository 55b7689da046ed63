package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// table is how rows of one schema of one source table are written. It is immutable, but for its lock.
type table struct {
	source  change.TableName
	schema  *change.Table
	place   place
	written []int    // the source's columns that are written, in the order of the INSERT
	targets []column // the target's columns for them
	all     []column // the target's column for each of the source's
	uniques []index  // besides the key

	upsert  string
	remove  string
	lock    string   // the version and source of a row, locked
	meets   string   // the head of the query that finds the holders of unique values
	holders []string // its condition, by unique index
	same    string   // the condition that a row of the query is the row itself
}

// newTable matches the source's columns with the target's, which has been checked.
func newTable(s *server, p place, source *change.Table, r *relation) (*table, error) {
	t := &table{source: source.TableName, schema: source, place: p}
	for i := range source.Columns {
		j := r.find(source.Columns[i].Name)
		if j < 0 {
			return nil, fmt.Errorf("column %s of %s is missing", source.Columns[i].Name, p)
		}
		t.all = append(t.all, r.columns[j])
		if r.columns[j].generated {
			continue // the server computes it
		}
		t.written = append(t.written, i)
		t.targets = append(t.targets, r.columns[j])
	}
	for i := range r.indexes {
		if !keyOf(&r.indexes[i], source) {
			t.uniques = append(t.uniques, r.indexes[i])
		}
	}
	t.build(s)
	return t, nil
}

// keyOf reports whether a unique index is one of the source's key alone: no other row can hold its value.
func keyOf(x *index, source *change.Table) bool {
	if len(x.parts) != len(source.Key) || x.predicate != "" || x.exclusion {
		return false
	}
	for _, part := range x.parts {
		if part.column == "" || !slices.ContainsFunc(source.Key, func(k int) bool { return strings.EqualFold(source.Columns[k].Name, part.column) }) {
			return false
		}
	}
	return true
}

func (t *table) keyColumn(i int) *column { return &t.all[t.schema.Key[i]] }

// param is where a column's name stands for its value: an array of the statement. The n-th of them is $n.
func param(n int, base string) string { return fmt.Sprintf("$%d::%s[]", n, base) }

// rowName is what a written column is called in the rows that are given.
func rowName(i int) string { return fmt.Sprintf("_n%d", i) }

// given returns FROM's item of the rows that are given, an array a column: the written columns, the version, and the row's place.
func (t *table) given() string {
	var arrays, names []string
	for i := range t.targets {
		arrays = append(arrays, param(i+1, t.targets[i].base))
		names = append(names, rowName(i))
	}
	arrays = append(arrays, param(len(arrays)+1, "bigint"))
	return "unnest(" + strings.Join(arrays, ",") + ") WITH ORDINALITY AS _n(" + strings.Join(names, ",") + ",_v,_i)"
}

// build writes the statements.
//
// The upsert's guard (R5): a row with the key is written over if its version is less, and if it is the source's own or nobody's. A
// row of another source makes the source column NULL, which is an error, so that it is never skipped in silence. Of the new row's
// further unique keys ON CONFLICT says nothing: another holder is the server's error 23505. So the statement succeeds if, and
// only if, all its rows obey the rule.
func (t *table) build(s *server) {
	var names, sets, values []string
	for i := range t.targets {
		name := quoteName(t.targets[i].name)
		names, values = append(names, name), append(values, rowName(i))
		if !t.isKey(i) {
			sets = append(sets, name+"=excluded."+name)
		}
	}
	own := "_t." + s.origin + " IN (0,excluded." + s.origin + ")"
	sets = append(sets, s.origin+"=CASE WHEN "+own+" THEN excluded."+s.origin+" END", s.version+"=excluded."+s.version)
	names, values = append(names, s.origin, s.version), append(values, fmt.Sprintf("$%d::smallint", len(t.targets)+2), "_v")
	t.upsert = "INSERT INTO " + t.place.quoted() + " AS _t (" + strings.Join(names, ",") + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(values, ",") +
		" FROM " + t.given() + " ON CONFLICT (" + t.quotedKey("") + ") DO UPDATE SET " + strings.Join(sets, ",") +
		" WHERE _t." + s.version + "<excluded." + s.version + " OR NOT " + own

	var arrays, keys, equal []string
	for k := range t.schema.Key {
		arrays = append(arrays, param(k+1, t.keyColumn(k).base))
		keys = append(keys, fmt.Sprintf("_k%d", k))
		equal = append(equal, fmt.Sprintf("_t.%s=_k%d", quoteName(t.keyColumn(k).name), k))
	}
	n := len(keys)
	keyed := fmt.Sprintf("unnest(%s,%s) AS _n(%s,_v)", strings.Join(arrays, ","), param(n+1, "bigint"), strings.Join(keys, ","))
	condition := strings.Join(equal, " AND ")
	t.remove = fmt.Sprintf("DELETE FROM %s AS _t USING %s WHERE %s AND _t.%s<_v AND _t.%s IN (0,$%d::smallint)",
		t.place.quoted(), keyed, condition, s.version, s.origin, n+2)
	t.lock = fmt.Sprintf("SELECT _t.%s,_t.%s FROM %s AS _t JOIN %s ON %s FOR UPDATE OF _t", s.version, s.origin, t.place.quoted(), keyed, condition)
	t.buildHolders(s)
}

// isKey reports whether a written column, by its place in the INSERT, is one of the key.
func (t *table) isKey(written int) bool { return t.schema.IsKey(t.written[written]) }

func (t *table) quotedKey(prefix string) string {
	names := make([]string, len(t.schema.Key))
	for k := range names {
		names[k] = prefix + quoteName(t.keyColumn(k).name)
	}
	return strings.Join(names, ",")
}

// buildHolders writes the query that finds, for rows that are given, other rows that hold their values of a unique index. What is equal
// the server says, by the index's own columns and expressions.
func (t *table) buildHolders(s *server) {
	var same []string
	for k, column := range t.schema.Key {
		same = append(same, fmt.Sprintf("_t.%s=%s", quoteName(t.keyColumn(k).name), rowName(slices.Index(t.written, column))))
	}
	t.same = strings.Join(same, " AND ")
	t.meets = fmt.Sprintf("SELECT _i,_t.%s,_t.%s,%s FROM %s AS _t JOIN %s ON ", s.version, s.origin, t.quotedKey("_t."), t.place.quoted(), t.given())
	for i := range t.uniques {
		x := &t.uniques[i]
		var conditions []string
		for _, part := range x.parts {
			at := slices.IndexFunc(t.targets, func(c column) bool { return c.name == part.column })
			switch {
			case part.column == "":
				conditions = append(conditions, fmt.Sprintf("(%s)=%s", part.expression, t.ofRow(part.expression)))
			case at >= 0:
				conditions = append(conditions, "_t."+quoteName(part.column)+"="+rowName(at))
			default: // judge refuses it
				conditions = append(conditions, "false")
			}
		}
		if x.predicate != "" {
			conditions = append(conditions, "("+x.predicate+")", t.ofRow(x.predicate))
		}
		t.holders = append(t.holders, strings.Join(conditions, " AND "))
	}
}

// ofRow returns an expression of an index, computed of the row that is given: its column names are the nearest.
func (t *table) ofRow(expression string) string {
	names := make([]string, len(t.targets))
	for i := range t.targets {
		names[i] = rowName(i) + " AS " + quoteName(t.targets[i].name)
	}
	return "(SELECT (" + expression + ") FROM (SELECT " + strings.Join(names, ",") + ") AS _r)"
}

// holdersOf returns the query that finds the holders of the rows' values of a unique index.
func (t *table) holdersOf(unique int, lock bool) string {
	query := t.meets + t.holders[unique] + " WHERE NOT (" + t.same + ")"
	if lock {
		query += " FOR UPDATE OF _t"
	}
	return query
}
