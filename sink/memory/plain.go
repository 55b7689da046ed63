package memory

import (
	"context"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Plain applies to a Store without keeping progress.
type Plain struct{ store *Store }

var (
	_ sink.Target  = (*Plain)(nil)
	_ sink.Scanner = (*Plain)(nil)
)

// Close does nothing.
func (p *Plain) Close() error { return nil }

// Apply writes the batch, shard by shard; a failure between shards leaves the first ones written.
func (p *Plain) Apply(_ context.Context, b *sink.Batch) error {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	places, err := s.plan(b)
	if err != nil {
		return err
	}
	for i, sh := range s.shards {
		if err := s.fault(sh); err != nil {
			return err
		}
		s.write(i, b, places, -1)
	}
	return nil
}

// Scan calls each for the rows of the table.
func (p *Plain) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	return p.store.Open().Scan(ctx, r, each)
}

// Shape says in which shard a row belongs.
func (p *Plain) Shape(_ string, table *change.Table, values []change.Value, into []sink.Row) ([]sink.Row, error) {
	return p.store.shape(table, values, into)
}
