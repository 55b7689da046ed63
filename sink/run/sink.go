package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/internal/serve"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	// rebalanceTimeout is how long the group waits for a member to give partitions back.
	rebalanceTimeout = time.Minute
	// queueMin and queueMax bound one partition's share of QueueBytes.
	queueMin = 256 << 10
	queueMax = 4 << 20
)

// Sink applies topics to a target. New makes one, Run runs it once.
type Sink struct {
	config   Config
	patterns []*regexp.Regexp
	target   sink.Target
	log      *slog.Logger
	metrics  *metrics
	health   *serve.Health

	// The target's abilities; nil where it has them not.
	progress sink.Progress
	preparer sink.Preparer
	debtor   sink.Debtor

	schemas  *schemas
	fetch    *fetcher
	fetching *kgo.Client
	group    *kgo.Client
	admin    *kadm.Client
	pulse    *pulse
	letters  *letters
	slots    chan struct{}   // one element for each batch that is being decoded and applied
	hard     context.Context // ends when nothing may be finished any more
	fatal    chan error      // the first error that ends the process

	preparing sync.Mutex // held while the target prepares tables
	prepared  sync.Map   // *change.Table -> struct{}

	owned atomic.Int64 // the number of workers

	surveying  sync.Mutex // guards lastSurvey, and is held while one is taken
	lastSurvey *survey

	mu      sync.Mutex // guards the following
	workers map[spot]*worker
	topics  map[string]*topic
	seen    map[string]incarnation // the topics that matched last
}

// New returns a sink that applies to the target. The configuration must have passed Check. Nothing is started.
func New(c Config, target sink.Target, log *slog.Logger) (*Sink, error) {
	patterns, err := parsePatterns(c.Topics)
	if err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "topics", Err: err}
	}
	client, err := registry.New(registry.Options{URL: c.Kafka.Registry, User: c.Kafka.RegistryUser, Password: string(c.Kafka.RegistryPassword)})
	if err != nil {
		return nil, err
	}
	s := &Sink{config: c, patterns: patterns, target: target, log: log, metrics: newMetrics(), health: &serve.Health{},
		schemas: newSchemas(client), slots: make(chan struct{}, c.Parallel), fatal: make(chan error, 1), pulse: newPulse(),
		workers: make(map[spot]*worker), topics: make(map[string]*topic), seen: make(map[string]incarnation)}
	s.progress, _ = sink.Ability[sink.Progress](target)
	s.preparer, _ = sink.Ability[sink.Preparer](target)
	s.debtor, _ = sink.Ability[sink.Debtor](target)
	s.health.Set("start", errors.New("starting"))
	return s, nil
}

// Health says why the sink is not ready.
func (s *Sink) Health() *serve.Health { return s.health }

// Run applies until ctx ends: then it finishes what is being applied (at most DrainTimeout), commits, leaves the
// group and returns nil. It returns early when hard ends or an error that no retry mends comes up.
func (s *Sink) Run(ctx, hard context.Context) error {
	s.hard = hard
	if err := s.connect(); err != nil {
		return err
	}
	defer s.disconnect()
	aside, cancel := context.WithCancel(hard) // what runs beside the workers
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { s.fetch.run(aside) })
	wg.Go(func() { s.pollGroup(aside) })
	wg.Go(func() { s.commitEvery(aside) })
	wg.Go(func() { s.tend(aside) })
	wg.Go(func() { s.say(aside) })

	var err error
	select {
	case <-ctx.Done():
		s.log.Info("stopping: finishing what is being applied", "group", s.config.Group)
	case <-hard.Done():
	case err = <-s.fatal:
	}
	s.stopWorkers(s.allWorkers())
	return err
}

