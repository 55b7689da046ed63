package elasticsearch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	// scanPage is how many documents one page of a scan holds: all of a page is in memory, at the server too.
	scanPage = 500
	// scanKeep is how long the server keeps a scan between two pages.
	scanKeep = "5m"
)

// page is one answer of a scroll.
type page struct {
	ScrollID string `json:"_scroll_id"`
	Hits     struct {
		Hits []hit `json:"hits"`
	} `json:"hits"`
}

type hit struct {
	Version int64                      `json:"_version"`
	Source  map[string]json.RawMessage `json:"_source"`
}

// Scan reads a table's documents back as people see them: through the alias. Whole tables and single keys are served; key
// ranges are not, for the server does not know the order of MySQL's collations.
func (t *Target) Scan(ctx context.Context, r sink.Scan, each func(sink.Row) error) error {
	if r.After != nil || r.Through != nil {
		return fmt.Errorf("scan of a key range of an index: %w", errors.ErrUnsupported)
	}
	alias := t.config.alias(r.Source, r.Table.TableName)
	if err := t.client.do(ctx, "POST", path(alias)+"/_refresh", nil, nil); err != nil {
		return t.client.judge("the index could not be refreshed", err)
	}
	s := scanner{t: t, table: r.Table, fields: fieldNames(r.Table), each: each}
	for i := range r.Table.Columns {
		s.columns = append(s.columns, r.Table.Columns[i].Name)
	}
	if len(r.Keys) > 0 {
		return s.named(ctx, alias, r.Keys)
	}
	return s.all(ctx, alias)
}

// scanner is one scan.
type scanner struct {
	t       *Target
	table   *change.Table
	columns []string
	fields  []string
	each    func(sink.Row) error
}

func (s *scanner) all(ctx context.Context, alias string) error {
	var p page
	err := s.t.client.do(ctx, "POST", path(alias)+"/_search?scroll="+scanKeep, map[string]any{"size": scanPage, "version": true, "sort": []string{"_doc"}}, &p)
	for err == nil && len(p.Hits.Hits) > 0 {
		if err := s.rows(p.Hits.Hits); err != nil {
			s.end(ctx, p.ScrollID)
			return err
		}
		id := p.ScrollID
		p = page{}
		err = s.t.client.do(ctx, "POST", "/_search/scroll", map[string]any{"scroll": scanKeep, "scroll_id": id}, &p)
	}
	s.end(ctx, p.ScrollID)
	return s.t.client.judge("the index could not be read", err)
}

// end lets the server forget a scan; it does so by itself after a while.
func (s *scanner) end(ctx context.Context, id string) {
	if id != "" {
		_ = s.t.client.do(ctx, "DELETE", "/_search/scroll", map[string]any{"scroll_id": id}, nil)
	}
}

// named reads the documents of single keys.
func (s *scanner) named(ctx context.Context, alias string, keys [][]change.Value) error {
	for len(keys) > 0 {
		n := min(len(keys), scanPage)
		ids := make([]string, n)
		for i, key := range keys[:n] {
			ids[i] = string(appendID(nil, key))
		}
		keys = keys[n:]
		var p page
		query := map[string]any{"size": n, "version": true, "query": map[string]any{"ids": map[string]any{"values": ids}}}
		if err := s.t.client.do(ctx, "POST", path(alias)+"/_search", query, &p); err != nil {
			return s.t.client.judge("the index could not be read", err)
		}
		if err := s.rows(p.Hits.Hits); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) rows(hits []hit) error {
	for _, h := range hits {
		source := h.Source
		if s.t.config.Documents == Envelope {
			source = nil
			if err := json.Unmarshal(h.Source["after"], &source); err != nil {
				return fmt.Errorf("a document's after: %w", err)
			}
		}
		row := sink.Row{Columns: s.columns, Version: change.Version(h.Version), Values: make([]change.Value, len(s.columns))}
		for i := range s.columns {
			var err error
			if row.Values[i], err = readValue(&s.table.Columns[i], source[s.fields[i]]); err != nil {
				return fmt.Errorf("field %s: %w", s.fields[i], err)
			}
		}
		if err := s.each(row); err != nil {
			return err
		}
	}
	return nil
}
