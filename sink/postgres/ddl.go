package postgres

import (
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// createTable returns the statement that makes the target's table for a table of the source: its columns, its key, and the target's
// own columns. Other keys, defaults and checks are not in the log and are left out.
func (c *Config) createTable(p place, t *change.Table) string {
	lines := make([]string, 0, len(t.Columns)+3)
	for i := range t.Columns {
		lines = append(lines, c.columnDefinition(&t.Columns[i], true))
	}
	lines = append(lines, c.ownColumns()...)
	lines = append(lines, "PRIMARY KEY ("+quoteNames(t.KeyNames())+")")
	return "CREATE TABLE " + p.quoted() + " (\n  " + strings.Join(lines, ",\n  ") + "\n)"
}

func createSchema(name string) string { return "CREATE SCHEMA IF NOT EXISTS " + quoteName(name) }

// ownColumns are the definitions of the version and the source. 0 is nobody's: rows that were there before.
func (c *Config) ownColumns() []string {
	return []string{
		quoteName(c.VersionColumn) + " bigint NOT NULL DEFAULT 0",
		quoteName(c.SourceColumn) + " smallint NOT NULL DEFAULT 0",
	}
}

// columnDefinition returns a column as it stands in CREATE and ALTER TABLE. One that is added to rows which are there is nullable:
// they get their values from the crawl that the source begins. So is one whose values may become NULL here.
func (c *Config) columnDefinition(col *change.Column, create bool) string {
	b := quoteName(col.Name) + " " + c.columnType(col)
	if col.Nullable || !create || dated(col.Type) && c.ZeroDates == ToNull {
		return b
	}
	return b + " NOT NULL"
}

// addColumns returns the statement that adds what the target lacks, empty where it lacks nothing.
func (c *Config) addColumns(p place, source *change.Table, r *relation) string {
	var missing []string
	for i := range source.Columns {
		if r.find(source.Columns[i].Name) < 0 {
			missing = append(missing, "ADD COLUMN "+c.columnDefinition(&source.Columns[i], false))
		}
	}
	for i, name := range []string{c.VersionColumn, c.SourceColumn} {
		if r.find(name) < 0 {
			missing = append(missing, "ADD COLUMN "+c.ownColumns()[i])
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "ALTER TABLE " + p.quoted() + " " + strings.Join(missing, ", ")
}
