package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// fetchBytes is what one request asks for at most; a single larger batch still comes whole.
	fetchBytes = 4 << 20
	// fetchWaitMillis is how long the broker may hold a request while there is nothing to give.
	fetchWaitMillis = 500
	// fetchRetryMax bounds how long one read keeps trying while leaders move or brokers are down.
	fetchRetryMax = 60 * time.Second
)

// reader reads one partition by plain fetch requests. The client's consumer is not used because it does not tell
// where it stands when it filters: a partition that ends in aborted records or in a hole that compaction left
// never delivers a record at its end, and a reader that waits for one waits for ever. Here every answer says what
// the next offset is.
type reader struct {
	client    *kgo.Client
	topic     string
	id        TopicID
	partition int32
	leader    int32
	committed bool // read_committed: up to the last stable offset, without aborted records
}

// openReader finds the partition's leader. A zero id takes the topic that has the name now; another id refuses any
// other topic of that name.
func openReader(ctx context.Context, client *kgo.Client, topic string, id TopicID, partition int32, committed bool) (*reader, error) {
	r := &reader{client: client, topic: topic, id: id, partition: partition, leader: -1, committed: committed}
	return r, r.retry(ctx, func() error { return r.locate(ctx) })
}

// errTopicReplaced is an error that no retry mends: the topic was deleted and made again while it was read.
var errTopicReplaced = errors.New("the topic was deleted and made again")

func (r *reader) locate(ctx context.Context) error {
	topics, err := kadm.NewClient(r.client).Metadata(uncached(ctx), r.topic)
	if err != nil {
		return err
	}
	t := topics.Topics[r.topic]
	if t.Err != nil {
		return t.Err
	}
	if !r.id.IsZero() && TopicID(t.ID) != r.id {
		return errTopicReplaced
	}
	p, ok := t.Partitions[r.partition]
	switch {
	case !ok:
		return fmt.Errorf("there is no partition %d: %w", r.partition, kerr.UnknownTopicOrPartition)
	case p.Err != nil:
		return p.Err
	case p.Leader < 0:
		return kerr.LeaderNotAvailable
	}
	r.id, r.leader = TopicID(t.ID), p.Leader
	return nil
}

// next returns records from offset on, control records among them, and the offset to go on from. It may return
// none and the same offset, when there is nothing to read yet.
func (r *reader) next(ctx context.Context, offset int64) (records []*kgo.Record, next int64, err error) {
	next = offset
	err = r.retry(ctx, func() error {
		fp, to, err := r.fetch(ctx, offset)
		if err == nil {
			err = fp.Err
		}
		if err != nil {
			return err
		}
		records, next = fp.Records, to
		return nil
	})
	return records, next, err
}

func (r *reader) fetch(ctx context.Context, offset int64) (fp kgo.FetchPartition, next int64, err error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = fetchWaitMillis, 1, fetchBytes
	isolation := kgo.ReadUncommitted()
	if r.committed {
		req.IsolationLevel, isolation = 1, kgo.ReadCommitted()
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = r.topic, r.id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = r.partition, offset, fetchBytes
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, r.client.Broker(int(r.leader)))
	if err != nil {
		return fp, offset, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return fp, offset, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return fp, offset, nil // nothing for us: ask again
	}
	fp, next = kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: offset, IsolationLevel: isolation, Topic: r.topic, Partition: r.partition,
	}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return fp, next, nil
}

// retry runs fn again, with the leader looked up anew, while its error is one that passes.
func (r *reader) retry(ctx context.Context, fn func() error) error {
	began := time.Now()
	for tries := 1; ; tries++ {
		err := fn()
		if err == nil || ctx.Err() != nil || !passing(err) || time.Since(began) > fetchRetryMax {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(Backoff(tries)):
		}
		if lookup := r.locate(ctx); errors.Is(lookup, errTopicReplaced) {
			return lookup
		}
	}
}

// passing reports whether an error is one of a cluster in motion.
func passing(err error) bool {
	var dial *net.OpError
	return kerr.IsRetriable(err) || errors.As(err, &dial) || errors.Is(err, io.EOF) || kgo.IsRetryableBrokerErr(err) ||
		errors.Is(err, kerr.UnknownTopicID)
}

// readRange calls fn with every data record from offset from up to, not including, offset to, in order. It returns
// when to is reached. It waits where the log does not reach to yet.
func readRange(ctx context.Context, r *reader, from, to int64, fn func(*kgo.Record) error) error {
	for offset := from; offset < to; {
		records, next, err := r.next(ctx, offset)
		if err != nil {
			return fmt.Errorf("read %s/%d at offset %d: %w", r.topic, r.partition, offset, err)
		}
		for _, rec := range records {
			if rec.Offset >= to {
				return nil
			}
			if rec.Attrs.IsControl() {
				continue
			}
			if err := fn(rec); err != nil {
				return err
			}
		}
		offset = next
	}
	return nil
}

// bounds are a partition's offsets at one moment.
type bounds struct {
	partition int32
	start     int64 // the first that is kept
	stable    int64 // the last stable offset: read_committed reads below it
	end       int64 // the high watermark
}

// listBounds returns the bounds of all partitions of a topic, ordered by partition.
func listBounds(ctx context.Context, client *kgo.Client, topic string) ([]bounds, error) {
	adm := kadm.NewClient(client)
	var out []bounds
	// The end is asked before the stable offset, so that a transaction that ends in between cannot make the two
	// look equal while another was open: stable ≥ end then means that nothing below end is undecided.
	for i, list := range []func(context.Context, ...string) (kadm.ListedOffsets, error){
		adm.ListStartOffsets, adm.ListEndOffsets, adm.ListCommittedOffsets,
	} {
		listed, err := list(ctx, topic)
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("ask for the offsets of %s: %w", topic, err)
		}
		if i == 0 {
			for p := range listed[topic] {
				out = append(out, bounds{partition: p})
			}
			slices.SortFunc(out, func(a, b bounds) int { return int(a.partition - b.partition) })
		}
		for j := range out {
			o := listed[topic][out[j].partition].Offset
			switch i {
			case 0:
				out[j].start = o
			case 1:
				out[j].end = o
			case 2:
				out[j].stable = o
			}
		}
	}
	return out, nil
}
