package files

import (
	"log/slog"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target writes to one folder or bucket.
type Target struct {
	config Config
	log    *slog.Logger
	store  store
	now    func() time.Time

	mu      sync.Mutex // guards the following
	owner   string     // the group that the place is known to be of
	layouts map[*change.Table]*layout
	read    map[string]*layout // by the text that is in files
	held    map[sink.Partition]*held
}

// held is what this process knows of a partition that it owns. Its batches come one at a time.
type held struct {
	state     *state
	tag       string
	epoch     int64
	swept     string // the day on which retention was last looked at
	collected bool   // what others have staged and not committed is removed
}

var (
	_ sink.Target   = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Floor    = (*Target)(nil)
	_ sink.Progress = (*Target)(nil)
	_ sink.Replayer = (*Target)(nil)
	_ sink.Copier   = (*Target)(nil)
)

// New returns the target of a config that has been checked. It touches nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	place, err := config.open()
	if err != nil {
		return nil, err
	}
	return &Target{config: config, log: setup.Log, store: place, now: time.Now, layouts: make(map[*change.Table]*layout),
		read: make(map[string]*layout), held: make(map[sink.Partition]*held)}, nil
}

// Close does nothing: all that was applied is durable.
func (t *Target) Close() error { return nil }

// Floor bounds how far behind the sink may fall: each change is to be kept, and the log keeps each for so long.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	if !s.Compacted {
		return 0
	}
	return s.MinCompactionLag
}

// layoutsMax bounds what is remembered of schemas that were replaced long ago.
const layoutsMax = 1024

// layoutOfTable returns the layout of a schema of a table.
func (t *Target) layoutOfTable(table *change.Table) (*layout, error) {
	t.mu.Lock()
	l := t.layouts[table]
	t.mu.Unlock()
	if l != nil {
		return l, nil
	}
	l, err := newLayout(table, t.config.Dates)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.layouts) >= layoutsMax {
		clear(t.layouts)
	}
	t.layouts[table] = l
	return l, nil
}
