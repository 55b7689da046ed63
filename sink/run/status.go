package run

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/serve"
	"github.com/sluice-cdc/sluice/kafka"
)

// Status is what /status says.
type Status struct {
	Group      string         `json:"group"`
	Ready      bool           `json:"ready"`
	Reasons    []serve.Reason `json:"reasons,omitempty"` // why not
	Partitions int            `json:"partitions"`        // assigned to this process
	QueueBytes int            `json:"queue_bytes"`
	LagRecords int64          `json:"lag_records"`
	LagSeconds float64        `json:"lag_seconds"`
	Topics     []TopicStatus  `json:"topics"`
}

// TopicStatus is one topic's.
type TopicStatus struct {
	Topic      string            `json:"topic"`
	TopicID    string            `json:"topic_id,omitempty"`
	Stopped    *ErrorStatus      `json:"stopped,omitempty"`
	Since      *time.Time        `json:"stopped_since,omitempty"`
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is one partition's.
type PartitionStatus struct {
	Partition  int32        `json:"partition"`
	State      string       `json:"state"` // starting, reading, applying, retrying, paused, stopped
	Next       int64        `json:"next"`  // the offset after what is applied; -1: not known yet
	End        int64        `json:"end"`   // the last stable offset, as of the last look
	LagRecords int64        `json:"lag_records"`
	LagSeconds float64      `json:"lag_seconds"`
	Through    *time.Time   `json:"through,omitempty"` // all that was appended before is applied
	FirstRead  bool         `json:"first_read,omitempty"`
	Committed  int64        `json:"committed"` // the group's offset; -1: not committed by this process yet
	Tries      int          `json:"tries,omitempty"`
	Error      *ErrorStatus `json:"error,omitempty"`
}

// ErrorStatus is an error with its remedy.
type ErrorStatus struct {
	Kind string `json:"kind"`
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
	Mend string `json:"mend,omitempty"`
}

func errorStatus(err error) *ErrorStatus {
	if err == nil {
		return nil
	}
	e := &ErrorStatus{Kind: change.SeverityOf(err).String(), What: err.Error()}
	var p *change.Problem
	if errors.As(err, &p) {
		e.Why, e.Mend = p.Why, p.Mend
	}
	return e
}

// Status returns how far the sink is.
func (s *Sink) Status() Status {
	reasons := s.health.Reasons()
	out := Status{Group: s.config.Group, Ready: len(reasons) == 0, Reasons: reasons, Topics: []TopicStatus{}}
	now := time.Now()
	byTopic := make(map[*topic]*TopicStatus)
	for _, w := range s.allWorkers() {
		v := w.look()
		t := byTopic[w.topic]
		if t == nil {
			t = &TopicStatus{Topic: w.topic.name}
			byTopic[w.topic] = t
		}
		if v.partition.Topic != "" {
			t.TopicID = hex.EncodeToString(v.partition.TopicID[:])
		}
		p := v.status(w.at.partition, now)
		t.Partitions = append(t.Partitions, p)
		out.Partitions++
		out.LagRecords += p.LagRecords
		out.LagSeconds = max(out.LagSeconds, p.LagSeconds)
		if v.queue != nil {
			out.QueueBytes += v.queue.size()
		}
	}
	for t, status := range byTopic {
		if halted := t.halted(); halted != nil {
			status.Stopped, status.Since = errorStatus(halted.err), &halted.since
		}
		slices.SortFunc(status.Partitions, func(a, b PartitionStatus) int { return int(a.Partition - b.Partition) })
		out.Topics = append(out.Topics, *status)
	}
	slices.SortFunc(out.Topics, func(a, b TopicStatus) int { return strings.Compare(a.Topic, b.Topic) })
	return out
}

func (v *view) status(partition int32, now time.Time) PartitionStatus {
	p := PartitionStatus{Partition: partition, State: v.state, Next: v.next, End: v.ends.stable, LagRecords: v.lagRecords(),
		LagSeconds: v.lag(now).Seconds(), FirstRead: v.through < 0, Committed: v.committed, Tries: v.tries, Error: errorStatus(v.err)}
	if v.through > 0 {
		t := time.UnixMilli(v.through).UTC()
		p.Through = &t
	}
	return p
}

// say writes the progress into the log, and the status into the status topics of the sources, from time to time.
func (s *Sink) say(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	reporters := make(map[string]*reporter)
	defer s.leave(reporters)
	var said time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		status := s.Status()
		s.metrics.queued.Set(float64(status.QueueBytes))
		s.report(ctx, reporters, status)
		if p := s.config.Progress; p > 0 && time.Since(said) >= p {
			said = time.Now()
			s.log.Info("progress", "group", status.Group, "partitions", status.Partitions, "lag_records", status.LagRecords,
				"lag_seconds", status.LagSeconds, "queue_bytes", status.QueueBytes, "ready", status.Ready)
		}
	}
}

const (
	statusEvery = 5 * time.Second
	// statusPause is how long a status topic that could not be written is left alone.
	statusPause = time.Minute
)

// reporter writes into one source's status topic.
type reporter struct {
	*kafka.Reporter
	after time.Time // not before
}

// report writes the status where the sources write theirs, so that one place shows who is alive. A status topic that
// is not there, or may not be written, costs only that.
func (s *Sink) report(ctx context.Context, reporters map[string]*reporter, status Status) {
	ctx, cancel := context.WithTimeout(ctx, statusEvery)
	defer cancel()
	sources := make(map[string]bool)
	for name := range s.seenTopics() {
		sources[sourceOf(name)] = true
	}
	for source := range sources {
		r := reporters[source]
		if r == nil {
			r = &reporter{Reporter: kafka.NewReporter(s.fetching, source, s.config.Group, s.config.HTTP)}
			reporters[source] = r
			s.forgetDead(ctx, source)
		}
		if time.Now().Before(r.after) {
			continue
		}
		if err := r.Write(ctx, kafka.RoleSink, status); err != nil {
			r.after = time.Now().Add(statusPause)
			s.log.Debug("status not written", "source", source, "error", err)
		}
	}
}

// forgetDead takes the statuses of this group's processes away that were killed where this one runs.
func (s *Sink) forgetDead(ctx context.Context, source string) {
	all, err := kafka.ReadStatus(ctx, s.fetching, source)
	for _, other := range all {
		if other.Role == kafka.RoleSink && other.Name == s.config.Group && other.Process.Dead() && err == nil {
			err = kafka.Forget(ctx, s.fetching, source, other.Instance)
		}
	}
	if err != nil {
		s.log.Debug("statuses of dead processes not taken away", "source", source, "error", err)
	}
}

// leave takes the statuses away: this process has ended in good order.
func (s *Sink) leave(reporters map[string]*reporter) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for source, r := range reporters {
		if !r.after.IsZero() {
			continue
		}
		if err := r.Leave(ctx); err != nil {
			s.log.Debug("status not taken away", "source", source, "error", err)
		}
	}
}
