package hbase

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// nameMax is the longest table name that is made: it is a folder's name in HBase, which may have 255 bytes.
const nameMax = 200

// tableName returns the name of a table's table in HBase.
func (c *Config) tableName(source string, t change.TableName) string {
	exact := strings.NewReplacer("{source}", source, "{db}", t.DB, "{table}", t.Name).Replace(c.Table)
	name := strings.NewReplacer("{source}", escapeName(source), "{db}", escapeName(t.DB), "{table}", escapeName(t.Name)).Replace(c.Table)
	space, own, spaced := strings.Cut(name, ":")
	if !spaced {
		space, own = "", name
	} else {
		space += ":"
	}
	if own[0] == '.' || own[0] == '-' || own == ledgerTable && space == "" { // no table may begin so, and one is Sluice's own
		own = "t" + own
	}
	if len(own) > nameMax {
		sum := sha256.Sum256([]byte(exact))
		own = own[:nameMax-len(sum)-1] + "-" + hex.EncodeToString(sum[:len(sum)/2])
	}
	return space + own
}

// escapeName writes the bytes that a table's name cannot have as -xx, and "-" as -2d. Different names stay different.
func escapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c != '-' && plainByte(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "-%02x", c)
		}
	}
	return b.String()
}

func plainByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-'
}

func plainName(s string) bool {
	for i := range len(s) {
		if !plainByte(s[i]) {
			return false
		}
	}
	return true
}

// qualifier returns the name of a column's cells. A column called as Sluice's own cell, with any number of "_" in front, gets one
// more, so that different columns stay different.
func qualifier(column string) string {
	if trimmed := strings.TrimLeft(column, "_"); len(trimmed) < len(column) && "_"+trimmed == stateQualifier {
		return "_" + column
	}
	return column
}
