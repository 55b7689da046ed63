package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
)

// Checkpoint is a source's progress as it stands in the checkpoint topic.
type Checkpoint struct {
	Position *PositionState // nil: this source has never published anything
	Tables   map[change.TableName]*TableState
	Crawls   map[string]*CrawlState
	Sweeps   map[change.TableName]*SweepState
	XA       map[string]*XAState
	Signal   *SignalState // nil: no signal was taken in yet
}

// NewCheckpoint returns one that says nothing.
func NewCheckpoint() *Checkpoint {
	return &Checkpoint{
		Tables: map[change.TableName]*TableState{},
		Crawls: map[string]*CrawlState{},
		Sweeps: map[change.TableName]*SweepState{},
		XA:     map[string]*XAState{},
	}
}

// Empty reports whether nothing was ever written.
func (c *Checkpoint) Empty() bool {
	return c.Position == nil && c.Signal == nil && len(c.Tables)+len(c.Crawls)+len(c.Sweeps)+len(c.XA) == 0
}

const (
	// checkpointPoll is how often an undecided end of the checkpoint is looked at again.
	checkpointPoll = 100 * time.Millisecond
	// checkpointNotice is how often the wait for it is spoken of.
	checkpointNotice = 5 * time.Second
)

// LoadCheckpoint reads the checkpoint topic of a source to its end. The caller has taken the transactional id
// before (rule R2): from then on no predecessor can add to it.
//
// While the topic's last stable offset is below its end, a transaction of a predecessor is not decided yet; what
// it wrote may count or not. LoadCheckpoint waits for the decision, and says so by notice, first after a moment
// and then every few seconds, until the context ends.
func LoadCheckpoint(ctx context.Context, client *kgo.Client, prefix string, notice func(string)) (*Checkpoint, error) {
	topic := CheckpointTopic(prefix)
	b, err := decided(ctx, client, topic, notice)
	if err != nil {
		return nil, Explain(err, "read the checkpoint", topic)
	}
	r, err := openReader(ctx, client, topic, TopicID{}, 0, true)
	if err != nil {
		return nil, Explain(err, "read the checkpoint", topic)
	}
	c := NewCheckpoint()
	err = readRange(ctx, r, b.start, b.end, func(rec *kgo.Record) error {
		if err := c.put(string(rec.Key), rec.Value); err != nil {
			return unreadable(topic, rec.Offset, err)
		}
		return nil
	})
	if err != nil {
		return nil, Explain(err, "read the checkpoint", topic)
	}
	return c, nil
}

// decided waits until nothing below the topic's end is undecided, and returns its bounds.
func decided(ctx context.Context, client *kgo.Client, topic string, notice func(string)) (bounds, error) {
	began := time.Now()
	said := began.Add(time.Second - checkpointNotice)
	for {
		all, err := listBounds(ctx, client, topic)
		if err != nil {
			return bounds{}, err
		}
		if len(all) != 1 {
			return bounds{}, &change.Problem{
				Kind: change.Configuration, What: fmt.Sprintf("the checkpoint topic has %d partitions", len(all)), Where: topic,
				Why:  "its records are in one order only on a single partition",
				Mend: "use another source name, or delete the topic and let the source make it (the source then crawls every table)",
			}
		}
		if all[0].stable >= all[0].end {
			return all[0], nil
		}
		if notice != nil && time.Since(said) >= checkpointNotice {
			said = time.Now()
			notice(fmt.Sprintf("waiting for the end of a predecessor's transaction in %s: last stable offset %d, end %d, for %.0f s",
				topic, all[0].stable, all[0].end, time.Since(began).Seconds()))
		}
		select {
		case <-ctx.Done():
			return bounds{}, fmt.Errorf("the last transaction in %s is still open (last stable offset %d, end %d): %w",
				topic, all[0].stable, all[0].end, ctx.Err())
		case <-time.After(checkpointPoll):
		}
	}
}

func unreadable(topic string, offset int64, err error) error {
	return &change.Problem{
		Kind: change.Configuration, What: "a checkpoint record cannot be read", Where: fmt.Sprintf("%s/0 offset %d", topic, offset),
		Why:  "it was written by another program or by a newer Sluice; starting without it could lose or repeat changes",
		Mend: "start the Sluice version that wrote it; or use another source name, which crawls every table anew",
		Err:  err,
	}
}
