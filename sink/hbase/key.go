package hbase

import (
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// The bytes by which the parts of a row key are told apart. Text keeps its order with them: what ends comes before what goes on.
const (
	endOfText = 0x01 // behind a text that is not the key's end; an empty key is this byte alone
	escape    = 0x02 // 0x00, 0x01 and 0x02 within text are this byte and themselves + escapedFrom
	// escapedFrom keeps escaped bytes printable nowhere and in order.
	escapedFrom = 0x10
)

// rowKeyMax is the longest row key of HBase, in bytes.
const rowKeyMax = 1<<15 - 1

// template makes a row key of parts: literals[0] parts[0] literals[1] parts[1] ... literals[len(parts)].
type template struct {
	literals []string
	parts    []part
}

// part is one column of a row key.
type part struct {
	column  string // "" is {key}: all columns of the key
	reverse bool
}

// parseTemplate reads "{user_id}:{id:reverse}".
func parseTemplate(text string) (*template, error) {
	t := &template{}
	for rest := text; ; {
		literal, after, found := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") || strings.IndexFunc(literal, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			return nil, fmt.Errorf("%q: a } without a {, or a sign that is none of ASCII's", text)
		}
		t.literals = append(t.literals, literal)
		if !found {
			break
		}
		inside, after, closed := strings.Cut(after, "}")
		name, word, worded := strings.Cut(inside, ":")
		if !closed || name == "" || strings.Contains(name, "{") || worded && word != "reverse" || worded && name == "key" {
			return nil, fmt.Errorf("%q: want %s, or columns of the table's key as {column} or {column:reverse}", text, wholeKey)
		}
		if name == "key" {
			name = ""
		}
		if slices.ContainsFunc(t.parts, func(p part) bool { return strings.EqualFold(p.column, name) }) {
			return nil, fmt.Errorf("%q: {%s} is there twice", text, inside)
		}
		t.parts = append(t.parts, part{column: name, reverse: worded})
		rest = after
	}
	if len(t.parts) == 0 || len(t.parts) > 1 && slices.ContainsFunc(t.parts, func(p part) bool { return p.column == "" }) {
		return nil, fmt.Errorf("%q: want %s alone, or columns of the table's key", text, wholeKey)
	}
	return t, nil
}

// rowKey is a template for the key of one table.
type rowKey struct {
	literals []string
	parts    []keyPart
	salt     int
}

// keyPart is one column of a table's row keys.
type keyPart struct {
	at      int // in the table's key
	column  *change.Column
	reverse bool
}

// rowKeyOf holds a template against a table: each of the key's columns must be there, and no other, else two rows could share a row key.
func rowKeyOf(config *Table, t *change.Table) (*rowKey, error) {
	parsed, err := parseTemplate(config.rowKey())
	if err != nil {
		return nil, err
	}
	k := &rowKey{literals: parsed.literals, salt: config.Salt}
	if parsed.parts[0].column == "" {
		k.literals = []string{parsed.literals[0]}
		for i, at := range t.Key {
			k.parts = append(k.parts, keyPart{at: i, column: &t.Columns[at]})
			k.literals = append(k.literals, ":")
		}
		k.literals[len(t.Key)] = parsed.literals[1]
		return k, nil
	}
	for _, p := range parsed.parts {
		at := slices.Index(t.Key, t.Column(p.column))
		if at < 0 {
			return nil, fmt.Errorf("{%s} is no column of the key (%s)", p.column, strings.Join(t.KeyNames(), ", "))
		}
		k.parts = append(k.parts, keyPart{at: at, column: &t.Columns[t.Key[at]], reverse: p.reverse})
	}
	if len(k.parts) != len(t.Key) {
		return nil, fmt.Errorf("row_key %s has %d of the key's columns (%s)", config.rowKey(), len(k.parts), strings.Join(t.KeyNames(), ", "))
	}
	return k, nil
}

var (
	errNotUTF8    = errors.New("the key is text that is not UTF-8")
	errKeyTooLong = errors.New("the row key is longer than the 32767 bytes that HBase takes")
)

// append appends the row key of the values, which are in the key's order.
func (k *rowKey) append(dst []byte, values []change.Value) ([]byte, error) {
	from := len(dst)
	if k.salt > 0 {
		dst = append(dst, "00"...)
	}
	body := len(dst)
	for i, p := range k.parts {
		dst = append(dst, k.literals[i]...)
		var err error
		last := i == len(k.parts)-1 && k.literals[i+1] == ""
		if dst, err = p.append(dst, values[p.at], last); err != nil {
			return dst, err
		}
	}
	dst = append(dst, k.literals[len(k.parts)]...)
	if len(dst) == body {
		dst = append(dst, endOfText)
	}
	if k.salt > 0 {
		bucket := byte(crc32.ChecksumIEEE(dst[body:]) % uint32(k.salt))
		hex.Encode(dst[from:body], []byte{bucket})
	}
	if len(dst)-from > rowKeyMax {
		return dst, errKeyTooLong
	}
	return dst, nil
}

