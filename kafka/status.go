package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// statusFormat is the version of the statuses' JSON.
const statusFormat = 1

// The roles of processes in the status topic.
const (
	RoleSource  = "source"
	RoleStandby = "standby" // a source that waits for another to be gone
	RoleSink    = "sink"
)

// Status is what a process says of itself: the newest record of its instance in the status topic.
type Status struct {
	Format   int     `json:"format"`
	Instance string  `json:"instance"` // one run of one process
	Role     string  `json:"role"`
	Name     string  `json:"name,omitempty"` // the source's prefix or the sink's group
	Process  Process `json:"process"`
	// Beat grows with every record of an instance. That it changes is what shows life: no clocks are compared.
	Beat   int64           `json:"beat"`
	Millis int64           `json:"millis"`           // the process's clock, for people
	HTTP   string          `json:"http,omitempty"`   // address of its /status
	Report json.RawMessage `json:"report,omitempty"` // how far it is; what it holds is the role's matter
}

// Reporter writes the status of one instance. It is safe for concurrent use.
type Reporter struct {
	client *kgo.Client
	topic  string
	base   Status
	beat   atomic.Int64
}

// NewReporter returns a reporter for this process as a new instance. The client must be one without a
// transactional id: a status is not part of any transaction.
func NewReporter(client *kgo.Client, prefix, name, http string) *Reporter {
	return &Reporter{client: client, topic: StatusTopic(prefix), base: Status{
		Format: statusFormat, Instance: NewID(), Name: name, HTTP: http, Process: ThisProcess(),
	}}
}

// Instance returns the instance's name.
func (r *Reporter) Instance() string { return r.base.Instance }

// Write writes a status. report may be anything that JSON can hold, or nil.
func (r *Reporter) Write(ctx context.Context, role string, report any) error {
	s := r.base
	s.Role, s.Beat, s.Millis = role, r.beat.Add(1), nowMillis()
	if report != nil {
		b, err := json.Marshal(report)
		if err != nil {
			return fmt.Errorf("encode the status report: %w", err)
		}
		s.Report = b
	}
	value, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the status: %w", err)
	}
	return r.produce(ctx, value)
}

// Leave takes the instance's status away: the process ends in good order, and a standby need not wait.
func (r *Reporter) Leave(ctx context.Context) error { return r.produce(ctx, nil) }

// produce gives up with ctx. The client does not: a record that it has once sent it keeps until a broker answers, so that a
// process could neither say that the brokers are away nor end.
func (r *Reporter) produce(ctx context.Context, value []byte) error {
	rec := &kgo.Record{Topic: r.topic, Key: []byte(r.base.Instance), Value: value}
	done := make(chan error, 1)
	r.client.Produce(ctx, rec, func(_ *kgo.Record, err error) { done <- err })
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return Explain(err, "write the status", r.topic)
}

// ReadStatus returns the newest status of each instance, ordered by role, name and instance. Instances that were
// killed stay until somebody forgets them: see Forget.
func ReadStatus(ctx context.Context, client *kgo.Client, prefix string) ([]Status, error) {
	w, err := watchStatus(ctx, client, prefix)
	if err == nil {
		err = w.advance(ctx)
	}
	if err != nil {
		return nil, Explain(err, "read the status", StatusTopic(prefix))
	}
	out := make([]Status, 0, len(w.newest))
	for _, s := range w.newest {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Instance, b.Instance))
	})
	return out, nil
}

// Forget takes away the status of an instance that is known to be gone.
func Forget(ctx context.Context, client *kgo.Client, prefix, instance string) error {
	rec := &kgo.Record{Topic: StatusTopic(prefix), Key: []byte(instance)}
	return Explain(client.ProduceSync(ctx, rec).FirstErr(), "take a status away", rec.Topic)
}

// watch follows the status topic.
type watch struct {
	r      *reader
	client *kgo.Client
	offset int64
	newest map[string]Status
}

func watchStatus(ctx context.Context, client *kgo.Client, prefix string) (*watch, error) {
	r, err := openReader(ctx, client, StatusTopic(prefix), TopicID{}, 0, true)
	if err != nil {
		return nil, err
	}
	return &watch{r: r, client: client, offset: -1, newest: map[string]Status{}}, nil
}

// advance reads to the end as it is now. A status that cannot be read is another version's: it is kept as an
// instance of which only the record's offset is known, which is enough to see it change.
func (w *watch) advance(ctx context.Context) error {
	all, err := listBounds(ctx, w.client, w.r.topic)
	if err != nil {
		return err
	}
	w.offset = max(w.offset, all[0].start)
	err = readRange(ctx, w.r, w.offset, all[0].stable, func(rec *kgo.Record) error {
		instance := string(rec.Key)
		if rec.Value == nil {
			delete(w.newest, instance)
			return nil
		}
		var s Status
		if json.Unmarshal(rec.Value, &s) != nil || s.Format != statusFormat {
			s = Status{Role: RoleSource, Beat: rec.Offset}
		}
		s.Instance = instance
		w.newest[instance] = s
		return nil
	})
	w.offset = max(w.offset, all[0].stable)
	return err
}

// watchPoll is how often a standby looks.
const watchPoll = 250 * time.Millisecond

// Standby returns when no other source of this prefix shows life: two sources under supervisors would otherwise
// take the transactional id from each other for ever. A source whose process is known to be dead, on this host, is
// passed over at once; any other must leave its status unchanged for the quiet time (several times the interval at
// which sources write theirs). notice is called when a source is first waited for, and beat, where it is not nil,
// about once a second, so that the standby can write a status of its own.
//
// It is no fence: it only keeps the peace. What makes a second source harmless is the transactional id.
func Standby(ctx context.Context, client *kgo.Client, prefix, self string, quiet time.Duration, notice func(Status), beat func()) error {
	w, err := watchStatus(ctx, client, prefix)
	if err != nil {
		return Explain(err, "look for other sources", StatusTopic(prefix))
	}
	seen := map[string]int64{} // the last beat of each instance
	noticed := map[string]bool{}
	still, lastBeat := time.Now(), time.Time{}
	for {
		if err := w.advance(ctx); err != nil {
			return Explain(err, "look for other sources", StatusTopic(prefix))
		}
		others := 0
		for _, s := range w.newest {
			if s.Instance == self || s.Role != RoleSource || s.Process.Dead() {
				continue
			}
			others++
			if before, ok := seen[s.Instance]; !ok || before != s.Beat {
				seen[s.Instance] = s.Beat
				still = time.Now()
			}
			if !noticed[s.Instance] && notice != nil {
				noticed[s.Instance] = true
				notice(s)
			}
		}
		if others == 0 || time.Since(still) >= quiet {
			return nil
		}
		if beat != nil && time.Since(lastBeat) >= time.Second {
			lastBeat = time.Now()
			beat()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchPoll):
		}
	}
}