// connect makes the clients. The group client is told the topics by the tender.
func (s *Sink) connect() error {
	isolation := kgo.ReadCommitted()
	if mutant.ReadUncommitted {
		isolation = kgo.ReadUncommitted()
	}
	size := newFetchSize()
	fetching, err := kafka.NewClient(s.config.Kafka, append(size.first(),
		kgo.FetchIsolationLevel(isolation),
		kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), // an offset that is not in the log is told, never replaced
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), // for dead letters
	)...)
	if err != nil {
		return err
	}
	size.update = fetching.UpdateFetchMaxBytes // no partition is fetched yet
	s.fetching = fetching
	s.fetch = newFetcher(fetching)
	s.admin = kadm.NewClient(fetching)
	s.letters = &letters{sink: s}
	s.group, err = kafka.NewClient(s.config.Kafka,
		kgo.ConsumerGroup(s.config.Group),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(s.config.SessionTimeout),
		kgo.HeartbeatInterval(min(3*time.Second, s.config.SessionTimeout/3)),
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.OnPartitionsAssigned(s.onAssigned),
		kgo.OnPartitionsRevoked(s.onRevoked),
		kgo.OnPartitionsLost(s.onLost),
		// This client only keeps the membership: with no offsets to begin at it fetches nothing.
		kgo.AdjustFetchOffsetsFn(func(context.Context, map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return nil, nil
		}),
		kgo.WithHooks(s.pulse),
	)
	if err != nil {
		fetching.Close()
	}
	return err
}

func (s *Sink) disconnect() {
	leave, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.group.LeaveGroupContext(leave); err != nil {
		s.log.Warn("the group was not left in good order: it will wait for the session to end", "group", s.config.Group, "error", err)
	}
	s.group.Close()
	s.fetching.Close()
}

// pollGroup drains what the group client reports: it has no records, only errors.
func (s *Sink) pollGroup(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := s.group.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			err = kafka.Explain(err, "keep the membership of the group", s.config.Group)
			if change.SeverityOf(err) == change.Retry {
				s.log.Warn("the group", "group", s.config.Group, "error", err)
				return
			}
			s.fail(err)
		})
	}
}

// fail ends the process with the error; the first one counts.
func (s *Sink) fail(err error) {
	select {
	case s.fatal <- withReason(err):
	default:
	}
}

// queueLimit is one partition's share of the bytes that may wait.
func (s *Sink) queueLimit() int {
	n := max(int(s.owned.Load()), 1)
	return min(max(int(s.config.QueueBytes)/n, queueMin), queueMax)
}

// topicOf returns the topic of that name, made at first sight.
func (s *Sink) topicOf(name string) *topic {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[name]
	if t == nil {
		t = &topic{name: name, source: sourceOf(name), action: s.config.action(name)}
		s.topics[name] = t
	}
	return t
}

// assignedTopics returns the names of the topics of all workers, and the one that is needed.
func (s *Sink) assignedTopics(need string) []string {
	names := []string{need}
	for _, w := range s.allWorkers() {
		names = append(names, w.at.topic)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (s *Sink) allWorkers() []*worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		all = append(all, w)
	}
	return all
}

// prepare has the target prepare for the schemas of the changes, each once.
func (s *Sink) prepare(ctx context.Context, source string, changes []sink.Change) error {
	if s.preparer == nil {
		return nil
	}
	var last *change.Table
	for i := range changes {
		t := changes[i].Table
		if t == last {
			continue
		}
		last = t
		if _, done := s.prepared.Load(t); done {
			continue
		}
		if err := s.prepareOne(ctx, source, t); err != nil {
			return fmt.Errorf("prepare the target for %s: %w", t, err)
		}
	}
	return nil
}

func (s *Sink) prepareOne(ctx context.Context, source string, t *change.Table) error {
	s.preparing.Lock()
	defer s.preparing.Unlock()
	if _, done := s.prepared.Load(t); done {
		return nil
	}
	if err := s.preparer.Prepare(ctx, s.config.Group, source, []*change.Table{t}); err != nil {
		return err
	}
	s.prepared.Store(t, struct{}{})
	return nil
}
