package publish

import (
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/internal/fault"
)

// ackTimeout is how long a broker may wait for its replicas before it answers that they are late.
const ackTimeout = 10 * time.Second

// ask sends the batches to their leader and returns what it says of each.
func (s *sender) ask(batches []*batch) []error {
	answers := make([]error, len(batches))
	err := s.join(batches)
	if err == nil {
		fault.Point("publish/before-produce")
		var resp kmsg.Response
		leader, request := s.request(batches)
		if resp, err = s.client.Broker(leader).Request(s.ctx, request); err == nil {
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

// request returns the batches' request, and whom it goes to.
func (s *sender) request(batches []*batch) (leader int, req *kmsg.ProduceRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	req = kmsg.NewPtrProduceRequest()
	req.TransactionID = &batches[0].by.transactionalID
	req.Acks, req.TimeoutMillis = -1, int32(ackTimeout.Milliseconds())
	for _, group := range byTopic(batches) {
		t := kmsg.NewProduceRequestTopic()
		t.Topic, t.TopicID = group[0].to.topic.name, group[0].to.topic.id
		for _, b := range group {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition, p.Records = b.to.number, b.wire
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return int(batches[0].to.leader), req
}

// byTopic groups batches by their topics, as requests name them.
func byTopic(batches []*batch) (groups [][]*batch) {
	at := make(map[*topic]int)
	for _, b := range batches {
		i, known := at[b.to.topic]
		if !known {
			i = len(groups)
			at[b.to.topic] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], b)
	}
	return groups
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
	s.mu.Lock()
	for _, group := range byTopic(batches) {
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic = group[0].to.topic.name
		for _, b := range group {
			if b.to.joined != b.transaction {
				t.Partitions = append(t.Partitions, b.to.number)
			}
		}
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
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
