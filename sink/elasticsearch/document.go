package elasticsearch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// idMax is the longest id that the server takes, in bytes.
const idMax = 512

// appendID appends a row's document id: see the package comment. Different keys of one table have different ids.
func appendID(dst []byte, key []change.Value) []byte {
	start := len(dst)
	for i, v := range key {
		if i > 0 {
			dst = append(dst, '|')
		}
		if v.Kind == change.Raw { // an id is text
			dst = hex.AppendEncode(dst, v.Bytes)
			continue
		}
		from := len(dst)
		dst = v.Append(dst)
		if bytes.ContainsAny(dst[from:], `|\`) {
			dst = append(dst[:from], strings.NewReplacer(`\`, `\\`, `|`, `\|`).Replace(string(dst[from:]))...)
		}
	}
	if len(dst)-start > idMax || len(dst) == start { // the empty id would make the server invent one
		sum := sha256.Sum256(dst[start:])
		dst = hex.AppendEncode(append(dst[:start], `\#`...), sum[:])
	}
	return dst
}

// The fields that Sluice adds to documents. No column's field begins with an underscore: see fieldName.
const (
	fieldDeleted   = "_sluice_deleted"    // true: a tombstone
	fieldDeletedAt = "_sluice_deleted_at" // when it was written, milliseconds since 1970
)

// writer writes the actions of one batch, as the lines of _bulk requests.
type writer struct {
	config *Config
	index  string // the alias, as a JSON string
	now    time.Time
	fields map[*change.Table][]string // the columns' fields as JSON strings
	buffer []byte
	id     []byte // of the change at hand
}

// action writes the lines of one change.
func (w *writer) action(c *sink.Change) error {
	verb := "index"
	if c.Op == change.Delete && w.config.Deletes == Delete {
		verb = "delete"
	}
	dst := append(append(append(w.buffer, `{"`...), verb...), `":{"_index":`...)
	dst = append(append(dst, w.index...), `,"_id":`...)
	w.id = appendID(w.id[:0], c.KeyValues)
	dst, err := appendString(dst, w.id)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	dst = strconv.AppendInt(append(dst, `,"version_type":"external","version":`...), int64(c.Version), 10)
	dst = append(dst, "}}\n"...)
	if verb == "delete" {
		w.buffer = dst
		return nil
	}
	switch {
	case c.Op == change.Delete:
		dst = w.appendTombstone(dst)
	case w.config.Documents == Envelope:
		dst, err = w.appendEnvelope(dst, c)
	default:
		dst, err = w.appendRow(dst, c.Table, c.After)
	}
	if err != nil {
		return err
	}
	w.buffer = append(dst, '\n')
	return nil
}

// appendTombstone appends the document that stands for a row that is gone. It says nothing of the row: the bare tombstone that
// follows a delete in the log has no image of it, and which of the two is written depends on where a batch ends.
func (w *writer) appendTombstone(dst []byte) []byte {
	dst = append(dst, '{')
	if w.config.Documents == Envelope {
		dst = append(dst, `"op":"d",`...)
	}
	dst = append(dst, `"`+fieldDeleted+`":true,"`+fieldDeletedAt+`":`...)
	return append(strconv.AppendInt(dst, w.now.UnixMilli(), 10), '}')
}

// appendRow appends a row as a JSON object.
func (w *writer) appendRow(dst []byte, t *change.Table, row []change.Value) ([]byte, error) {
	if len(row) != len(t.Columns) {
		return dst, fmt.Errorf("the row has %d values, its table %d columns", len(row), len(t.Columns))
	}
	fields := w.fieldsOf(t)
	dst = append(dst, '{')
	start := len(dst)
	for i := range row {
		if row[i].IsNull() && t.Columns[i].Type == change.JSON {
			continue // null would be JSON's own
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = append(append(dst, fields[i]...), ':')
		var err error
		if dst, err = appendValue(dst, &t.Columns[i], row[i]); err != nil {
			return dst, fmt.Errorf("column %s: %w", t.Columns[i].Name, err)
		}
	}
	return append(dst, '}'), nil
}

func (w *writer) fieldsOf(t *change.Table) []string {
	fields, ok := w.fields[t]
	if !ok {
		fields = fieldNames(t)
		for i := range fields {
			fields[i] = quote(fields[i])
		}
		w.fields[t] = fields
	}
	return fields
}

// appendEnvelope appends a change as it is in Kafka.
func (w *writer) appendEnvelope(dst []byte, c *sink.Change) ([]byte, error) {
	dst = append(append(append(dst, `{"op":"`...), byte(c.Op)), '"')
	for _, image := range [...]struct {
		name string
		row  []change.Value
	}{{"before", c.Before}, {"after", c.After}} {
		dst = append(append(append(dst, `,"`...), image.name...), `":`...)
		if image.row == nil {
			dst = append(dst, "null"...)
			continue
		}
		var err error
		if dst, err = w.appendRow(dst, c.Table, image.row); err != nil {
			return dst, fmt.Errorf("%s: %w", image.name, err)
		}
	}
	dst = strconv.AppendInt(append(dst, `,"source":{"ts_ms":`...), c.Origin.CommitMillis, 10)
	for _, field := range [...][2]string{{`,"db":`, c.Table.DB}, {`,"table":`, c.Table.Name}, {`,"gtid":`, c.Origin.GTID}} {
		var err error
		if dst, err = appendString(append(dst, field[0]...), field[1]); err != nil {
			return dst, err
		}
	}
	return append(dst, "}}"...), nil
}