// fixed reports whether all values of the part have the same length, and an order that is that of their texts.
func (p *keyPart) fixed() bool {
	switch p.column.Type {
	case change.Decimal, change.Year, change.Bit, change.Date, change.Time, change.DateTime, change.Timestamp:
		return true
	}
	return p.column.Type.Integer()
}

// append appends one part of a row key.
func (p *keyPart) append(dst []byte, v change.Value, last bool) ([]byte, error) {
	c := p.column
	switch {
	case v.Kind == change.Raw:
		b := v.Bytes
		if p.reverse {
			b = slices.Clone(b)
			slices.Reverse(b)
		}
		dst = hex.AppendEncode(dst, b)
		if !last && !p.fixed() {
			dst = append(dst, endOfText)
		}
		return dst, nil
	case c.Type.Integer() || c.Type == change.Year:
		return appendNumber(dst, v.String(), integerDigits(c), p.reverse), nil
	case c.Type == change.Decimal:
		return appendNumber(dst, v.String(), max(c.Precision-c.Scale, 1), p.reverse), nil
	case c.Type == change.Time:
		return appendNumber(dst, v.String(), timeHourDigits, p.reverse), nil
	}
	text := v.String()
	if !utf8.ValidString(text) {
		return dst, errNotUTF8
	}
	if p.reverse {
		runes := []rune(text)
		slices.Reverse(runes)
		text = string(runes)
	}
	for i := range len(text) {
		if b := text[i]; b <= escape {
			dst = append(dst, escape, b+escapedFrom)
		} else {
			dst = append(dst, b)
		}
	}
	if !last && !p.fixed() {
		dst = append(dst, endOfText)
	}
	return dst, nil
}

// timeHourDigits are those of 838:59:59.
const timeHourDigits = 3

// integerDigits is how many digits the longest value of a column has.
func integerDigits(c *change.Column) int {
	switch c.Type {
	case change.TinyInt:
		return 3
	case change.SmallInt:
		return 5
	case change.MediumInt:
		return 8
	case change.Int:
		return 10
	case change.Year:
		return 4
	}
	if c.Unsigned {
		return 20
	}
	return 19
}

// appendNumber appends a number's text with its integer part filled up with zeros. That of a negative one is "-" and each digit's
// complement to 9: so the texts have the order of the numbers, for "-" comes before the digits. With reverse what is behind the sign
// is turned round.
func appendNumber(dst []byte, text string, digits int, reverse bool) []byte {
	text, negative := strings.CutPrefix(text, "-")
	if negative {
		dst = append(dst, '-')
	}
	whole := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if whole < 0 {
		whole = len(text)
	}
	from := len(dst)
	for range digits - whole {
		dst = append(dst, '0')
	}
	dst = append(dst, text...)
	if negative {
		for i := from; i < len(dst); i++ {
			if '0' <= dst[i] && dst[i] <= '9' {
				dst[i] = '0' + '9' - dst[i]
			}
		}
	}
	if reverse {
		slices.Reverse(dst[from:])
	}
	return dst
}

// ordered reports whether row keys have the order of the table's key at the source, so that a range of the one is a range of the other.
// Text has none that is known here: it is the collation's.
func (k *rowKey) ordered() bool {
	if k.salt > 0 {
		return false
	}
	for i, p := range k.parts {
		if p.at != i || p.reverse || !p.fixed() {
			return false
		}
	}
	return true
}

// splits are the keys at which a table's regions begin, one a bucket.
func (k *rowKey) splits() []string {
	var at []string
	for bucket := 1; bucket < k.salt; bucket++ {
		at = append(at, hex.EncodeToString([]byte{byte(bucket)}))
	}
	return at
}

// String says how the keys are made, to be held against how they were made.
func (k *rowKey) String() string {
	var b strings.Builder
	for i, p := range k.parts {
		b.WriteString(k.literals[i])
		b.WriteString("{" + p.column.Name)
		if p.reverse {
			b.WriteString(":reverse")
		}
		b.WriteString("}")
	}
	b.WriteString(k.literals[len(k.parts)])
	if k.salt > 0 {
		b.WriteString(" salt " + strconv.Itoa(k.salt))
	}
	return b.String()
}
