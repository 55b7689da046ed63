package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/test/bench/floor"
)

// A broker that was just started spends as much on compiling itself as on its work, and comes to its transactions only after thousands of
// them: what is measured first would be the slowest. So it is made busy before, with all that any contender asks of it.
const (
	warmProducers = 8 // with transactions of their own, side by side
	warmRecords   = 4 // of each transaction, one to a partition
	warmBulk      = 500_000
	warmRowBytes  = 200
)

// warm keeps the broker busy for a while: with small transactions that somebody reads as they are committed, and with large requests.
func (r *run) warm(ctx context.Context) error {
	topic := r.bed.next("warm") + ".records"
	if _, err := r.bed.admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return fmt.Errorf("make the topic %s: %w", topic, err)
	}
	r.note("the broker is warmed up for %s", r.settings.warmFor())
	ending, cancel := context.WithTimeout(ctx, r.settings.warmFor())
	defer cancel()
	reading, stop := context.WithCancel(ctx)
	var reader, writers sync.WaitGroup
	errs := make([]error, warmProducers+1)
	counts := make([]int, warmProducers)
	reader.Go(func() { errs[warmProducers] = r.readAlong(reading, topic) })
	for i := range warmProducers {
		writers.Go(func() { counts[i], errs[i] = r.transact(ctx, ending, topic, fmt.Sprintf("%s.%d", topic, i)) })
	}
	writers.Wait()
	stop()
	reader.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	bulk, err := floor.Produce(ctx, floor.ProduceOptions{Brokers: []string{r.bed.kafka.Address()}, Topic: topic, Rows: warmBulk, RowBytes: warmRowBytes})
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("warm the broker up: %w", err)
	}
	r.note("it did %d transactions, and %.0f rows/s after them", sum, float64(bulk.Rows)/bulk.Seconds)
	_, err = r.bed.admin.DeleteTopics(ctx, topic)
	return err
}

// transact makes small transactions until the time is over, and says how many. Each is brought to its end.
func (r *run) transact(ctx, ending context.Context, topic, id string) (count int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.bed.kafka.Address()), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	value := make([]byte, warmRowBytes)
	for ; ending.Err() == nil; count++ {
		if err := client.BeginTransaction(); err != nil {
			return count, err
		}
		records := make([]*kgo.Record, warmRecords)
		for i := range records {
			records[i] = &kgo.Record{Partition: int32(i % partitions), Value: value}
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return count, err
		}
		if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return count, err
		}
	}
	return count, ctx.Err()
}

// readAlong reads what is committed until ctx ends.
func (r *run) readAlong(ctx context.Context, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.bed.kafka.Address()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeTopics(topic))
	if err != nil {
		return err
	}
	defer client.Close()
	for ctx.Err() == nil {
		if err := client.PollFetches(ctx).Err0(); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// warmFor is how long that goes on.
func (s *Settings) warmFor() time.Duration {
	if s.Quick {
		return 20 * time.Second
	}
	return 60 * time.Second
}
