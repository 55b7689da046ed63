package run

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/kafka"
)

const commitInterval = time.Second

// commitEvery mirrors the progress into the group's offsets. For a target without progress these are all there is.
func (s *Sink) commitEvery(ctx context.Context) {
	tick := time.NewTicker(commitInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.commit(ctx, s.allWorkers()); err != nil && ctx.Err() == nil {
			s.log.Warn("offsets not committed; trying again", "group", s.config.Group, "error", err)
		}
	}
}

// commit commits how far the workers have come, with the topic's identity and T beside each offset. A worker that
// has come no further since is left out.
func (s *Sink) commit(ctx context.Context, workers []*worker) error {
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	pins := make(map[spot]pin)
	byPlace := make(map[spot]*worker)
	for _, w := range workers {
		v := w.look()
		if v.next < 0 || v.partition.Topic == "" || v.next == v.committed && v.through == v.pinned {
			continue
		}
		if offsets[w.at.topic] == nil {
			offsets[w.at.topic] = make(map[int32]kgo.EpochOffset)
		}
		offsets[w.at.topic][w.at.partition] = kgo.EpochOffset{Epoch: -1, Offset: v.next}
		pins[w.at] = pin{incarnation{v.partition.TopicID, v.partition.Count}, v.through, v.rewound.at(v.next)}
		byPlace[w.at] = w
	}
	if len(offsets) == 0 {
		return nil
	}
	ctx = kgo.PreCommitFnContext(ctx, func(r *kmsg.OffsetCommitRequest) error {
		for i := range r.Topics {
			for j := range r.Topics[i].Partitions {
				text := pins[spot{r.Topics[i].Topic, r.Topics[i].Partitions[j].Partition}].String()
				r.Topics[i].Partitions[j].Metadata = &text
			}
		}
		return nil
	})
	var failed error
	s.group.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
		failed = s.committed(r, err, offsets, pins, byPlace)
	})
	return kafka.Explain(failed, "commit the group's offsets", s.config.Group)
}

// committed notes what the answer says was committed, and returns the first error in it.
func (s *Sink) committed(r *kmsg.OffsetCommitResponse, err error, offsets map[string]map[int32]kgo.EpochOffset,
	pins map[spot]pin, workers map[spot]*worker) error {
	if err != nil {
		return err
	}
	var failed error
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			at := spot{t.Topic, p.Partition}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			if w := workers[at]; w != nil {
				w.mu.Lock()
				w.view.committed, w.view.pinned = offsets[at.topic][at.partition].Offset, pins[at].throughMillis
				w.mu.Unlock()
			}
		}
	}
	return failed
}
