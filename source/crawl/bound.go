package crawl

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/avro"
)

// shape is a table with the index by which a crawl walks it.
//
// A place in the table is the list of its key's values in the order of that index, each written as an SQL
// literal that the server compares as it compares the column's own values: by the column's collation, with
// its padding, or by an ENUM's number. Nothing in Go compares two places.
type shape struct {
	table   *change.Table
	extras  *mysql.TableExtras
	index   string   // quoted name of the unique key
	columns []int    // of the index, in its order: the table's key, maybe in another order
	names   []string // their quoted names

	decoder *avro.KeyDecoder // reads the topic's keys
}

// newShape finds the unique key of the table's Key columns. Its own order counts: ORDER BY in another order
// would sort the whole table for each chunk.
func newShape(t *change.Table, extras *mysql.TableExtras) (*shape, error) {
	if len(t.Key) == 0 {
		return nil, &change.Problem{
			Kind: change.Poison, Table: t.TableName, Where: t.String(),
			What: "the table has no key by which it can be read in pieces",
			Why:  "rows are found, ordered and overwritten by their key",
			Mend: "ALTER TABLE " + mysql.QuoteTable(t.TableName) + " ADD PRIMARY KEY (...), or name a unique NOT NULL key in the config",
		}
	}
	want := slices.Sorted(slices.Values(t.Key))
	for i := range extras.Uniques {
		u := &extras.Uniques[i]
		if !u.Identifies() || !slices.Equal(slices.Sorted(slices.Values(u.Columns)), want) {
			continue
		}
		s := &shape{table: t, extras: extras, index: mysql.QuoteName(u.Name), columns: u.Columns}
		for _, c := range u.Columns {
			s.names = append(s.names, mysql.QuoteName(t.Columns[c].Name))
			if !comparable(&t.Columns[c]) {
				return nil, &change.Problem{
					Kind: change.Poison, Table: t.TableName, Where: t.String(),
					What: fmt.Sprintf("the key's column %s is %s", t.Columns[c].Name, t.Columns[c].Type),
					Why:  "values of that type do not print exactly, so the place where a chunk ends cannot be said",
					Mend: "name another unique NOT NULL key in the config",
				}
			}
		}
		return s, nil
	}
	return nil, &change.Problem{
		Kind: change.Poison, Table: t.TableName, Where: t.String(),
		What: fmt.Sprintf("there is no unique key of just the columns (%s)", strings.Join(t.KeyNames(), ", ")),
		Mend: "ALTER TABLE " + mysql.QuoteTable(t.TableName) + " ADD UNIQUE (" + strings.Join(t.KeyNames(), ", ") + ")",
	}
}

// sameKey reports whether bounds of one shape mean the same in the other.
func (s *shape) sameKey(o *shape) bool {
	return slices.EqualFunc(s.columns, o.columns, func(a, b int) bool {
		return reflect.DeepEqual(s.table.Columns[a], o.table.Columns[b])
	})
}

// comparable reports whether a column's values can be written as exact literals.
func comparable(c *change.Column) bool {
	switch c.Type {
	case change.Float, change.Double, change.JSON, change.Geometry, change.Vector:
		return false
	}
	return true
}

// asked is the expression by which a bound's value of a column is selected. BIT, ENUM and SET are compared
// and sorted as numbers, so numbers are what bounds of theirs hold.
func asked(c *change.Column) string {
	name := mysql.QuoteName(c.Name)
	if numbered(c) {
		return "CAST(" + name + " AS UNSIGNED)"
	}
	return name
}

func numbered(c *change.Column) bool {
	return c.Type == change.Bit || c.Type == change.Enum || c.Type == change.Set
}

// literal writes the text that the server sent for asked(c) as a literal of the same value.
func literal(c *change.Column, text []byte) (string, error) {
	switch {
	case c.Type.Integer(), c.Type == change.Decimal, c.Type == change.Year, numbered(c):
		if !isNumber(text) {
			return "", fmt.Errorf("column %s: %q is not a number", c.Name, text)
		}
		return string(text), nil
	case c.Type.Character():
		return "_" + c.Charset + " x'" + hex.EncodeToString(text) + "' COLLATE " + c.Collation, nil
	case c.Type.Opaque():
		return "x'" + hex.EncodeToString(text) + "'", nil
	case c.Type == change.Date, c.Type == change.Time, c.Type == change.DateTime, c.Type == change.Timestamp:
		for _, b := range text {
			if (b < '0' || b > '9') && !strings.ContainsRune("-:. ", rune(b)) {
				return "", fmt.Errorf("column %s: %q is not a time", c.Name, text)
			}
		}
		return "'" + string(text) + "'", nil
	}
	return "", fmt.Errorf("column %s: no literal for type %s", c.Name, c.Type)
}

