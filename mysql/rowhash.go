package mysql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// RowsHash returns what a server is to select so that it sums up rows of a table: how many there are, and one hash of 256 bits over all of
// them in any order. On two servers both are the same if, and only if, the rows are. own are the server's own columns, one for each of the
// table's, whose types may differ in what does not change the text; the table says what both sides must agree on. charsets name, for each column
// of characters, the character set whose bytes are its text: see Charsets. Nil: UTF-8, to which a server converts what it holds in another.
// false: the table has columns whose text is not exact, or the server's own are in other character sets. It is for MySQL 8 only: 5.7 has no
// BIT_XOR of bytes, and MariaDB writes -0.0 as 0.
//
// The rows' hashes are XORed, which would let two equal rows cancel each other; but a row's hash covers its unique key, so within one table no
// two are equal, and what is left of two different sets of rows is the XOR of different SHA-256 values. A sum would have to go
// through decimal text and numbers, of 64 bits, and would cost a third more.
func RowsHash(t *change.Table, own []change.Column, charsets []string) (list string, ok bool) {
	row, ok := rowText(t, own, charsets)
	return fmt.Sprintf("COUNT(*),HEX(BIT_XOR(%s))", rowHash(row)), ok
}

// Charsets returns the columns' own character sets: what RowsHash costs the server least in.
func Charsets(own []change.Column) []string {
	list := make([]string, len(own))
	for i := range own {
		list[i] = own[i].Charset
	}
	return list
}

// rowHash is the hash of one row. The server makes no text that is longer than its max_allowed_packet, but NULL, of which two would be the same:
// such a row has a hash that no other has, so that it is compared in another way.
func rowHash(text string) string {
	return "UNHEX(SHA2(IFNULL(" + text + ",RANDOM_BYTES(32)),256))"
}

// What stands for NULL where the column cannot hold it: a number that is too large for any integer, a time before the first, no length.
const (
	noNumber  = "1e20"
	noInstant = "-1e0"
	noLength  = "-1"
)

// rowText returns an expression whose value is one text of a row, such that different rows have different texts.
//
// First come numbers that a double holds exactly, as doubles, of which only the bits are compared: two in a point of a fixed length, which costs
// the server a fraction of the text (of a table with three INTs, a TIMESTAMP and a DOUBLE a fifth of the whole sum). Among them are the lengths of
// bytes, and what says which of the other columns are NULL. Then the texts, each with a byte behind it that stands in no UTF-8 and in
// no number. Bytes may hold any; they come last.
func rowText(t *change.Table, own []change.Column, charsets []string) (expression string, ok bool) {
	var texts, points, bytes []string
	for i := range t.Columns {
		c, kind := &own[i], kindOfText(&t.Columns[i])
		if !kind.holds(c) {
			return "", false
		}
		if kind == wordText && charsets != nil && !ofUTF8(charsets[i]) {
			if c.Charset != charsets[i] {
				return "", false
			}
			kind = bytesText
		}
		name, nullable := QuoteName(c.Name), t.Columns[i].Nullable
		switch kind {
		case realText:
			points = append(points, instead(nullable, name, "0"))
		case numberText:
			points = append(points, instead(nullable, name, noNumber))
		case instantText:
			points = append(points, instead(nullable, "UNIX_TIMESTAMP("+name+")", noInstant))
		case bytesText:
			points, bytes = append(points, instead(nullable, "LENGTH("+name+")", noLength)), append(bytes, instead(nullable, name, "''"))
		default:
			texts = append(texts, instead(nullable, textOf(c, name), "''"), "x'FF'")
		}
		if nullable && kind != numberText && kind != instantText && kind != bytesText {
			points = append(points, "ISNULL("+name+")")
		}
	}
	if len(points)%2 == 1 {
		points = append(points, "0")
	}
	parts := []string{"CAST('' AS BINARY)"} // what comes first says that all of it is bytes
	for pair := range slices.Chunk(points, 2) {
		parts = append(parts, "POINT("+strings.Join(pair, ",")+")")
	}
	return "CONCAT(" + strings.Join(slices.Concat(parts, texts, bytes), ",") + ")", true
}

// instead gives an expression that may be NULL a value.
func instead(nullable bool, expression, value string) string {
	if !nullable {
		return expression
	}
	return "IFNULL(" + expression + "," + value + ")"
}

// textKind says how a column's value gets into a row's text; the table's column decides, and a server's own must hold it in that way.
type textKind uint8

const (
	noText      textKind = iota // their text is not exact
	plainText                   // as it is: large numbers, times
	numberText                  // integers of 32 bits at most
	instantText                 // TIMESTAMP: microseconds of 32 bits of seconds
	wordText                    // characters
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
	case c.Type.Integer() && c.Type != change.BigInt, c.Type == change.Year:
		return numberText
	case c.Type == change.Timestamp:
		return instantText
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

// holds reports whether a value of the kind is the same in the server's own column.
func (k textKind) holds(own *change.Column) bool {
	is := kindOfText(own)
	switch k {
	case noText:
		return false
	case numberText:
		return is == k || own.Type == change.BigInt
	case plainText:
		return is == k || is == numberText || is == instantText // such as BIGINT and INT, DATETIME and TIMESTAMP: their texts are compared
	}
	return is == k
}

// textOf returns the expression of a column's text, in UTF-8.
func textOf(c *change.Column, name string) string {
	switch kindOfText(c) {
	case bitText:
		return name + "+0"
	case jsonText:
		return "CAST(" + name + " AS CHAR CHARACTER SET utf8mb4)"
	case wordText:
		if !ofUTF8(c.Charset) {
			return "CONVERT(" + name + " USING utf8mb4)"
		}
	}
	return name
}

// ofUTF8 reports whether text of the character set is UTF-8 as it is stored.
func ofUTF8(charset string) bool {
	return slices.Contains([]string{"utf8mb4", "utf8mb3", "utf8", "ascii"}, charset)
}
