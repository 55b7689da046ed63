package avro

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
)

// Decoded is one change event as Decode fills it. Its values alias the record's bytes or memory of this Decoded,
// which the next Decode into it overwrites: see Detach.
type Decoded struct {
	Op            change.Op
	Before, After []change.Value // by column of the table; nil: no image
	Source        Source
	TsMs          int64
	Transaction   *Transaction // nil: null

	memory      imageMemory
	transaction Transaction
}

// Detach leaves Before and After to the caller for good: they keep aliasing the record they came from, and the next
// Decode takes other memory.
func (d *Decoded) Detach() { d.memory.leave() }

// imageMemory is where images are decoded to: their values, and the text of those that do not stand in the record. It comes in blocks for
// several images, for images that are left to the caller: whoever keeps one of them keeps its block, so blocks are bounded.
type imageMemory struct {
	values []change.Value // up to its length it is used by the images at hand, behind it is room
	text   []byte
	images int // for how many images the last block was
	texts  int // bytes of text of the images at hand, wherever they are
}

// imageBlock is the most that a block holds of values, in bytes, unless one image is larger.
const imageBlock = 32 << 10

// room returns where to append an image's values and text.
func (m *imageMemory) room(rows *rowReader) ([]change.Value, []byte) {
	count := len(rows.columns)
	if m.images == 0 || cap(m.values)-len(m.values) < count || cap(m.text)-len(m.text) < rows.textMax {
		const valueBytes = int(unsafe.Sizeof(change.Value{}))
		m.images = max(1, min(2*m.images, imageBlock/(valueBytes*max(count, 1))))
		m.values, m.text = make([]change.Value, 0, m.images*count), make([]byte, 0, m.images*rows.textMax)
	}
	return m.values[len(m.values):], m.text[len(m.text):]
}

// used takes note of what was appended. Text of no bound may have grown out of its block.
func (m *imageMemory) used(values []change.Value, text []byte) {
	m.texts += len(text)
	m.values = m.values[:len(m.values)+len(values)]
	if cap(text) == cap(m.text)-len(m.text) {
		m.text = m.text[:len(m.text)+len(text)]
	} else {
		m.text = text
	}
}

// reuse gives the room of the images at hand back.
func (m *imageMemory) reuse() {
	if m.texts > cap(m.text) {
		m.text = make([]byte, 0, m.texts)
	}
	m.values, m.text, m.texts = m.values[:0], m.text[:0], 0
}

// leave keeps the room of the images at hand from being used again.
func (m *imageMemory) leave() {
	m.values, m.text, m.texts = m.values[len(m.values):], m.text[len(m.text):], 0
}

// Decoder reads the values of one schema. See the package comment on concurrency.
type Decoder struct {
	table  *change.Table
	rows   rowReader
	fields []envelopeField
	source []sourceField
}

// rowReader reads the records that hold columns.
type rowReader struct {
	columns []column
	textMax int // bytes that the values which do not stand in the record can take
}

// envelopeField is one field of the envelope in the order of the schema.
type envelopeField struct {
	kind fieldKind
	name string
	typ  *schema.Type
}

type fieldKind uint8

const (
	fieldUnknown fieldKind = iota
	fieldBefore
	fieldAfter
	fieldSource
	fieldTransaction
	fieldOp
	fieldTsMs
)

// NewDecoder returns the decoder of a value schema's text. For a text that schema.Value did not make it returns
// schema.Parse's Problem. Fields of the envelope and the source block that are not known are passed over.
func NewDecoder(valueSchema string) (*Decoder, error) {
	p, err := schema.Parse(valueSchema)
	if err != nil {
		return nil, err
	}
	if p.IsKey {
		return nil, &change.Problem{
			Kind: change.Poison, Where: p.Root.Name,
			What: "unknown topic content: the record has no fields before and op, so it is no change event",
		}
	}
	d := &Decoder{table: p.Table}
	d.rows = newRowReader(p)
	for i := range p.Root.Fields {
		f := &p.Root.Fields[i]
		field := envelopeField{name: f.Name, typ: f.Type}
		field.kind, err = d.envelopeKind(p, f)
		if err != nil {
			return nil, &change.Problem{Kind: change.Poison, Where: p.Root.Name, Table: p.Table.TableName,
				What: "unknown topic content: the envelope is not one that this version reads", Err: err}
		}
		d.fields = append(d.fields, field)
	}
	return d, nil
}

// envelopeKind returns what the field is, and an error where its type is not the one that is known.
func (d *Decoder) envelopeKind(p *schema.Parsed, f *schema.Field) (fieldKind, error) {
	of, nullFirst, optional := f.Type.Optional()
	optional = optional && nullFirst
	bad := fmt.Errorf("field %s has another type", f.Name)
	switch f.Name {
	case "before", "after":
		if !optional || of != p.Row {
			return 0, bad
		}
		if f.Name == "after" {
			return fieldAfter, nil
		}
		return fieldBefore, nil
	case "source":
		if f.Type.Kind != "record" {
			return 0, bad
		}
		var err error
		d.source, err = sourceFields(f.Type)
		return fieldSource, err
	case "transaction":
		if !optional || !isTransaction(of) {
			return 0, bad
		}
		return fieldTransaction, nil
	case "op":
		if f.Type.Kind != "string" {
			return 0, bad
		}
		return fieldOp, nil
	case "ts_ms":
		if !optional || of.Kind != "long" {
			return 0, bad
		}
		return fieldTsMs, nil
	}
	return fieldUnknown, nil
}