// isNumber: digits with at most one sign and one point. What goes into a statement unquoted is looked at.
func isNumber(text []byte) bool {
	digits, point := 0, false
	for i, b := range text {
		switch {
		case '0' <= b && b <= '9':
			digits++
		case b == '-' && i == 0:
		case b == '.' && !point:
			point = true
		default:
			return false
		}
	}
	return digits > 0
}

// literals writes the texts of all columns of the index.
func (s *shape) literals(texts [][]byte) ([]string, error) {
	bound := make([]string, len(s.columns))
	for i, c := range s.columns {
		text, err := literal(&s.table.Columns[c], texts[i])
		if err != nil {
			return nil, err
		}
		bound[i] = text
	}
	return bound, nil
}

// compare writes "the key is on that side of the bound" as a disjunction that the server's range optimizer
// turns into ranges of the index; (a, b) > (x, y) would be a scan on most versions. op is < or >; orEqual
// takes the bound itself in.
func (s *shape) compare(op string, bound []string, orEqual bool) string {
	var b strings.Builder
	b.WriteByte('(')
	for i := range bound {
		if i > 0 {
			b.WriteString(" OR ")
		}
		b.WriteByte('(')
		for j := range i {
			b.WriteString(s.same(j, bound[j]) + " AND ")
		}
		b.WriteString(s.side(i, op, bound[i], orEqual && i == len(bound)-1))
		b.WriteByte(')')
	}
	b.WriteByte(')')
	return b.String()
}

// side writes "the column is on that side of the value". The range optimizer makes no range of an ENUM or SET
// that is compared by <, so as long as there are few values they are listed.
func (s *shape) side(column int, op, value string, orEqual bool) string {
	c := &s.table.Columns[s.columns[column]]
	most := 0
	switch {
	case c.Type == change.Enum:
		most = len(c.Elements)
	case c.Type == change.Set && len(c.Elements) < 8:
		most = 1<<len(c.Elements) - 1
	}
	const listedMax = 256
	at, err := strconv.Atoi(value)
	if most == 0 || most >= listedMax || err != nil {
		if orEqual {
			op += "="
		}
		return s.names[column] + " " + op + " " + value
	}
	from, to := at+1, most
	if op == "<" {
		from, to = 0, at-1
	}
	if orEqual {
		from, to = min(from, at), max(to, at)
	}
	if from > to {
		return "FALSE"
	}
	list := make([]string, 0, to-from+1)
	for v := from; v <= to; v++ {
		list = append(list, named(c, strconv.Itoa(v)))
	}
	return s.names[column] + " IN (" + strings.Join(list, ", ") + ")"
}

// same writes "the column is this value".
func (s *shape) same(column int, value string) string {
	c := &s.table.Columns[s.columns[column]]
	if c.Type == change.Enum || c.Type == change.Set {
		value = named(c, value)
	}
	return s.names[column] + " = " + value
}

// named writes an ENUM's or SET's number as the value's name. Compared with a number, the column is a number
// to the optimizer, and what is sorted by it sorted once more.
func named(c *change.Column, value string) string {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n == 0 && c.Type == change.Enum { // 0: an invalid value, which has the name ''
		return value
	}
	var names []string
	if c.Type == change.Enum && n <= uint64(len(c.Elements)) {
		names = c.Elements[n-1 : n]
	}
	for i := range c.Elements {
		if c.Type == change.Set && n&(1<<i) != 0 {
			names = append(names, c.Elements[i])
		}
	}
	return "CONVERT(" + utf8Literal([]byte(strings.Join(names, ","))) + " USING " + c.Charset + ")"
}

// equal writes "the key is this one".
func (s *shape) equal(key []string) string {
	parts := make([]string, len(key))
	for i := range key {
		parts[i] = s.same(i, key[i])
	}
	return "(" + strings.Join(parts, " AND ") + ")"
}

// between writes "above from and up to to"; nil bounds are open.
func (s *shape) between(from, to []string) string {
	switch {
	case from == nil && to == nil:
		return "TRUE"
	case to == nil:
		return s.compare(">", from, false)
	case from == nil:
		return s.compare("<", to, true)
	}
	return s.compare(">", from, false) + " AND " + s.compare("<", to, true)
}

// source is the FROM clause, which forces the walk along the key.
func (s *shape) source() string {
	return mysql.QuoteTable(s.table.TableName) + " FORCE INDEX (" + s.index + ")"
}

// hinted is the FROM clause for estimates: where an index is forced, the optimizer does not look into it.
func (s *shape) hinted() string {
	return mysql.QuoteTable(s.table.TableName) + " USE INDEX (" + s.index + ")"
}

// order is the ORDER BY list; descending when it is asked for.
func (s *shape) order(descending bool) string {
	if !descending {
		return strings.Join(s.names, ", ")
	}
	return strings.Join(s.names, " DESC, ") + " DESC"
}

// askedList selects the values of a bound.
func (s *shape) askedList() string {
	list := make([]string, len(s.columns))
	for i, c := range s.columns {
		list[i] = asked(&s.table.Columns[c])
	}
	return strings.Join(list, ", ")
}
