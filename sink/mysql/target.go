package mysql

import (
	"context"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// Target is the shards. It is safe for use by many goroutines.
type Target struct {
	config Config
	setup  sink.Setup
	shards []*shard

	preparing  sync.Mutex // held while a table is prepared; taken before mu
	placements sync.Map   // *placement by *change.Table: asked for each row that verify reads

	mu         sync.Mutex // guards the following
	tables     map[*change.Table]*table
	alone      map[string]*sync.RWMutex // by shard and table: see shardTable.alone
	partitions map[owned]*ownership
}

type owned struct {
	group     string
	partition sink.Partition
}

// ownership is what this process knows of a partition that it owns. The runtime applies one batch of a
// partition at a time, so the positions need no lock of their own; the map that leads here has one.
type ownership struct {
	epoch     int64
	positions []int64 // by shard: the stored next offset; unknownPosition after an error whose outcome is not known
}

const unknownPosition = -2

// The abilities of the target.
var (
	_ sink.Target   = (*Target)(nil)
	_ sink.Progress = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Shaper   = (*Target)(nil)
	_ sink.Replayer = (*Target)(nil)
	_ sink.Debtor   = (*Target)(nil)

	_ sink.Explainer = (*Target)(nil)
)

// New checks the configuration. It connects to nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	t := &Target{
		config: config, setup: setup, tables: make(map[*change.Table]*table),
		alone: make(map[string]*sync.RWMutex), partitions: make(map[owned]*ownership),
	}
	for i, s := range config.Shards {
		t.shards = append(t.shards, &shard{config: s, version: server.QuoteName(config.VersionColumn), beside: config.beside, connections: config.Connections, index: i, sources: make(map[string]int64)})
	}
	return t, nil
}

// Close closes all connections.
func (t *Target) Close() error {
	for _, s := range t.shards {
		s.close()
	}
	return nil
}

func (t *Target) remember(group string, p sink.Partition, epoch int64, positions []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partitions[owned{group, p}] = &ownership{epoch: epoch, positions: positions}
}

func (t *Target) forget(group string, p sink.Partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.partitions, owned{group, p})
}

// ownership returns what is known of the batch's partition, for the batch's epoch. Where this process has not
// assigned it (a test, a command), the shards are asked.
func (t *Target) ownership(b *sink.Batch) (*ownership, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := owned{b.Group, b.Partition}
	o := t.partitions[id]
	if o == nil {
		o = &ownership{epoch: b.Epoch, positions: make([]int64, len(t.shards))}
		for i := range o.positions {
			o.positions[i] = unknownPosition
		}
		t.partitions[id] = o
	}
	if o.epoch != b.Epoch {
		return nil, &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch}
	}
	return o, nil
}

// position returns the next offset that the shard holds for the batch's partition.
func (o *ownership) position(ctx context.Context, s *shard, b *sink.Batch) (int64, error) {
	if o.positions[s.index] != unknownPosition {
		return o.positions[s.index], nil
	}
	c, err := s.conn(ctx)
	if err != nil {
		return 0, err
	}
	defer c.release()
	next, epoch, err := c.readProgress(ctx, b.Group, b.Partition)
	if err != nil {
		return 0, s.problem(err)
	}
	if epoch != b.Epoch {
		return 0, &sink.OwnershipLost{Partition: b.Partition, Shard: s.config.Name, Epoch: b.Epoch}
	}
	o.positions[s.index] = next
	return next, nil
}
