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
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/internal/fault"
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
	// ackTimeout is how long a broker may wait for its replicas before it answers that they are late.
	ackTimeout = 10 * time.Second
	// unknownTriesMax is how often a topic or partition that no broker knows is asked for: one that was made a moment ago is not known to
	// all of them yet. It takes some five seconds.
	unknownTriesMax = 12
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
		b.size = len(b.records)
		s.bytes += b.size
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
			return context.Cause(s.ctx)
		}
	}
}

// failed returns the error that nothing helps against, if there is one.
func (s *sender) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
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
	groups := make(map[int32][]*batch)
	for _, b := range batches {
		groups[b.to.leader] = append(groups[b.to.leader], b)
	}
	s.mu.Unlock()
	for leader, group := range groups {
		if len(groups) == 1 {
			s.produce(leader, group, tries)
			return
		}
		s.running.Go(func() { s.produce(leader, group, tries) })
	}
}

// retry is send once more, unless the publisher is at its end.
func (s *sender) retry(batches []*batch, tries int, cause error) {
	if s.ctx.Err() == nil {
		s.send(batches, tries+1, cause)
	}
}

// produce sends one request and takes the answer in.
func (s *sender) produce(leader int32, batches []*batch, tries int) {
	answers := s.ask(leader, batches)
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

// ask sends the batches to their leader and returns what it says of each.
func (s *sender) ask(leader int32, batches []*batch) []error {
	answers := make([]error, len(batches))
	err := s.join(batches)
	if err == nil {
		fault.Point("publish/before-produce")
		var resp kmsg.Response
		if resp, err = s.client.Broker(int(leader)).Request(s.ctx, s.request(batches)); err == nil {
			fault.Point("publish/after-produce")
			said := produced(resp.(*kmsg.ProduceResponse))
			for i, b := range batches {
				answers[i] = said(b)
			}
			return answers
		}
	}
	for i := range answers {
		answers[i] = err
	}
	return answers
}

func (s *sender) request(batches []*batch) *kmsg.ProduceRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	req := kmsg.NewPtrProduceRequest()
	req.TransactionID = &batches[0].by.transactionalID
	req.Acks, req.TimeoutMillis = -1, int32(ackTimeout.Milliseconds())
	at := make(map[*topic]int)
	for _, b := range batches {
		i, known := at[b.to.topic]
		if !known {
			i = len(req.Topics)
			at[b.to.topic] = i
			t := kmsg.NewProduceRequestTopic()
			t.Topic, t.TopicID = b.to.topic.name, b.to.topic.id
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = b.to.number, b.wire
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	return req
}

// produced returns what the response says of a batch. From version 13 on it names topics by their ids.
func produced(resp *kmsg.ProduceResponse) func(b *batch) error {
	type place struct {
		name      string
		id        [16]byte
		partition int32
	}
	said := make(map[place]error)
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			at := place{name: t.Topic, partition: p.Partition}
			if resp.Version >= 13 {
				at.name, at.id = "", t.TopicID
			}
			err := kerr.ErrorForCode(p.ErrorCode)
			if err != nil && p.ErrorMessage != nil && *p.ErrorMessage != "" {
				err = fmt.Errorf("%w (%s)", err, *p.ErrorMessage)
			}
			said[at] = err
		}
	}
	return func(b *batch) error {
		at := place{name: b.to.topic.name, partition: b.to.number}
		if resp.Version >= 13 {
			at.name, at.id = "", b.to.topic.id
		}
		err, ok := said[at]
		if !ok {
			return errNoAnswer
		}
		return err
	}
}

var errNoAnswer = errors.New("the broker's answer says nothing of the partition")

// errOtherTopic is the topic having been made anew: what was acknowledged of the transaction is gone with the old one.
var errOtherTopic = errors.New("the topic was deleted and made again while it was written to")

// lead finds the leaders: where one is not known, and after a try in vain of all.
func (s *sender) lead(batches []*batch, anew bool) error {
	req := kmsg.NewPtrMetadataRequest()
	topics := make(map[string]*topic)
	s.mu.Lock()
	for _, b := range batches {
		t := b.to.topic
		if (b.to.leader < 0 || anew) && topics[t.name] == nil {
			topics[t.name] = t
			r := kmsg.NewMetadataRequestTopic()
			r.Topic = &t.name
			req.Topics = append(req.Topics, r)
		}
	}
	s.mu.Unlock()
	if len(topics) == 0 {
		return nil
	}
	resp, err := req.RequestWith(s.ctx, s.client)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic == nil || topics[*t.Topic] == nil {
			continue
		}
		if err := topics[*t.Topic].learn(t); err != nil {
			return err
		}
	}
	for _, b := range batches {
		if b.to.leader < 0 {
			return fmt.Errorf("%s/%d: %w", b.to.topic.name, b.to.number, kerr.LeaderNotAvailable)
		}
	}
	return nil
}

// learn takes in what a broker knows of the topic.
func (t *topic) learn(m *kmsg.MetadataResponseTopic) error {
	if err := kerr.ErrorForCode(m.ErrorCode); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	switch {
	case t.id == [16]byte{}:
		t.id = m.TopicID
	case t.id != m.TopicID:
		return fmt.Errorf("%s: %w", t.name, errOtherTopic)
	}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		if int(p.Partition) < len(t.partitions) && t.partitions[p.Partition] != nil {
			t.partitions[p.Partition].leader = p.Leader
		}
	}
	return nil
}

// join tells the coordinator which partitions the transaction writes to, before they are. Brokers from Kafka 4.0 on, where the cluster's
// transaction.version is 2 at least (KIP-890), learn it from what is written.
func (s *sender) join(batches []*batch) error {
	if !s.explicit {
		return nil
	}
	by := &batches[0].by
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = by.transactionalID, by.id, by.epoch
	at := make(map[*topic]int)
	s.mu.Lock()
	for _, b := range batches {
		if b.to.joined == b.transaction {
			continue
		}
		i, known := at[b.to.topic]
		if !known {
			i = len(req.Topics)
			at[b.to.topic] = i
			t := kmsg.NewAddPartitionsToTxnRequestTopic()
			t.Topic = b.to.topic.name
			req.Topics = append(req.Topics, t)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, b.to.number)
	}
	s.mu.Unlock()
	if len(req.Topics) == 0 {
		return nil
	}
	resp, err := req.RequestWith(s.ctx, s.client)
	if err != nil {
		return err
	}
	for i := range resp.Topics {
		for _, p := range resp.Topics[i].Partitions {
			// Where one partition cannot be added none is, and all others say that.
			if e := kerr.ErrorForCode(p.ErrorCode); e != nil && (err == nil || errors.Is(err, kerr.OperationNotAttempted)) {
				err = fmt.Errorf("add %s/%d to the transaction: %w", resp.Topics[i].Topic, p.Partition, e)
			}
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		b.to.joined = b.transaction
	}
	return nil
}
