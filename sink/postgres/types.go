package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// columnType returns the type that a column of the source has at the target.
//
//	TINYINT, SMALLINT, TINYINT UNSIGNED, YEAR      smallint
//	MEDIUMINT, INT, SMALLINT and MEDIUMINT UNSIGNED integer
//	BIGINT, INT UNSIGNED                           bigint
//	BIGINT UNSIGNED                                numeric(20)
//	DECIMAL(p,s)                                   numeric(p,s)
//	FLOAT, DOUBLE                                  real, double precision
//	BIT(n)                                         bit(n)
//	DATE, DATETIME(s), TIMESTAMP(s)                date, timestamp(s), timestamp(s) with time zone
//	TIME(s)                                        interval(s): it goes to 838 hours, and below 0
//	CHAR(n), VARCHAR(n)                            character varying(n)
//	TINYTEXT ... LONGTEXT, ENUM, SET               text
//	JSON                                           json, or jsonb
//	BINARY ... LONGBLOB, GEOMETRY, VECTOR          bytea: GEOMETRY and VECTOR in MySQL's own form
func (c *Config) columnType(col *change.Column) string {
	switch {
	case col.Type.Integer():
		return integerType(col)
	case col.Type.Opaque():
		return "bytea"
	}
	switch col.Type {
	case change.Year:
		return "smallint"
	case change.Decimal:
		return fmt.Sprintf("numeric(%d,%d)", col.Precision, col.Scale)
	case change.Float:
		return "real"
	case change.Double:
		return "double precision"
	case change.Bit:
		return fmt.Sprintf("bit(%d)", col.Length)
	case change.Date:
		return "date"
	case change.Time:
		return fmt.Sprintf("interval(%d)", col.Scale)
	case change.DateTime:
		return fmt.Sprintf("timestamp(%d) without time zone", col.Scale)
	case change.Timestamp:
		return fmt.Sprintf("timestamp(%d) with time zone", col.Scale)
	case change.Char, change.VarChar:
		if col.Length > 0 {
			return fmt.Sprintf("character varying(%d)", col.Length)
		}
	case change.JSON:
		return c.JSON
	case change.Geometry, change.Vector:
		return "bytea"
	}
	return "text"
}

func integerType(col *change.Column) string {
	switch {
	case col.Type == change.BigInt && col.Unsigned:
		return "numeric(20,0)"
	case col.Type == change.BigInt, col.Type == change.Int && col.Unsigned:
		return "bigint"
	case col.Type == change.TinyInt, col.Type == change.SmallInt && !col.Unsigned:
		return "smallint"
	}
	return "integer"
}

// fits reports whether a column of the target holds what the source's column does, or refuses loudly what it does not. What would
// bend a value in silence does not fit: fewer fractional digits (rounded), a shorter text (trailing spaces are cut), character(n)
// (padded).
func (c *Config) fits(source *change.Column, target *column) bool {
	base, sizes := splitType(target.full)
	scale := func(unbounded bool) bool { // the fractional digits are enough
		return len(sizes) == 0 && unbounded || len(sizes) > 0 && sizes[len(sizes)-1] >= source.Scale
	}
	wide := base == "smallint" || base == "integer" || base == "bigint" || base == "numeric"
	text := base == "text" || base == "character varying" && (len(sizes) == 0 || source.Length > 0 && sizes[0] >= source.Length)
	switch {
	case source.Type.Integer(), source.Type == change.Year:
		return wide && (len(sizes) < 2 || sizes[1] >= 0)
	case source.Type.Opaque(), source.Type == change.Geometry, source.Type == change.Vector:
		return base == "bytea"
	case source.Type.Character():
		return text
	}
	switch source.Type {
	case change.Decimal:
		return base == "numeric" && (len(sizes) == 0 || len(sizes) == 2 && sizes[1] >= source.Scale)
	case change.Float:
		return base == "real" || base == "double precision"
	case change.Double:
		return base == "double precision"
	case change.Bit:
		return base == "bit" && len(sizes) == 1 && sizes[0] == source.Length
	case change.Date:
		return base == "date"
	case change.Time:
		return (base == "interval" || base == "time without time zone") && scale(true)
	case change.DateTime, change.Timestamp:
		return (base == "timestamp without time zone" || base == "timestamp with time zone") && scale(true)
	case change.Enum:
		return text || target.enum
	case change.JSON:
		return base == "json" || text || base == "jsonb" && c.JSON == JSONB
	}
	return text // SET
}

// splitType takes the numbers out of a type: "timestamp(3) with time zone" is "timestamp with time zone" and 3.
func splitType(full string) (base string, sizes []int) {
	open, end := strings.IndexByte(full, '('), strings.IndexByte(full, ')')
	if open < 0 || end < open {
		return full, nil
	}
	for _, text := range strings.Split(full[open+1:end], ",") {
		if n, err := strconv.Atoi(text); err == nil {
			sizes = append(sizes, n)
		}
	}
	return full[:open] + full[end+1:], sizes
}

// ordered reports whether the server compares keys of the type as MySQL does. Text is compared by collations that neither knows of
// the other, ENUM and SET by the places of their names.
func ordered(c *change.Column) bool {
	return !c.Type.Character() && c.Type != change.Enum && c.Type != change.Set
}
