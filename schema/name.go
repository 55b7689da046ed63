package schema

import (
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// FieldName returns the Avro field name of a column, as Debezium's field.name.adjustment.mode=avro makes it: each
// character that is no ASCII letter, digit or underscore becomes an underscore; a leading digit gets one before it.
func FieldName(column string) string {
	if column == "" {
		return "_"
	}
	var b strings.Builder
	for i, r := range column {
		switch {
		case r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z':
			b.WriteRune(r)
		case '0' <= r && r <= '9':
			if i == 0 {
				b.WriteByte('_')
			}
			b.WriteRune(r)
		case r > 0xFFFF: // two UTF-16 units, and Debezium counts those
			b.WriteString("__")
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}

// Namespace returns the Avro namespace of a topic's records: FieldName of each of its parts between dots.
func Namespace(topic string) string {
	parts := strings.Split(topic, ".")
	for i, p := range parts {
		parts[i] = FieldName(p)
	}
	return strings.Join(parts, ".")
}

// fieldNames returns the field names of the table's columns, or a Problem when two columns get the same one.
func fieldNames(t *change.Table) ([]string, error) {
	names := make([]string, len(t.Columns))
	column := make(map[string]string, len(t.Columns))
	for i := range t.Columns {
		original := t.Columns[i].Name
		name := FieldName(original)
		if other, taken := column[name]; taken {
			return nil, &change.Problem{
				Kind: change.Poison, Table: t.TableName, Where: t.String(),
				What: fmt.Sprintf("columns %q and %q would both be the Avro field %q", other, original, name),
				Why:  "Avro names are letters, digits and underscores; all else becomes an underscore",
				Mend: fmt.Sprintf("rename or leave out one of them, e.g. ALTER TABLE `%s`.`%s` RENAME COLUMN ...", t.DB, t.Name),
			}
		}
		column[name] = original
		names[i] = name
	}
	return names, nil
}