func isTransaction(t *schema.Type) bool {
	return t.Kind == "record" && len(t.Fields) == 3 &&
		t.Fields[0].Name == "id" && t.Fields[0].Type.Kind == "string" &&
		t.Fields[1].Name == "total_order" && t.Fields[1].Type.Kind == "long" &&
		t.Fields[2].Name == "data_collection_order" && t.Fields[2].Type.Kind == "long"
}

func newRowReader(p *schema.Parsed) rowReader {
	var rows rowReader
	for i := range p.Table.Columns {
		_, _, optional := p.Row.Fields[i].Type.Optional()
		c := column{Column: p.Table.Columns[i], index: i, repr: p.Reprs[i], optional: optional}
		rows.columns = append(rows.columns, c)
		rows.textMax += c.textMax()
	}
	return rows
}

// Table returns the table as it was when the schema's rows were written.
func (d *Decoder) Table() *change.Table { return d.table }

// Decode reads one envelope. After an error into holds nothing of use.
func (d *Decoder) Decode(body []byte, into *Decoded) error {
	r := reader{rest: body}
	into.Op, into.Before, into.After, into.Transaction, into.TsMs = 0, nil, nil, nil, 0
	into.memory.reuse()
	for i := range d.fields {
		f := &d.fields[i]
		var err error
		switch f.kind {
		case fieldBefore:
			into.Before, err = d.image(&r, &into.memory)
		case fieldAfter:
			into.After, err = d.image(&r, &into.memory)
		case fieldSource:
			d.readSource(&r, &into.Source)
		case fieldTransaction:
			if r.branch(2) == 1 {
				into.readTransaction(&r)
			}
		case fieldOp:
			into.Op, err = readOp(&r)
		case fieldTsMs:
			if r.branch(2) == 1 {
				into.TsMs = r.long()
			}
		default:
			r.skip(f.typ, 0)
		}
		if err == nil && r.failed {
			err = errTruncated
		}
		if err != nil {
			return d.problem(fmt.Errorf("field %s: %w", f.name, err))
		}
	}
	if err := r.end("change event"); err != nil {
		return d.problem(err)
	}
	return nil
}

func (d *Decoder) problem(err error) error {
	return &change.Problem{
		Kind: change.Poison, Table: d.table.TableName, Where: d.table.String(),
		What: "a record is not what its schema says", Err: err,
		Why: "the bytes were damaged, or written by something other than sluice-source",
	}
}

var errOp = errors.New("is none of c, u, d, r")

func readOp(r *reader) (change.Op, error) {
	b := r.bytes()
	if len(b) != 1 || !change.Op(b[0]).Valid() {
		return 0, errOp
	}
	return change.Op(b[0]), nil
}

func (into *Decoded) readTransaction(r *reader) {
	t := &into.transaction
	keep(&t.ID, r.bytes())
	t.TotalOrder = r.long()
	t.DataCollectionOrder = r.long()
	into.Transaction = t
}

// keep sets s to b, and allocates only when it differs from what s has been: most of a source block is the same from
// row to row.
func keep(s *string, b []byte) {
	if *s != string(b) {
		*s = string(b)
	}
}

// image reads before or after.
func (d *Decoder) image(r *reader, memory *imageMemory) ([]change.Value, error) {
	if r.branch(2) == 0 {
		return nil, nil
	}
	values, text := memory.room(&d.rows)
	values, text, err := d.rows.read(r, values, text)
	memory.used(values, text)
	return values[:len(values):len(values)], err
}

// read appends the values of one record.
func (rows *rowReader) read(r *reader, values []change.Value, text []byte) ([]change.Value, []byte, error) {
	for i := range rows.columns {
		c := &rows.columns[i]
		if c.optional && r.branch(2) == 0 {
			values = append(values, change.Value{})
		} else {
			values = append(values, change.Value{})
			var err error
			if text, err = c.read(r, &values[len(values)-1], text); err != nil {
				return values, text, fmt.Errorf("column %s: %w", c.Name, err)
			}
		}
		if r.failed {
			return values, text, fmt.Errorf("column %s: %w", c.Name, errTruncated)
		}
	}
	return values, text, nil
}

// KeyDecoder reads the keys of one schema.
type KeyDecoder struct {
	rows  rowReader
	table *change.Table
}

// NewKeyDecoder returns the decoder of a key schema's text; the errors are those of NewDecoder.
func NewKeyDecoder(keySchema string) (*KeyDecoder, error) {
	p, err := schema.Parse(keySchema)
	if err != nil {
		return nil, err
	}
	if !p.IsKey {
		return nil, &change.Problem{Kind: change.Poison, Where: p.Root.Name, What: "unknown topic content: the key's schema is that of a value"}
	}
	return &KeyDecoder{rows: newRowReader(p), table: p.Table}, nil
}

// Names returns the names of the key's columns in key order.
func (d *KeyDecoder) Names() []string { return d.table.KeyNames() }

// Columns returns the key's columns in key order; the caller must not change them.
func (d *KeyDecoder) Columns() []change.Column { return d.table.Columns }

// Decode appends the values of one key to into[:0]. They alias body; those that do not stand in it (dates, decimals)
// cost an allocation.
func (d *KeyDecoder) Decode(body []byte, into []change.Value) ([]change.Value, error) {
	r := reader{rest: body}
	var text []byte
	if d.rows.textMax > 0 {
		text = make([]byte, 0, d.rows.textMax)
	}
	into, _, err := d.rows.read(&r, into[:0], text)
	if err == nil {
		err = r.end("key")
	}
	if err != nil {
		return into[:0], &change.Problem{Kind: change.Poison, What: "a key is not what its schema says", Err: err,
			Why: "the bytes were damaged, or written by something other than sluice-source"}
	}
	return into, nil
}
