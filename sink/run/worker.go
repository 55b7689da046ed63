package run

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/sink"
)

const (
	retryFirst = 50 * time.Millisecond
	retryMax   = 30 * time.Second
	// progressWait is how long offsets that carry no change wait for some that do, before they are written alone.
	progressWait = time.Second
	// idleTick is how often a worker that has nothing to do looks up.
	idleTick = time.Second
	// throughRefresh is how old T may become at the end of the log before it is written anew.
	throughRefresh = time.Minute
	// steadyOwnership is after how long without losing it an ownership that is lost counts as the first.
	steadyOwnership = time.Minute
)

// worker applies one partition, from its assignment until it is given back.
type worker struct {
	s       *Sink
	topic   *topic
	at      spot
	decoder decoder

	stop     chan struct{} // closed: finish what is being applied, take nothing new
	stopOnce sync.Once
	again    chan struct{} // has an element when where to begin must be found out anew
	done     chan struct{} // closed when run has ended
	ctx      context.Context
	cancel   context.CancelFunc // cuts off what is being applied

	// The following belong to run's goroutine.
	begun     beginning
	queue     *queue
	lostTries int

	mu   sync.Mutex // guards the following
	view view
}

// view is what others may know of a worker.
type view struct {
	state     string
	next      int64 // what is applied; -1: not known yet
	partition sink.Partition
	through   int64
	rewound   rewound
	committed int64 // what the group's offsets say; -1: not known
	pinned    int64 // the T that was committed with it
	ends      ends
	queue     *queue
	commitMs  int64 // when the source committed what was applied last
	appendMs  int64
	err       error
	tries     int
}

// ends is what the tender saw of the log.
type ends struct {
	asked         time.Time // zero: not yet
	start         int64
	end           int64 // the high watermark
	stable        int64 // the last stable offset
	emptyTo       int64 // there is no record from next up to here; 0: not known
	emptyFromNext int64
	lastNext      int64 // where the worker stood when the ends were asked
}

var errStopped = errors.New("the worker was told to stop")

// errAgain is an error after which where to begin is found out anew, without being one for the operator.
var errAgain = errors.New("begin anew")

