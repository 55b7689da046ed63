package publish

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/fault"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/kafka"
)

// Config says whose rows are published and how.
type Config struct {
	Kafka kafka.Config
	// Prefix is the source's name: of its topics, and the transactional id.
	Prefix string
	// TransactionTimeout is how long the broker lets a transaction be open before it aborts it, and how long this
	// side waits for Kafka before it gives a transaction up. Longer rides out a broker's restart inside one
	// transaction; shorter lets read_committed readers go on sooner after a source died. Default 60 s.
	TransactionTimeout time.Duration
	// BufferBytes bounds what is handed to the client and not acknowledged; Add waits when it is full. It is at
	// least twice the largest record. Default 64 MiB.
	BufferBytes int
	// Linger is how long the client may hold a record back to fill a batch. Commit sends all at once, so it
	// delays nothing at a transaction's end, and saves a request for each small piece before it. It is longer than
	// any settling (see Settle), so that no request goes out before that is over. Default 20 ms; negative: none.
	Linger time.Duration
	// Settle is the least time between the answer to a commit and the first request of the same id's next transaction. A broker
	// that is still writing the markers of the transaction before makes a request that comes too soon wait for
	// 20 ms (Kafka's add.partitions.to.txn.retry.backoff.ms); measured on Kafka 4.3 with one broker, a transaction
	// of one row takes 22 ms without a pause and 2 ms after one. A broker that is busy needs longer: see settling.
	// Default 4 ms; negative: none.
	Settle time.Duration
	// Notice receives what the operator should know while Open waits. May be nil.
	Notice func(string)
	Log    *slog.Logger
	// Options are added to the client's, for tests.
	Options []kgo.Opt
}

func (c *Config) defaults() {
	if c.TransactionTimeout <= 0 {
		c.TransactionTimeout = 60 * time.Second
	}
	if c.BufferBytes <= 0 {
		c.BufferBytes = 64 << 20
	}
	if c.Kafka.MaxMessageBytes <= 0 {
		c.Kafka.MaxMessageBytes = kafka.Default().MaxMessageBytes
	}
	c.BufferBytes = max(c.BufferBytes, 2*int(c.Kafka.MaxMessageBytes))
	c.Linger = orDefault(c.Linger, 20*time.Millisecond)
	c.Settle = orDefault(c.Settle, 4*time.Millisecond)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// orDefault returns d, the default for 0, and 0 for what is negative.
func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return max(d, 0)
}

// Record is one row's event on its way into Kafka. Key, Value and Headers belong to the Publisher until the Commit
// after Add has returned.
type Record struct {
	Topic     string
	Partition int32
	Key       []byte // framed
	Value     []byte // framed; nil is a tombstone
	Version   change.Version
	Headers   []kgo.RecordHeader // besides the version
}

// Publisher publishes for one source. See the package's comment for its life.
type Publisher struct {
	cfg    Config
	lanes  [lanes]lane
	turn   int // the lane of the open transaction, or of the next
	loaded *kafka.Checkpoint
	topic  string // of the checkpoint

	ctx    context.Context // ends when the publisher is lost or closed: lets go of an Add that waits
	cancel context.CancelFunc
	close  sync.Once

	// failure is the first error of a record, stored by the client's goroutines.
	failure atomic.Pointer[recordError]
	lost    *Lost

	// The transaction that is open.
	open    bool
	began   time.Time
	watch   *time.Timer // ends ctx when the transaction is open for too long
	overdue atomic.Bool // watch has struck
	records int
	bytes   int64
	states  states
	slab    slab
	promise func(*kgo.Record, error)
}

