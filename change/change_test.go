package change

import (
	"errors"
	"fmt"
	"testing"
)

func TestVersionOnlyGrows(t *testing.T) {
	for _, c := range []struct {
		previous     Version
		commitMicros int64
		want         Version
	}{
		{0, 1_000, 1_000},       // the commit time where it is ahead
		{1_000, 1_000, 1_001},   // the same microsecond
		{5_000, 1_000, 5_001},   // the clock stepped back
		{5_000, 0, 5_001},       // no time known
		{5_000, -7, 5_001},      // nonsense
		{5_000, 5_001, 5_001},   // ahead by one
		{1 << 62, 1, 1<<62 + 1}, // far ahead
	} {
		if got := c.previous.Next(c.commitMicros); got != c.want {
			t.Errorf("Version(%d).Next(%d) = %d, want %d", c.previous, c.commitMicros, got, c.want)
		}
	}
}

func TestPositionOrder(t *testing.T) {
	ordered := []Position{
		{File: "binlog.000009", Offset: 4},
		{File: "binlog.000009", Offset: 1 << 33}, // files outgrow 32 bits
		{File: "binlog.000010", Offset: 4},
		{File: "binlog.999999", Offset: 900},
		{File: "binlog.1000000", Offset: 4}, // and numbers outgrow six digits
	}
	for i, p := range ordered {
		for j, q := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := p.Compare(q); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", p, q, got, want)
			}
		}
	}
}

func TestSeverity(t *testing.T) {
	poison := &Problem{Kind: Poison, What: "a row is too large", Where: "shop.orders", Why: "w", Mend: "line 1\nline 2"}
	if got := SeverityOf(fmt.Errorf("apply: %w", poison)); got != Poison {
		t.Errorf("wrapped poison is %v", got)
	}
	if got := SeverityOf(errors.New("anything")); got != Fatal {
		t.Errorf("an unclassified error is %v, want fatal", got)
	}
	want := "error: apply: a row is too large (shop.orders)\n  why    w\n  mend   line 1\n         line 2"
	if got := Explain(fmt.Errorf("apply: %w", poison)); got != want {
		t.Errorf("Explain:\n%s\nwant:\n%s", got, want)
	}
}

func TestColumnNamesFoldCase(t *testing.T) {
	table := &Table{Columns: []Column{{Name: "Id"}, {Name: "naïve"}}, Key: []int{0}}
	if table.Column("ID") != 0 || table.Column("naïve") != 1 || table.Column("x") != -1 {
		t.Error("Column does not find columns as MySQL does")
	}
	if !table.IsKey(0) || table.IsKey(1) {
		t.Error("IsKey")
	}
}
