package change

// Type is the type of a column, as MySQL names it.
type Type uint8

// MySQL's column types. The text and blob sizes are kept apart because a target table made from them must
// hold what the source holds.
const (
	TinyInt Type = iota + 1
	SmallInt
	MediumInt
	Int
	BigInt
	Decimal
	Float
	Double
	Bit
	Year
	Date
	Time
	DateTime
	Timestamp
	Char
	VarChar
	TinyText
	Text
	MediumText
	LongText
	Binary
	VarBinary
	TinyBlob
	Blob
	MediumBlob
	LongBlob
	Enum
	Set
	JSON
	Geometry
	Vector
)

var typeNames = [...]string{
	TinyInt: "tinyint", SmallInt: "smallint", MediumInt: "mediumint", Int: "int", BigInt: "bigint",
	Decimal: "decimal", Float: "float", Double: "double", Bit: "bit", Year: "year", Date: "date", Time: "time",
	DateTime: "datetime", Timestamp: "timestamp", Char: "char", VarChar: "varchar", TinyText: "tinytext",
	Text: "text", MediumText: "mediumtext", LongText: "longtext", Binary: "binary", VarBinary: "varbinary",
	TinyBlob: "tinyblob", Blob: "blob", MediumBlob: "mediumblob", LongBlob: "longblob", Enum: "enum", Set: "set",
	JSON: "json", Geometry: "geometry", Vector: "vector",
}

// String returns the type's SQL name in lower case, without length or sign.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return "unknown"
}

// ParseType returns the type of that SQL name, or false.
func ParseType(name string) (Type, bool) {
	for t, n := range typeNames {
		if n == name && n != "" {
			return Type(t), true
		}
	}
	return 0, false
}

// Integer reports whether the type is one of the five integer types.
func (t Type) Integer() bool { return t >= TinyInt && t <= BigInt }

// Character reports whether values of the type are characters in a charset. ENUM, SET and JSON are not:
// their values are names or text that Sluice always carries in UTF-8.
func (t Type) Character() bool { return t >= Char && t <= LongText }

// Opaque reports whether values of the type are plain bytes.
func (t Type) Opaque() bool { return t >= Binary && t <= LongBlob }

// Column is one column of a table, holding only what both INFORMATION_SCHEMA and the binlog's TABLE_MAP
// (binlog_row_metadata=FULL) tell, so that both ways give equal columns.
type Column struct {
	Name     string
	Type     Type
	Unsigned bool // integers, DECIMAL, FLOAT and DOUBLE
	Nullable bool

	// Length is in characters for CHAR and VARCHAR, bytes for BINARY and VARBINARY, bits for BIT, dimensions
	// for VECTOR; 0 for all others.
	Length int

	Precision int // DECIMAL: digits in all
	Scale     int // DECIMAL: digits after the point; TIME, DATETIME, TIMESTAMP: fractional digits (0 to 6)

	Charset   string   // character types, ENUM and SET: as the server names it (utf8mb4, latin1); else empty
	Collation string   // likewise (utf8mb4_0900_ai_ci)
	Elements  []string // ENUM and SET: the names in order, in UTF-8
	Geometry  string   // GEOMETRY: the subtype in lower case (point, polygon, geometry, ...); else empty
}

// Table is a table's shape at one moment. It is immutable: a DDL gives a new one.
type Table struct {
	TableName
	Columns []Column
	Key     []int // the columns, by index, that identify a row: the primary key, or a named unique key; in key order

	// Shape, at a sink that gives rows another shape, names how this table is made of the source's: another text, another shape. It
	// is empty for a table that is as the source has it.
	Shape string
}

// Column returns the index of the column of that name (MySQL compares column names without case; so does
// this, for ASCII), or -1.
func (t *Table) Column(name string) int {
	for i := range t.Columns {
		if equalFold(t.Columns[i].Name, name) {
			return i
		}
	}
	return -1
}

// KeyNames returns the names of the key's columns in key order.
func (t *Table) KeyNames() []string {
	names := make([]string, len(t.Key))
	for i, c := range t.Key {
		names[i] = t.Columns[c].Name
	}
	return names
}

// IsKey reports whether the column of that index is part of the key.
func (t *Table) IsKey(column int) bool {
	for _, c := range t.Key {
		if c == column {
			return true
		}
	}
	return false
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}
