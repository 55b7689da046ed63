package floor

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Table is a table of a server.
type Table struct {
	// DSN is the server in the driver's words: app:app@tcp(127.0.0.1:3306)/
	DSN      string
	Database string
	Name     string
}

// ParseTable takes "database.table" apart.
func ParseTable(dsn, name string) (Table, error) {
	database, table, ok := strings.Cut(name, ".")
	if !ok || database == "" || table == "" {
		return Table{}, fmt.Errorf("table %q; want database.table", name)
	}
	return Table{DSN: dsn, Database: database, Name: table}, nil
}

func (t Table) String() string { return t.Database + "." + t.Name }

func (t Table) quoted() string { return quote(t.Database) + "." + quote(t.Name) }

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// open opens a pool of as many connections, each with READ COMMITTED and times in UTC, as Sluice's have.
func (t Table) open(connections int) (*sql.DB, error) {
	config, err := mysql.ParseDSN(t.DSN)
	if err != nil {
		return nil, fmt.Errorf("the server of table %s: %w", t, err)
	}
	if config.Params == nil {
		config.Params = map[string]string{}
	}
	config.Params["transaction_isolation"] = "'READ-COMMITTED'"
	config.Params["time_zone"] = "'+00:00'"
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("the server of table %s: %w", t, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// column is a column of a table.
type column struct {
	name string
	kind string // DATA_TYPE, in small letters
	key  bool   // of the primary key
}

// refused are types of which the text that the server sends is not the value, or that a document has no field for.
var refused = map[string]bool{"float": true, "geometry": true, "point": true, "linestring": true, "polygon": true, "multipoint": true,
	"multilinestring": true, "multipolygon": true, "geomcollection": true, "vector": true}

// columns are the table's, those of its key first and in its order.
func (t Table) columns(ctx context.Context, db *sql.DB) (list []column, err error) {
	rows, err := db.QueryContext(ctx, `SELECT c.COLUMN_NAME, c.DATA_TYPE, k.SEQ_IN_INDEX IS NOT NULL FROM information_schema.COLUMNS c
		LEFT JOIN information_schema.STATISTICS k ON k.TABLE_SCHEMA = c.TABLE_SCHEMA AND k.TABLE_NAME = c.TABLE_NAME
			AND k.COLUMN_NAME = c.COLUMN_NAME AND k.INDEX_NAME = 'PRIMARY'
		WHERE c.TABLE_SCHEMA = ? AND c.TABLE_NAME = ? ORDER BY k.SEQ_IN_INDEX IS NULL, k.SEQ_IN_INDEX, c.ORDINAL_POSITION`, t.Database, t.Name)
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", t, err)
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.kind, &c.key); err != nil {
			return nil, err
		}
		if refused[c.kind] {
			return nil, fmt.Errorf("column %s of table %s is a %s, which the bare loaders do not carry: take another table", c.name, t, strings.ToUpper(c.kind))
		}
		list = append(list, c)
	}
	switch {
	case rows.Err() != nil:
		return nil, rows.Err()
	case len(list) == 0:
		return nil, fmt.Errorf("table %s is not there", t)
	case !list[0].key:
		return nil, fmt.Errorf("table %s has no primary key: take another one", t)
	}
	return list, nil
}

// memoryMax bounds what is held in memory, in bytes of statements or requests.
const memoryMax = 4 << 30

var errTooLarge = fmt.Errorf("the rows take more than %d bytes of memory: bound them (-rows)", int64(memoryMax))

// eachRow gives the rows of a table, in the order of its key and at most limit of them where that is above 0.
func (t Table) eachRow(ctx context.Context, limit int, each func(columns []column, row []sql.RawBytes) error) error {
	db, err := t.open(1)
	if err != nil {
		return err
	}
	defer db.Close()
	columns, err := t.columns(ctx, db)
	if err != nil {
		return err
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = quote(c.name)
	}
	query := "SELECT " + strings.Join(names, ", ") + " FROM " + t.quoted()
	if limit > 0 {
		query += fmt.Sprintf(" LIMIT %d", limit)
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("read table %s: %w", t, err)
	}
	defer rows.Close()
	row, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range row {
		into[i] = &row[i]
	}
	seen := 0
	for ; rows.Next(); seen++ {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("read table %s: %w", t, err)
		}
		if err := each(columns, row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read table %s: %w", t, err)
	}
	if seen == 0 {
		return errors.New("table " + t.String() + " has no rows")
	}
	return nil
}

// isNumber says whether the server's text of the type needs no quotes, in SQL and in JSON.
func (c column) isNumber() bool {
	return strings.HasSuffix(c.kind, "int") || c.kind == "decimal" || c.kind == "double" || c.kind == "year"
}

func (c column) isBinary() bool {
	return strings.HasSuffix(c.kind, "binary") || strings.HasSuffix(c.kind, "blob") || c.kind == "bit"
}
