package postgres

import (
	"bytes"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// stored returns what the target holds for a value of the source: the value, or what the configuration says where PostgreSQL cannot
// hold it. A key's value is never changed: two rows could become one.
func (c *Config) stored(v change.Value, col *change.Column, key bool) change.Value {
	if v.Kind != change.Str || key {
		return v
	}
	if c.ZeroDates == ToNull && dated(col.Type) && !realDate(v.Bytes) {
		return change.Value{}
	}
	if c.TextNUL == Remove && bytes.IndexByte(v.Bytes, 0) >= 0 {
		return change.Value{Kind: change.Str, Bytes: bytes.ReplaceAll(v.Bytes, []byte{0}, nil)}
	}
	return v
}

// arrays returns the rows' values by column, in text form, and their versions: the parameters of given.
func (t *table) arrays(config *Config, rows []*sink.Change) ([][]byte, error) {
	values := make([][]byte, 0, len(t.written)+2)
	for _, i := range t.written {
		col, key := &t.schema.Columns[i], t.schema.IsKey(i)
		array := []byte{'{'}
		for n, c := range rows {
			if n > 0 {
				array = append(array, ',')
			}
			var err error
			if array, err = appendElement(array, config.stored(c.After[i], col, key), col); err != nil {
				return nil, &badValue{change: c, column: col.Name, mend: mendValue(err, key), err: err}
			}
		}
		values = append(values, append(array, '}'))
	}
	return append(values, versions(rows)), nil
}

// keyArrays returns the keys by column, and the versions.
func (t *table) keyArrays(rows []*sink.Change) ([][]byte, error) {
	values := make([][]byte, 0, len(t.schema.Key)+2)
	for k, i := range t.schema.Key {
		col := &t.schema.Columns[i]
		array := []byte{'{'}
		for n, c := range rows {
			if n > 0 {
				array = append(array, ',')
			}
			var err error
			if array, err = appendElement(array, c.KeyValues[k], col); err != nil {
				return nil, &badValue{change: c, column: col.Name, mend: mendValue(err, true), err: err}
			}
		}
		values = append(values, append(array, '}'))
	}
	return append(values, versions(rows)), nil
}

func versions(rows []*sink.Change) []byte {
	array := []byte{'{'}
	for n, c := range rows {
		if n > 0 {
			array = append(array, ',')
		}
		array = change.IntValue(int64(c.Version)).Append(array)
	}
	return append(array, '}')
}

func mendValue(err error, key bool) string {
	switch {
	case key:
		return "mend the key at the source, or set the record aside (on_error: dead_letter)"
	case err == errDate:
		return "set zero_dates: to_null under postgres, mend the date at the source, or set the record aside (on_error: dead_letter)"
	}
	return "set text_nul: remove under postgres, mend the text at the source, or set the record aside (on_error: dead_letter)"
}
