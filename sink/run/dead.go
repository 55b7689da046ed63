package run

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

// The headers that a dead letter has besides those of the record.
const (
	headerReason    = "sluice.dead.reason"
	headerMend      = "sluice.dead.mend"
	headerTopic     = "sluice.dead.topic"
	headerPartition = "sluice.dead.partition"
	headerOffset    = "sluice.dead.offset"
	headerTimestamp = "sluice.dead.timestamp" // when the broker appended the record, milliseconds
	headerCauses    = "sluice.dead.causes"    // the error and what it came of, from the outside in, as a JSON list
)

// letters writes records that cannot be applied to the topic <group>.dead.
type letters struct {
	sink *Sink

	mu    sync.Mutex // guards made, and is held while the topic is made
	ready bool
}

// letter sends the one record that err speaks of to the dead letters, where the user chose so, and takes it out
// of p. The record is on the brokers' disks before its offset is passed. sent is false where err stands.
func (w *worker) letter(p *pending, err error) (sent bool, _ error) {
	var refused *sink.Refused
	if w.topic.action != DeadLetter || change.SeverityOf(err) != change.Poison || !errors.As(err, &refused) {
		return false, err
	}
	r := p.record(refused.Offset)
	if r == nil || p.dead[refused.Offset] {
		return false, err
	}
	if writeErr := w.s.letters.write(w.ctx, r, refused.Err); writeErr != nil {
		return false, writeErr
	}
	if p.dead == nil {
		p.dead = make(map[int64]bool)
	}
	p.dead[refused.Offset] = true
	w.s.metrics.dead.WithLabelValues(w.at.topic).Inc()
	w.s.log.Error("record sent to the dead letters", "topic", w.at.topic, "partition", w.at.partition, "offset", refused.Offset,
		"to", kafka.DeadTopic(w.s.config.Group), "error", refused.Err)
	return true, nil
}

func (l *letters) write(ctx context.Context, r *kgo.Record, reason error) error {
	if err := l.ensure(ctx); err != nil {
		return err
	}
	mend := ""
	var p *change.Problem
	if errors.As(reason, &p) {
		mend = p.Mend
	}
	letter := &kgo.Record{Topic: kafka.DeadTopic(l.sink.config.Group), Partition: 0, Key: r.Key, Value: r.Value}
	letter.Headers = append(letter.Headers, r.Headers...)
	for _, h := range [...][2]string{
		{headerReason, reason.Error()}, {headerMend, mend}, {headerTopic, r.Topic},
		{headerPartition, strconv.Itoa(int(r.Partition))}, {headerOffset, strconv.FormatInt(r.Offset, 10)},
		{headerTimestamp, strconv.FormatInt(r.Timestamp.UnixMilli(), 10)}, {headerCauses, causes(reason)},
	} {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return kafka.Explain(l.sink.fetching.ProduceSync(ctx, letter).FirstErr(), "write a dead letter", letter.Topic)
}

// causes is the error and all that it wraps, as a JSON list.
func causes(err error) string {
	var chain []string
	for ; err != nil; err = errors.Unwrap(err) {
		chain = append(chain, err.Error())
	}
	text, _ := json.Marshal(chain) // of strings
	return string(text)
}

// ensure makes the topic at the first letter.
func (l *letters) ensure(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready {
		return nil
	}
	c := l.sink.config
	if _, err := kafka.EnsureTopic(ctx, l.sink.admin, kafka.DeadTopic(c.Group), c.Kafka.DeadSettings()); err != nil {
		return err
	}
	l.ready = true
	return nil
}
