package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Lag is how far a consumer group is in one partition, by Kafka's own account. For targets that keep progress with
// the data this is a mirror; what counts is at the target.
type Lag struct {
	Group     string
	Topic     string
	Partition int32
	Committed int64 // the next offset the group will read; -1: it has committed nothing
	Start     int64 // the first offset kept
	End       int64 // the last stable offset: what a read_committed consumer can reach
	// Records is End - Committed (or End - Start), control records included, as offsets count them.
	Records int64
}

// Lags returns the lag of groups in every partition that they have committed in, ordered by group, topic and
// partition. Topics that are named are listed in full, whether the group has committed there or not.
func Lags(ctx context.Context, adm *kadm.Client, groups []string, topics ...string) ([]Lag, error) {
	var out []Lag
	wanted := map[string]bool{}
	for _, t := range topics {
		wanted[t] = true
	}
	committed := map[string]kadm.OffsetResponses{}
	for _, g := range groups {
		offsets, err := adm.FetchOffsets(ctx, g)
		if err == nil {
			err = offsets.Error()
		}
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // a group that never was has committed nothing
			return nil, Explain(err, "ask for a group's offsets", g)
		}
		committed[g] = offsets
		for t := range offsets {
			wanted[t] = true
		}
	}
	if len(wanted) == 0 {
		return nil, nil
	}
	names := make([]string, 0, len(wanted))
	for t := range wanted {
		names = append(names, t)
	}
	slices.Sort(names)
	starts, ends, err := startsAndEnds(ctx, adm, names)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		for topic, partitions := range ends {
			if _, ok := committed[g][topic]; !ok && !slices.Contains(topics, topic) {
				continue
			}
			for p, end := range partitions {
				l := Lag{Group: g, Topic: topic, Partition: p, Committed: -1, End: end.Offset, Start: starts[topic][p].Offset}
				if o, ok := committed[g].Lookup(topic, p); ok && o.At >= 0 {
					l.Committed = o.At
				}
				l.Records = max(0, l.End-max(l.Committed, l.Start))
				out = append(out, l)
			}
		}
	}
	slices.SortFunc(out, func(a, b Lag) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out, nil
}

// startsAndEnds asks for the first and the last stable offsets. Topics that are gone are left out: groups keep
// offsets of deleted topics for days.
func startsAndEnds(ctx context.Context, adm *kadm.Client, topics []string) (starts, ends kadm.ListedOffsets, err error) {
	details, err := adm.Metadata(ctx, topics...)
	if err != nil {
		return nil, nil, Explain(err, "ask for the ends of topics", fmt.Sprint(topics))
	}
	topics = slices.DeleteFunc(topics, func(t string) bool { return details.Topics[t].Err != nil })
	if len(topics) == 0 {
		return nil, nil, nil
	}
	if starts, err = adm.ListStartOffsets(ctx, topics...); err == nil {
		err = starts.Error()
	}
	if err == nil {
		if ends, err = adm.ListCommittedOffsets(ctx, topics...); err == nil {
			err = ends.Error()
		}
	}
	return starts, ends, Explain(err, "ask for the ends of topics", fmt.Sprint(topics))
}
