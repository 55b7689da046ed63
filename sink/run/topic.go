package run

import (
	"fmt"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// topic is what this process knows of one topic, shared by the workers of its partitions.
type topic struct {
	name   string
	source string
	action Action

	mu       sync.Mutex // guards the following
	settings *sink.LogSettings
	latest   *change.Table
	keyID    int // the key schema of the incarnation; 0: none met yet
	keyOf    incarnation
	stop     *stopped // nil: the topic runs
}

// stopped is why a topic stands still, and who will try again.
type stopped struct {
	err   error
	since time.Time
	by    *worker
	over  chan struct{} // closed when the topic goes on
}

// meet notes the schema that a record came with.
func (t *topic) meet(table *change.Table) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest = table
}

// table returns the schema that was met last, or nil.
func (t *topic) table() *change.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.latest
}

// begin notes the incarnation that is read from now on; another one has key schemas of its own.
func (t *topic) begin(i incarnation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keyOf != i {
		t.keyOf, t.keyID = i, 0
	}
}

// pinKey refuses a second key schema in one incarnation (rule R1): equal keys would have other bytes, and be in
// other partitions.
func (t *topic) pinKey(id int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keyID == 0 {
		t.keyID = id
	}
	if t.keyID == id {
		return nil
	}
	return &change.Problem{Kind: change.Poison,
		What: fmt.Sprintf("the topic has keys of two schemas, %d and %d", t.keyID, id),
		Why:  "the same row's changes would be in two partitions, in no order",
		Mend: "publish the table into a new incarnation of its topic"}
}

// logSettings returns the topic's settings, and false while they are not known.
func (t *topic) logSettings() (sink.LogSettings, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settings == nil {
		return sink.LogSettings{}, false
	}
	return *t.settings, true
}

func (t *topic) setSettings(s *sink.LogSettings) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settings = s
}

// clockSkew is by how much the broker's clock and ours may differ where a record's age is judged.
const clockSkew = time.Minute

// trust returns the time since which records can be trusted in what they say of before: those that were appended
// before it may have lost their predecessor to compaction.
func (t *topic) trust() int64 {
	s, known := t.logSettings()
	switch {
	case !known:
		return 1<<63 - 1
	case !s.Compacted:
		return 0
	}
	return time.Now().Add(clockSkew - s.MinCompactionLag).UnixMilli()
}

// halt stops the topic for all its partitions here. The worker that met the error tries again; the others wait. It
// returns false where another worker has stopped it already.
func (t *topic) halt(by *worker, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil && t.stop.by != by {
		return false
	}
	if t.stop == nil {
		t.stop = &stopped{since: time.Now(), by: by, over: make(chan struct{})}
	}
	t.stop.err = err
	return true
}

// release lets the topic go on, if the worker is the one that stopped it.
func (t *topic) release(by *worker) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop == nil || t.stop.by != by {
		return false
	}
	close(t.stop.over)
	t.stop = nil
	return true
}

// halted returns why the topic stands still, or nil.
func (t *topic) halted() *stopped {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop
}
