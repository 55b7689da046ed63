package elasticsearch

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

const (
	// purgeEvery is how often each index is looked through for old tombstones.
	purgeEvery = time.Hour
	// purgePage is how many of them are removed at once, after a batch; when there are more, the next batch goes on.
	purgePage = 1000
)

// purge removes some of the tombstones that are older than any record that could still come. It is done with _search and _bulk,
// not with _delete_by_query: a cluster may lack the module, and its tasks outlive us. What goes wrong is logged and tried again
// later: a tombstone that stays too long does no harm.
func (t *Target) purge(ctx context.Context, alias string) {
	if t.config.Deletes != Tombstone || !t.purgeDue(alias) {
		return
	}
	removed, err := t.purgeOnce(ctx, alias)
	switch {
	case err != nil && ctx.Err() == nil:
		t.log.Warn("old tombstones could not be removed", "index", alias, "error", err)
	case removed == purgePage:
		t.mu.Lock()
		t.purged[alias] = time.Time{} // there are more
		t.mu.Unlock()
	case removed > 0:
		t.log.Debug("old tombstones removed", "index", alias, "documents", removed)
	}
}

// purgeDue reports whether it is time, and takes the turn. The first look is purgeEvery after the start.
func (t *Target) purgeDue(alias string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.purged[alias]
	if known && t.now().Sub(last) < t.purgeEvery {
		return false
	}
	t.purged[alias] = t.now()
	return known
}

func (t *Target) purgeOnce(ctx context.Context, alias string) (int, error) {
	x, err := t.look(ctx, alias)
	if err != nil || x == nil {
		return 0, err
	}
	var found struct {
		Hits struct {
			Hits []struct {
				ID   string `json:"_id"`
				Seq  int64  `json:"_seq_no"`
				Term int64  `json:"_primary_term"`
			} `json:"hits"`
		} `json:"hits"`
	}
	before := t.now().Add(-t.config.KeepTombstones).UnixMilli()
	query := map[string]any{"size": purgePage, "_source": false, "seq_no_primary_term": true,
		"query": map[string]any{"range": map[string]any{fieldDeletedAt: map[string]any{"lt": before}}}}
	if err := t.client.do(ctx, "POST", path(x.name)+"/_search", query, &found); err != nil {
		return 0, err
	}
	var body []byte
	for _, h := range found.Hits.Hits { // one that was written since, by a row that is back, has another number
		body = fmt.Appendf(body, `{"delete":{"_index":%s,"_id":%s,"if_seq_no":%d,"if_primary_term":%d}}`+"\n", quote(x.name), quote(h.ID), h.Seq, h.Term)
	}
	if len(body) == 0 {
		return 0, nil
	}
	var result struct {
		Items []map[string]json.RawMessage `json:"items"`
	}
	if err := t.client.do(ctx, "POST", "/_bulk?filter_path=items.*.status", body, &result); err != nil {
		return 0, err
	}
	return len(found.Hits.Hits), nil
}

// aliasOfTopic notes which alias a topic's batches go to, so that those without changes can purge too.
func (t *Target) aliasOfTopic(topic, source string, table *change.Table) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if table != nil {
		t.aliases[topic] = t.config.alias(source, table.TableName)
	}
	return t.aliases[topic]
}
