package verify

import (
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// BenchmarkRow is what one row costs here on its way through a comparison, both sides together: its key and its hash, kept and
// taken away again. Reading and routing come on top.
func BenchmarkRow(b *testing.B) {
	b.ReportAllocs()
	const rows = 1000
	reader, d := NewRows(exact()), NewDeltas(chunkRowsMax)
	row := exactRow("", change.Value{})
	values := row.Values
	for b.Loop() {
		for i := range rows {
			values[0] = change.UintValue(uint64(i))
			row := sink.Row{Columns: exactNames, Values: values}
			key, err := reader.Key(&row)
			if err != nil {
				b.Fatal(err)
			}
			sum, err := reader.Sum(&row)
			if err != nil {
				b.Fatal(err)
			}
			d.Want(key, sum)
			if err := found(reader, d, &row, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(rows, "rows/op")
}
