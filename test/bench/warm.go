package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	warmBulkers   = 2 // with large transactions
	warmBulk      = 20_000
	warmLast      = 500_000 // records of the bare producer, whose rate is noted
	warmRowBytes  = 200
)

// warm keeps the broker busy for a while: with small transactions that somebody reads as they are committed, and then with large ones for half
// as long.
func (r *run) warm(ctx context.Context) error {
	topic := r.bed.next("warm") + ".records"
	if _, err := r.bed.admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return fmt.Errorf("make the topic %s: %w", topic, err)
	}
	r.note("the broker is warmed up for %s", r.settings.warmFor())
	reading, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	var readError error
	reader.Go(func() { readError = r.readAlong(reading, topic) })
	small, err := r.transactFor(ctx, r.settings.warmFor(), topic, warmProducers, warmRecords)
	large, also := r.transactFor(ctx, r.settings.warmFor()/2, topic, warmBulkers, warmBulk)
	stop()
	reader.Wait()
	if err := errors.Join(err, also, readError); err != nil {
		return fmt.Errorf("warm the broker up: %w", err)
	}
	bulk, err := floor.Produce(ctx, floor.ProduceOptions{Brokers: []string{r.bed.kafka.Address()}, Topic: topic, Rows: warmLast, RowBytes: warmRowBytes})
	if err != nil {
		return fmt.Errorf("warm the broker up: %w", err)
	}
	r.note("it did %d small transactions and %d large ones, and %.0f rows/s after them", small, large, float64(bulk.Rows)/bulk.Seconds)
	_, err = r.bed.admin.DeleteTopics(ctx, topic)
	return err
}

// transactFor has producers make transactions of so many records each, side by side for a while, and says how many they made.
func (r *run) transactFor(ctx context.Context, long time.Duration, topic string, producers, records int) (count int, err error) {
	ending, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	counts, errs := make([]int, producers), make([]error, producers)
	var writers sync.WaitGroup
	for i := range producers {
		writers.Go(func() { counts[i], errs[i] = r.transact(ctx, ending, topic, fmt.Sprintf("%s.%d", topic, i), records) })
	}
	writers.Wait()
	for _, n := range counts {
		count += n
	}
	return count, errors.Join(errs...)
}

// transact makes transactions until the time is over, and says how many. Each is brought to its end.
func (r *run) transact(ctx, ending context.Context, topic, id string, size int) (count int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.bed.kafka.Address()), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	records := make([]*kgo.Record, size)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range records {
		records[i] = &kgo.Record{Partition: int32(i % partitions), Key: fmt.Append(nil, i), Value: make([]byte, warmRowBytes)}
		for at := range records[i].Value {
			records[i].Value[at] = byte('0' + random.IntN(10))
		}
	}
	for ; ending.Err() == nil; count++ {
		if err := client.BeginTransaction(); err != nil {
			return count, err
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

// warmFor is how long the first of that goes on.
func (s *Settings) warmFor() time.Duration {
	if s.Quick {
		return 20 * time.Second
	}
	return 60 * time.Second
}
