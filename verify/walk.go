package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/sink"
)

// sourceTable is a table at its source, read in the order of its key. Key ranges are compared by the server, never in Go: nothing
// here knows its collations.
type sourceTable struct {
	server *Server
	table  *change.Table // as the newest schema of the topic has it: these columns are published
	list   string        // what is selected
	from   string        // the FROM clause, which forces the walk along the key
	key    []keyColumn   // in the order of the index
	rows   int64         // the engine's estimate
	types  []change.Column
	rule   *sourceRule // nil: the source publishes all rows as they are
	hash   string      // of rows, as the server is to select it; empty: it does not
}

// keyColumn is one column of the key.
type keyColumn struct {
	name   string // quoted
	column *change.Column
	at     int // in the table's key
}

// loadTable reads the table's present shape and holds it against the schema of the topic.
func (s *Server) loadTable(ctx context.Context, t *change.Table, shaping schema.Shaping) (*sourceTable, error) {
	now, extras, err := mysql.LoadTable(ctx, s.db, s.facts, t.TableName, t.KeyNames())
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &change.Problem{Kind: change.Poison, Table: t.TableName, What: "there is no table " + t.String() + " at the source",
			Where: s.identity().Address, Why: "there is nothing to hold the target's rows against"}
	}
	if err != nil {
		return nil, s.config.Problem(err)
	}
	st := &sourceTable{server: s, table: t, rows: extras.Rows}
	var list []string
	for i := range t.Columns {
		at := now.Column(t.Columns[i].Name)
		if at < 0 {
			return nil, &change.Problem{Kind: change.Retry, Table: t.TableName, What: fmt.Sprintf("column %s of %s is published and is not in the table any more", t.Columns[i].Name, t),
				Why: "the source learns of a new form with the next change of the table", Mend: "change a row of the table, or wait for a change, and verify again"}
		}
		st.types = append(st.types, now.Columns[at])
		list = append(list, mysql.SelectText(&now.Columns[at]))
	}
	if st.rule, err = newSourceRule(now, t, shaping, s.Hashes); err != nil {
		return nil, err
	}
	if st.rule != nil {
		for _, c := range st.rule.extra {
			st.types = append(st.types, now.Columns[c])
			list = append(list, mysql.SelectText(&now.Columns[c]))
		}
	}
	st.list = strings.Join(list, ",")
	return st, st.findIndex(now, extras)
}

// findIndex finds the unique key of the table's key columns. Its own order counts: in another the server would sort the table.
func (st *sourceTable) findIndex(now *change.Table, extras *mysql.TableExtras) error {
	names := st.table.KeyNames()
	for _, u := range extras.Uniques {
		if !u.Identifies() || len(u.Columns) != len(names) {
			continue
		}
		var key []keyColumn
		for _, c := range u.Columns {
			if at := slices.Index(names, now.Columns[c].Name); at >= 0 {
				key = append(key, keyColumn{mysql.QuoteName(now.Columns[c].Name), &now.Columns[c], at})
			}
		}
		if len(key) == len(names) {
			st.key = key
			st.from = mysql.QuoteTable(st.table.TableName) + " FORCE INDEX (" + mysql.QuoteName(u.Name) + ")"
			return nil
		}
	}
	return &change.Problem{Kind: change.Poison, Table: st.table.TableName, What: fmt.Sprintf("%s has no unique key of just (%s)", st.table, strings.Join(names, ", ")),
		Why: "it is the key of the topic, by which rows are found and compared"}
}

// literals writes a key as literals, in the order of the index.
func (st *sourceTable) literals(key []change.Value) ([]string, error) {
	out := make([]string, len(st.key))
	for i, k := range st.key {
		var err error
		if out[i], err = mysql.KeyLiteral(k.column, key[k.at]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// above writes that the key lies above the bound, in a form from which the server makes a range of the index.
func (st *sourceTable) above(bound []string) string {
	var b strings.Builder
	for i, k := range st.key {
		if i == len(st.key)-1 {
			fmt.Fprintf(&b, "%s>%s", k.name, bound[i])
			break
		}
		fmt.Fprintf(&b, "%[1]s>=%[2]s AND (%[1]s>%[2]s OR (%[1]s=%[2]s AND ", k.name, bound[i])
	}
	return "(" + b.String() + strings.Repeat("))", len(st.key)-1) + ")"
}

func (st *sourceTable) order() string {
	names := make([]string, len(st.key))
	for i := range st.key {
		names[i] = st.key[i].name
	}
	return strings.Join(names, ",")
}

// rowsAfter calls each with the values of at most limit rows above the key, in key order, by one statement. The values are valid
// until each returns. last is the last row's key, nil when the table ended before the limit.
func (st *sourceTable) rowsAfter(ctx context.Context, x *session, after []change.Value, limit int, each func([]change.Value) error) (last []change.Value, err error) {
	condition, err := st.between(after, nil)
	if err != nil {
		return nil, err
	}
	statement := fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT %d", st.list, st.from, condition, st.order(), limit)
	found := 0
	each = st.rule.passing(each)
	err = st.query(ctx, x, statement, func(values []change.Value) error {
		if found++; found == limit {
			for _, c := range st.table.Key {
				v := values[c]
				v.Bytes = slices.Clone(v.Bytes)
				last = append(last, v)
			}
		}
		return each(values)
	})
	return last, err
}

// rowsOf calls each with the rows of the keys, as rowsAfter does. Where the server has no GTIDs to wait for, the rows are read
// with a shared lock, which waits for what is being committed.
func (st *sourceTable) rowsOf(ctx context.Context, x *session, keys [][]change.Value, each func([]change.Value) error) error {
	each = st.rule.passing(each)
	for some := range slices.Chunk(keys, keysPerQuery) {
		var conditions []string
		for _, key := range some {
			literals, err := st.literals(key)
			if err != nil {
				return err
			}
			parts := make([]string, len(literals))
			for i, l := range literals {
				parts[i] = st.key[i].name + "=" + l
			}
			conditions = append(conditions, "("+strings.Join(parts, " AND ")+")")
		}
		statement := fmt.Sprintf("SELECT %s FROM %s WHERE %s", st.list, st.from, strings.Join(conditions, " OR "))
		if !x.gtids() {
			statement += " LOCK IN SHARE MODE"
		}
		if err := st.query(ctx, x, statement, each); err != nil {
			return err
		}
	}
	return nil
}

// keysPerQuery bounds the conditions of one statement.
const keysPerQuery = 200

func (st *sourceTable) query(ctx context.Context, x *session, statement string, each func([]change.Value) error) error {
	return x.server.config.Problem(mysql.SelectRows(ctx, x.conn, statement, st.types, each))
}

// published says which columns of the schema go wherever a row goes: the values of a row of the source, with its names.
func published(t *change.Table) []string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return names
}

// shaped returns where a row of the source should be, and as what. What it returns is valid until the next call with the reader.
func (t *tableRun) shaped(reader *Rows, values []change.Value) (places []sink.Row, err error) {
	if t.view != nil {
		row, ok, err := t.view.Row(values)
		if err != nil || !ok {
			return nil, err
		}
		values = row
	}
	if t.shaper == nil {
		reader.places = append(reader.places[:0], sink.Row{Columns: t.names, Values: values})
		return reader.places, nil
	}
	if places, err = t.shaper.Shape(t.topic.Source, t.table, values, reader.places[:0]); err == nil {
		reader.places = places
	}
	return places, err
}
