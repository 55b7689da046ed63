package sink_test

import (
	"encoding/binary"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

func BenchmarkNewestPerKey(b *testing.B) {
	changes := make([]sink.Change, 1000)
	for i := range changes {
		changes[i] = sink.Change{Key: binary.BigEndian.AppendUint64(nil, uint64(i)), Version: change.Version(i)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if kept := sink.NewestPerKey(changes); len(kept) != len(changes) {
			b.Fatal(len(kept))
		}
	}
	b.ReportMetric(float64(len(changes)), "rows/op")
}
