package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// TableExtras is what INFORMATION_SCHEMA tells of a table beyond change.Table.
type TableExtras struct {
	Generated []bool   // by column: computed by the server, stored or virtual
	Virtual   []bool   // by column: computed and not stored
	Invisible []bool   // by column: not in SELECT *
	Defaults  []string // by column: the default as SQL, empty where there is none

	AutoIncrement int      // index of that column, -1 where there is none
	Uniques       []Unique // the primary key too
	Cascades      []string // this table's foreign keys by which changes of other tables change rows here
	Engine        string
	Rows          int64 // the engine's estimate
	AvgRowLength  int64 // bytes, estimate
	Versioned     bool  // MariaDB: WITH SYSTEM VERSIONING
	Functional    bool  // an index, unique or not, has a part that is an expression

	// Uncertain are the ENUM and SET columns with a '?' in a name, which may stand for a character that
	// INFORMATION_SCHEMA cannot show (an emoji). The binlog has the name as it is.
	Uncertain []string
}

// Unique is one unique key.
type Unique struct {
	Name       string
	Columns    []int    // by part: the column's index, -1 where the part is an expression
	Lengths    []int    // by part: characters of a prefix, 0 where the whole column counts
	Exprs      []string // by part: the expression as SQL, else empty
	Nullable   bool     // a part may be NULL: such rows are many
	Functional bool     // a part is an expression
	Prefix     bool     // a part is a prefix
}

// Identifies reports whether the key's columns alone tell one row from all others.
func (u *Unique) Identifies() bool { return !u.Nullable && !u.Functional && !u.Prefix }

func (u *Unique) floating(t *change.Table) bool {
	for _, i := range u.Columns {
		if i >= 0 && (t.Columns[i].Type == change.Float || t.Columns[i].Type == change.Double) {
			return true
		}
	}
	return false
}

// LoadTable reads a table's shape. The key is the primary key (none, where there is none), or the columns
// named in key, which must be all those of one unique key that identifies rows; they stand in key's order.
//
// A table that does not exist gives sql.ErrNoRows. A column of a type that the binlog's rows cannot be read
// of gives a Poison.
func LoadTable(ctx context.Context, q Queryer, f *Facts, name change.TableName, key []string) (*change.Table, *TableExtras, error) {
	q, release, err := schemaSession(ctx, q, f)
	if err != nil {
		return nil, nil, fmt.Errorf("load table %s: %w", name, err)
	}
	defer release()
	l := &loader{queryer: q, facts: f, table: &change.Table{TableName: name}, extras: &TableExtras{AutoIncrement: -1}}
	for _, step := range []func(context.Context) error{l.status, l.columns, l.uniques, l.cascades} {
		if err := step(ctx); err != nil {
			return nil, nil, fmt.Errorf("load table %s: %w", name, err)
		}
	}
	if err := l.key(key); err != nil {
		return nil, nil, err
	}
	return l.table, l.extras, nil
}

// schemaSession pins one connection, where it can, and has it show generated primary keys and fresh
// estimates: MySQL keeps the estimates for a day otherwise, so that a table filled an hour ago counts 0 rows.
func schemaSession(ctx context.Context, q Queryer, f *Facts) (Queryer, func(), error) {
	release := func() {}
	if pool, ok := q.(interface {
		Conn(context.Context) (*sql.Conn, error)
	}); ok {
		conn, err := pool.Conn(ctx)
		if err != nil {
			return nil, nil, err
		}
		q, release = conn, func() { conn.Close() }
	}
	session, ok := q.(interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	})
	if !ok || !f.IsMySQL(8, 0, 3) {
		return q, release, nil
	}
	set := "SET SESSION information_schema_stats_expiry = 0"
	if f.HiddenKeys {
		set += ", SESSION show_gipk_in_create_table_and_information_schema = ON"
	}
	if _, err := session.ExecContext(ctx, set); err != nil {
		release()
		return nil, nil, err
	}
	return q, release, nil
}

// loader reads one table.
type loader struct {
	queryer Queryer
	facts   *Facts
	table   *change.Table
	extras  *TableExtras
}

func (l *loader) status(ctx context.Context) error {
	var engine, kind sql.NullString
	var rows, length sql.NullInt64
	err := l.queryer.QueryRowContext(ctx, `SELECT ENGINE, TABLE_ROWS, AVG_ROW_LENGTH, TABLE_TYPE
		FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?`,
		l.table.DB, l.table.Name).Scan(&engine, &rows, &length, &kind)
	if err != nil {
		return err
	}
	l.extras.Engine, l.extras.Rows, l.extras.AvgRowLength = engine.String, rows.Int64, length.Int64
	l.extras.Versioned = kind.String == "SYSTEM VERSIONED"
	return nil
}

