package elasticsearch

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Check looks at the server without changing anything.
func (t *Target) Check(ctx context.Context, _ string, _ []*change.Table) ([]sink.Finding, error) {
	where := t.client.base
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
		return []sink.Finding{{Level: sink.Wrong, Where: where, What: err.Error(), Why: p.Why, Mend: p.Mend}}, nil
	}
	found := []sink.Finding{{Level: sink.Good, Where: where, What: fmt.Sprintf("cluster %s answers, %s", health.Name, health.Status)}}
	if health.Status == "red" {
		found[0] = sink.Finding{Level: sink.Wrong, Where: where, What: "the cluster is red", Why: "some indexes cannot be written", Mend: "GET /_cluster/allocation/explain"}
	}
	if t.config.Deletes == Delete {
		found = append(found, sink.Finding{Level: sink.Warning, Where: where, What: "deletes: delete",
			Why: "a stale write that comes later than index.gc_deletes (a minute by default) brings a deleted row back", Mend: "deletes: tombstone"})
	}
	return append(found, t.checkLargest(ctx)...), nil
}

// checkLargest holds bulk_bytes against what the server takes. Hosted servers do not tell.
func (t *Target) checkLargest(ctx context.Context) []sink.Finding {
	var answer struct {
		Nodes map[string]struct {
			HTTP struct {
				Max int64 `json:"max_content_length_in_bytes"`
			} `json:"http"`
		} `json:"nodes"`
	}
	if t.client.do(ctx, "GET", "/_nodes/http?filter_path=nodes.*.http.max_content_length_in_bytes", nil, &answer) != nil {
		return nil
	}
	for _, node := range answer.Nodes {
		if node.HTTP.Max > 0 && node.HTTP.Max < int64(t.config.BulkBytes) {
			return []sink.Finding{{Level: sink.Warning, Where: t.client.base,
				What: fmt.Sprintf("bulk_bytes is %d, the server takes requests of %d bytes", t.config.BulkBytes, node.HTTP.Max),
				Why:  "large batches are sent in vain at first, and a row larger than that stops its table",
				Mend: fmt.Sprintf("set elasticsearch.bulk_bytes to %d, or raise http.max_content_length", node.HTTP.Max)}}
		}
	}
	return nil
}
