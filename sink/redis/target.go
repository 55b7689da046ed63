package redis

import (
	"log/slog"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target writes to one server or cluster.
type Target struct {
	config Config
	log    *slog.Logger

	connecting sync.Mutex // held while a connection is made; before mu

	mu       sync.Mutex // guards the following
	client   rueidis.Client
	plans    map[*change.Table]*plan
	prepared map[string]ledgerEntry // by topic
}

var (
	_ sink.Target   = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Shaper   = (*Target)(nil)
	_ sink.Floor    = (*Target)(nil)
	_ sink.Progress = (*Target)(nil)
	_ sink.Replayer = (*Target)(nil)
)

// New returns the target of a config that has been checked. It connects to nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	if _, err := config.option(); err != nil {
		return nil, err
	}
	return &Target{config: config, log: setup.Log, plans: make(map[*change.Table]*plan), prepared: make(map[string]ledgerEntry)}, nil
}

// Close lets go of the connections.
func (t *Target) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		t.client.Close()
	}
	return nil
}

// Floor bounds how far behind the sink may fall. Rows and progress go together, so what was applied comes again only when somebody
// goes back in the log; then it must meet the tombstone that it is older than.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	if !s.Compacted {
		return t.config.KeepTombstones
	}
	return min(s.MinCompactionLag+s.DeleteRetention, t.config.KeepTombstones)
}

// plansMax bounds what is remembered of schemas that were replaced long ago.
const plansMax = 1024

// planOf returns the plan of a table in one shape.
func (t *Target) planOf(source string, table *change.Table) (*plan, error) {
	t.mu.Lock()
	p := t.plans[table]
	t.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := t.config.plan(source, table)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.plans) >= plansMax {
		clear(t.plans)
	}
	t.plans[table] = p
	return p, nil
}
