package publish

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/fault"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/kafka"
)

// TooLarge reports whether a row's event is over the limit, as the Problem that stops its table, or nil.
// Add asks the same; a caller that asks first need not drop a transaction.
func (p *Publisher) TooLarge(r *Record) error {
	size := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		size += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	if size <= int(p.cfg.Kafka.MaxMessageBytes) {
		return nil
	}
	table, _ := kafka.TableOf(p.cfg.Prefix, r.Topic)
	return &change.Problem{
		Kind: change.Poison, Table: table,
		What:  fmt.Sprintf("a row of %d bytes is above kafka.max_message_bytes (%d)", size, p.cfg.Kafka.MaxMessageBytes),
		Where: fmt.Sprintf("topic %s, partition %d, key %x, version %d", r.Topic, r.Partition, shortened(r.Key), r.Version),
		Why:   "Kafka would refuse the record; without it the topic would lack the row, so the table stops here",
		Mend:  p.mendTooLarge(size, r.Topic, table),
	}
}

// largestMessage is what kafka.max_message_bytes may be set to.
const largestMessage = 64 << 20

// mendTooLarge returns the steps that let a record of the size pass. The topics come first: the source refuses a checkpoint
// topic whose limit is below its own.
func (p *Publisher) mendTooLarge(size int, topic string, table change.TableName) string {
	if size > largestMessage {
		return fmt.Sprintf("make the row smaller, or leave the table out (skip: true); kafka.max_message_bytes can be %d at most", largestMessage)
	}
	raised := kafka.Config{MaxMessageBytes: int32(min(1<<bits.Len(uint(size)), largestMessage))}
	mend := ""
	for _, c := range raised.TableSettings().Configs {
		if c.Name == "max.message.bytes" {
			for _, name := range [...]string{topic, kafka.CheckpointTopic(p.cfg.Prefix)} {
				mend += fmt.Sprintf("kafka-configs --alter --topic %s --add-config %s=%s\n", name, c.Name, c.Value)
			}
		}
	}
	return mend + fmt.Sprintf("set kafka.max_message_bytes: %d in the configuration and restart the source\nsluice crawl start %s", raised.MaxMessageBytes, table)
}

// shortened bounds what an error shows of a key.
func shortened(key []byte) []byte { return key[:min(len(key), 128)] }

// Add hands a row's event to Kafka, in the open transaction or a new one. It waits while too much is on its
// way. A Poison problem means that the record was not taken and the transaction goes on without it; a *Lost is
// the end of the Publisher.
func (p *Publisher) Add(r Record) error {
	if p.lost != nil {
		return p.lost
	}
	if err := p.TooLarge(&r); err != nil {
		return err
	}
	p.begin()
	p.put(&r)
	p.records++
	fault.Point("publish/after-add")
	if p.held > p.cfg.BufferBytes/2 { // of so many partitions that their open batches take as much as those on their way
		p.completeAll()
	}
	if p.completed {
		return p.relieve()
	}
	return nil
}

// put adds the record to its partition's open batch. What is complete is on its way then.
func (p *Publisher) put(r *Record) {
	to := p.partition(r.Topic, r.Partition)
	b := to.open
	if b == nil {
		b = p.newBatch(to)
	}
	size := recordBytes(r, b.count)
	if b.count > 0 && len(b.records)+size > p.batchMax {
		p.complete(to)
		b = p.newBatch(to)
		size = recordBytes(r, 0)
	}
	before := len(b.records)
	b.append(r, size)
	p.bytes += int64(len(b.records) - before)
	p.held += len(b.records) - before
	if len(b.records) >= p.batchMax {
		p.complete(to)
	}
}

// partition returns the partition of a topic.
func (p *Publisher) partition(name string, number int32) *partition {
	t := p.recent
	if t == nil || t.name != name {
		if t = p.topics[name]; t == nil {
			t = &topic{name: name}
			p.topics[name] = t
		}
		p.recent = t
	}
	if int(number) >= len(t.partitions) || t.partitions[number] == nil {
		p.out.mu.Lock()
		defer p.out.mu.Unlock()
		for int(number) >= len(t.partitions) {
			t.partitions = append(t.partitions, nil)
		}
		t.partitions[number] = &partition{topic: t, number: number, leader: -1}
	}
	return t.partitions[number]
}

// newBatch begins a batch of the open transaction.
func (p *Publisher) newBatch(to *partition) *batch {
	by := p.lanes[p.turn].producer
	last := &to.sequences[p.turn]
	if last.producer != by { // another epoch counts from 0
		*last = sequence{producer: by}
	}
	to.open = &batch{to: to, by: by, transaction: p.count, sequence: last.next, millis: p.began.UnixMilli(), records: p.out.room()}
	p.started = append(p.started, to)
	return to.open
}

