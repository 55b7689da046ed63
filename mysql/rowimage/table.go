package rowimage

import (
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Table returns the table as INFORMATION_SCHEMA has it, with key as what identifies a row: the names of
// columns, or nil for the primary key. Without a primary key the nil key gives a Table whose Key is empty.
// The answer is kept: the same *change.Table comes back each time.
//
// It needs binlog_row_metadata=FULL; without, the error is a change.Problem that says so.
func (tm *TableMap) Table(key []string) (*change.Table, error) {
	const separator = "\x00" // in no column's name
	memo := strings.Join(key, separator)
	tm.mu.Lock()
	defer tm.mu.Unlock()
	for i := range tm.tables {
		if tm.tables[i].key == memo {
			return tm.tables[i].table, nil
		}
	}
	columns, primary, err := tm.describedLocked()
	if err != nil {
		return nil, err
	}
	t := &change.Table{TableName: tm.Name, Columns: columns, Key: primary}
	if key != nil {
		if t.Key, err = tm.namedKey(t, key); err != nil {
			return nil, err
		}
	}
	tm.tables = append(tm.tables, keyedTable{key: memo, table: t})
	return t, nil
}

// describedLocked reads the optional metadata once; tm.mu is held.
func (tm *TableMap) describedLocked() ([]change.Column, []int, error) {
	if !tm.described {
		tm.columns, tm.primary, tm.columnsErr = tm.describe()
		tm.described = true
	}
	return tm.columns, tm.primary, tm.columnsErr
}

// namedKey finds the columns of a key that the configuration names.
func (tm *TableMap) namedKey(t *change.Table, key []string) ([]int, error) {
	columns := make([]int, len(key))
	for i, name := range key {
		if columns[i] = t.Column(name); columns[i] < 0 {
			return nil, &change.Problem{
				Kind:  change.Poison,
				What:  "the key names column " + name + ", which the table has not",
				Where: tm.Name.String(),
				Why:   "without its key a row has no place in the topic",
				Mend:  "name columns of a unique NOT NULL key of the table in the configuration, and crawl the table again",
				Table: tm.Name,
			}
		}
	}
	return columns, nil
}
