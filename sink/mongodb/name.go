package mongodb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// namespaceMax is the longest database.collection that the server takes, in bytes; sharded collections have 20 less.
const namespaceMax = 235

// collection returns the name of a table's collection.
func (c *Config) collection(source string, t change.TableName) string {
	exact := strings.NewReplacer("{source}", source, "{db}", t.DB, "{table}", t.Name).Replace(c.Collection)
	name := escapeCollection(exact)
	room := namespaceMax - len(c.Database) - 1
	if len(name) <= room {
		return name
	}
	sum := sha256.Sum256([]byte(exact))
	end := room - 1 - len(sum)
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "-" + hex.EncodeToString(sum[:len(sum)/2])
}

// escapeCollection writes what a collection's name cannot have as %xx: "$" and the names that the server or Sluice keeps for
// itself by their first letter. Different names stay different.
func escapeCollection(name string) string {
	own := strings.HasPrefix(name, "system.") || name == ledgerCollection
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '$' || c == '%' || c == 0 || i == 0 && (c == '.' || own) {
			fmt.Fprintf(&b, "%%%02x", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// fieldName returns the name of a column's field: see the package comment. Different columns have different fields, and none
// begins with "_", which _id and _sluice do.
func fieldName(column string) string {
	if !strings.ContainsAny(column, ".%$\x00") && !strings.HasPrefix(column, "_") {
		return column
	}
	var b strings.Builder
	for i := 0; i < len(column); i++ {
		if c := column[i]; c == '.' || c == '%' || c == '$' || c == 0 || i == 0 && c == '_' {
			fmt.Fprintf(&b, "%%%02x", c)
			continue
		}
		b.WriteByte(column[i])
	}
	return b.String()
}
