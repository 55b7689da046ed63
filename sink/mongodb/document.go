package mongodb

import (
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// The fields of what Sluice adds to documents. No column's field begins with an underscore: see fieldName.
const (
	fieldSluice    = "_sluice"
	fieldVersion   = "_sluice.version"    // an int64
	fieldDeleted   = "_sluice.deleted"    // true: a tombstone, or the collection's marker
	fieldDeletedAt = "_sluice.deleted_at" // a date: when the tombstone was written
)

// appendID appends a row's _id: see the package comment. Different keys of one table have different ids.
func appendID(dst []byte, t *change.Table, names []string, values []change.Value) ([]byte, error) {
	if len(values) == 1 {
		return appendKey(dst, "_id", t, names[0], values[0])
	}
	at, dst := bsoncore.AppendDocumentElementStart(dst, "_id")
	for i := range values {
		var err error
		if dst, err = appendKey(dst, fieldName(names[i]), t, names[i], values[i]); err != nil {
			return dst, err
		}
	}
	return bsoncore.AppendDocumentEnd(dst, at)
}

// textColumn is what a key column is taken for that the table's newest schema does not have.
var textColumn = change.Column{Type: change.VarChar}

func appendKey(dst []byte, field string, t *change.Table, name string, v change.Value) ([]byte, error) {
	column := &textColumn
	if i := t.Column(name); i >= 0 {
		column = &t.Columns[i]
	}
	dst, _, err := keyForm.appendValue(dst, field, column, v)
	if err != nil {
		return dst, fmt.Errorf("key column %s: %w", name, err)
	}
	return dst, nil
}

// shaped is how rows of one schema become documents.
type shaped struct {
	table  *change.Table
	fields []string
	form   form
}

func (c *Config) shaped(t *change.Table) *shaped {
	s := &shaped{table: t, form: c.form(), fields: make([]string, len(t.Columns))}
	for i := range t.Columns {
		s.fields[i] = fieldName(t.Columns[i].Name)
	}
	return s
}

// document makes a row's document.
func (s *shaped) document(c *sink.Change) (bson.Raw, error) {
	if len(c.After) != len(s.table.Columns) {
		return nil, fmt.Errorf("the row has %d values, its table %d columns", len(c.After), len(s.table.Columns))
	}
	at, dst := bsoncore.AppendDocumentStart(make([]byte, 0, c.Bytes+256))
	dst, err := appendID(dst, s.table, c.KeyNames, c.KeyValues)
	if err != nil {
		return nil, err
	}
	var kept []int
	for i := range c.After {
		var exact bool
		if dst, exact, err = s.form.appendValue(dst, s.fields[i], &s.table.Columns[i], c.After[i]); err != nil {
			return nil, documentError(&s.table.Columns[i], err)
		}
		if exact {
			kept = append(kept, i)
		}
	}
	own, dst := bsoncore.AppendDocumentElementStart(dst, fieldSluice)
	dst = bsoncore.AppendInt64Element(dst, "version", int64(c.Version))
	if len(kept) > 0 {
		var beside int32
		beside, dst = bsoncore.AppendDocumentElementStart(dst, "exact")
		for _, i := range kept {
			dst = bsoncore.AppendStringElement(dst, s.fields[i], string(c.After[i].Bytes))
		}
		if dst, err = bsoncore.AppendDocumentEnd(dst, beside); err != nil {
			return nil, err
		}
	}
	if dst, err = bsoncore.AppendDocumentEnd(dst, own); err != nil {
		return nil, err
	}
	dst, err = bsoncore.AppendDocumentEnd(dst, at)
	return dst, err
}

// tombstone makes the document that stands for a row that is gone. It says nothing of the row: the bare tombstone that follows a
// delete in the log has no image of it, and which of the two is written depends on where a batch ends.
func tombstone(c *sink.Change, now time.Time) (bson.Raw, error) {
	at, dst := bsoncore.AppendDocumentStart(nil)
	dst, err := appendID(dst, c.Table, c.KeyNames, c.KeyValues)
	if err != nil {
		return nil, err
	}
	own, dst := bsoncore.AppendDocumentElementStart(dst, fieldSluice)
	dst = bsoncore.AppendInt64Element(dst, "version", int64(c.Version))
	dst = bsoncore.AppendBooleanElement(dst, "deleted", true)
	dst = bsoncore.AppendDateTimeElement(dst, "deleted_at", now.UnixMilli())
	if dst, err = bsoncore.AppendDocumentEnd(dst, own); err != nil {
		return nil, err
	}
	return bsoncore.AppendDocumentEnd(dst, at)
}

// guard makes the filter that finds a row's document if its version is below the change's.
func guard(c *sink.Change) (bson.Raw, error) {
	at, dst := bsoncore.AppendDocumentStart(nil)
	dst, err := appendID(dst, c.Table, c.KeyNames, c.KeyValues)
	if err != nil {
		return nil, err
	}
	below, dst := bsoncore.AppendDocumentElementStart(dst, fieldVersion)
	dst = bsoncore.AppendInt64Element(dst, "$lt", int64(c.Version))
	if dst, err = bsoncore.AppendDocumentEnd(dst, below); err != nil {
		return nil, err
	}
	return bsoncore.AppendDocumentEnd(dst, at)
}
