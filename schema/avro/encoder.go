package avro

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/charset"
	"github.com/sluice-cdc/sluice/schema"
)

// Encoder writes the rows of one table as keys and values of its topic.
type Encoder struct {
	table                  *change.Table
	keySchema, valueSchema string
	key, value             []column
	keyAt                  []int // by key: its column's place in value
	transform              *Transform
	reads                  []column // the columns that the transform's Passes looks at
}

// Transform is what is done to a table's rows before they are written.
type Transform struct {
	Table *change.Table // as it is written: columns of the server's table in its order, maybe not all, the key's as they are
	From  []int         // by its columns: the server's

	// Hide, by its columns, is what is written, as text in UTF-8, in place of a value that is not NULL; nil: the value.
	Hide []func(change.Value) (change.Value, error)

	// Passes reports whether a row is written at all. Of the row only the columns of Reads are there.
	Passes func(row []change.Value) (bool, error)
	Reads  []int

	Shaping schema.Shaping
}

// column is how one column is written in one record (key or value).
type column struct {
	change.Column
	index    int // in the table's columns
	repr     schema.Repr
	optional bool // a union of null and the type

	plain *column // where the value is hidden: the column that it is read as, and what is written then
	hide  func(change.Value) (change.Value, error)

	charset *charset.Charset // character types, ENUM and SET
	limbs   int              // DECIMAL: words that its greatest number takes
	bend    bool             // dates that are none become null or 1970 (schema.ZeroDateDebezium)
}

// NewEncoder returns the encoder for a table. The errors are those of schema.Value and an unknown charset.
func NewEncoder(t *change.Table, topic string, o schema.Options) (*Encoder, error) {
	from := make([]int, len(t.Columns))
	for i := range from {
		from[i] = i
	}
	return NewShapedEncoder(t, topic, o, &Transform{Table: t, From: from, Hide: make([]func(change.Value) (change.Value, error), len(from))})
}

// NewShapedEncoder returns the encoder for a server's table of which not all is written.
func NewShapedEncoder(t *change.Table, topic string, o schema.Options, x *Transform) (*Encoder, error) {
	e := &Encoder{table: t, transform: x}
	var err error
	if e.valueSchema, err = schema.ShapedValue(x.Table, topic, o, x.Shaping); err != nil {
		return nil, err
	}
	if e.keySchema, err = schema.Key(x.Table, topic); err != nil {
		return nil, err
	}
	for i, from := range x.From {
		c, err := newColumn(x.Table, i, o)
		if err != nil {
			return nil, err
		}
		c.index, c.optional = from, !x.Table.IsKey(i)
		if c.hide = x.Hide[i]; c.hide != nil {
			plain, err := newColumn(t, from, schema.Options{})
			if err != nil {
				return nil, err
			}
			c.plain = &plain
		}
		e.value = append(e.value, c)
	}
	for _, i := range x.Table.Key {
		c, err := newColumn(t, x.From[i], schema.Options{})
		if err != nil {
			return nil, err
		}
		e.key, e.keyAt = append(e.key, c), append(e.keyAt, i)
	}
	for _, i := range x.Reads {
		c, err := newColumn(t, i, schema.Options{})
		if err != nil {
			return nil, err
		}
		e.reads = append(e.reads, c)
	}
	return e, nil
}

// Whole reports whether rows are written as they are, all of them.
func (e *Encoder) Whole() bool {
	return e.transform.Passes == nil && len(e.value) == len(e.table.Columns) && !slices.ContainsFunc(e.value, func(c column) bool { return c.hide != nil })
}

// Passes reports whether the row is one of those that are written.
func (e *Encoder) Passes(r Row) (bool, error) {
	if e.transform.Passes == nil {
		return true, nil
	}
	row := make([]change.Value, len(e.table.Columns))
	for i := range e.reads {
		c := &e.reads[i]
		v, err := c.value(r)
		if err != nil {
			return false, e.problem(c, err)
		}
		row[c.index] = v
	}
	passes, err := e.transform.Passes(row)
	if err != nil {
		return false, &change.Problem{Kind: change.Poison, Table: e.table.TableName, Where: e.table.String(), Err: err,
			What: "it cannot be said whether a row goes out", Why: "what must not be in the topic could be, or the other way round",
			Mend: "mend the rule's where for such rows, then: sluice crawl start " + e.table.String()}
	}
	return passes, nil
}

// value returns the column's value in canonical form.
func (c *column) value(r Row) (v change.Value, err error) {
	var b []byte
	switch {
	case r.Cells != nil && !r.Cells[c.index].Present:
		return v, errAbsent
	case r.Cells != nil && r.Cells[c.index].Null, r.Cells == nil && r.Text[c.index] == nil:
		return v, nil
	case r.Cells != nil:
		b, err = c.appendCell(nil, r.Cells[c.index].Data)
	default:
		b, err = c.appendText(nil, r.Text[c.index])
	}
	if err != nil {
		return v, err
	}
	in := reader{rest: b}
	_, err = c.read(&in, &v, nil)
	if err == nil && in.failed {
		err = errTruncated
	}
	return v, err
}

// appendHidden appends what stands for a value that is not NULL.
func (c *column) appendHidden(dst []byte, r Row) ([]byte, error) {
	v, err := c.plain.value(r)
	if err == nil {
		v, err = c.hide(v)
	}
	if err != nil {
		return dst, err
	}
	return appendBytes(dst, v.Bytes), nil
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
		at := e.keyAt[i]
		c, in := &e.key[i], &e.value[at]
		from := r.rest
		var v change.Value
		_, err := c.read(&r, &v, nil)
		if err == nil && r.failed {
			err = errTruncated
		}
		if err != nil {
			return dst, e.problem(c, err)
		}
		fields[at] = from[:len(from)-len(r.rest)]
		if in.repr != c.repr || in.bend && (c.Type == change.Date || c.Type == change.DateTime) { // by a setting, which never applies to keys
			if fields[at], err = in.appendText(nil, v.Append(nil)); err != nil {
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
		if c.hide != nil {
			dst, err = c.appendHidden(dst, r)
		} else {
			dst, err = c.appendText(dst, text)
		}
		if err != nil {
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
		if c.hide != nil {
			dst, err = c.appendHidden(dst, r)
		} else {
			dst, err = c.appendCell(dst, cell.Data)
		}
		if err != nil {
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
