package elasticsearch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// item is one action of a _bulk request.
type item struct {
	offset int64 // of the change
	from   int   // where its lines begin and end in the batch's buffer
	to     int
}

func (i item) size() int { return i.to - i.from }

// answer is what _bulk says of one action.
type answer struct {
	Status int `json:"status"`
	Error  *struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
		Cause  struct {
			Reason string `json:"reason"`
		} `json:"caused_by"`
	} `json:"error"`
}

// outcome is what follows from an answer.
type outcome int

const (
	settled outcome = iota // done, or lost to a newer version
	again                  // the server was too busy for it
	badDocument
	badIndex // the index takes nothing now, whatever the document is
)

// indexErrors are errors of status 400 that speak of the index: no document can be blamed for them.
var indexErrors = map[string]bool{
	"index_closed_exception": true, "invalid_index_name_exception": true, "validation_exception": true,
	"cluster_block_exception": true, "invalid_alias_name_exception": true,
}

func (a *answer) outcome() outcome {
	kind := ""
	if a.Error != nil {
		kind = a.Error.Type
	}
	switch {
	case a.Status >= 200 && a.Status < 300:
		return settled
	case a.Status == http.StatusConflict && kind == "version_conflict_engine_exception":
		return settled // an equal version is already done, an older one lost
	case a.Status == http.StatusNotFound && a.Error == nil:
		return settled // a delete of what is not there
	case a.Status == http.StatusBadRequest && !indexErrors[kind]:
		return badDocument
	case a.Status >= 400 && a.Status < 500 && a.Status != http.StatusTooManyRequests && a.Status != http.StatusRequestTimeout && a.Status != http.StatusConflict:
		return badIndex
	}
	return again
}

// The pauses between tries of actions that the server was too busy for. They end soon: the runtime tries again too, and makes
// sure first that the partition is still ours.
const (
	busyTries = 5
	busyFirst = 100 * time.Millisecond
)

// send sends the actions in requests of at most bulkBytes, and again those that the server was too busy for. Actions of one
// document keep their order only by their versions, which is all that is needed.
func (t *Target) send(ctx context.Context, buffer []byte, items []item) error {
	for try := 1; ; try++ {
		var busy []item
		for len(items) > 0 {
			n, size := 1, items[0].size()
			for n < len(items) && int64(size+items[n].size()) <= t.bulkBytes.Load() {
				size += items[n].size()
				n++
			}
			left, err := t.bulk(ctx, buffer, items[:n])
			if err != nil {
				return err
			}
			busy, items = append(busy, left...), items[n:]
		}
		if items = busy; len(items) == 0 {
			return nil
		}
		if try == busyTries {
			return &change.Problem{Kind: change.Retry, What: fmt.Sprintf("the server was too busy for %d actions %d times", len(items), try), Where: t.client.base,
				Mend: "look at its load and its write queue; it is tried again"}
		}
		pause := busyFirst << (try - 1)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// bulkPath asks for what is needed of the answer only. require_alias keeps the server from making a lost index by itself. (It
// does not hold for deletes, which Elasticsearch makes an index for; the next document is refused then.)
const bulkPath = "/_bulk?require_alias=true&filter_path=items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"

// bulk sends one _bulk request and returns the actions that have to be sent again.
func (t *Target) bulk(ctx context.Context, buffer []byte, items []item) (busy []item, err error) {
	body := buffer[items[0].from:items[len(items)-1].to]
	if !contiguous(items) {
		body = nil
		for _, i := range items {
			body = append(body, buffer[i.from:i.to]...)
		}
	}
	var result struct {
		Items []map[string]answer `json:"items"`
	}
	err = t.client.do(ctx, "POST", bulkPath, body, &result)
	switch {
	case hasStatus(err, http.StatusTooManyRequests, ""):
		return items, nil // the whole request was refused
	case hasStatus(err, http.StatusRequestEntityTooLarge, ""):
		return t.bulkHalves(ctx, buffer, items)
	case err != nil:
		return nil, t.client.judge("a _bulk request failed", err)
	}
	// Whatever stands between us and the server may answer 200 with something else.
	if len(result.Items) != len(items) {
		return nil, &change.Problem{Kind: change.Retry, What: fmt.Sprintf("_bulk answered for %d actions of %d", len(result.Items), len(items)), Where: t.client.base}
	}
	for i, byAction := range result.Items {
		if len(byAction) != 1 {
			return nil, &change.Problem{Kind: change.Retry, What: "_bulk answered with something else than its actions", Where: t.client.base}
		}
		for _, a := range byAction {
			switch a.outcome() {
			case again:
				busy = append(busy, items[i])
			case badDocument:
				return nil, &sink.Refused{Offset: items[i].offset, Err: a.problem()}
			case badIndex:
				return nil, a.problem()
			}
		}
	}
	return busy, nil
}

// bulkHalves sends what the server found too large in halves, until it takes them or a single document is left.
func (t *Target) bulkHalves(ctx context.Context, buffer []byte, items []item) (busy []item, err error) {
	if len(items) == 1 {
		return nil, &sink.Refused{Offset: items[0].offset, Err: &change.Problem{
			Kind: change.Poison, What: fmt.Sprintf("the server does not take a request of %d bytes, which is one document", items[0].size()), Where: t.client.base,
			Why: "the row would be missing in the index", Mend: "raise http.max_content_length at the server (or what its proxy allows)"}}
	}
	size := int64(0)
	for _, i := range items {
		size += int64(i.size())
	}
	if half := max(size/2, bulkBytesMin); half < t.bulkBytes.Load() {
		t.bulkBytes.Store(half)
		t.log.Warn("the server does not take requests as large as bulk_bytes: sending smaller ones", "target", t.client.base, "bytes", size, "now", half,
			"mend", "lower elasticsearch.bulk_bytes, or raise http.max_content_length at the server")
	}
	half := len(items) / 2
	for _, part := range [][]item{items[:half], items[half:]} {
		left, err := t.bulk(ctx, buffer, part)
		if err != nil {
			return nil, err
		}
		busy = append(busy, left...)
	}
	return busy, nil
}

func contiguous(items []item) bool {
	for i := 1; i < len(items); i++ {
		if items[i].from != items[i-1].to {
			return false
		}
	}
	return true
}

// problem says why an action was not done.
func (a *answer) problem() error {
	p := &change.Problem{
		Kind: change.Poison, What: "the server refuses a document", Where: "HTTP " + strconv.Itoa(a.Status),
		Why: "the row would be missing in the index",
		Mend: "where a field's mapping does not fit the column any more, make an index with one that does and move the alias to it, or: sluice replay --to beginning --empty;" +
			" the topic goes on by itself then (on_error: dead_letter sets such records aside)",
	}
	if a.outcome() == badIndex {
		p.What, p.Why, p.Mend = "the index takes no documents", "the topic's rows would be missing in it", "mend the index; the topic goes on by itself then"
	}
	if a.Error == nil {
		return p
	}
	p.What += ": " + a.Error.Type + ": " + a.Error.Reason
	if a.Error.Cause.Reason != "" {
		p.What += ": " + a.Error.Cause.Reason
	}
	if a.Status == http.StatusNotFound {
		p.Why = "the index or its alias was taken away"
		p.Mend = "bring it back (a snapshot, the alias), or begin anew: sluice replay --to beginning --empty"
	}
	return p
}
