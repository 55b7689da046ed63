// Package feed tells a history.Checker what really happened: the truth from a server's binlog, the records from a topic of a
// broker, and the rows that a target shows.
//
// Rows and keys take one form in all three: their values as the table's columns have them. So a fault in the encoding of
// values is seen too, where a target is looked at. Memory holds a digest a state, not the states.
//
// Nothing here outlives the call that started it, but Watch's goroutine, which ends with the function that it returns.
package feed

import (
	"encoding/binary"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/test/history"
)

// canonical gives equal bytes for equal values and for no others.
func canonical(values []change.Value) []byte {
	var b []byte
	for _, v := range values {
		b = append(b, byte(v.Kind))
		b = binary.BigEndian.AppendUint64(b, v.Num)
		b = binary.AppendUvarint(b, uint64(len(v.Bytes)))
		b = append(b, v.Bytes...)
	}
	return b
}

// rowOf is a row image's digest; no image, no row.
func rowOf(values []change.Value) history.Row {
	if values == nil {
		return ""
	}
	return history.Digest(canonical(values))
}

// keyOf names the row with that key.
func keyOf(table change.TableName, values []change.Value) history.Key {
	return history.Key{Table: table, Body: string(canonical(values))}
}

// keyValues picks the key's columns out of a row.
func keyValues(t *change.Table, row []change.Value) []change.Value {
	values := make([]change.Value, len(t.Key))
	for i, c := range t.Key {
		values[i] = row[c]
	}
	return values
}
