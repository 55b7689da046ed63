package run

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	probeBytes  = 1 << 20
	probeMillis = 100
)

// emptyTo returns the offset up to which there is no record from the given one on, at most until. Compaction takes
// records away and leaves their offsets: at the end of a log the client passes over them without a word, and progress
// would never say that the end is reached. It returns 0 where there is a record right at from.
func (s *Sink) emptyTo(ctx context.Context, at spot, from, until int64) (int64, error) {
	broker, id, err := leader(ctx, s.admin, at)
	if err != nil {
		return 0, err
	}
	for next := from; ; {
		records, to, err := s.fetchOnce(ctx, broker, id, at, next)
		switch {
		case err != nil:
			return 0, err
		case len(records) > 0 && records[0].Offset == from:
			return 0, nil
		case len(records) > 0:
			return records[0].Offset, nil
		case to <= next:
			return next, nil // nothing more that a reader may see
		case to >= until:
			return to, nil
		}
		next = to
	}
}

// fetchOnce asks the leader for records of one partition, and returns the offset to go on from too.
func (s *Sink) fetchOnce(ctx context.Context, broker int32, id [16]byte, at spot, offset int64) ([]*kgo.Record, int64, error) {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = probeMillis, 1, probeBytes, 1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = at.topic, id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = at.partition, offset, probeBytes
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, s.fetching.Broker(int(broker)))
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, offset, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return nil, offset, nil
	}
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: true, Offset: offset, IsolationLevel: kgo.ReadCommitted(), Topic: at.topic, Partition: at.partition,
	}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return got.Records, next, got.Err
}
