package publish

import (
	"fmt"
	"os"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// BenchmarkPublish publishes rows of 200 bytes in transactions of 1, 100 and 10,000, each with its position: on the
// local broker in this process (so its work is in the figures), or on the broker that SLUICE_KAFKA names.
func BenchmarkPublish(b *testing.B) {
	for _, rows := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) { benchmarkPublish(b, rows) })
	}
}

func benchmarkPublish(b *testing.B, rows int) {
	var on *bench
	if address := os.Getenv("SLUICE_KAFKA"); address != "" {
		on = benchOn(b, []string{address})
	} else {
		on = newBench(b)
	}
	on.config.Compression = kafka.Default().Compression
	p := on.open(b)
	key, value := make([]byte, 12), make([]byte, 200)
	b.SetBytes(int64(len(key) + len(value)))
	b.ReportAllocs()
	b.ResetTimer()
	version := change.Version(0)
	for b.Loop() {
		version++
		must(b, p.Add(Record{Topic: on.topics[0], Partition: int32(version % partitions), Key: key, Value: value, Version: version}))
		if p.Records() == rows {
			must(b, p.Set(position(version)))
			must(b, p.Commit(b.Context()))
		}
	}
	must(b, p.Commit(b.Context()))
	b.ReportMetric(float64(version)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkAdd is what it costs to add a record; compressing and sending go on beside it.
func BenchmarkAdd(b *testing.B) {
	const rows = 10_000
	on := newBench(b)
	p, err := Open(ctxOf(b), on.settings(b))
	must(b, err)
	defer p.Close()
	key, value := make([]byte, 12), make([]byte, 200)
	b.ReportAllocs()
	version := change.Version(0)
	for b.Loop() {
		for range rows {
			version++
			must(b, p.Add(Record{Topic: on.topics[0], Partition: int32(version % partitions), Key: key, Value: value, Version: version}))
		}
		b.StopTimer()
		must(b, p.Commit(b.Context()))
		b.StartTimer()
	}
	b.ReportMetric(rows, "rows/op")
}
