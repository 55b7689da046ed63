package kafka

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// signalFormat is the version of the signals' JSON.
const signalFormat = 1

// The kinds of signals.
const (
	CrawlStart  = "crawl-start"  // Table; Where or Keys for a part of it
	CrawlCancel = "crawl-cancel" // Crawl
)

// Signal is a command to a source: a record of its signal topic.
type Signal struct {
	Format int    `json:"format"`
	ID     string `json:"id"`
	Kind   string `json:"kind"`
	Table  string `json:"table,omitempty"` // db.table
	Where  string `json:"where,omitempty"` // SQL condition
	Keys   string `json:"keys,omitempty"`  // JSON list of keys
	Crawl  string `json:"crawl,omitempty"` // id of a crawl
	By     string `json:"by,omitempty"`    // who asked, for people
	Millis int64  `json:"sent_ms,omitempty"`

	// Invalid is set by TailSignals when the record could not be read; the other fields are empty then. One bad
	// command must not stop a source, and must not pass unseen.
	Invalid error `json:"-"`
}

// NewID returns a name that no other thing has: 26 letters and digits.
func NewID() string { return rand.Text() }

// SendSignal writes a command for the source of that prefix and returns its id. The topic must exist: the source
// makes it, so a missing one means a prefix that no source has.
func SendSignal(ctx context.Context, client *kgo.Client, prefix string, s Signal) (id string, err error) {
	if s.ID == "" {
		s.ID = NewID()
	}
	s.Format, s.Millis = signalFormat, nowMillis()
	value, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("encode the signal: %w", err)
	}
	rec := &kgo.Record{Topic: SignalTopic(prefix), Key: []byte(s.ID), Value: value}
	if err := client.ProduceSync(ctx, rec).FirstErr(); err != nil {
		return "", Explain(err, "send a signal", rec.Topic)
	}
	return s.ID, nil
}

// TailSignals calls yield with each command, and with the state to keep in the checkpoint once the command is
// taken in. It starts at the state given; nil means at the topic's start: this source has taken none in yet, and
// the topic holds none from before the source's first start, which made it. A topic that was made again is read
// from its start too. TailSignals returns when the context ends or yield returns an error.
func TailSignals(ctx context.Context, client *kgo.Client, prefix string, from *SignalState, yield func(Signal, SignalState) error) error {
	topic := SignalTopic(prefix)
	r, offset, err := openSignals(ctx, client, topic, from)
	if err != nil {
		return Explain(err, "read the signals", topic)
	}
	for {
		records, next, err := r.next(ctx, offset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errTopicReplaced) {
			if r, err = openReader(ctx, client, topic, TopicID{}, 0, true); err == nil {
				offset = 0
				continue
			}
		}
		if err != nil {
			return Explain(err, "read the signals", topic)
		}
		for _, rec := range records {
			if rec.Attrs.IsControl() {
				continue
			}
			if err := yield(decodeSignal(rec), SignalState{TopicID: r.id, Next: rec.Offset + 1}); err != nil {
				return err
			}
		}
		offset = next
	}
}

// openSignals returns a reader and the offset to start at.
func openSignals(ctx context.Context, client *kgo.Client, topic string, from *SignalState) (*reader, int64, error) {
	r, err := openReader(ctx, client, topic, TopicID{}, 0, true)
	if err != nil {
		return nil, 0, err
	}
	all, err := listBounds(ctx, client, topic)
	if err != nil {
		return nil, 0, err
	}
	if len(all) == 0 {
		return nil, 0, fmt.Errorf("%s has no partitions", topic)
	}
	if from == nil || from.TopicID != r.id {
		return r, all[0].start, nil
	}
	return r, max(from.Next, all[0].start), nil // what retention took is gone
}

func decodeSignal(rec *kgo.Record) Signal {
	var s Signal
	err := json.Unmarshal(rec.Value, &s)
	switch {
	case err != nil:
		err = fmt.Errorf("signal at offset %d: %w", rec.Offset, err)
	case s.Format != signalFormat:
		err = fmt.Errorf("signal at offset %d has format %d, this program knows %d", rec.Offset, s.Format, signalFormat)
	case s.Kind == "":
		err = fmt.Errorf("signal at offset %d has no kind", rec.Offset)
	default:
		return s
	}
	return Signal{ID: string(rec.Key), Invalid: err}
}
