package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target writes to one server or cluster.
type Target struct {
	config Config
	client *client
	log    *slog.Logger
	now    func() time.Time

	mu     sync.Mutex // guards the following
	purged map[string]time.Time
}

var (
	_ sink.Target   = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Floor    = (*Target)(nil)
)

// New returns the target of a config that has been checked. It connects to nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	c, err := newClient(&config)
	if err != nil {
		return nil, err
	}
	return &Target{config: config, client: c, log: setup.Log, now: time.Now, purged: make(map[string]time.Time)}, nil
}

// Close lets go of idle connections.
func (t *Target) Close() error {
	t.client.http.CloseIdleConnections()
	return nil
}

// Floor bounds how far behind the sink may fall: what could still come must meet the tombstone that it is older than.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	return min(s.MinCompactionLag+s.DeleteRetention, t.config.KeepTombstones)
}

// Apply writes the batch: the newest change of each key, guarded by its version.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	if len(b.Changes) == 0 {
		return nil
	}
	newest := newestPerKey(b.Changes)
	index := t.config.index(b.Source, b.Changes[0].Table.TableName)
	rows := t.config.rows(index)
	buffer := make([]byte, 0, b.Bytes+len(newest)*128)
	items := make([]item, 0, len(newest))
	for _, i := range newest {
		from := len(buffer)
		buffer = t.appendAction(buffer, rows, &b.Changes[i])
		items = append(items, item{offset: b.Changes[i].Offset, from: from, to: len(buffer)})
	}
	if err := t.send(ctx, buffer, items); err != nil {
		return err
	}
	return t.purge(ctx, rows)
}

// newestPerKey returns the indexes of the last change of each key, in order. Changes of one key are in version order.
func newestPerKey(changes []sink.Change) []int {
	last := make(map[string]int, len(changes))
	for i := range changes {
		last[string(changes[i].Key)] = i
	}
	kept := make([]int, 0, len(last))
	for i := range changes {
		if last[string(changes[i].Key)] == i {
			kept = append(kept, i)
		}
	}
	return kept
}

// appendAction appends the lines of one change.
func (t *Target) appendAction(dst []byte, rows string, c *sink.Change) []byte {
	gone := c.Op == change.Delete
	verb := "index"
	if gone && t.config.Deletes == Delete {
		verb = "delete"
	}
	dst = append(append(append(dst, `{"`...), verb...), `":{"_index":`...)
	dst = append(appendString(dst, rows), `,"_id":`...)
	dst = append(appendString(dst, string(appendID(nil, c.KeyValues))), `,"version_type":"external","version":`...)
	dst = append(strconv.AppendInt(dst, int64(c.Version), 10), "}}\n"...)
	switch {
	case verb == "delete":
		return dst
	case gone:
		dst = appendTombstone(dst, t.now())
	case t.config.Documents == Envelope:
		dst = appendEnvelope(dst, c)
	default:
		dst = appendRow(dst, c.Table, c.After)
	}
	return append(dst, '\n')
}

// Prepare makes missing indexes and adds missing fields, or says which requests would.
func (t *Target) Prepare(ctx context.Context, _, source string, tables []*change.Table) error {
	for _, table := range tables {
		if err := t.prepare(ctx, t.config.index(source, table.TableName), table); err != nil {
			return err
		}
	}
	return nil
}

