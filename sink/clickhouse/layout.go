package clickhouse

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// The columns of Sluice's own, in tables of mode state.
const (
	columnVersion = ownPrefix + "version"
	columnDeleted = ownPrefix + "deleted"
	columnExact   = ownPrefix + "exact"

	ownPrefix = "_sluice_"
)

// layout is how rows of one schema are written to one table, and read back.
type layout struct {
	*sheet
	table   *change.Table
	columns []columnType
}

// names are the quoted columns, in the order of a row.
func (l *layout) names() []string {
	names := make([]string, 0, len(l.columns)+3)
	for i := range l.table.Columns {
		names = append(names, quoteName(l.table.Columns[i].Name))
	}
	return append(names, columnVersion, columnDeleted, columnExact)
}

var errKey = errors.New("a date that the column cannot hold, in the key")

// appendRow appends the row as the change leaves it. Of a row that is deleted only the key is kept.
func (l *layout) appendRow(dst []byte, c *sink.Change) ([]byte, error) {
	var exact map[string]string
	deleted := byte(0)
	row := c.After
	if c.Op == change.Delete {
		deleted, row = 1, nil
	}
	for i := range l.columns {
		column, value := &l.table.Columns[i], change.Value{}
		key := -1
		for k, at := range l.table.Key {
			if at == i {
				key = k
			}
		}
		switch {
		case key >= 0:
			value = c.KeyValues[key]
		case deleted == 1:
			dst = l.columns[i].appendDefault(dst)
			continue
		default:
			value = row[i]
		}
		var whole bool
		var err error
		dst, whole, err = l.columns[i].appendCell(dst, column, value)
		if err == nil && !whole && key >= 0 {
			err = errKey // two keys would become one
		}
		if err != nil {
			return dst, fmt.Errorf("column %s: %w", column.Name, err)
		}
		if !whole {
			if exact == nil {
				exact = make(map[string]string)
			}
			exact[column.Name] = string(value.Bytes)
		}
	}
	dst = appendInteger(dst, 64, uint64(c.Version))
	dst = append(dst, deleted)
	if exact == nil {
		return append(dst, 0), nil
	}
	b, err := json.Marshal(exact)
	return appendText(dst, b), err
}

// read reads the rest of a row whose columns are names(), into values.
func (l *layout) read(r *reader, values []change.Value) (change.Version, error) {
	stored := make([]int64, len(values))
	var err error
	for i := range values {
		if values[i], stored[i], err = r.cell(l.columns[i], &l.table.Columns[i]); err != nil {
			return 0, fmt.Errorf("column %s: %w", l.table.Columns[i].Name, err)
		}
	}
	version, err := r.integer(64, false)
	if err == nil {
		_, err = r.ReadByte()
	}
	if err != nil {
		return 0, err
	}
	b, err := r.text()
	if err != nil || len(b) == 0 {
		return change.Version(version), err
	}
	var exact map[string]string
	if err := json.Unmarshal(b, &exact); err != nil {
		return 0, fmt.Errorf("%s: %w", columnExact, err)
	}
	for i := range values {
		said, has := exact[l.table.Columns[i].Name]
		if !has || values[i].IsNull() {
			continue
		}
		// A date that somebody changed is what it is now.
		if n, _ := l.columns[i].numberOfDate([]byte(said)); n == stored[i] {
			values[i] = change.StringValue(said)
		}
	}
	return change.Version(version), nil
}

// quoteName quotes the name of a table or column.
func quoteName(name string) string {
	return "`" + nameEscapes.Replace(name) + "`"
}

var nameEscapes = strings.NewReplacer(`\`, `\\`, "`", "\\`")

// quoteText quotes text or bytes.
func quoteText[T ~string | ~[]byte](s T) string {
	var b strings.Builder
	b.WriteByte('\'')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
