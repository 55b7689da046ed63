package hbase

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target writes to one HBase by way of its REST gateway.
type Target struct {
	config     Config
	client     *client
	log        *slog.Logger
	now        func() time.Time
	purgeEvery time.Duration
	lookEvery  time.Duration
	slots      chan struct{} // one for each request under way

	mu     sync.Mutex // guards the following
	plans  map[planned]*plan
	topics map[string]*plan // by topic: of its last batch with changes
	marks  map[string]*mark // by table in HBase: what its own row said when it was prepared
	looked map[string]time.Time
	purges map[string]*purge
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
	return &Target{config: config, client: c, log: setup.Log, now: time.Now, purgeEvery: purgeEvery, lookEvery: lookEvery,
		slots: make(chan struct{}, config.Requests), plans: make(map[planned]*plan), topics: make(map[string]*plan),
		marks: make(map[string]*mark), looked: make(map[string]time.Time), purges: make(map[string]*purge)}, nil
}

// Close lets go of idle connections.
func (t *Target) Close() error {
	t.client.http.CloseIdleConnections()
	return nil
}

// Floor bounds how far behind the sink may fall: what could still come must meet the tombstone that it is older than.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	limit := t.config.KeepTombstones
	if s.Compacted && s.MinCompactionLag+s.DeleteRetention > 0 {
		limit = min(limit, s.MinCompactionLag+s.DeleteRetention)
	}
	return limit
}

// plan is how the rows of one schema are written.
type plan struct {
	table   *change.Table
	name    string // of the table in HBase
	key     *rowKey
	columns []string // the names
	cells   []string // of each column: family:qualifier
	state   string   // family:qualifier
}

type planned struct {
	source string
	table  *change.Table
}

// plansMax bounds what is remembered of schemas that were replaced long ago.
const plansMax = 1024

func (t *Target) planOf(source string, table *change.Table) (*plan, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.plans[planned{source, table}]
	if p != nil {
		return p, nil
	}
	key, err := rowKeyOf(t.config.tableOf(table.TableName), table)
	if err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "the row keys of " + table.String() + " cannot be made", Err: err, Mend: "mend row_key in hbase.tables"}
	}
	p = &plan{table: table, name: t.config.tableName(source, table.TableName), key: key, state: t.config.Family + ":" + stateQualifier}
	for i := range table.Columns {
		p.columns = append(p.columns, table.Columns[i].Name)
		p.cells = append(p.cells, t.config.Family+":"+qualifier(table.Columns[i].Name))
	}
	if len(t.plans) >= plansMax {
		clear(t.plans)
	}
	t.plans[planned{source, table}] = p
	return p, nil
}

// Apply writes the batch: of the newest change of each key a cell for each column, all with the change's version.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	p, err := t.planOfBatch(b)
	if p == nil || err != nil {
		return err // a topic that has had no change yet
	}
	puts, err := t.puts(b)
	if err != nil {
		return err
	}
	if err := t.send(ctx, p.name, puts); err != nil {
		return err
	}
	if err := t.stillOurs(ctx, p); err != nil {
		return err
	}
	t.purge(ctx, p)
	return nil
}

// planOfBatch notes which table a topic's batches go to, so that those without changes look after it too.
func (t *Target) planOfBatch(b *sink.Batch) (*plan, error) {
	if len(b.Changes) == 0 {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.topics[b.Topic], nil
	}
	p, err := t.planOf(b.Source, b.Changes[0].Table)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.topics[b.Topic] = p
	return p, nil
}

// puts makes the rows of a batch, in the order of their keys: so rows of one region go in one request.
func (t *Target) puts(b *sink.Batch) ([]put, error) {
	newest := sink.NewestPerKey(b.Changes)
	puts := make([]put, 0, len(newest))
	w := writer{now: t.now()}
	for _, i := range newest {
		c := &b.Changes[i]
		p, err := t.planOf(b.Source, c.Table)
		if err != nil {
			return nil, err
		}
		made, err := w.put(p, c)
		if err != nil {
			return nil, &sink.Refused{Offset: c.Offset, Err: &change.Problem{Kind: change.Poison, Table: c.Table.TableName,
				What: "a row cannot be written", Why: "the row would be missing in the table",
				Mend: "mend the key at the source, or set the record aside (on_error: dead_letter)", Err: err}}
		}
		puts = append(puts, made)
	}
	slices.SortFunc(puts, put.compare)
	return puts, nil
}
