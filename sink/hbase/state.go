package hbase

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// stateQualifier is the cell that each row has besides its columns. Its timestamp is the row's version; cells of the row that are
// older than it are left over from columns that the table has no more.
const stateQualifier = "_sluice"

// What a state begins with.
const (
	stateRow     = "row"     // the row is there; behind it, as a JSON list, the columns that are NULL
	stateDeleted = "deleted" // the row is gone; behind it, when that was written, in milliseconds since 1970
	stateTable   = "table"   // the table's own row, which says what the table holds
)

// appendRowState appends the state of a row that is there.
func appendRowState(dst []byte, nulls []string) []byte {
	dst = append(dst, stateRow...)
	if len(nulls) == 0 {
		return dst
	}
	list, err := json.Marshal(nulls)
	if err != nil {
		panic(err) // texts can always be written
	}
	return append(append(dst, ' '), list...)
}

func appendDeletedState(dst []byte, now time.Time) []byte {
	return strconv.AppendInt(append(dst, stateDeleted+" "...), now.UnixMilli(), 10)
}

// state is a state cell as it was read.
type state struct {
	word    string
	nulls   []string  // of a row
	deleted time.Time // of a tombstone
}

func parseState(text []byte) (state, error) {
	word, rest, _ := bytes.Cut(text, []byte(" "))
	s := state{word: string(word)}
	switch s.word {
	case stateRow:
		if len(rest) > 0 {
			if err := json.Unmarshal(rest, &s.nulls); err != nil {
				return s, fmt.Errorf("the state %.60q: %w", text, err)
			}
		}
	case stateDeleted:
		millis, err := strconv.ParseInt(string(rest), 10, 64)
		if err != nil {
			return s, fmt.Errorf("the state %.60q: %w", text, err)
		}
		s.deleted = time.UnixMilli(millis)
	case stateTable:
	default:
		return s, fmt.Errorf("the state %.60q is none of Sluice's", text)
	}
	return s, nil
}