// Open takes the source's transactional ids, which fences a predecessor and lets the broker end its transactions,
// and then loads the checkpoint; it makes the checkpoint topic where there is none. ctx bounds Open only.
func Open(ctx context.Context, cfg Config) (*Publisher, error) {
	cfg.defaults()
	if err := kafka.ValidatePrefix(cfg.Prefix); err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "the source's name cannot be used", Err: err}
	}
	p := &Publisher{cfg: cfg, topic: kafka.CheckpointTopic(cfg.Prefix)}
	for i := range p.lanes {
		client, err := kafka.NewClient(cfg.Kafka, append(cfg.clientOptions(i), cfg.Options...)...)
		if err != nil {
			p.closeClients()
			return nil, err
		}
		p.lanes[i] = lane{client: client, settling: settling{least: cfg.Settle, now: cfg.Settle}}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.promise = p.acknowledged
	if err := p.start(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (c *Config) clientOptions(lane int) []kgo.Opt {
	id := laneID(c.Prefix, lane)
	if mutant.NoFence {
		id += time.Now().String()
	}
	return []kgo.Opt{
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(c.TransactionTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), // the pinned partition count decides, not the client's view
		kgo.ProducerLinger(c.Linger),
		kgo.MaxBufferedBytes(c.BufferBytes),
		kgo.MaxBufferedRecords(1 << 17),
		kgo.ProducerBatchMaxBytes(c.Kafka.MaxMessageBytes + batchOverhead),
		kgo.UnknownTopicRetries(20), // a topic made a moment ago is not known to every broker yet: about two seconds
		kgo.WithLogger(newLogger(c.Log)),
	}
}

// batchOverhead is what a batch of one record adds to its key and value: the batch's 61 bytes, the record's
// fields, and its headers.
const batchOverhead = 32 << 10

func (p *Publisher) start(ctx context.Context) error {
	settings := p.cfg.Kafka.CheckpointSettings()
	topic, err := kafka.EnsureTopic(ctx, kadm.NewClient(p.Client()), p.topic, settings)
	if err != nil {
		return err
	}
	for _, note := range topic.Notes {
		p.cfg.Log.Warn(note, "topic", p.topic)
	}
	if mutant.FenceLate {
		p.loaded, err = kafka.LoadCheckpoint(ctx, p.Client(), p.cfg.Prefix, p.cfg.Notice)
		return err
	}
	for i := range p.lanes {
		if err := p.lanes[i].take(ctx, laneID(p.cfg.Prefix, i)); err != nil {
			return err
		}
		fault.Point("publish/after-fence")
	}
	p.loaded, err = kafka.LoadCheckpoint(ctx, p.Client(), p.cfg.Prefix, p.cfg.Notice)
	return err
}

// Checkpoint returns the checkpoint as it was when the Publisher was opened.
func (p *Publisher) Checkpoint() *kafka.Checkpoint { return p.loaded }

// Client returns one of the publisher's clients for administration and reading; nothing may be produced with it.
func (p *Publisher) Client() *kgo.Client { return p.lanes[0].client }

// Records returns how many rows' events the open transaction holds.
func (p *Publisher) Records() int { return p.records }

// Bytes returns what the open transaction's rows hold in memory: keys, values, and what the client needs beside
// them. All of it is held until Commit, so the caller commits by it.
func (p *Publisher) Bytes() int64 { return p.bytes }

// Age returns how long the transaction has been open; 0 when none is.
func (p *Publisher) Age() time.Duration {
	if !p.open {
		return 0
	}
	return time.Since(p.began)
}

// Close ends the clients. A transaction that is open stays undecided until the next Open, or until the broker's
// transaction time-out aborts it. It may be called more than once, and while Add or Commit wait, which then return
// *Lost.
func (p *Publisher) Close() {
	p.close.Do(func() {
		p.cancel()
		p.closeClients()
	})
}

func (p *Publisher) closeClients() {
	for i := range p.lanes {
		if c := p.lanes[i].client; c != nil {
			c.Close()
		}
	}
}

// fail makes the publisher lost.
func (p *Publisher) fail(cause error, step string) error {
	if p.lost == nil {
		if p.overdue.Load() {
			cause = fmt.Errorf("%w (open for %v)", context.DeadlineExceeded, p.Age().Round(time.Millisecond))
		}
		p.lost = lostBy(cause, step, p.cfg.Prefix, p.turn, p.Age(), p.cfg.TransactionTimeout)
		if p.watch != nil {
			p.watch.Stop()
		}
		p.Close()
	}
	return p.lost
}

// acknowledged is called by the client for each record, in its own goroutine.
func (p *Publisher) acknowledged(r *kgo.Record, err error) {
	if err != nil && p.failure.Load() == nil {
		p.failure.CompareAndSwap(nil, &recordError{topic: r.Topic, partition: r.Partition, err: err})
	}
}
