package kafka

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

// RecordVersion returns the version in a record's header, or false where it has none.
func RecordVersion(r *kgo.Record) (change.Version, bool) {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == change.VersionHeader && len(h.Value) == 8 {
			return change.Version(binary.BigEndian.Uint64(h.Value)), true
		}
	}
	return 0, false
}

// Doubted reports whether a record's before image is not to be trusted: see change.DoubtHeader.
func Doubted(r *kgo.Record) bool {
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == change.DoubtHeader })
}

// AppendVersion appends a version as the header's value has it.
func AppendVersion(dst []byte, v change.Version) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v))
}

// tailFirst is how many offsets before the end are read first; the step grows until a record is found, since the
// end of a partition may be nothing but control records and what aborted transactions left.
const tailFirst = 16

// GreatestVersion returns the greatest version at the ends of the topics, 0 where they are empty. A source that
// has lost its checkpoint starts above it. Versions grow along a partition, so the last committed record of each
// holds its greatest.
func GreatestVersion(ctx context.Context, client *kgo.Client, topics []string) (change.Version, error) {
	var greatest change.Version
	for _, topic := range slices.Sorted(slices.Values(topics)) {
		partitions, err := listBounds(ctx, client, topic)
		if err != nil {
			return 0, Explain(err, "find the greatest version", topic)
		}
		for _, b := range partitions {
			v, err := lastVersion(ctx, client, topic, b)
			if err != nil {
				return 0, Explain(err, "find the greatest version", topic)
			}
			greatest = max(greatest, v)
		}
	}
	return greatest, nil
}

func lastVersion(ctx context.Context, client *kgo.Client, topic string, b bounds) (change.Version, error) {
	if b.start >= b.stable {
		return 0, nil
	}
	r, err := openReader(ctx, client, topic, TopicID{}, b.partition, true)
	if err != nil {
		return 0, err
	}
	var last change.Version
	for to, step := b.stable, int64(tailFirst); to > b.start; step *= 8 {
		from := max(b.start, to-step)
		err := readRange(ctx, r, from, to, func(rec *kgo.Record) error {
			if v, ok := RecordVersion(rec); ok {
				last = max(last, v)
			}
			return nil
		})
		if err != nil || last > 0 {
			return last, err
		}
		to = from
	}
	return 0, nil
}
