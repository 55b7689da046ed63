package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

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
	// BufferBytes bounds what is complete and not acknowledged, before compression; Add waits when it is full. Half as much at the most is
	// in batches that are still open. It is at least twice the largest record. Default 16 MiB.
	BufferBytes int
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
		c.BufferBytes = 16 << 20
	}
	if c.Kafka.MaxMessageBytes <= 0 {
		c.Kafka.MaxMessageBytes = kafka.Default().MaxMessageBytes
	}
	c.BufferBytes = max(c.BufferBytes, 2*int(c.Kafka.MaxMessageBytes))
	if c.Settle == 0 {
		c.Settle = 4 * time.Millisecond
	}
	c.Settle = max(c.Settle, 0)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Record is one row's event on its way into Kafka. Add copies it.
type Record struct {
	Topic     string
	Partition int32
	Key       []byte // framed
	Value     []byte // framed; nil is a tombstone
	Version   change.Version
	Headers   []kgo.RecordHeader // besides the version

	plain bool // without the version's header
}

// Publisher publishes for one source. See the package's comment for its life.
type Publisher struct {
	cfg    Config
	client *kgo.Client
	lanes  [lanes]lane
	turn   int // the lane of the open transaction, or of the next
	loaded *kafka.Checkpoint
	topic  string // of the checkpoint

	batchMax int // bytes of a batch, where it is of more than one record

	ctx    context.Context // ends when the publisher is lost or closed: lets go of an Add that waits
	cancel context.CancelFunc
	close  sync.Once
	out    *sender // nil: not opened
	lost   *Lost

	// The transaction that is open.
	open    bool
	count   uint64 // of transactions
	began   time.Time
	watch   *time.Timer // ends ctx when the transaction is open for too long
	overdue atomic.Bool // watch has struck
	records int
	bytes   int64
	states  states
	started []*partition // with an open batch

	held      int  // bytes of open batches' records
	completed bool // a batch was, since room was looked for

	topics map[string]*topic
	recent *topic // the last that was asked for: mostly it is the next, too
}

// Open takes the source's transactional ids, which fences a predecessor and lets the broker end its transactions,
// and then loads the checkpoint; it makes the checkpoint topic where there is none. ctx bounds Open only.
func Open(ctx context.Context, cfg Config) (*Publisher, error) {
	cfg.defaults()
	if err := kafka.ValidatePrefix(cfg.Prefix); err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "the source's name cannot be used", Err: err}
	}
	p := &Publisher{cfg: cfg, topic: kafka.CheckpointTopic(cfg.Prefix), topics: make(map[string]*topic),
		batchMax: min(batchBytes, int(cfg.Kafka.MaxMessageBytes))}
	for i := range p.lanes {
		id := laneID(cfg.Prefix, i)
		if mutant.NoFence {
			id += time.Now().String()
		}
		p.lanes[i] = lane{producer: producer{transactionalID: id}, settling: settling{least: cfg.Settle, now: cfg.Settle}}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.start(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Publisher) start(ctx context.Context) error {
	explicit, err := p.connect(ctx)
	if err != nil {
		return err
	}
	compressor, err := kafka.Compressor(p.cfg.Kafka)
	if err != nil {
		return err
	}
	settings := p.cfg.Kafka.CheckpointSettings()
	topic, err := kafka.EnsureTopic(ctx, kadm.NewClient(p.client), p.topic, settings)
	if err != nil {
		return err
	}
	for _, note := range topic.Notes {
		p.cfg.Log.Warn(note, "topic", p.topic)
	}
	p.out = newSender(p.ctx, p.client, compressor, explicit, p.cfg.Log)
	if mutant.FenceLate {
		p.loaded, err = kafka.LoadCheckpoint(ctx, p.client, p.cfg.Prefix, p.cfg.Notice)
		return errors.Join(err, p.take(ctx))
	}
	if err := p.take(ctx); err != nil {
		return err
	}
	p.loaded, err = kafka.LoadCheckpoint(ctx, p.client, p.cfg.Prefix, p.cfg.Notice)
	return err
}

// connect makes the client, and says whether transactions are of the first kind: then it speaks no version of a request that has
// the second as its meaning.
func (p *Publisher) connect(ctx context.Context) (explicit bool, err error) {
	options := append([]kgo.Opt{kgo.WithLogger(newLogger(p.cfg.Log))}, p.cfg.Options...)
	if p.client, err = kafka.NewClient(p.cfg.Kafka, options...); err != nil {
		return false, err
	}
	if explicit, err = partitionsWanted(ctx, p.client); err != nil || !explicit {
		return explicit, kafka.Explain(err, "connect to Kafka", strings.Join(p.cfg.Kafka.Brokers, ", "))
	}
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Produce), 11)
	versions.SetMaxKeyVersion(int16(kmsg.AddPartitionsToTxn), 3)
	versions.SetMaxKeyVersion(int16(kmsg.EndTxn), 4)
	p.client.Close()
	p.client, err = kafka.NewClient(p.cfg.Kafka, append(options, kgo.MaxVersions(versions))...)
	return true, err
}

// take takes all ids, in order.
func (p *Publisher) take(ctx context.Context) error {
	for i := range p.lanes {
		if err := p.lanes[i].take(ctx, p.client, p.cfg.TransactionTimeout); err != nil {
			return err
		}
		fault.Point("publish/after-fence")
	}
	return nil
}

// Checkpoint returns the checkpoint as it was when the Publisher was opened.
func (p *Publisher) Checkpoint() *kafka.Checkpoint { return p.loaded }

// Client returns the publisher's client for administration and reading; nothing may be produced with it.
func (p *Publisher) Client() *kgo.Client { return p.client }

// Records returns how many rows' events the open transaction holds.
func (p *Publisher) Records() int { return p.records }

// Bytes returns how long the open transaction's rows are as Kafka's records, before compression.
func (p *Publisher) Bytes() int64 { return p.bytes }

// Age returns how long the transaction has been open; 0 when none is.
func (p *Publisher) Age() time.Duration {
	if !p.open {
		return 0
	}
	return time.Since(p.began)
}

// Close ends the client. A transaction that is open stays undecided until the next Open, or until the broker's
// transaction time-out aborts it. It may be called more than once, and while Add or Commit wait, which then return
// *Lost.
func (p *Publisher) Close() {
	p.close.Do(func() {
		p.cancel()
		if p.client != nil {
			p.client.Close()
		}
		if p.out != nil {
			p.out.running.Wait()
		}
	})
}

// fail makes the publisher lost.
func (p *Publisher) fail(cause error, step string) error {
	if p.lost == nil {
		if p.overdue.Load() {
			cause = fmt.Errorf("%w (open for %v): %v", context.DeadlineExceeded, p.Age().Round(time.Millisecond), cause)
		}
		p.lost = lostBy(cause, step, p.cfg.Prefix, p.turn, p.Age(), p.cfg.TransactionTimeout)
		if p.watch != nil {
			p.watch.Stop()
		}
		p.Close()
	}
	return p.lost
}
