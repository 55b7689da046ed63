package run

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// onAssigned starts a worker for each partition. It returns at once: where to begin is the worker's matter.
func (s *Sink) onAssigned(_ context.Context, _ *kgo.Client, assigned map[string][]int32) {
	for name, partitions := range assigned {
		t := s.topicOf(name)
		for _, p := range partitions {
			s.startWorker(t, spot{name, p})
		}
	}
	s.log.Info("partitions assigned", "group", s.config.Group, "partitions", count(assigned), "all", len(s.allWorkers()))
}

func (s *Sink) startWorker(t *topic, at spot) {
	w := newWorker(s, t, at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers[at] != nil {
		return // still ours from before a session that ended without a word
	}
	s.workers[at] = w
	s.owned.Add(1)
	s.metrics.assigned.Inc()
	go w.run()
}

// onRevoked gives partitions back in good order: what is being applied is finished and committed first. The group
// waits for it, and heartbeats go on.
func (s *Sink) onRevoked(ctx context.Context, _ *kgo.Client, revoked map[string][]int32) {
	s.stopWorkers(s.workersOf(revoked))
	s.log.Info("partitions given back", "group", s.config.Group, "partitions", count(revoked))
}

// onLost drops partitions that may be another's already.
func (s *Sink) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	workers := s.workersOf(lost)
	for _, w := range workers {
		w.cancel()
	}
	for _, w := range workers {
		<-w.done
		s.removeWorker(w)
	}
	s.log.Warn("partitions lost: the group took them away without asking", "group", s.config.Group, "partitions", count(lost))
}

func (s *Sink) workersOf(partitions map[string][]int32) []*worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*worker
	for name, list := range partitions {
		for _, p := range list {
			if w := s.workers[spot{name, p}]; w != nil {
				all = append(all, w)
			}
		}
	}
	return all
}

// stopWorkers lets the workers finish what they apply, at most for DrainTimeout, commits how far they came, and
// forgets them.
func (s *Sink) stopWorkers(workers []*worker) {
	for _, w := range workers {
		w.stopOnce.Do(func() { close(w.stop) })
	}
	drained := time.NewTimer(s.config.DrainTimeout)
	defer drained.Stop()
	for _, w := range workers {
		select {
		case <-w.done:
		case <-drained.C:
			drained.Reset(0) // the time is up for all
			s.log.Warn("a batch did not end in time and is cut off: it will come again", "topic", w.at.topic, "partition", w.at.partition)
			w.cancel()
			<-w.done
		case <-s.hard.Done():
			w.cancel()
			<-w.done
		}
	}
	ctx, cancel := context.WithTimeout(s.hard, 10*time.Second)
	defer cancel()
	if err := s.commit(ctx, workers); err != nil {
		s.log.Warn("the last offsets were not committed", "group", s.config.Group, "error", err)
	}
	for _, w := range workers {
		s.removeWorker(w)
	}
}

func (s *Sink) removeWorker(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.workers[w.at] == w {
		delete(s.workers, w.at)
		s.owned.Add(-1)
		s.metrics.assigned.Dec()
		s.metrics.forget(w.at)
		s.health.Clear(w.healthKey())
	}
}

func count(partitions map[string][]int32) int {
	n := 0
	for _, list := range partitions {
		n += len(list)
	}
	return n
}

// pulse notes when the group's coordinator last answered a heartbeat.
type pulse struct {
	last atomic.Int64 // nanoseconds since start
	base time.Time
}

func newPulse() *pulse { return &pulse{base: time.Now()} }

// The keys of the requests whose answers say that the membership lives.
const (
	keyHeartbeat              = 12
	keySyncGroup              = 14
	keyConsumerGroupHeartbeat = 68
)

// OnBrokerE2E is kgo's hook for a request and its answer.
func (p *pulse) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if e2e.Err() == nil && (key == keyHeartbeat || key == keySyncGroup || key == keyConsumerGroupHeartbeat) {
		p.last.Store(int64(time.Since(p.base) - e2e.DurationE2E()))
	}
}

// age is how long ago a heartbeat that was answered was sent.
func (p *pulse) age() time.Duration { return time.Since(p.base) - time.Duration(p.last.Load()) }
