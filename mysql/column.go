package mysql

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// columnRow is a row of INFORMATION_SCHEMA.COLUMNS.
type columnRow struct {
	name, dataType, columnType, nullable string
	length, precision, scale, fraction   sql.NullInt64
	charset, collation, defaultValue     sql.NullString
	extra                                string
}

// geometries are the names under which servers know the subtypes of GEOMETRY, and ours for them.
var geometries = map[string]string{
	"geometry": "geometry", "point": "point", "linestring": "linestring", "polygon": "polygon",
	"multipoint": "multipoint", "multilinestring": "multilinestring", "multipolygon": "multipolygon",
	"geomcollection": "geometrycollection", "geometrycollection": "geometrycollection",
}

var errUnknownType = errors.New("the binlog's rows of this type cannot be read")

// column gives what both this row and the binlog's TABLE_MAP tell, in one spelling.
func (r *columnRow) column() (change.Column, error) {
	c := change.Column{Name: r.name, Nullable: r.nullable == "YES"}
	dataType, columnType := strings.ToLower(r.dataType), strings.ToLower(r.columnType)
	if strings.Contains(columnType, "compressed") && !strings.HasPrefix(columnType, "enum") && !strings.HasPrefix(columnType, "set") {
		return c, errUnknownType // MariaDB: "varchar(100) /*M!100301 COMPRESSED*/", a type of its own in the binlog
	}
	kind, ok := change.ParseType(dataType)
	if subtype, geometry := geometries[dataType]; geometry {
		kind, ok, c.Geometry = change.Geometry, true, subtype
	}
	if !ok {
		return c, errUnknownType
	}
	c.Type = kind
	var err error
	switch {
	case kind.Integer(), kind == change.Float, kind == change.Double:
		c.Unsigned = strings.Contains(columnType, "unsigned")
	case kind == change.Decimal:
		c.Unsigned = strings.Contains(columnType, "unsigned")
		c.Precision, c.Scale = int(r.precision.Int64), int(r.scale.Int64)
	case kind == change.Time, kind == change.DateTime, kind == change.Timestamp:
		c.Scale = int(r.fraction.Int64)
	case kind == change.Char, kind == change.VarChar, kind == change.Binary, kind == change.VarBinary:
		c.Length = int(r.length.Int64)
	case kind == change.Bit, kind == change.Vector:
		c.Length, err = typeLength(columnType)
	case kind == change.Enum, kind == change.Set:
		c.Elements, err = parseElements(r.columnType)
	}
	if kind.Character() || kind == change.Enum || kind == change.Set {
		c.Charset, c.Collation = CharsetName(r.charset.String), CharsetName(r.collation.String)
	}
	return c, err
}

// CharsetName gives a charset or collation its present name: servers before 8.0.30 (MariaDB: 10.6) call
// utf8mb3 utf8, and its collations utf8_*.
func CharsetName(name string) string {
	if name == "utf8" {
		return "utf8mb3"
	}
	if rest, ok := strings.CutPrefix(name, "utf8_"); ok {
		return "utf8mb3_" + rest
	}
	return name
}

// typeLength reads n of "bit(n)" and "vector(n)".
func typeLength(columnType string) (int, error) {
	_, rest, _ := strings.Cut(columnType, "(")
	digits, _, ok := strings.Cut(rest, ")")
	if !ok {
		return 0, fmt.Errorf("column type %q has no length", columnType)
	}
	return strconv.Atoi(digits)
}

// parseElements reads the names of "enum('a','it”s')". Quotes are doubled; a backslash is one of MySQL's
// own escapes nowhere here (seen on 9.7, 8.0.15 and MariaDB 10.11).
func parseElements(columnType string) ([]string, error) {
	open := strings.IndexByte(columnType, '(')
	if open < 0 || !strings.HasSuffix(columnType, ")") {
		return nil, fmt.Errorf("column type %q has no elements", columnType)
	}
	rest := columnType[open+1 : len(columnType)-1]
	var elements []string
	for {
		element, after, err := cutQuoted(rest)
		if err != nil {
			return nil, fmt.Errorf("column type %q: %w", columnType, err)
		}
		elements = append(elements, element)
		if after == "" {
			return elements, nil
		}
		if after[0] != ',' {
			return nil, fmt.Errorf("column type %q: want a comma at %q", columnType, after)
		}
		rest = after[1:]
	}
}

func cutQuoted(text string) (value, rest string, err error) {
	if text == "" || text[0] != '\'' {
		return "", "", fmt.Errorf("want a quote at %q", text)
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
			b.WriteByte(unescaped(text[i]))
			continue
		}
		if text[i] != '\'' {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		return b.String(), text[i+1:], nil
	}
	return "", "", errors.New("a quote is not closed")
}

func unescaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case '0':
		return 0
	}
	return c
}

// uncertain reports whether the names of an ENUM or SET may not be those that the server has: see parseElements.
func uncertain(c *change.Column) bool {
	switch c.Charset {
	case "utf8mb4", "utf16", "utf16le", "utf32", "gb18030":
	default:
		return false
	}
	return slices.ContainsFunc(c.Elements, func(element string) bool { return strings.Contains(element, "?") })
}

// defaultSQL returns the default as it would stand after DEFAULT, or nothing where there is none.
func (r *columnRow) defaultSQL(f *Facts) string {
	value := r.defaultValue.String
	if !r.defaultValue.Valid {
		return ""
	}
	if !isLiteralDefault(f, strings.ToUpper(r.extra)) {
		if strings.Contains(strings.ToUpper(r.extra), "DEFAULT_GENERATED") && !strings.HasPrefix(strings.ToUpper(value), "CURRENT_TIMESTAMP") {
			return "(" + value + ")"
		}
		return value
	}
	upper := strings.ToUpper(value)
	switch strings.ToLower(r.dataType) {
	case "timestamp", "datetime": // 8.0.12 and before do not mark it
		if strings.HasPrefix(upper, "CURRENT_TIMESTAMP") {
			return value
		}
	case "bit":
		return value // b'101'
	case "binary", "varbinary":
		if strings.HasPrefix(upper, "0X") {
			return value
		}
	}
	return QuoteString(value)
}
