package shaped

import (
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/shape"
	"github.com/sluice-cdc/sluice/sink"
)

// BenchmarkChanges gives updates another shape: plain is other names and fewer columns, all is a filter, a hash, a mask and a
// derived column too.
func BenchmarkChanges(b *testing.B) {
	plain := shape.Spec{Table: "shop.t", Columns: map[string]shape.Column{"a": {Rename: "amount"}, "b": {Drop: true}}}
	all := shape.Spec{Table: "shop.t", Where: "a > 1", Columns: map[string]shape.Column{"code": {Hash: &shape.Hash{Salt: "pepper"}}, "b": {Cast: "varchar(10)"}},
		Add: map[string]shape.Added{"twice": {Expr: "a * 2", Type: "bigint"}, "origin": {From: "source"}}}
	for name, spec := range map[string]shape.Spec{"plain": plain, "all": all} {
		b.Run(name, func(b *testing.B) {
			table, seven := modelTable("t"), int64(7)
			changes := make([]sink.Change, 1000)
			for i := range changes {
				row := modelRow{id: int64(i), a: 5, b: &seven, code: "a code"}.values()
				changes[i] = sink.Change{Op: change.Update, Table: table, KeyValues: row[:1], Before: row, After: row, TrustedBefore: true, Version: change.Version(i)}
			}
			t := New(nil, []shape.Spec{spec}, nil)
			batch := &sink.Batch{Partition: sink.Partition{Source: "src", Topic: "src.shop.t"}, Changes: changes}
			b.ReportAllocs()
			for b.Loop() {
				if made, err := t.changes(b.Context(), batch, 0); err != nil || len(made) != len(changes) {
					b.Fatal(len(made), err)
				}
			}
			b.ReportMetric(float64(len(changes)), "rows/op")
		})
	}
}
