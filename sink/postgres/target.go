package postgres

import (
	"context"
	"log/slog"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target is the database. It is safe for use by many goroutines.
type Target struct {
	config Config
	setup  sink.Setup
	server *server

	preparing sync.Mutex // held while a table is prepared; taken before mu
	columns   sync.Map   // []string by *change.Table: asked for each row that verify reads

	mu         sync.Mutex // guards the following
	tables     map[tableOf]*table
	alone      map[string]*sync.RWMutex // by table: see locks
	partitions map[owned]*ownership
}

type owned struct {
	group     string
	partition sink.Partition
}

// ownership is what this process knows of a partition that it owns. The runtime applies one batch of a partition at a time, so
// next needs no lock of its own; the map that leads here has one.
type ownership struct {
	epoch int64
	next  int64 // the stored next offset; unknownNext after an error whose outcome is not known
}

const unknownNext = -2

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
)

// New returns the target of a config that has been checked. It connects to nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	if setup.Log == nil {
		setup.Log = slog.New(slog.DiscardHandler)
	}
	t := &Target{config: config, setup: setup, tables: make(map[tableOf]*table), alone: make(map[string]*sync.RWMutex), partitions: make(map[owned]*ownership)}
	t.server = &server{config: &t.config, version: quoteName(config.VersionColumn), origin: quoteName(config.SourceColumn), sources: make(map[string]int64)}
	return t, nil
}

// Close closes all connections.
func (t *Target) Close() error {
	t.server.close()
	return nil
}

func (t *Target) remember(group string, p sink.Partition, epoch, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.partitions[owned{group, p}] = &ownership{epoch: epoch, next: next}
}

func (t *Target) forget(group string, p sink.Partition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.partitions, owned{group, p})
}

// ownership returns what is known of the batch's partition, for the batch's epoch. Where this process has not assigned it (a test,
// a command), or an answer did not arrive, the server is asked.
func (t *Target) ownership(ctx context.Context, b *sink.Batch) (*ownership, error) {
	t.mu.Lock()
	id := owned{b.Group, b.Partition}
	o := t.partitions[id]
	if o == nil {
		o = &ownership{epoch: b.Epoch, next: unknownNext}
		t.partitions[id] = o
	}
	t.mu.Unlock()
	if o.epoch != b.Epoch {
		return nil, &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch}
	}
	if o.next != unknownNext {
		return o, nil
	}
	err := t.server.withSession(ctx, func(c *session) error {
		next, epoch, err := c.readProgress(ctx, b.Group, b.Partition)
		if err != nil {
			return err
		}
		if epoch != b.Epoch {
			return &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch}
		}
		o.next = next
		return nil
	})
	return o, err
}

// aloneLock is held shared by each transaction on a table, and exclusively by one that is repeated because it met another.
func (t *Target) aloneLock(tab *table) *sync.RWMutex {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := tab.place.String()
	if t.alone[id] == nil {
		t.alone[id] = new(sync.RWMutex)
	}
	return t.alone[id]
}

// names returns the names of the table's columns, one slice a schema.
func (t *Target) names(schema *change.Table) []string {
	if names, ok := t.columns.Load(schema); ok {
		return names.([]string)
	}
	names, _ := t.columns.LoadOrStore(schema, columnNames(schema))
	return names.([]string)
}

func columnNames(t *change.Table) []string {
	names := make([]string, len(t.Columns))
	for i := range t.Columns {
		names[i] = t.Columns[i].Name
	}
	return names
}
