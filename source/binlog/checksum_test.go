package binlog

import (
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
)

// The sum tells rows of another order, table or kind, and rows that are cut elsewhere, from each other; not how they are cut into events.
func TestRowChecksum(t *testing.T) {
	event := func(table string, op change.Op) *Event {
		return &Event{Table: change.TableName{DB: "shop", Name: table}, Rows: &rowimage.RowsEvent{Op: op}}
	}
	type row struct {
		e   *Event
		raw string
	}
	sum := func(rows ...row) RowChecksum {
		var c RowChecksum
		for _, r := range rows {
			c.Add(r.e, []byte(r.raw))
		}
		return c
	}
	users := event("users", change.Create)
	first := sum(row{users, "ab"}, row{users, "c"})
	if again := sum(row{users, "ab"}, row{event("users", change.Create), "c"}); again.Sum != first.Sum || again.Rows != 2 {
		t.Errorf("the same rows in two events: %x of %d rows, want %x of 2", again.Sum, again.Rows, first.Sum)
	}
	seen := map[uint64]string{first.Sum: "two rows"}
	for name, other := range map[string]RowChecksum{
		"none":                {},
		"the first alone":     sum(row{users, "ab"}),
		"the other order":     sum(row{users, "c"}, row{users, "ab"}),
		"cut elsewhere":       sum(row{users, "a"}, row{users, "bc"}),
		"one row":             sum(row{users, "abc"}),
		"another table":       sum(row{users, "ab"}, row{event("orders", change.Create), "c"}),
		"another kind":        sum(row{users, "ab"}, row{event("users", change.Delete), "c"}),
		"an empty row behind": sum(row{users, "ab"}, row{users, "c"}, row{users, ""}),
		"a row twice":         sum(row{users, "ab"}, row{users, "ab"}, row{users, "c"}),
	} {
		if same := seen[other.Sum]; same != "" {
			t.Errorf("%s and %s have the same sum", name, same)
		}
		seen[other.Sum] = name
	}
}
