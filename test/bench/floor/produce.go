package floor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ProduceOptions say what Produce sends.
type ProduceOptions struct {
	Brokers []string
	// Topic must be there.
	Topic string
	// Like is a topic whose records, as many as fit into a few megabytes, are sent in turn: then they are as large, and as easy to compress, as
	// those of whoever wrote it. Empty: made-up ones of RowBytes.
	Like     string
	RowBytes int
	// Rows are how many records are sent.
	Rows int
	// Compression is none, snappy, lz4 or zstd; default snappy.
	Compression string
}

// poolBytes is how many bytes of different records are sent in turn: more than any codec looks back within a batch.
const poolBytes = 16 << 20

// codecs by name.
var codecs = map[string]kgo.CompressionCodec{
	"": kgo.SnappyCompression(), "none": kgo.NoCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// Produce sends records to a topic as fast as they are taken, by key to its partitions, acknowledged by all replicas.
func Produce(ctx context.Context, o ProduceOptions) (Result, error) {
	codec, known := codecs[o.Compression]
	switch {
	case !known:
		return Result{}, fmt.Errorf("compression %q; want none, snappy, lz4 or zstd", o.Compression)
	case o.Rows < 1:
		return Result{}, fmt.Errorf("rows: %d; want 1 or more", o.Rows)
	case o.Like == "" && o.RowBytes < 1:
		return Result{}, errors.New("how large are the records? Set the bytes of a row, or a topic whose records they are like")
	}
	pool := madeUp(o.RowBytes)
	if o.Like != "" {
		var err error
		if pool, err = sample(ctx, o.Brokers, o.Like); err != nil {
			return Result{}, fmt.Errorf("read the topic %s: %w", o.Like, err)
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...), kgo.DefaultProduceTopic(o.Topic), kgo.ProducerBatchCompression(codec),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(1<<17), kgo.MaxBufferedBytes(64<<20))
	if err != nil {
		return Result{}, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return Result{}, fmt.Errorf("reach Kafka: %w", err)
	}
	return produce(ctx, client, pool, o.Rows)
}

// pair is a record's content.
type pair struct{ key, value []byte }

func produce(ctx context.Context, client *kgo.Client, pool []pair, rows int) (Result, error) {
	var once sync.Once
	var failed error
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			once.Do(func() { failed = err })
		}
	}
	c := startClock()
	bytes := int64(0)
	for i := range rows {
		p := pool[i%len(pool)]
		bytes += int64(len(p.key) + len(p.value))
		client.Produce(ctx, &kgo.Record{Key: p.key, Value: p.value}, promise)
	}
	if err := client.Flush(ctx); err != nil {
		return Result{}, err
	}
	if failed != nil { // no promise runs after the flush
		return Result{}, fmt.Errorf("produce: %w", failed)
	}
	return c.result("produce", int64(rows), bytes), nil
}

// madeUp are records like sysbench's rows: groups of random digits, which compress to about half.
func madeUp(size int) []pair {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	pool := make([]pair, max(poolBytes/max(size, 1), 1))
	for i := range pool {
		value := make([]byte, size)
		for j := range value {
			if value[j] = '-'; j%12 != 11 {
				value[j] = byte('0' + random.IntN(10))
			}
		}
		pool[i] = pair{binary.BigEndian.AppendUint64(nil, uint64(i)), value}
	}
	return pool
}

// sample reads the first records of a topic, until there are enough or it ends.
func sample(ctx context.Context, brokers []string, topic string) ([]pair, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	left, err := unread(ctx, client, topic)
	if err != nil {
		return nil, err
	}
	var pool []pair
	size := 0
	for len(left) > 0 && size < poolBytes {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset >= left[r.Partition]-1 {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() && size < poolBytes {
				pool, size = append(pool, pair{r.Key, r.Value}), size+len(r.Key)+len(r.Value)
			}
		})
	}
	if len(pool) == 0 {
		return nil, errors.New("it has no records")
	}
	return pool, nil
}

// unread are the ends of the partitions that hold anything.
func unread(ctx context.Context, client *kgo.Client, topic string) (map[int32]int64, error) {
	admin := kadm.NewClient(client)
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := admin.ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	left := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if start, ok := starts.Lookup(topic, end.Partition); ok && start.Offset < end.Offset {
			left[end.Partition] = end.Offset
		}
	})
	return left, errors.Join(starts.Error(), ends.Error())
}
