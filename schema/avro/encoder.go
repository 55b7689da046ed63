package avro

import (
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/schema"
)

// Encoder writes the rows of one table as keys and values of its topic.
type Encoder struct {
	table                  *change.Table
	keySchema, valueSchema string
	key, value             []column
}

// column is how one column is written in one record (key or value).
type column struct {
	change.Column
	index    int // in the table's columns
	repr     schema.Repr
	optional bool // a union of null and the type

	charset *charset.Charset // character types, ENUM and SET
	limbs   int              // DECIMAL: words that its greatest number takes
	bend    bool             // dates that are none become null or 1970 (schema.ZeroDateDebezium)
}

// NewEncoder returns the encoder for a table. The errors are those of schema.Value and an unknown charset.
func NewEncoder(t *change.Table, topic string, o schema.Options) (*Encoder, error) {
	e := &Encoder{table: t}
	var err error
	if e.valueSchema, err = schema.Value(t, topic, o); err != nil {
		return nil, err
	}
	if e.keySchema, err = schema.Key(t, topic); err != nil {
		return nil, err
	}
	for i := range t.Columns {
		c, err := newColumn(t, i, o)
		if err != nil {
			return nil, err
		}
		c.optional = !t.IsKey(i)
		e.value = append(e.value, c)
	}
	for _, i := range t.Key {
		c, err := newColumn(t, i, schema.Options{})
		if err != nil {
			return nil, err
		}
		e.key = append(e.key, c)
	}
	return e, nil
}

func newColumn(t *change.Table, index int, o schema.Options) (column, error) {
	c := column{Column: t.Columns[index], index: index}
	c.repr = schema.ReprOf(&c.Column, o)
	c.limbs = limbsOf(c.Precision)
	c.bend = o.ZeroDate == schema.ZeroDateDebezium
	if c.Type.Character() || c.Type == change.Enum || c.Type == change.Set {
		var known bool
		if c.charset, known = charset.Lookup(c.Charset); !known {
			return c, &change.Problem{
				Kind: change.Poison, Table: t.TableName, Where: t.String(),
				What: fmt.Sprintf("column %q has the character set %q, which is not known", c.Name, c.Charset),
				Mend: "convert the column to utf8mb4, or leave it out",
			}
		}
	}
	return c, nil
}

// Table returns the table.
func (e *Encoder) Table() *change.Table { return e.table }

// KeySchema returns the text of the schema that AppendKey writes.
func (e *Encoder) KeySchema() string { return e.keySchema }

// ValueSchema returns the text of the schema that AppendValue writes.
func (e *Encoder) ValueSchema() string { return e.valueSchema }

