package run

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What a fetch brings. Kafka bounds it in bytes as they are in the log, compressed; in memory, rows that compress 30 to 1 take 30 times as much.
const (
	// fetchMaxBytes bounds one answer of a broker, fetchPartitionBytes the part of one partition in it, both as compressed, where records
	// compress no better than fetchRatio. The client holds one answer of each broker besides the queues.
	fetchMaxBytes       = 16 << 20
	fetchPartitionBytes = 1 << 20
	fetchRatio          = 2
	// fetchPartitionMin is the least that is asked for; a broker answers with one batch, however large.
	fetchPartitionMin = 32 << 10
	// ratioFirst is what is thought of records before the first of them have come.
	ratioFirst = 32
)

// fetchSize asks for less where records compress better than fetchRatio, so that an answer takes about the same memory.
type fetchSize struct {
	update func(maxBytes, maxPartitionBytes int32)

	mu    sync.Mutex // guards the following; brokers' answers are read side by side
	ratio float64
	asked int32
}

func newFetchSize() *fetchSize { return &fetchSize{asked: partitionBytes(ratioFirst)} }

// first are the client's options.
func (f *fetchSize) first() []kgo.Opt {
	return []kgo.Opt{kgo.WithHooks(f), kgo.FetchMaxBytes(answerBytes(f.asked)), kgo.FetchMaxPartitionBytes(f.asked)}
}

var _ kgo.HookFetchBatchRead = (*fetchSize)(nil)

// OnFetchBatchRead takes note of how well a batch was compressed.
func (f *fetchSize) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.CompressedBytes <= 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	ratio := float64(m.UncompressedBytes) / float64(m.CompressedBytes)
	if ratio < f.ratio { // better at once, worse in steps: batches of several topics come in turn
		ratio = f.ratio + (ratio-f.ratio)/16
	}
	f.ratio = ratio
	part := partitionBytes(ratio)
	if part < f.asked || part > f.asked+f.asked/4 {
		f.asked = part
		f.update(answerBytes(part), part)
	}
}

// partitionBytes is how much is asked for of a partition whose records compress so well.
func partitionBytes(ratio float64) int32 {
	return int32(max(fetchPartitionMin, fetchPartitionBytes*min(1, fetchRatio/ratio)))
}

// answerBytes is how much is asked for of all partitions together.
func answerBytes(part int32) int32 { return fetchMaxBytes / fetchPartitionBytes * part }
