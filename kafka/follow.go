package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

// Follower reads a source's checkpoint beside the running source: always up to the last stable offset, never further, so what
// it returns is committed, and the rows that it covers are too. LoadCheckpoint, which is for the source itself, waits for
// transactions in progress instead. A Follower belongs to one goroutine at a time.
type Follower struct {
	client     *kgo.Client
	topic      string
	reader     *reader
	next       int64
	checkpoint *Checkpoint
}

// FollowCheckpoint returns a follower that has read nothing yet. A source that has never run on these brokers is an error.
func FollowCheckpoint(ctx context.Context, client *kgo.Client, prefix string) (*Follower, error) {
	f := &Follower{client: client, topic: CheckpointTopic(prefix)}
	details, err := kadm.NewClient(client).ListTopics(uncached(ctx), f.topic)
	if err == nil {
		err = details.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, &change.Problem{Kind: change.Configuration, What: "there is no topic " + f.topic,
			Why:  "it is the checkpoint of the source " + prefix + ", which says how far the source has come",
			Mend: "is it the right cluster, and has the source run? " + prefix + " is what the topics begin with"}
	}
	if err != nil {
		return nil, Explain(err, "look for the checkpoint", f.topic)
	}
	return f, f.open(ctx)
}

func (f *Follower) open(ctx context.Context) (err error) {
	f.next, f.checkpoint = 0, NewCheckpoint()
	f.reader, err = openReader(ctx, f.client, f.topic, TopicID{}, 0, true)
	return Explain(err, "read the checkpoint", f.topic)
}

// Advance reads what has been committed since and returns the checkpoint as it stands now. The next Advance changes what
// was returned.
func (f *Follower) Advance(ctx context.Context) (*Checkpoint, error) {
	err := f.advance(ctx)
	if errors.Is(err, errTopicReplaced) {
		if err = f.open(ctx); err == nil {
			err = f.advance(ctx)
		}
	}
	return f.checkpoint, Explain(err, "read the checkpoint", f.topic)
}

func (f *Follower) advance(ctx context.Context) error {
	all, err := listBounds(ctx, f.client, f.topic)
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return fmt.Errorf("the checkpoint has %d partitions, want 1", len(all))
	}
	f.next = max(f.next, all[0].start)
	err = readRange(ctx, f.reader, f.next, all[0].stable, func(rec *kgo.Record) error {
		if err := f.checkpoint.put(string(rec.Key), rec.Value); err != nil {
			return unreadable(f.topic, rec.Offset, err)
		}
		return nil
	})
	if err == nil {
		f.next = max(f.next, all[0].stable)
	}
	return err
}

// Ends are the offsets of a topic's partitions at one moment, by partition number.
type Ends []int64

// StableEnds returns the last stable offset of each partition: a read_committed reader reads below it, and whatever is
// committed later, of a transaction that is open now too, lies at or above it.
func StableEnds(ctx context.Context, client *kgo.Client, topic string) (ends, starts Ends, err error) {
	all, err := listBounds(ctx, client, topic)
	if err != nil {
		return nil, nil, Explain(err, "ask for the ends of a topic", topic)
	}
	for i, b := range all {
		if b.partition != int32(i) {
			return nil, nil, fmt.Errorf("%s: partition %d is not listed", topic, i)
		}
		ends, starts = append(ends, b.stable), append(starts, b.start)
	}
	return ends, starts, nil
}

// RecordsBetween calls yield with every committed record from the offsets of from up to, not including, those of to; partition
// by partition, in order.
func RecordsBetween(ctx context.Context, client *kgo.Client, topic string, id TopicID, from, to Ends, yield func(*kgo.Record) error) error {
	for p := range to {
		start := int64(0)
		if p < len(from) {
			start = from[p]
		}
		if start >= to[p] {
			continue
		}
		r, err := openReader(ctx, client, topic, id, int32(p), true)
		if err == nil {
			err = readRange(ctx, r, start, to[p], yield)
		}
		if err != nil {
			return Explain(err, "read what a topic has got since", fmt.Sprintf("%s/%d", topic, p))
		}
	}
	return nil
}

// Crawl returns what the checkpoint said of a crawl when it was read last, nil where it says nothing.
func (f *Follower) Crawl(id string) *CrawlState { return f.checkpoint.Crawls[id] }
