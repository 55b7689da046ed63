package elasticsearch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// scanPage is how many documents one page of a scan holds.
const scanPage = 2000

// page is one answer of a scroll.
type page struct {
	ScrollID string `json:"_scroll_id"`
	Hits     struct {
		Hits []struct {
			Version int64                      `json:"_version"`
			Source  map[string]json.RawMessage `json:"_source"`
		} `json:"hits"`
	} `json:"hits"`
}

// Scan reads a table's documents back, those that are no tombstones. It serves whole tables in flat form.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	if len(r.Keys) > 0 || r.After != nil || r.Through != nil || t.config.Documents != Flat {
		return fmt.Errorf("scan of a part of an index: %w", errors.ErrUnsupported)
	}
	rows := t.config.rows(t.config.index(r.Source, r.Table.TableName))
	if err := t.client.do(ctx, "POST", "/"+url.PathEscape(rows)+"/_refresh", nil, nil); err != nil {
		return t.client.judge("the index could not be refreshed", err)
	}
	columns := make([]string, len(r.Table.Columns))
	for i := range columns {
		columns[i] = r.Table.Columns[i].Name
	}
	var p page
	err := t.client.do(ctx, "POST", "/"+url.PathEscape(rows)+"/_search?scroll=2m&version=true", map[string]any{"size": scanPage, "sort": []string{"_doc"}}, &p)
	for err == nil && len(p.Hits.Hits) > 0 {
		for _, hit := range p.Hits.Hits {
			if _, gone := hit.Source[fieldDeleted]; gone {
				continue
			}
			row := sink.Row{Columns: columns, Version: change.Version(hit.Version), Values: make([]change.Value, len(columns))}
			for i, name := range columns {
				if row.Values[i], err = readValue(&r.Table.Columns[i], hit.Source[name]); err != nil {
					return fmt.Errorf("field %s: %w", name, err)
				}
			}
			if err := each(row); err != nil {
				return err
			}
		}
		id := p.ScrollID
		p = page{}
		err = t.client.do(ctx, "POST", "/_search/scroll", map[string]any{"scroll": "2m", "scroll_id": id}, &p)
	}
	if p.ScrollID != "" {
		_ = t.client.do(ctx, "DELETE", "/_search/scroll", map[string]any{"scroll_id": p.ScrollID}, nil) // it ends by itself otherwise
	}
	return t.client.judge("the index could not be read", err)
}

func contains(text, part string) bool { return strings.Contains(text, part) }
