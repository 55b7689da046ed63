package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// RowsHash returns what a server is to select so that it sums up rows of a table: how many there are, and one hash of 256 bits over all of
// them in any order. On two servers both are the same if, and only if, the rows are. own are the server's own columns, one for each of the
// table's, whose types may differ in what does not change the text; the table says what both sides must agree on. false: the table has
// columns whose text is not exact. It is for MySQL 8 only: 5.7 has no BIT_XOR of bytes, and MariaDB writes -0.0 as 0.
//
// The rows' hashes are XORed, which would let two equal rows cancel each other; but a row's hash covers its unique key, so within one table no
// two are equal, and what is left of two different sets of rows is the XOR of different SHA-256 values. A sum would have to go
// through decimal text and numbers, of 64 bits, and would cost a third more.
func RowsHash(t *change.Table, own []change.Column) (list string, ok bool) {
	row, ok := rowText(t, own)
	return fmt.Sprintf("COUNT(*),HEX(BIT_XOR(%s))", rowHash(row)), ok
}

// rowHash is the hash of one row. The server makes no text that is longer than its max_allowed_packet, but NULL, of which two would be the same:
// such a row has a hash that no other has, so that it is compared in another way.
func rowHash(text string) string {
	return "UNHEX(SHA2(IFNULL(" + text + ",RANDOM_BYTES(32)),256))"
}

// nullsPerNumber is how many columns say in one number which of them are NULL: a double holds it.
const nullsPerNumber = 32

// rowText returns an expression whose value is one text of a row, such that different rows have different texts.
//
// First come doubles, of which only their bits are exact, and cheap (as text each costs as much as half a row): two in a point of a fixed length.
// Among them are the numbers that say which columns are NULL. Then the texts, each with a byte behind it that stands in no UTF-8 and in no number.
// Bytes may hold any; they come last, with their lengths among the texts; the last needs none. What NULL stands for does not matter.
func rowText(t *change.Table, own []change.Column) (expression string, ok bool) {
	var nulls, lengths, texts, points, bytes []string
	for i := range t.Columns {
		c := &own[i]
		kind := kindOfText(c)
		if kind == noText || kind != kindOfText(&t.Columns[i]) {
			return "", false
		}
		name, nullable := QuoteName(c.Name), t.Columns[i].Nullable
		if nullable {
			nulls = append(nulls, fmt.Sprintf("ISNULL(%s)*%d", name, 1<<(len(nulls)%nullsPerNumber)))
		}
		switch kind {
		case realText:
			points = append(points, instead(nullable, name, "0"))
		case bytesText:
			lengths, bytes = append(lengths, instead(nullable, "LENGTH("+name+")", "0")), append(bytes, instead(nullable, name, "''"))
		default:
			texts = append(texts, instead(nullable, textOf(c, name), "''"))
		}
	}
	for some := range slices.Chunk(nulls, nullsPerNumber) {
		points = append(points, strings.Join(some, "+"))
	}
	if len(points)%2 == 1 {
		points = append(points, "0")
	}
	parts := []string{"CAST('' AS BINARY)"} // what comes first says that all of it is bytes
	for pair := range slices.Chunk(points, 2) {
		parts = append(parts, "POINT("+strings.Join(pair, ",")+")")
	}
	for _, text := range append(lengths[:max(len(lengths)-1, 0)], texts...) {
		parts = append(parts, text, "x'FF'")
	}
	return "CONCAT(" + strings.Join(append(parts, bytes...), ",") + ")", true
}

// instead gives an expression that may be NULL a value.
func instead(nullable bool, expression, value string) string {
	if !nullable {
		return expression
	}
	return "IFNULL(" + expression + "," + value + ")"
}

// textKind says how a column's value gets into a row's text. Two columns of one kind have the same text for the same value.
type textKind uint8

const (
	noText    textKind = iota // their text is not exact
	plainText                 // as it is: numbers, times
	wordText                  // characters
	jsonText
	bitText
	realText
	bytesText
)

func kindOfText(c *change.Column) textKind {
	switch {
	case c.Type == change.Geometry, c.Type == change.Vector:
		return noText
	case c.Type == change.Float, c.Type == change.Double:
		return realText
	case c.Type == change.Bit:
		return bitText
	case c.Type == change.JSON:
		return jsonText
	case c.Type.Character(), c.Type == change.Enum, c.Type == change.Set:
		return wordText
	case c.Type.Opaque():
		return bytesText
	}
	return plainText
}

// textOf returns the expression of a column's text, in UTF-8.
func textOf(c *change.Column, name string) string {
	switch kindOfText(c) {
	case bitText:
		return name + "+0"
	case jsonText:
		return "CAST(" + name + " AS CHAR CHARACTER SET utf8mb4)"
	case wordText:
		switch c.Charset {
		case "utf8mb4", "utf8mb3", "utf8", "ascii":
			return name
		}
		return "CONVERT(" + name + " USING utf8mb4)"
	}
	return name
}