func (l *loader) columns(ctx context.Context) error {
	rows, err := l.queryer.QueryContext(ctx, `SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE,
		CHARACTER_MAXIMUM_LENGTH, NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION,
		CHARACTER_SET_NAME, COLLATION_NAME, COLUMN_DEFAULT, EXTRA
		FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION`,
		l.table.DB, l.table.Name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r columnRow
		if err := rows.Scan(&r.name, &r.dataType, &r.columnType, &r.nullable, &r.length, &r.precision, &r.scale,
			&r.fraction, &r.charset, &r.collation, &r.defaultValue, &r.extra); err != nil {
			return err
		}
		column, err := r.column()
		if err != nil {
			return &change.Problem{Kind: change.Poison, Table: l.table.TableName, Where: l.table.String(),
				What: fmt.Sprintf("column %s has type %s, which is not supported", r.name, r.columnType), Err: err,
				Mend: "leave the table out, or change the column's type"}
		}
		if uncertain(&column) {
			l.extras.Uncertain = append(l.extras.Uncertain, column.Name)
		}
		l.table.Columns = append(l.table.Columns, column)
		l.addExtras(&r)
	}
	return rows.Err()
}

func (l *loader) addExtras(r *columnRow) {
	e, extra := l.extras, strings.ToUpper(r.extra)
	virtual := strings.Contains(extra, "VIRTUAL GENERATED")
	e.Virtual = append(e.Virtual, virtual)
	e.Generated = append(e.Generated, virtual || strings.Contains(extra, "STORED GENERATED") || strings.Contains(extra, "PERSISTENT"))
	e.Invisible = append(e.Invisible, strings.Contains(extra, "INVISIBLE"))
	e.Defaults = append(e.Defaults, r.defaultSQL(l.facts))
	if strings.Contains(extra, "AUTO_INCREMENT") {
		e.AutoIncrement = len(l.table.Columns) - 1
	}
}

func (l *loader) uniques(ctx context.Context) error {
	expression := "NULL"
	if l.facts.IsMySQL(8, 0, 13) {
		expression = "EXPRESSION"
	}
	rows, err := l.queryer.QueryContext(ctx, `SELECT NON_UNIQUE, INDEX_NAME, COLUMN_NAME, SUB_PART, NULLABLE, `+expression+`
		FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?
		ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX`, l.table.DB, l.table.Name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p part
		if err := rows.Scan(&p.many, &p.index, &p.column, &p.prefix, &p.nullable, &p.expression); err != nil {
			return err
		}
		l.addPart(&p)
	}
	return rows.Err()
}

// part is a row of INFORMATION_SCHEMA.STATISTICS: one part of an index.
type part struct {
	many                         bool
	index                        string
	column, nullable, expression sql.NullString
	prefix                       sql.NullInt64
}

func (l *loader) addPart(p *part) {
	column := -1
	if p.column.Valid {
		column = l.table.Column(p.column.String)
	}
	l.extras.Functional = l.extras.Functional || column < 0
	if p.many {
		return
	}
	if n := len(l.extras.Uniques); n == 0 || l.extras.Uniques[n-1].Name != p.index {
		l.extras.Uniques = append(l.extras.Uniques, Unique{Name: p.index})
	}
	unique := &l.extras.Uniques[len(l.extras.Uniques)-1]
	unique.Columns = append(unique.Columns, column)
	unique.Lengths = append(unique.Lengths, int(p.prefix.Int64))
	unique.Exprs = append(unique.Exprs, p.expression.String)
	unique.Functional = unique.Functional || column < 0
	unique.Prefix = unique.Prefix || p.prefix.Valid
	unique.Nullable = unique.Nullable || p.nullable.String == "YES"
}

// cascades finds the foreign keys by which the server itself changes rows of this table (R12).
func (l *loader) cascades(ctx context.Context) error {
	if l.facts.Flavor == gtid.MariaDB {
		return l.shownCascades(ctx)
	}
	rows, err := l.queryer.QueryContext(ctx, `SELECT CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE, REFERENCED_TABLE_NAME
		FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?
		ORDER BY CONSTRAINT_NAME`, l.table.DB, l.table.Name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, onDelete, onUpdate, parent string
		if err := rows.Scan(&name, &onDelete, &onUpdate, &parent); err != nil {
			return err
		}
		l.addCascade(name, onDelete, onUpdate, parent)
	}
	return rows.Err()
}

