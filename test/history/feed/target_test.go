package feed

import (
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
	"github.com/sluice-cdc/sluice/test/history"
)

var orders = &change.Table{
	TableName: change.TableName{DB: "shop", Name: "orders"},
	Columns:   []change.Column{{Name: "id", Type: change.BigInt}, {Name: "note", Type: change.Text, Nullable: true}},
	Key:       []int{0},
}

func put(offset, id int64, note string) sink.Change {
	row := []change.Value{change.IntValue(id), change.StringValue(note)}
	return sink.Change{Op: change.Create, Table: orders, KeyNames: []string{"id"}, KeyValues: row[:1], After: row, TrustedBefore: true,
		Version: change.Version(100 + offset), Offset: offset}
}

// TestLook: rows are told with their versions, and a row that was there before is told as absent.
func TestLook(t *testing.T) {
	target := memory.NewStore(memory.Config{}).OpenPlain()
	gone := put(2, 1, "")
	gone.Op, gone.Before, gone.After = change.Delete, gone.After, nil
	look := &Target{Name: "memory", Scanner: target, Source: "src", Table: orders}
	var told []history.Observation
	for i, changes := range [][]sink.Change{{put(0, 1, "a"), put(1, 2, "b")}, {gone}} {
		b := &sink.Batch{Group: "g", Partition: sink.Partition{Source: "src", Topic: "src.shop.orders", Count: 1}, From: int64(2 * i), Next: int64(2*i + 2), Changes: changes}
		if err := target.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		told = told[:0]
		if err := look.Look(t.Context(), func(o history.Observation) { told = append(told, o) }); err != nil {
			t.Fatal(err)
		}
		if len(told) != 2 {
			t.Fatalf("look %d: %d rows were told, want 2: %v", i+1, len(told), told)
		}
	}
	for _, o := range told {
		one := o.Key == keyOf(orders.TableName, []change.Value{change.IntValue(1)})
		if one == o.Present || !one && (o.Version != 101 || o.Row != rowOf(put(1, 2, "b").After)) {
			t.Errorf("told %+v", o)
		}
	}
}
