package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/kafka"
)

// sender brings closed batches to the leaders of their partitions, and tries again whatever a broker may take later.
//
// A partition has one batch on its way at a time; what is tried again goes out with the sequence that it had. So order holds by itself, and a
// broker that has the batch already, and whose answer was lost, says so. Partitions are independent: batches of several that are
// at hand together and have one leader go out in one request.
//
// Batches are packed by one goroutine, so that the publisher's does not compress.
type sender struct {
	client     *kgo.Client
	compressor kgo.Compressor // nil: none
	explicit   bool           // the brokers want to be told of a transaction's partitions before they are written to: see join
	log        *slog.Logger

	ctx     context.Context // the publisher's
	closed  chan []*batch   // to be packed
	running sync.WaitGroup
	wires   sync.Pool     // *[]byte
	rooms   sync.Pool     // *[]byte, for records
	changed chan struct{} // has an element when something below has changed; only the publisher waits for it

	mu      sync.Mutex // guards the following, and what partition and topic say
	batches int        // closed and not acknowledged
	bytes   int        // their records', before compression
	err     error      // the first that nothing helps against
	why     error      // why something was tried again last
}

// topic is what is known of a topic that is written to.
type topic struct {
	name       string
	partitions []*partition // by number; nil: never written to

	id [16]byte // zero: not known, or a broker that gives none. Guarded by sender.mu until it is known; then it stays.
}

// partition is one that is written to.
type partition struct {
	topic  *topic
	number int32

	// The publisher's own.
	open      *batch
	sequences [lanes]sequence

	// Guarded by sender.mu.
	leader  int32 // -1: not known
	queue   []*batch
	sending bool   // queue[0] is on its way
	joined  uint64 // the last transaction that the brokers know to write to it; see join
}

// sequence is the number of a producer's next record.
type sequence struct {
	producer
	next int32
}

const (
	// unknownTriesMax is how often a topic or partition that no broker knows is asked for: one that was made a moment ago is not known to
	// all of them yet. It takes some five seconds.
	unknownTriesMax = 12
	// requestBytes is how much goes into one request, unless one batch is more: brokers refuse those above socket.request.max.bytes, 100 MiB.
	requestBytes = 8 << 20
	// triesNoted is after how many tries in vain the operator is told.
	triesNoted = 6
)

func newSender(ctx context.Context, client *kgo.Client, compressor kgo.Compressor, explicit bool, log *slog.Logger) *sender {
	s := &sender{client: client, compressor: compressor, explicit: explicit, log: log, ctx: ctx,
		closed: make(chan []*batch, 8), changed: make(chan struct{}, 1)}
	s.running.Go(s.pack)
	return s
}

// room returns memory for a batch's records.
func (s *sender) room() []byte {
	if b, ok := s.rooms.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 4<<10)
}

// submit takes batches of different partitions that are complete, each to be sent behind those of its partition before.
func (s *sender) submit(batches []*batch) {
	s.mu.Lock()
	s.batches += len(batches)
	for _, b := range batches {
		s.bytes += len(b.records)
	}
	s.mu.Unlock()
	select {
	case s.closed <- batches:
	case <-s.ctx.Done():
	}
}

// await waits, for the publisher, until something holds; it is asked with the lock held.
func (s *sender) await(holds func() bool) error {
	for {
		s.mu.Lock()
		ok, err := holds(), s.err
		s.mu.Unlock()
		if err != nil || ok {
			return err
		}
		select {
		case <-s.changed:
		case <-s.ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.why != nil { // said, but no answer to what became of the transaction
				return fmt.Errorf("%w; last it was tried again for: %v", context.Cause(s.ctx), s.why)
			}
			return context.Cause(s.ctx)
		}
	}
}

