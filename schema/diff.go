package schema

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Differences says in words what changed from one shape of a table to another, one line a column; columns are told
// apart by their names. It is for errors: equal tables give nothing.
func Differences(old, new *change.Table) []string {
	var lines []string
	for i := range old.Columns {
		was := &old.Columns[i]
		at := slices.IndexFunc(new.Columns, func(c change.Column) bool { return c.Name == was.Name })
		if at < 0 {
			lines = append(lines, fmt.Sprintf("column %s dropped", was.Name))
			continue
		}
		if a, b := Describe(was), Describe(&new.Columns[at]); a != b {
			lines = append(lines, fmt.Sprintf("column %s: %s -> %s", was.Name, a, b))
		}
	}
	for i := range new.Columns {
		if now := &new.Columns[i]; !slices.ContainsFunc(old.Columns, func(c change.Column) bool { return c.Name == now.Name }) {
			lines = append(lines, fmt.Sprintf("column %s added: %s", now.Name, Describe(now)))
		}
	}
	if a, b := strings.Join(old.KeyNames(), ", "), strings.Join(new.KeyNames(), ", "); a != b {
		lines = append(lines, fmt.Sprintf("key: (%s) -> (%s)", a, b))
	}
	return lines
}

// Describe returns a column's type as SQL would, with all that a change.Column holds: "varchar(40) charset latin1
// collate latin1_bin not null".
func Describe(c *change.Column) string {
	var b strings.Builder
	switch {
	case c.Type == change.Geometry && c.Geometry != "":
		b.WriteString(c.Geometry)
	default:
		b.WriteString(c.Type.String())
	}
	switch c.Type {
	case change.Decimal:
		fmt.Fprintf(&b, "(%d,%d)", c.Precision, c.Scale)
	case change.Time, change.DateTime, change.Timestamp:
		if c.Scale > 0 {
			fmt.Fprintf(&b, "(%d)", c.Scale)
		}
	case change.Char, change.VarChar, change.Binary, change.VarBinary, change.Bit, change.Vector:
		fmt.Fprintf(&b, "(%d)", c.Length)
	case change.Enum, change.Set:
		quoted := make([]string, len(c.Elements))
		for i, e := range c.Elements {
			quoted[i] = "'" + strings.ReplaceAll(e, "'", "''") + "'"
		}
		b.WriteString("(" + strings.Join(quoted, ",") + ")")
	}
	if c.Unsigned {
		b.WriteString(" unsigned")
	}
	if c.Charset != "" {
		b.WriteString(" charset " + c.Charset)
	}
	if c.Collation != "" {
		b.WriteString(" collate " + c.Collation)
	}
	if !c.Nullable {
		b.WriteString(" not null")
	}
	return b.String()
}