// closeBatch takes the partition's open batch as complete.
func (p *Publisher) closeBatch(to *partition) *batch {
	b := to.open
	to.open = nil
	last := &to.sequences[p.turn]
	last.next = nextSequence(last.next, b.count)
	return b
}

// complete sends the partition's batch on its way.
func (p *Publisher) complete(to *partition) {
	b := p.closeBatch(to)
	p.held -= len(b.records)
	p.out.submit([]*batch{b})
	p.completed = true
}

// completeAll sends all open batches on their way.
func (p *Publisher) completeAll() {
	batches := make([]*batch, 0, len(p.started))
	for _, to := range p.started {
		if to.open != nil { // else it was complete before, and may stand here twice
			batches = append(batches, p.closeBatch(to))
		}
	}
	clear(p.started)
	p.started, p.held, p.completed = p.started[:0], 0, true
	if len(batches) > 0 {
		p.out.submit(batches)
	}
}

// relieve waits for room, and tells of what failed meanwhile.
func (p *Publisher) relieve() error {
	p.completed = false
	err := p.out.await(func() bool { return p.out.bytes <= p.cfg.BufferBytes })
	if err != nil {
		return p.fail(err, "add")
	}
	return nil
}

// Set writes a state into the checkpoint with the open transaction, or a new one. The state is encoded now; of
// several for one key in a transaction the last one counts.
func (p *Publisher) Set(s kafka.State) error {
	value, err := kafka.EncodeState(s)
	if err != nil {
		return err
	}
	return p.setRaw(s.CheckpointKey(), value)
}

// Delete takes a state out of the checkpoint with the open transaction, or a new one. Only the state's key is
// looked at.
func (p *Publisher) Delete(s kafka.State) error { return p.setRaw(s.CheckpointKey(), nil) }

func (p *Publisher) setRaw(key string, value []byte) error {
	if p.lost != nil {
		return p.lost
	}
	p.begin()
	p.states.put(key, value)
	return nil
}

// begin opens a transaction where none is open. The broker learns of it with the first record.
func (p *Publisher) begin() {
	if p.open {
		return
	}
	fault.Point("publish/before-begin")
	p.began, p.open = time.Now(), true
	p.count++
	if p.watch == nil {
		p.watch = time.AfterFunc(p.cfg.TransactionTimeout, func() {
			p.overdue.Store(true)
			p.cancel()
		})
	} else {
		p.watch.Reset(p.cfg.TransactionTimeout)
	}
}

// Commit sends all that was added and set and ends the transaction. When it returns nil, all of it is in Kafka,
// once. Any error is a *Lost: what became of the transaction is unknown. A context that ends while Kafka is waited
// for is such an error too, so a caller that wants to drain does not pass one that a signal cancels. Without an
// open transaction Commit does nothing.
func (p *Publisher) Commit(ctx context.Context) error {
	if p.lost != nil {
		return p.lost
	}
	if !p.open {
		return nil
	}
	stop := context.AfterFunc(ctx, p.cancel)
	defer stop()
	if checkpoint := p.states; mutant.CheckpointApart {
		p.states = states{}
		if err := errors.Join(p.send(), p.end()); err != nil {
			return err
		}
		p.begin()
		p.states = checkpoint
	}
	if err := p.send(); err != nil {
		return err
	}
	return p.end()
}

// send hands the checkpoint's records over and waits until every record is acknowledged.
func (p *Publisher) send() error {
	fault.Point("publish/before-flush")
	l := &p.lanes[p.turn]
	p.states.each(func(key string, value []byte) {
		p.put(&Record{Topic: p.topic, Key: []byte(key), Value: value, plain: true})
	})
	l.settle(p.ctx)
	began := time.Now()
	p.completeAll()
	if err := p.out.await(func() bool { return p.out.batches == 0 }); err != nil {
		return p.fail(err, "flush")
	}
	if p.bytes <= smallTransaction {
		l.settling.learn(time.Since(began))
	}
	fault.Point("publish/after-flush")
	return nil
}

// end commits, and gives the turn to the next lane.
func (p *Publisher) end() error {
	l := &p.lanes[p.turn]
	fault.Point("publish/before-endtxn")
	if err := l.commit(p.ctx, p.client); err != nil {
		return p.fail(err, "commit")
	}
	fault.Point("publish/after-endtxn")
	if !p.watch.Stop() || p.ctx.Err() != nil {
		// The commit holds, but the context of all further calls has ended: the caller would meet it at the next
		// Add. It is as well told now, where it has nothing to lose but this answer.
		return p.fail(errors.Join(errLate, p.ctx.Err()), "commit")
	}
	p.open, p.records, p.bytes = false, 0, 0
	l.ended = time.Now()
	p.turn = (p.turn + 1) % lanes
	p.states.clear()
	return nil
}

var errLate = errors.New("the commit was answered after the time allowed for it")
