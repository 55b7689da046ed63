package verify

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

func numbered(number int, through int64) *chunk {
	c := &chunk{number: number, result: TableResult{SourceRows: 10}}
	if through > 0 {
		c.through = []change.Value{change.IntValue(through)}
	}
	return c
}

// TestPlaceHasNoGaps: a run goes on behind the ranges that are all done, whatever came out of order.
func TestPlaceHasNoGaps(t *testing.T) {
	var p tablePlace
	for _, step := range []struct {
		c       *chunk
		settled int
		chunk   int
		after   int64
	}{
		{numbered(1, 200), 0, 0, 0},
		{numbered(2, 300), 0, 0, 0},
		{numbered(0, 100), 3, 3, 300},
		{numbered(4, 0), 0, 3, 300}, // the last
		{numbered(3, 400), 2, 5, 400},
	} {
		if settled := p.done(step.c); len(settled) != step.settled || p.Chunk != step.chunk {
			t.Errorf("chunk %d: %d settled, next is %d; want %d and %d", step.c.number, len(settled), p.Chunk, step.settled, step.chunk)
		}
		if end := step.chunk == 5; p.End != end {
			t.Errorf("chunk %d: the end is %v", step.c.number, p.End)
		}
		if after := p.after(); (step.after == 0) != (after == nil) || after != nil && after[0].Int() != step.after {
			t.Errorf("chunk %d: after %v, want %d", step.c.number, after, step.after)
		}
	}
}

func TestStateFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	s, err := LoadState(file, "g")
	if err != nil || len(s.Tables) != 0 {
		t.Fatalf("a file that is not there gives %+v (%v)", s, err)
	}
	place := tablePlace{}
	place.done(numbered(0, 100))
	s.Tables["shop.shop.a"] = &tableState{TopicID: [16]byte{1}, Place: place, Result: TableResult{SourceRows: 10, Rows: []Difference{{Key: []string{"7"}, Kind: Extra}}}}
	s.Tables["shop.shop.b"] = &tableState{Done: true}
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	again, err := LoadState(file, "g")
	if err != nil {
		t.Fatal(err)
	}
	a := again.Tables["shop.shop.a"]
	if a == nil || a.TopicID != [16]byte{1} || a.Place.Chunk != 1 || a.Place.after()[0].Int() != 100 || a.Result.Rows[0].Kind != Extra || !again.Tables["shop.shop.b"].Done {
		t.Errorf("read back: %+v", a)
	}
	if _, err := LoadState(file, "other"); err == nil || !strings.Contains(err.Error(), "is of group g") {
		t.Errorf("another group's file: %v", err)
	}
	again.Tables["shop.shop.a"].Done = true
	if err := again.write(); err != nil {
		t.Fatal(err)
	}
	if fresh, err := LoadState(file, "g"); err != nil || len(fresh.Tables) != 0 {
		t.Errorf("a run that came to its end is gone on with: %+v (%v)", fresh, err)
	}
}