func (t *Target) prepare(ctx context.Context, index string, table *change.Table) error {
	rows := t.config.rows(index)
	have, err := t.fields(ctx, rows)
	if err != nil {
		return err
	}
	path := "/" + url.PathEscape(rows)
	if have == nil {
		body := t.config.creation(index, table)
		if !t.config.CreateIndexes {
			return &change.Problem{Kind: change.Poison, Table: table.TableName, What: "index " + rows + " is not there",
				Mend: "PUT " + path + " " + jsonText(body) + "   or set elasticsearch.create_indexes: true"}
		}
		t.log.Info("making an index", "target", t.client.base, "index", rows, "table", table.String())
		err := t.client.do(ctx, "PUT", path, body, nil)
		var status *statusError
		if asStatus(err, &status) && status.status == http.StatusBadRequest && contains(status.reason, "resource_already_exists") {
			err = nil // another process was faster
		}
		return t.client.judge("an index could not be made", err)
	}
	missing := make(map[string]any)
	for name, mapping := range t.config.properties(table) {
		if _, ok := have[name]; !ok || t.config.Documents == Envelope && (name == "before" || name == "after") {
			missing[name] = mapping
		}
	}
	if len(missing) == 0 {
		return nil
	}
	body := map[string]any{"properties": missing}
	if !t.config.CreateIndexes {
		return &change.Problem{Kind: change.Poison, Table: table.TableName, What: "index " + rows + " lacks fields for new columns",
			Why: "the columns would be in the documents but could not be searched", Mend: "PUT " + path + "/_mapping " + jsonText(body) + "   or set elasticsearch.create_indexes: true"}
	}
	return t.client.judge("fields could not be added", t.client.do(ctx, "PUT", path+"/_mapping", body, nil))
}

// fields returns the mapped fields of an index, nil when there is no such index.
func (t *Target) fields(ctx context.Context, rows string) (map[string]any, error) {
	var answer map[string]struct {
		Mappings struct {
			Properties map[string]any `json:"properties"`
		} `json:"mappings"`
	}
	err := t.client.do(ctx, "GET", "/"+url.PathEscape(rows)+"/_mapping", nil, &answer)
	var status *statusError
	if asStatus(err, &status) && status.status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, t.client.judge("the index's mapping could not be read", err)
	}
	fields := make(map[string]any)
	for _, index := range answer {
		for name, mapping := range index.Mappings.Properties {
			fields[name] = mapping
		}
	}
	return fields, nil
}

// Check looks at the server and the indexes without changing anything.
func (t *Target) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	var health struct {
		Status string `json:"status"`
		Name   string `json:"cluster_name"`
	}
	if err := t.client.do(ctx, "GET", "/_cluster/health", nil, &health); err != nil {
		err = t.client.judge("the server does not answer", err)
		var p *change.Problem
		if !errors.As(err, &p) {
			return nil, err
		}
		return []sink.Finding{{Level: sink.Wrong, Where: t.client.base, What: err.Error(), Mend: p.Mend}}, nil
	}
	found := []sink.Finding{{Level: sink.Good, Where: t.client.base, What: fmt.Sprintf("cluster %s answers, %s", health.Name, health.Status)}}
	if health.Status == "red" {
		found[0] = sink.Finding{Level: sink.Wrong, Where: t.client.base, What: "the cluster is red", Why: "some indexes cannot be written", Mend: "GET /_cluster/allocation/explain"}
	}
	if t.config.Deletes == Delete {
		found = append(found, sink.Finding{Level: sink.Warning, Where: t.client.base, What: "deletes: delete",
			Why: "a stale write that comes later than index.gc_deletes (a minute by default) brings a deleted row back", Mend: "deletes: tombstone"})
	}
	return found, nil
}

// purgeEvery is how often tombstones are looked for in each index.
const purgeEvery = time.Hour

// purge removes tombstones that are older than any record that could still come. It does not wait for the server's work.
func (t *Target) purge(ctx context.Context, rows string) error {
	if t.config.Deletes != Tombstone || !t.purgeDue(rows) {
		return nil
	}
	before := t.now().Add(-t.config.KeepTombstones).UnixMilli()
	body := map[string]any{"query": map[string]any{"range": map[string]any{fieldDeletedAt: map[string]any{"lt": before}}}}
	err := t.client.do(ctx, "POST", "/"+url.PathEscape(rows)+"/_delete_by_query?conflicts=proceed&wait_for_completion=false", body, nil)
	if err != nil && ctx.Err() == nil {
		t.log.Warn("old tombstones could not be removed", "index", rows, "error", err) // the next hour tries again
	}
	return nil
}

func (t *Target) purgeDue(rows string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.purged[rows]
	if known && t.now().Sub(last) < purgeEvery {
		return false
	}
	t.purged[rows] = t.now()
	return known // the first look is an hour after the start
}

func asStatus(err error, into **statusError) bool { return errors.As(err, into) }