func newWorker(s *Sink, t *topic, at spot) *worker {
	w := &worker{s: s, topic: t, at: at, stop: make(chan struct{}), again: make(chan struct{}, 1), done: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(s.hard)
	w.view = view{state: "starting", next: -1, committed: -1}
	return w
}

func (w *worker) newQueue() *queue {
	return newQueue(w.s.queueLimit, func() {
		w.s.fetching.ResumeFetchPartitions(map[string][]int32{w.at.topic: {w.at.partition}})
	})
}

// run owns the partition again and again until the worker is stopped.
func (w *worker) run() {
	defer close(w.done)
	defer w.cancel()
	defer w.s.releaseTopic(w)
	for tries := 0; !w.ended(); {
		since := time.Now()
		err := w.own(since)
		var lost *sink.OwnershipLost
		switch {
		case w.ended():
			return
		case errors.Is(err, errAgain):
			tries = 0
		case errors.As(err, &lost):
			w.lostOwnership(lost, since)
		default:
			tries++
			if !w.outlast(err, tries) {
				return
			}
		}
		w.s.metrics.begins.WithLabelValues(w.at.topic).Inc()
	}
}

// ended reports whether the worker has to end.
func (w *worker) ended() bool {
	select {
	case <-w.stop:
		return true
	default:
		return w.ctx.Err() != nil
	}
}

// lostOwnership waits before the partition is taken again. The first time it is most likely a commit whose answer
// was lost; after that another owner, and it must not be robbed in turn before the group has said whose it is.
func (w *worker) lostOwnership(lost *sink.OwnershipLost, since time.Time) {
	if time.Since(since) > steadyOwnership {
		w.lostTries = 0
	}
	w.lostTries++
	w.s.log.Warn("ownership lost: asking the target anew", "topic", w.at.topic, "partition", w.at.partition,
		"epoch", lost.Epoch, "tries", w.lostTries)
	if w.lostTries > 1 {
		w.wait(min(time.Duration(w.lostTries-1)*3*time.Second, retryMax))
	}
}

// own finds out where to begin, and applies from there until something is wrong.
func (w *worker) own(since time.Time) error {
	if err := w.gate(); err != nil {
		return err
	}
	w.setState("starting")
	begun, err := w.s.begin(w.ctx, w.topic, w.at, since)
	if err != nil {
		return err
	}
	w.begun, w.queue = begun, w.newQueue()
	w.decoder = decoder{schemas: w.s.schemas, topic: w.topic}
	w.mu.Lock()
	w.view.state, w.view.next, w.view.through, w.view.partition = "reading", begun.next, begun.through, begun.partition
	w.view.committed, w.view.err, w.view.tries = -1, nil, 0
	w.view.rewound = begun.rewound
	w.view.queue = w.queue
	w.mu.Unlock()
	w.s.log.Debug("partition begun", "topic", w.at.topic, "partition", w.at.partition, "offset", begun.next, "epoch", begun.epoch)
	w.s.fetch.start(w.at, begun.next, w.queue)
	defer w.s.fetch.stop(w.at)
	for {
		p, err := w.collect()
		if err != nil {
			return err
		}
		if err := w.deliver(p); err != nil {
			return err
		}
	}
}

// collect gathers the next records. What it returns may hold no change, or no record at all: then T is to be
// written anew.
func (w *worker) collect() (*pending, error) {
	c := w.s.config.Batch
	p := &pending{from: w.begun.next, next: w.begun.next}
	tick := time.NewTimer(idleTick)
	defer tick.Stop()
	var first time.Time
	for {
		if err := w.queue.take(p, int(c.MaxBytes), c.MaxRows); err != nil {
			return nil, err
		}
		wait := idleTick
		if p.next > p.from {
			if first.IsZero() {
				first = time.Now()
			}
			wait = c.MaxWait
			if p.rows == 0 {
				wait = max(c.MaxWait, progressWait)
			}
			wait -= time.Since(first)
			if p.full(int(c.MaxBytes), c.MaxRows) || wait <= 0 {
				return p, nil
			}
		} else if w.idle(p) {
			return p, nil
		}
		tick.Reset(wait)
		select {
		case <-w.queue.signal:
		case <-tick.C:
		case <-w.again:
			return nil, errAgain
		case <-w.stop:
			return nil, errStopped
		case <-w.ctx.Done():
			return nil, w.ctx.Err()
		}
	}
}

// idle looks, when no records have come, whether offsets without records are to be passed over or T is to be
// written anew.
func (w *worker) idle(p *pending) bool {
	w.mu.Lock()
	e := w.view.ends
	w.mu.Unlock()
	if e.emptyFromNext == p.from && e.emptyTo > p.from {
		p.next = e.emptyTo
		return true
	}
	age := time.Duration(e.asked.UnixMilli()-w.begun.through) * time.Millisecond
	return !e.asked.IsZero() && p.from >= e.end && (w.begun.through <= 0 || age > throughRefresh)
}

// through returns the T that holds once p is applied.
func (w *worker) through(p *pending) int64 {
	t := w.begun.through
	if t < 0 && p.next < w.begun.firstEnd {
		return t
	}
	if t < 0 {
		// The first read is over. All that the log had when it was last looked at is applied; the last record may be
		// of any age.
		t = w.begun.firstAt
	}
	if n := len(p.records); n > 0 {
		last := min(p.records[n-1].Timestamp.UnixMilli(), time.Now().UnixMilli())
		return max(t, last)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.view.ends; !e.asked.IsZero() && p.next >= e.end {
		return max(t, e.asked.UnixMilli())
	}
	return t
}

// advance notes that p is applied.
func (w *worker) advance(p *pending, through int64, changes []sink.Change) {
	w.begun.next, w.begun.through = p.next, through
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.next, w.view.through, w.view.state = p.next, through, "reading"
	w.view.err, w.view.tries = nil, 0
	if n := len(changes); n > 0 {
		w.view.appendMs = changes[n-1].AppendMillis
		for i := n - 1; i >= 0; i-- {
			if ms := changes[i].Origin.CommitMillis; ms > 0 {
				w.view.commitMs = ms
				break
			}
		}
	}
}

func (w *worker) setState(state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.view.state = state
}

// look returns a copy of the view.
func (w *worker) look() view {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.view
}

// backoff is how long to wait before the given try, counted from 1.
func backoff(tries int) time.Duration {
	d := retryMax
	if tries < 11 {
		d = min(d, retryFirst<<(tries-1))
	}
	return d/2 + rand.N(d/2)
}

// wait waits, and returns false where the worker has to end before the time is up.
func (w *worker) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-w.stop:
	case <-w.ctx.Done():
	}
	return false
}

// releaseTopic lets the worker's topic go on where it was the one that stopped it.
func (s *Sink) releaseTopic(w *worker) {
	if w.topic.release(w) {
		s.health.Clear("topic " + w.at.topic)
		s.metrics.paused.WithLabelValues(w.at.topic).Set(0)
		s.log.Info("topic goes on", "topic", w.at.topic, "partition", w.at.partition)
	}
}

// record returns the record at the offset, or nil.
func (p *pending) record(offset int64) *kgo.Record {
	for _, r := range p.records {
		if r.Offset == offset {
			return r
		}
	}
	return nil
}
