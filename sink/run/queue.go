package run

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordOverhead is what a record costs in memory besides its bytes.
const recordOverhead = 200

// recordBytes is what the record holds in memory.
func recordBytes(r *kgo.Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
}

// queue holds the records of one partition between the fetcher and the worker. The bound is kept by pausing the
// partition: one poll's worth may come above it.
type queue struct {
	signal chan struct{} // has an element when there is something new
	limit  func() int    // how many bytes may wait
	resume func()        // called when there is room again after put said that there is none

	mu      sync.Mutex // guards the following
	records []*kgo.Record
	bytes   int
	full    bool
	err     error
}

func newQueue(limit func() int, resume func()) *queue {
	return &queue{signal: make(chan struct{}, 1), limit: limit, resume: resume}
}

// put adds records, and reports whether the queue has just become full.
func (q *queue) put(records []*kgo.Record) (full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.records = append(q.records, records...)
	for _, r := range records {
		q.bytes += recordBytes(r)
	}
	full = !q.full && q.bytes > q.limit()
	q.full = q.full || full
	q.wake()
	return full
}

// fail gives the worker an error once it has taken what is there.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// take moves records into p until p is full; an error of fail comes when there are no records left.
func (q *queue) take(p *pending, maxBytes, maxRows int) error {
	q.mu.Lock()
	n := 0
	for n < len(q.records) && !p.full(maxBytes, maxRows) {
		q.bytes -= p.add(q.records[n])
		n++
	}
	clear(q.records[:n])
	q.records = q.records[n:]
	if len(q.records) == 0 {
		q.records = nil
	}
	resume := q.full && q.bytes <= q.limit()/2
	if resume {
		q.full = false
	}
	var err error
	if len(q.records) == 0 && n == 0 {
		err = q.err
	}
	q.mu.Unlock()
	if resume {
		q.resume()
	}
	return err
}

// size returns the bytes that wait.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// pending is a run of records that is to become a batch.
type pending struct {
	from, next int64
	records    []*kgo.Record
	bytes      int
	rows       int            // records that are changes: no transaction markers
	dead       map[int64]bool // offsets that went to the dead letters
}

func (p *pending) full(maxBytes, maxRows int) bool {
	return p.bytes >= maxBytes || p.rows >= maxRows || len(p.records) >= 2*maxRows
}

// before takes what lies before the offset out of p, and returns it; nil where there is nothing.
func (p *pending) before(offset int64) *pending {
	head := &pending{from: p.from, next: p.from, dead: p.dead}
	n := 0
	for n < len(p.records) && p.records[n].Offset < offset {
		head.add(p.records[n])
		n++
	}
	if n == 0 {
		return nil
	}
	p.from, p.records, p.bytes, p.rows = head.next, p.records[n:], p.bytes-head.bytes, p.rows-head.rows
	return head
}

// add takes a record and returns its bytes. One that lies before what is expected has been taken already.
func (p *pending) add(r *kgo.Record) int {
	n := recordBytes(r)
	if r.Offset < p.next {
		return n
	}
	p.next = r.Offset + 1
	p.bytes += n
	p.records = append(p.records, r)
	if !r.Attrs.IsControl() {
		p.rows++
	}
	return n
}
