package elasticsearch

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target writes to one server or cluster.
type Target struct {
	config     Config
	client     *client
	log        *slog.Logger
	now        func() time.Time
	purgeEvery time.Duration
	bulkBytes  atomic.Int64 // at most the config's: what the server was found to take

	mu      sync.Mutex           // guards the following
	purged  map[string]time.Time // by alias: when its tombstones were last looked through
	aliases map[string]string    // by topic
}

var (
	_ sink.Target   = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Floor    = (*Target)(nil)
	_ sink.Emptier  = (*Target)(nil)
)

// New returns the target of a config that has been checked. It connects to nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	c, err := newClient(&config)
	if err != nil {
		return nil, err
	}
	t := &Target{config: config, client: c, log: setup.Log, now: time.Now, purgeEvery: purgeEvery,
		purged: make(map[string]time.Time), aliases: make(map[string]string)}
	t.bulkBytes.Store(int64(config.BulkBytes))
	return t, nil
}

// Close lets go of idle connections.
func (t *Target) Close() error {
	t.client.http.CloseIdleConnections()
	return nil
}

// Floor bounds how far behind the sink may fall: what could still come must meet the tombstone that it is older than. With
// deletes: delete there are no tombstones to outlive, and records that come again end with the delete again.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	var bounds []time.Duration
	if s.Compacted {
		bounds = append(bounds, s.MinCompactionLag+s.DeleteRetention)
	}
	if t.config.Deletes == Tombstone {
		bounds = append(bounds, t.config.KeepTombstones)
	}
	limit := time.Duration(0) // no bound
	for _, b := range bounds {
		if limit == 0 || b < limit {
			limit = b
		}
	}
	return limit
}

// Apply writes the batch: the newest change of each key, guarded by its version.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	if len(b.Changes) == 0 {
		if alias := t.aliasOfTopic(b.Topic, b.Source, nil); alias != "" {
			t.purge(ctx, alias)
		}
		return nil
	}
	alias := t.aliasOfTopic(b.Topic, b.Source, b.Changes[0].Table)
	buffer, items, err := t.actions(b, alias)
	if err != nil {
		return err
	}
	if err := t.send(ctx, buffer, items); err != nil {
		return err
	}
	t.purge(ctx, alias)
	return nil
}

// actions returns the lines of the newest change of each key.
func (t *Target) actions(b *sink.Batch, alias string) (buffer []byte, items []item, err error) {
	newest := sink.NewestPerKey(b.Changes)
	w := writer{config: &t.config, index: quote(alias), now: t.now(), fields: make(map[*change.Table][]string),
		buffer: make([]byte, 0, b.Bytes+len(newest)*128)}
	items = make([]item, 0, len(newest))
	for _, i := range newest {
		c := &b.Changes[i]
		from := len(w.buffer)
		if err := w.action(c); err != nil {
			return nil, nil, &sink.Refused{Offset: c.Offset, Err: &change.Problem{Kind: change.Poison, Table: c.Table.TableName,
				What: "a row cannot be written as a document", Why: "the row would be missing in the index, or bent",
				Mend: "mend the value at the source, or set the record aside (on_error: dead_letter)", Err: err}}
		}
		items = append(items, item{offset: c.Offset, from: from, to: len(w.buffer)})
	}
	return w.buffer, items, nil
}