func (s *sender) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// pack compresses what was closed and sends it where its partition is free.
func (s *sender) pack() {
	for {
		select {
		case batches := <-s.closed:
			for _, b := range batches {
				var room []byte
				if w, ok := s.wires.Get().(*[]byte); ok {
					room = *w
				}
				b.pack(s.compressor, room)
				records := b.records
				b.records = nil
				s.rooms.Put(&records)
			}
			if free := s.enqueue(batches); len(free) > 0 {
				s.running.Go(func() { s.send(free, 0, nil) })
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// enqueue returns those that can go out at once.
func (s *sender) enqueue(batches []*batch) (free []*batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		b.to.queue = append(b.to.queue, b)
		if !b.to.sending {
			b.to.sending = true
			free = append(free, b)
		}
	}
	return free
}

// send brings the batches to their leaders. tries counts those in vain, cause is why the last one was.
func (s *sender) send(batches []*batch, tries int, cause error) {
	if tries > 0 {
		if tries == triesNoted {
			s.log.Warn("brokers do not take records; trying again", "topic", batches[0].to.topic.name, "partition", batches[0].to.number,
				"tries", tries, "error", cause)
		}
		select {
		case <-time.After(kafka.Backoff(tries)):
		case <-s.ctx.Done():
			return
		}
	}
	if err := s.lead(batches, tries > 0); err != nil {
		if again, err := judge(err, tries); !again {
			s.fail(&recordError{topic: batches[0].to.topic.name, partition: batches[0].to.number, err: err})
			return
		}
		s.retry(batches, tries, err)
		return
	}
	s.mu.Lock()
	requests := inRequests(batches)
	s.mu.Unlock()
	for _, r := range requests[1:] {
		s.running.Go(func() { s.produce(r, tries) })
	}
	s.produce(requests[0], tries)
}

// inRequests groups batches by their leaders, so many to a request as fit.
func inRequests(batches []*batch) (requests [][]*batch) {
	type open struct{ at, bytes int }
	of := make(map[int32]open)
	for _, b := range batches {
		o, known := of[b.to.leader]
		if !known || o.bytes+len(b.wire) > requestBytes {
			o = open{at: len(requests)}
			requests = append(requests, nil)
		}
		requests[o.at] = append(requests[o.at], b)
		o.bytes += len(b.wire)
		of[b.to.leader] = o
	}
	return requests
}

// retry is send once more, unless the publisher is at its end.
func (s *sender) retry(batches []*batch, tries int, cause error) {
	if s.ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	s.why = cause
	s.mu.Unlock()
	s.send(batches, tries+1, cause)
}

// produce sends one request and takes the answer in.
func (s *sender) produce(batches []*batch, tries int) {
	answers := s.ask(batches)
	var done, again []*batch
	var cause error
	for i, b := range batches {
		switch retriable, err := judge(answers[i], tries); {
		case err == nil:
			done = append(done, b)
		case retriable:
			again, cause = append(again, b), err
		default:
			s.fail(&recordError{topic: b.to.topic.name, partition: b.to.number, err: err})
			return
		}
	}
	if next := s.acknowledged(done); len(next) > 0 {
		if len(again) == 0 {
			s.send(next, 0, nil)
			return
		}
		s.running.Go(func() { s.send(next, 0, nil) })
	}
	if len(again) > 0 {
		s.retry(again, tries, cause)
	}
}

// judge says what an answer means for a batch. It is pure.
func judge(answer error, tries int) (retriable bool, err error) {
	var broker *kerr.Error
	switch {
	case answer == nil, errors.Is(answer, kerr.DuplicateSequenceNumber): // it was there already
		return false, nil
	case errors.Is(answer, errOtherTopic):
		return false, answer
	case !errors.As(answer, &broker): // the connection's
		return true, answer
	case broker == kerr.UnknownTopicOrPartition, broker == kerr.UnknownTopicID:
		return tries < unknownTriesMax, answer
	case broker == kerr.ConcurrentTransactions: // the markers of the transaction before are being written
		return true, answer
	case broker == kerr.CorruptMessage: // it would be so again
		return false, answer
	}
	return broker.Retriable, answer
}

// acknowledged takes batches off their partitions and returns those that are next.
func (s *sender) acknowledged(batches []*batch) (next []*batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		p := b.to
		p.queue[0] = nil
		p.queue = p.queue[1:]
		s.batches--
		s.bytes -= b.size
		if p.sending = len(p.queue) > 0; p.sending {
			next = append(next, p.queue[0])
		} else {
			p.queue = nil
		}
		s.wires.Put(&b.wire)
	}
	if len(batches) > 0 {
		s.why = nil
	}
	s.notify()
	return next
}

func (s *sender) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.notify()
}
