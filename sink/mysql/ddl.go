package mysql

import (
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
)

// createTable returns the statement that makes the target's table for a table of the source: its columns, its
// key, and the target's own columns. Other keys, defaults and checks are not in the log and are left out.
func createTable(config Config, f *server.Facts, name change.TableName, t *change.Table) string {
	lines := make([]string, 0, len(t.Columns)+3)
	for i := range t.Columns {
		lines = append(lines, columnDefinition(&t.Columns[i], true))
	}
	if config.ownColumns(t.TableName) {
		lines = append(lines, ownColumns(config, f)...)
	}
	lines = append(lines, "PRIMARY KEY ("+quoteNames(t.KeyNames())+")")
	return "CREATE TABLE IF NOT EXISTS " + server.QuoteTable(name) + " (\n  " + strings.Join(lines, ",\n  ") + "\n) ENGINE=InnoDB"
}

// ownColumns are the definitions of the version and the source. 0 is nobody's: rows that were there before.
func ownColumns(config Config, f *server.Facts) []string {
	hidden := ""
	if invisibleColumns(f) {
		hidden = " INVISIBLE"
	}
	return []string{
		server.QuoteName(config.VersionColumn) + " BIGINT NOT NULL DEFAULT 0" + hidden,
		server.QuoteName(config.SourceColumn) + " SMALLINT UNSIGNED NOT NULL DEFAULT 0" + hidden,
	}
}

func quoteNames(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = server.QuoteName(name)
	}
	return strings.Join(quoted, ",")
}

// columnDefinition returns a column as it stands in CREATE and ALTER TABLE. A column added to rows that are there
// is nullable where its type has no value to fill in.
func columnDefinition(c *change.Column, create bool) string {
	b := server.QuoteName(c.Name) + " " + columnType(c)
	if c.Type.Character() || c.Type == change.Enum || c.Type == change.Set {
		if c.Charset != "" {
			b += " CHARACTER SET " + c.Charset
		}
		if c.Collation != "" {
			b += " COLLATE " + c.Collation
		}
	}
	fillable := c.Type != change.JSON && c.Type != change.Geometry && c.Type != change.Vector
	if c.Nullable || (!create && !fillable) {
		return b + " NULL" // said, because a TIMESTAMP of old servers is NOT NULL where nothing is said
	}
	return b + " NOT NULL"
}

func columnType(c *change.Column) string {
	name := strings.ToUpper(c.Type.String())
	switch c.Type {
	case change.Decimal:
		name += fmt.Sprintf("(%d,%d)", c.Precision, c.Scale)
	case change.Bit, change.Char, change.VarChar, change.Binary, change.VarBinary, change.Vector:
		name += fmt.Sprintf("(%d)", c.Length)
	case change.Time, change.DateTime, change.Timestamp:
		if c.Scale > 0 {
			name += fmt.Sprintf("(%d)", c.Scale)
		}
	case change.Enum, change.Set:
		elements := make([]string, len(c.Elements))
		for i, e := range c.Elements {
			elements[i] = string(appendQuoted(nil, []byte(e))) // nothing but a plain literal may stand here
		}
		name += "(" + strings.Join(elements, ",") + ")"
	case change.Geometry:
		if c.Geometry != "" {
			name = strings.ToUpper(c.Geometry)
		}
	}
	if c.Unsigned {
		name += " UNSIGNED"
	}
	return name
}

// addColumns returns the statement that adds what the target lacks, empty where it lacks nothing.
func addColumns(config Config, f *server.Facts, source, target *change.Table) string {
	var missing []string
	for i := range source.Columns {
		if target.Column(source.Columns[i].Name) < 0 {
			missing = append(missing, "ADD COLUMN "+columnDefinition(&source.Columns[i], false))
		}
	}
	if config.ownColumns(source.TableName) {
		for i, name := range []string{config.VersionColumn, config.SourceColumn} {
			if target.Column(name) < 0 {
				missing = append(missing, "ADD COLUMN "+ownColumns(config, f)[i])
			}
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "ALTER TABLE " + server.QuoteTable(target.TableName) + " " + strings.Join(missing, ", ")
}
