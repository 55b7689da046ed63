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

// answer is what _bulk says of one action.
type answer struct {
	Status int `json:"status"`
	Error  struct {
		Type   string `json:"type"`
		Reason string `json:"reason"`
	} `json:"error"`
}

// stale and done actions: an equal version is already done, an older one lost to a newer; a delete of what is not there is done.
func (a *answer) settled() bool {
	return a.Status < 300 || a.Status == http.StatusConflict || a.Status == http.StatusNotFound && a.Error.Type == ""
}

// again reports whether the server was only too busy for this one.
func (a *answer) again() bool {
	return a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable || a.Status == http.StatusGatewayTimeout
}

// The pauses between tries of actions that the server was too busy for.
const (
	busyTries = 8
	busyFirst = 100 * time.Millisecond
	busyMax   = 5 * time.Second
)

// send sends the actions in requests of at most BulkBytes, and again those that the server was too busy for. Actions of one
// document keep their order only by their versions, which is all that is needed.
func (t *Target) send(ctx context.Context, buffer []byte, items []item) error {
	pause := busyFirst
	for try := 0; len(items) > 0; try++ {
		var busy []item
		for len(items) > 0 {
			n, size := 1, items[0].to-items[0].from
			for n < len(items) && size+items[n].to-items[n].from <= t.config.BulkBytes {
				size += items[n].to - items[n].from
				n++
			}
			left, err := t.request(ctx, buffer, items[:n])
			if err != nil {
				return err
			}
			busy, items = append(busy, left...), items[n:]
		}
		if items = busy; len(items) == 0 {
			return nil
		}
		if try == busyTries {
			return &change.Problem{Kind: change.Retry, What: fmt.Sprintf("the server was too busy for %d actions %d times", len(items), try+1), Where: t.client.base,
				Mend: "look at its load and queues; it is tried again"}
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, busyMax)
	}
	return nil
}

// request sends one _bulk request and returns the actions that have to be sent again.
func (t *Target) request(ctx context.Context, buffer []byte, items []item) (busy []item, err error) {
	body := buffer[items[0].from:items[len(items)-1].to]
	if !contiguous(items) {
		body = nil
		for _, i := range items {
			body = append(body, buffer[i.from:i.to]...)
		}
	}
	var result struct {
		Errors bool                `json:"errors"`
		Items  []map[string]answer `json:"items"`
	}
	path := "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"
	if err := t.client.do(ctx, "POST", path, body, &result); err != nil {
		var status *statusError
		if asStatus(err, &status) && status.status == http.StatusTooManyRequests {
			return items, nil // the whole request was refused
		}
		return nil, t.client.judge("a _bulk request failed", err)
	}
	if !result.Errors {
		return nil, nil
	}
	if len(result.Items) != len(items) {
		return nil, &change.Problem{Kind: change.Retry, What: fmt.Sprintf("_bulk answered for %d actions of %d", len(result.Items), len(items)), Where: t.client.base}
	}
	for i, byAction := range result.Items {
		for _, a := range byAction {
			switch {
			case a.settled():
			case a.again():
				busy = append(busy, items[i])
			default:
				return nil, refused(&a, items[i].offset)
			}
		}
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

// refused names the change that the server does not take.
func refused(a *answer, offset int64) error {
	p := &change.Problem{
		Kind: change.Poison, What: "the server refuses a document: " + a.Error.Type + ": " + a.Error.Reason, Where: "HTTP " + strconv.Itoa(a.Status),
		Why:  "the row would be missing in the index",
		Mend: "mend the index's mapping; the topic goes on by itself then (or choose on_error: dead_letter for it)",
	}
	if a.Status == http.StatusNotFound {
		p.What, p.Mend = "the index is not there: "+a.Error.Reason, "make it, or set elasticsearch.create_indexes: true and restart the sink"
	}
	return &sink.Refused{Offset: offset, Err: p}
}
