package source

import (
	"context"
	"sync/atomic"

	"github.com/sluice-cdc/sluice/source/binlog"
)

// queue hands events from the binlog reader to the loop. It is bounded in bytes, for an event may be as large as
// max_allowed_packet, and in number, for an event may be tiny.
type queue struct {
	events   chan *binlog.Event
	bytes    atomic.Int64
	maxBytes int64
	room     chan struct{} // told when bytes have gone down
}

const queueEvents = 8192

func newQueue(maxBytes int64) *queue {
	return &queue{events: make(chan *binlog.Event, queueEvents), maxBytes: maxBytes, room: make(chan struct{}, 1)}
}

// put waits until there is room. One event larger than the bound is let in alone: it is in memory already.
func (q *queue) put(ctx context.Context, ev *binlog.Event) error {
	size := int64(ev.Bytes)
	for q.bytes.Load() > 0 && q.bytes.Load()+size > q.maxBytes {
		select {
		case <-q.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	q.bytes.Add(size)
	select {
	case q.events <- ev:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// took is called for each event that came out of q.events.
func (q *queue) took(ev *binlog.Event) {
	q.bytes.Add(-int64(ev.Bytes))
	select {
	case q.room <- struct{}{}:
	default:
	}
}
