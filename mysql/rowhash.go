package mysql

import (
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// RowHash returns an expression whose value is a hash of 64 bits of a row's columns: the same on two servers if, and only if, the
// values are. own are the server's own columns, one for each of the table's, whose types may differ in what does not change the text; the table
// says what both sides must agree on. false: the table has columns whose text is not exact. It is for MySQL only: MariaDB writes -0.0 as 0.
//
// SHA2: two CRC32s of one text are not independent, and MySQL 9.6 has no MD5 any more. Lengths and NULLs stand behind the values, so that no two rows
// have the same text ('a','b#c' and 'a#b','c').
func RowHash(t *change.Table, own []change.Column) (expression string, ok bool) {
	var values, lengths, nulls []string
	for i := range t.Columns {
		c := &own[i]
		name := QuoteName(c.Name)
		value, varies := name, false
		switch {
		case c.Type == change.Geometry, c.Type == change.Vector:
			return "", false
		case c.Type == change.Float, c.Type == change.Double:
			value = "(" + name + "*1e0)"
		case c.Type == change.Bit:
			value = "(" + name + "+0)"
		case c.Type == change.JSON:
			value, varies = "CAST(CAST("+name+" AS CHAR CHARACTER SET utf8mb4) AS BINARY)", true
		case c.Type.Character(), c.Type == change.Enum, c.Type == change.Set:
			value, varies = "CAST("+name+" AS BINARY)", true
			if c.Charset != "utf8mb4" {
				value = "CAST(CONVERT(" + name + " USING utf8mb4) AS BINARY)"
			}
		case c.Type.Opaque():
			varies = true
		}
		values = append(values, value)
		if varies {
			lengths = append(lengths, "LENGTH("+value+")")
		}
		if t.Columns[i].Nullable {
			nulls = append(nulls, "ISNULL("+name+")")
		}
	}
	parts := append(values, lengths...)
	if len(nulls) > 0 {
		parts = append(parts, "CONCAT("+strings.Join(nulls, ",")+")")
	}
	return fmt.Sprintf("CAST(CONV(LEFT(SHA2(CONCAT_WS('#',%s),256),16),16,10) AS UNSIGNED)", strings.Join(parts, ",")), true
}
