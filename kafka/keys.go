package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

// NewestKeys reads a topic from its start to where it stands now and calls yield with each key whose newest record
// is a put with a version below the given one: what a sweep has to look up in the table. Keys come framed, as they
// are in Kafka; the slice is yield's to keep. Only keys whose hash falls to pass (0 ≤ pass < passes) are held and
// yielded, which bounds the memory to one partition's candidates divided by passes. A partition is read whole
// before its keys are yielded.
func NewestKeys(ctx context.Context, client *kgo.Client, topic string, below change.Version, pass, passes int, yield func(key []byte) error) error {
	if passes < 1 || pass < 0 || pass >= passes {
		return fmt.Errorf("read the keys of %s: pass %d of %d", topic, pass, passes)
	}
	partitions, err := listBounds(ctx, client, topic)
	if err != nil {
		return Explain(err, "read the keys of a topic", topic)
	}
	for _, b := range partitions {
		keys, err := newestInPartition(ctx, client, topic, b, below, pass, passes)
		if err != nil {
			return Explain(err, "read the keys of a topic", fmt.Sprintf("%s/%d", topic, b.partition))
		}
		for key := range keys {
			if err := yield([]byte(key)); err != nil {
				return err
			}
		}
	}
	return nil
}

// newestInPartition returns the candidates of one partition: all records of a key are in one, in order, so the
// last one decides.
func newestInPartition(ctx context.Context, client *kgo.Client, topic string, b bounds, below change.Version, pass, passes int) (map[string]struct{}, error) {
	r, err := openReader(ctx, client, topic, TopicID{}, b.partition, true)
	if err != nil {
		return nil, err
	}
	candidates := map[string]struct{}{}
	err = readRange(ctx, r, b.start, b.stable, func(rec *kgo.Record) error {
		if passOf(rec.Key, passes) != pass {
			return nil
		}
		version, _ := RecordVersion(rec) // none: below every other
		if rec.Value != nil && version < below {
			if _, held := candidates[string(rec.Key)]; !held {
				candidates[string(rec.Key)] = struct{}{}
			}
		} else {
			delete(candidates, string(rec.Key))
		}
		return nil
	})
	return candidates, err
}

// passOf splits keys into passes by FNV-1a: the same in every process, since a sweep goes on after a restart with
// the pass it had come to, and independent of murmur2, which has put the keys of a partition together.
func passOf(key []byte, passes int) int {
	if passes == 1 {
		return 0
	}
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return int(h % uint64(passes))
}