// AppendKey appends the Avro body of the row's key. On an error dst is returned as it was.
func (e *Encoder) AppendKey(dst []byte, r Row) ([]byte, error) {
	if r.absent() {
		return dst, errors.New("encode key: no row image")
	}
	out, err := e.appendRow(dst, e.key, r)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// AppendValue appends the Avro body of the envelope. On an error dst is returned as it was.
func (e *Encoder) AppendValue(dst []byte, ev *Event) ([]byte, error) {
	out, err := dst, error(nil)
	if ev.BeforeKey != nil {
		out, err = e.appendKeyImage(dst, ev.BeforeKey)
	} else {
		out, err = e.appendImage(dst, ev.Before)
	}
	if err != nil {
		return dst, err
	}
	if out, err = e.appendImage(out, ev.After); err != nil {
		return dst, err
	}
	out = ev.appendSource(out)
	out = ev.appendTransaction(out)
	out = append(out, 2, byte(ev.Op)) // a string of length 1
	return ev.appendTimes(out), nil
}

func (e *Encoder) appendImage(dst []byte, r Row) ([]byte, error) {
	if r.absent() {
		return append(dst, branch0), nil
	}
	return e.appendRow(append(dst, branch1), e.value, r)
}

// appendKeyImage appends an image of which only the key is known, by the key's body. A delete without any image ends readers that take
// the envelope at its word (Debezium's JDBC sink); one with the key alone is what Debezium writes where a database logs no more.
func (e *Encoder) appendKeyImage(dst, key []byte) ([]byte, error) {
	r := reader{rest: key}
	fields := make([][]byte, len(e.value))
	for i := range e.key {
		c, in := &e.key[i], &e.value[e.key[i].index]
		from := r.rest
		var v change.Value
		_, err := c.read(&r, &v, nil)
		if err == nil && r.failed {
			err = errTruncated
		}
		if err != nil {
			return dst, e.problem(c, err)
		}
		fields[c.index] = from[:len(from)-len(r.rest)]
		if in.repr != c.repr || in.bend && (c.Type == change.Date || c.Type == change.DateTime) { // by a setting, which never applies to keys
			if fields[c.index], err = in.appendText(nil, v.Append(nil)); err != nil {
				return dst, e.problem(in, err)
			}
		}
	}
	if err := r.end("key"); err != nil {
		return dst, err
	}
	out := append(dst, branch1)
	for i, field := range fields {
		if e.value[i].optional {
			out = append(out, branch0)
		} else {
			out = append(out, field...)
		}
	}
	return out, nil
}

func (e *Encoder) appendRow(dst []byte, columns []column, r Row) ([]byte, error) {
	if r.Cells != nil {
		return e.appendCells(dst, columns, r)
	}
	if len(r.Text) != len(e.table.Columns) {
		return dst, e.miscounted(len(r.Text))
	}
	var err error
	for i := range columns {
		c := &columns[i]
		text := r.Text[c.index]
		switch {
		case text == nil && !c.optional:
			return dst, e.problem(c, errKeyNull)
		case text == nil:
			dst = append(dst, branch0)
			continue
		case c.optional:
			dst = append(dst, branch1)
		}
		if dst, err = c.appendText(dst, text); err != nil {
			return dst, e.problem(c, err)
		}
	}
	return dst, nil
}

func (e *Encoder) appendCells(dst []byte, columns []column, r Row) ([]byte, error) {
	if len(r.Cells) != len(e.table.Columns) {
		return dst, e.miscounted(len(r.Cells))
	}
	var err error
	for i := range columns {
		c := &columns[i]
		cell := &r.Cells[c.index]
		switch {
		case !cell.Present:
			return dst, e.problem(c, errAbsent)
		case cell.Null && !c.optional:
			return dst, e.problem(c, errKeyNull)
		case cell.Null:
			dst = append(dst, branch0)
			continue
		case c.optional:
			dst = append(dst, branch1)
		}
		if dst, err = c.appendCell(dst, cell.Data); err != nil {
			return dst, e.problem(c, err)
		}
	}
	return dst, nil
}

var (
	errKeyNull = errors.New("a key column is NULL")
	errAbsent  = errors.New("the row image lacks the column; is binlog_row_image FULL in every session?")
)

func (e *Encoder) miscounted(columns int) error {
	return &change.Problem{
		Kind: change.Poison, Table: e.table.TableName, Where: e.table.String(),
		What: fmt.Sprintf("a row of %d columns in a table of %d", columns, len(e.table.Columns)),
		Why:  "the row was written or read with another shape of the table than is known",
	}
}

// problem says which column could not be written. The row's data is not in it: logs must not hold it.
func (e *Encoder) problem(c *column, err error) error {
	return &change.Problem{
		Kind: change.Poison, Table: e.table.TableName, Where: e.table.String(),
		What: fmt.Sprintf("a value of column %q (%s) can't be encoded", c.Name, c.Type),
		Why:  "a value that would arrive bent is never sent: the table stops instead",
		Err:  err,
	}
}

// SelectList returns one SQL expression for each of the table's columns, in order, whose text in a session with
// time_zone = '+00:00' and character_set_results = NULL is exact:
//
//   - FLOAT and DOUBLE times 1e0. A FLOAT's own text has six digits; a FLOAT(M,D) or DOUBLE(M,D) is cut to D digits;
//     ZEROFILL pads. The product is a DOUBLE of the same value (-0 stays -0), printed so that it reads back the same.
//   - all others by their name, which gives invisible columns too.
func (e *Encoder) SelectList() []string {
	list := make([]string, len(e.table.Columns))
	for i := range list {
		c := &e.table.Columns[i]
		list[i] = quoteName(c.Name)
		if c.Type == change.Float || c.Type == change.Double {
			list[i] += "*1e0"
		}
	}
	return list
}
