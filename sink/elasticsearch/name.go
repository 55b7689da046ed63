package elasticsearch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// nameMax is the longest name of an index or alias that the server takes, in bytes.
const nameMax = 255

// rowsSuffix makes the name of an index from its alias's.
const rowsSuffix = "-rows"

// alias returns the name by which a table's documents are written and searched.
func (c *Config) alias(source string, t change.TableName) string {
	exact := strings.NewReplacer("{source}", source, "{db}", t.DB, "{table}", t.Name).Replace(c.Index)
	name := escapeIndex(strings.ToLower(exact))
	if len(name)+len(rowsSuffix) <= nameMax {
		return name
	}
	sum := sha256.Sum256([]byte(exact))
	end := nameMax - len(rowsSuffix) - 1 - len(sum)
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "-" + hex.EncodeToString(sum[:len(sum)/2])
}

// escapeIndex writes the characters that an index name cannot have as %xx.
func escapeIndex(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case strings.IndexByte(`\/*?"<>|, #:%`, c) >= 0 || c < ' ', i == 0 && strings.IndexByte("-_+.", c) >= 0:
			fmt.Fprintf(&b, "%%%02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// fieldName returns the name of a column's field: see the package comment. Different columns have different fields.
func fieldName(column string) string {
	first, size := utf8.DecodeRuneInString(column)
	if first != '_' && !unicode.IsSpace(first) {
		size = 0
	}
	if size == 0 && !strings.ContainsAny(column, ".*%") {
		return column
	}
	var b strings.Builder
	for i := 0; i < len(column); i++ {
		if c := column[i]; i < size || c == '.' || c == '*' || c == '%' {
			fmt.Fprintf(&b, "%%%02x", c)
			continue
		}
		b.WriteByte(column[i])
	}
	return b.String()
}

// fieldNames returns the fields of all columns of a table, in order.
func fieldNames(t *change.Table) []string {
	names := make([]string, len(t.Columns))
	for i := range names {
		names[i] = fieldName(t.Columns[i].Name)
	}
	return names
}
