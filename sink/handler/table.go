package handler

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/sluice-cdc/sluice/change"
)

// Kind is what a column of a handler's own table holds.
type Kind int

// The kinds of columns.
const (
	Int     Kind = iota // int64
	Float               // float64
	Text                // UTF-8; as a key at most 255 characters
	Bytes               //
	Time                // UTC, microseconds
	Boolean             //
	JSON                // anything that encoding/json can write
)

// columnOf is the column as package change has it.
func (k Kind) columnOf(name string, key bool) change.Column {
	c := change.Column{Name: name, Nullable: !key}
	switch k {
	case Int:
		c.Type = change.BigInt
	case Float:
		c.Type = change.Double
	case Text:
		c.Type, c.Charset, c.Collation = change.LongText, "utf8mb4", "utf8mb4_bin"
		if key {
			c.Type, c.Length = change.VarChar, 255
		}
	case Bytes:
		c.Type = change.LongBlob
		if key {
			c.Type, c.Length = change.VarBinary, 255
		}
	case Time:
		c.Type, c.Scale = change.DateTime, 6
	case Boolean:
		c.Type, c.Length = change.Bit, 1
	case JSON:
		c.Type = change.JSON
	default:
		panic(fmt.Sprintf("handler: column %s: there is no kind %d", name, k))
	}
	return c
}

// Table is a table of the handler's own, to which Map's function writes. It is declared once, when the program starts; a wrong
// declaration panics.
type Table struct {
	of *change.Table
}

// NewTable declares a table by the name that the target sees, database.table. Key and Column add its columns.
func NewTable(name string) *Table {
	parsed, err := change.ParseTableName(name)
	if err != nil {
		panic("handler: " + err.Error())
	}
	return &Table{of: &change.Table{TableName: parsed}}
}

// Key adds a column that is part of the key.
func (t *Table) Key(name string, k Kind) *Table {
	if k == Float || k == JSON {
		panic("handler: column " + name + ": a float or JSON is no key")
	}
	t.of.Key = append(t.of.Key, len(t.of.Columns))
	return t.add(k.columnOf(name, true))
}

// Column adds a column.
func (t *Table) Column(name string, k Kind) *Table { return t.add(k.columnOf(name, false)) }

func (t *Table) add(c change.Column) *Table {
	if c.Name == "" || t.of.Column(c.Name) >= 0 {
		panic(fmt.Sprintf("handler: table %s: column %q has no name, or one that is taken", t.of.TableName, c.Name))
	}
	t.of.Columns = append(t.of.Columns, c)
	return t
}

// Row is a row by column. A value may be nil, any integer, float or string type of Go, bool, []byte, time.Time, json.RawMessage, a
// Value of an event, a change.Value in the column's own form, and for a JSON column anything that encoding/json can write. A column that is left out is NULL.
type Row map[string]any

// Write is one row that is put or deleted. Put and Delete make it.
type Write struct {
	table   *Table
	row     Row
	deleted bool
}

// Put writes the row whole: what was there under its key is replaced.
func Put(t *Table, row Row) Write { return Write{table: t, row: row} }

// Delete deletes the row of that key.
func Delete(t *Table, key Row) Write { return Write{table: t, row: key, deleted: true} }

// values returns the row's values by column, those of the key among them.
func (w Write) values() ([]change.Value, error) {
	t := w.table.of
	values := make([]change.Value, len(t.Columns))
	for name, v := range w.row {
		at := t.Column(name)
		if at < 0 {
			return nil, fmt.Errorf("table %s has no column %q", t.TableName, name)
		}
		if w.deleted && !t.IsKey(at) {
			return nil, fmt.Errorf("table %s: column %q of a delete is not part of the key", t.TableName, name)
		}
		var err error
		if values[at], err = convert(&t.Columns[at], v); err != nil {
			return nil, fmt.Errorf("table %s, column %s: %w", t.TableName, name, err)
		}
	}
	for _, at := range t.Key {
		if values[at].IsNull() {
			return nil, fmt.Errorf("table %s: key column %s is NULL or missing", t.TableName, t.Columns[at].Name)
		}
		if c := &t.Columns[at]; c.Length > 0 && (c.Type == change.VarChar && utf8.RuneCount(values[at].Bytes) > c.Length || c.Type == change.VarBinary && len(values[at].Bytes) > c.Length) {
			return nil, fmt.Errorf("table %s: key column %s is longer than %d", t.TableName, c.Name, c.Length)
		}
	}
	return values, nil
}

// convert makes a column's value of one of Go's. Nothing is bent: what does not fit is an error.
func convert(c *change.Column, v any) (change.Value, error) {
	switch of := v.(type) {
	case change.Value:
		return of, nil // whoever has one knows
	case Value:
		v = of.Any()
	}
	if v == nil {
		return change.Value{}, nil
	}
	switch c.Type {
	case change.JSON:
		text, err := json.Marshal(v)
		return change.Value{Kind: change.Str, Bytes: text}, err
	case change.BigInt:
		n, err := wholeOf(v)
		return change.IntValue(n), err
	case change.Double:
		f, err := floatOf(v)
		return change.Float64Value(f), err
	case change.Bit:
		if b, ok := v.(bool); ok {
			return change.RawValue([]byte{map[bool]byte{true: 1}[b]}), nil
		}
		n, err := wholeOf(v)
		return change.RawValue([]byte{map[bool]byte{true: 1}[n != 0]}), err
	case change.DateTime:
		return timeOf(v)
	case change.LongBlob, change.VarBinary:
		if b, ok := v.([]byte); ok {
			return change.RawValue(b), nil
		}
		s, err := textOf(v)
		return change.RawValue([]byte(s)), err
	}
	s, err := textOf(v)
	if err == nil && !utf8.ValidString(s) {
		err = fmt.Errorf("the text is not UTF-8")
	}
	return change.StringValue(s), err
}

func wholeOf(v any) (int64, error) {
	s, err := textOf(v)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q: want a whole number that int64 can hold", s)
	}
	return n, nil
}

func floatOf(v any) (float64, error) {
	s, err := textOf(v)
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("%.40q: want a number", s)
	}
	return f, nil
}

const micros = "2006-01-02 15:04:05.000000"

func timeOf(v any) (change.Value, error) {
	if t, ok := v.(time.Time); ok {
		return change.StringValue(t.UTC().Format(micros)), nil
	}
	s, err := textOf(v)
	if err != nil {
		return change.Value{}, err
	}
	for _, layout := range []string{time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return change.StringValue(t.Format(micros)), nil
		}
	}
	return change.Value{}, fmt.Errorf("%.40q: want a time", s)
}

// textOf is the text of a plain value: of numbers all digits, of true and false 1 and 0.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case json.RawMessage:
		return string(v), nil
	case bool:
		return map[bool]string{true: "1", false: "0"}[v], nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), nil
	case time.Time:
		return v.UTC().Format(micros), nil
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("%T is no value of a column", v)
}

// keyOf returns the key's values and bytes; equal keys have equal bytes, and no others.
func (t *Table) keyOf(values []change.Value) (key []change.Value, bytes []byte) {
	for _, at := range t.of.Key {
		v := values[at]
		key = append(key, v)
		bytes = append(bytes, byte(v.Kind))
		bytes = binary.BigEndian.AppendUint64(bytes, v.Num)
		bytes = binary.AppendUvarint(bytes, uint64(len(v.Bytes)))
		bytes = append(bytes, v.Bytes...)
	}
	return key, bytes
}