func (l *loader) addCascade(name, onDelete, onUpdate, parent string) {
	text := ""
	for _, rule := range [...][2]string{{"ON DELETE", onDelete}, {"ON UPDATE", onUpdate}} {
		if rule[1] != "" && rule[1] != "NO ACTION" && rule[1] != "RESTRICT" {
			text += " " + rule[0] + " " + rule[1]
		}
	}
	if text != "" {
		l.extras.Cascades = append(l.extras.Cascades, name+text+" of "+parent)
	}
}

// foreignKey is a line of SHOW CREATE TABLE. Line feeds in names and comments are escaped there, so that a
// line that begins so is one.
var foreignKey = regexp.MustCompile("^  CONSTRAINT (`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\") FOREIGN KEY .* REFERENCES (.*) \\(.*\\)" +
	"(?: ON DELETE ([A-Z ]+?))?(?: ON UPDATE ([A-Z ]+?))?,?$")

// shownCascades reads them from SHOW CREATE TABLE: MariaDB hides INFORMATION_SCHEMA's rows of foreign keys from
// users who may only SELECT.
func (l *loader) shownCascades(ctx context.Context) error {
	var name, statement string
	if err := l.queryer.QueryRowContext(ctx, "SHOW CREATE TABLE "+QuoteTable(l.table.TableName)).Scan(&name, &statement); err != nil {
		return err
	}
	for line := range strings.SplitSeq(statement, "\n") {
		if m := foreignKey.FindStringSubmatch(line); m != nil {
			l.addCascade(strings.Trim(m[1], "`\""), m[3], m[4], strings.ReplaceAll(strings.Trim(m[2], "`\""), "`", ""))
		}
	}
	return nil
}

// key sets the table's key.
func (l *loader) key(names []string) error {
	if names == nil {
		if u := l.extras.Uniques; len(u) > 0 && u[0].Name == "PRIMARY" {
			l.table.Key = u[0].Columns
		}
		return nil
	}
	var columns []int
	for _, name := range names {
		i := l.table.Column(name)
		if i < 0 {
			return l.keyProblem(names, fmt.Sprintf("there is no column %s", name))
		}
		columns = append(columns, i)
	}
	for i := range l.extras.Uniques {
		if u := &l.extras.Uniques[i]; u.Identifies() && sameColumns(u.Columns, columns) {
			l.table.Key = columns
			return nil
		}
	}
	return l.keyProblem(names, "no unique key has just these columns, all of them NOT NULL and whole")
}

func (l *loader) keyProblem(names []string, why string) error {
	return &change.Problem{
		Kind: change.Poison, Table: l.table.TableName, Where: l.table.String(),
		What: fmt.Sprintf("the key [%s] cannot be used: %s", strings.Join(names, ", "), why),
		Why:  "changes of one row are found, ordered and overwritten by its key (R1)",
		Mend: fmt.Sprintf("name the columns of a unique key, or ALTER TABLE %s ADD UNIQUE (...)", QuoteTable(l.table.TableName)),
	}
}

func sameColumns(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	seen := map[int]bool{}
	for _, i := range a {
		seen[i] = true
	}
	for _, i := range b {
		if !seen[i] {
			return false
		}
		delete(seen, i)
	}
	return true
}

// ListTables returns the base tables of all databases but the server's own, by name.
func ListTables(ctx context.Context, q Queryer) ([]change.TableName, error) {
	rows, err := q.QueryContext(ctx, `SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
		WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
		AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')
		ORDER BY TABLE_SCHEMA, TABLE_NAME`)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	defer rows.Close()
	var names []change.TableName
	for rows.Next() {
		var name change.TableName
		if err := rows.Scan(&name.DB, &name.Name); err != nil {
			return nil, fmt.Errorf("list tables: %w", err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return names, nil
}

// isLiteralDefault reports whether COLUMN_DEFAULT is a plain value rather than SQL: MariaDB from 10.2 writes
// SQL always, MySQL only with DEFAULT_GENERATED.
func isLiteralDefault(f *Facts, extra string) bool {
	return f.Flavor == gtid.MySQL && !strings.Contains(extra, "DEFAULT_GENERATED")
}
