package crawl

import (
	"context"
	"slices"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// phase is what a crawl needs next.
type phase uint8

const (
	preparing phase = iota // its table's definition, and its ranges where it has none yet
	reading                // chunks of its ranges
	sweeping               // batches of keys from the topic
	finishing              // its last record
	closed
)

// crawl is one crawl of the Manager, whose lock guards all of it but the first four.
type crawl struct {
	id     string
	table  change.TableName
	over   context.Context // ends with the crawl, and with it what its workers are waiting for
	cancel context.CancelFunc

	record Progress
	phase  phase

	shape *shape     // from preparing on; nil: the table does not exist
	named []namedKey // of a crawl of named keys

	lanes   []lane // one for each range, in reading
	self    lane   // for what is done once: preparing, finishing
	batches []*batch
	flying  int // tasks at workers

	size  sizer
	note  string
	meter meter
}

// lane is one line of work of a crawl: its steps are done one after the other.
type lane struct {
	busy  bool
	tries int       // of the step that is next
	after time.Time // it is not to be tried before
	most  int       // rows that it may ask for after a failure; 0: no bound of its own
}

func (l *lane) ready(now time.Time) bool { return !l.busy && !now.Before(l.after) }

// batch is some keys of a sweep.
type batch struct {
	lane
	keys []namedKey
}

// step says what a task is.
type step uint8

const (
	prepareStep step = iota
	rowsStep         // the next chunk of a range
	keysStep         // the next named keys of a range
	sweepStep        // a batch of a sweep
	finishStep
)

// task is one step of a crawl, given to a worker. It holds copies of what may change meanwhile.
type task struct {
	crawl *crawl
	step  step
	lane  *lane
	index int // of the range

	shape    *shape
	where    string
	from, to []string
	limit    int   // rows; of named keys, keys
	expect   int64 // about their bytes
	keys     []namedKey
	from0    int // of named keys: the index of keys[0]
	to0      int // and that of the range's end
	batch    *batch
}

// keysMax is the most keys that one statement names: the optimizer's memory for ranges is bounded
// (range_optimizer_max_mem_size, 8 MB), and beyond it the table would be scanned.
const keysMax = 500

// next returns the crawl's next task, or when to ask again (the zero time: when something has changed).
func (c *crawl) next(now time.Time) (*task, time.Time) {
	switch c.phase {
	case preparing:
		return c.once(prepareStep, now)
	case reading:
		return c.nextRange(now)
	case sweeping:
		return c.nextBatch(now)
	case finishing:
		if c.flying == 0 {
			return c.once(finishStep, now)
		}
	}
	return nil, time.Time{}
}

// start marks a lane as busy with a new task.
func (c *crawl) start(s step, l *lane) *task {
	l.busy = true
	c.flying++
	t := &task{crawl: c, step: s, lane: l, shape: c.shape, where: c.record.Where, limit: c.size.rows()}
	if l.most > 0 {
		t.limit = min(t.limit, l.most)
	}
	t.expect = min(int64(c.size.perRow*float64(t.limit)*1.05), c.size.bytes)
	return t
}

func (c *crawl) once(s step, now time.Time) (*task, time.Time) {
	if c.self.busy {
		return nil, time.Time{}
	}
	if !c.self.ready(now) {
		return nil, c.self.after
	}
	return c.start(s, &c.self), time.Time{}
}

// nextRange takes the first range that nobody is at.
func (c *crawl) nextRange(now time.Time) (*task, time.Time) {
	var earliest time.Time
	for i := range c.lanes {
		l, r := &c.lanes[i], &c.record.Ranges[i]
		if r.Done || l.busy {
			continue
		}
		if !l.ready(now) {
			earliest = sooner(earliest, l.after)
			continue
		}
		t := c.start(rowsStep, l)
		t.index, t.from, t.to = i, r.From, r.To
		if r.Next != nil {
			t.from = r.Next
		}
		if c.named != nil {
			t.step, t.limit = keysStep, min(t.limit, keysMax)
			t.from0, t.to0 = namedRange(t.from, t.to, len(c.named))
			t.keys = slices.Clone(c.named[t.from0:min(t.to0, t.from0+t.limit)])
		}
		return t, time.Time{}
	}
	return nil, earliest
}

func (c *crawl) nextBatch(now time.Time) (*task, time.Time) {
	var earliest time.Time
	for _, b := range c.batches {
		if b.busy {
			continue
		}
		if !b.ready(now) {
			earliest = sooner(earliest, b.after)
			continue
		}
		t := c.start(sweepStep, &b.lane)
		t.batch, t.keys = b, slices.Clone(b.keys)
		return t, time.Time{}
	}
	return nil, earliest
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// advance moves a range forward and returns the whole record. The crawl may be over by now, and its ranges gone: see end.
func (c *crawl) advance(t *task, next []string, done bool, published int) Progress {
	c.record.Rows += int64(published)
	if !Ended(c.record.State) && (t.step == rowsStep || t.step == keysStep) {
		r := &c.record.Ranges[t.index]
		switch {
		case done:
			*r = Range{Done: true} // its bounds would only make each record longer
		default:
			r.Next = next
		}
	}
	return c.snapshot()
}

// snapshot copies the record. Bounds are never changed in place, so they may be shared.
func (c *crawl) snapshot() Progress {
	p := c.record
	p.Ranges = slices.Clone(p.Ranges)
	return p
}

// end stops the crawl in a last state; a chunk that waits for its high mark may still be published, even after the last record.
func (c *crawl) end(state, reason string) {
	if c.phase == finishing || c.phase == closed {
		return
	}
	c.record.State, c.record.Reason = state, reason
	c.phase, c.self, c.batches, c.note = finishing, lane{}, nil, ""
	c.cancel()
}

// newCrawl returns a crawl as its record has it.
func newCrawl(record Progress) *crawl {
	c := &crawl{id: record.ID, table: record.Table, record: record}
	c.over, c.cancel = context.WithCancel(context.Background())
	if Ended(record.State) {
		c.phase = closed
		c.cancel()
	}
	return c
}

// settled moves to the next phase when the ranges are read, and returns true when a sweep is to begin.
func (c *crawl) settled() (sweep bool) {
	if c.phase != reading || c.flying > 0 || rangesDone(c.record.Ranges) < len(c.record.Ranges) {
		return false
	}
	if c.record.Sweep {
		c.phase = sweeping
		return true
	}
	c.end(Done, "")
	return false
}

// status describes the crawl for people.
func (c *crawl) status(now time.Time) Status {
	rate := c.meter.perSecond(now)
	return Status{Progress: c.snapshot(), RowsPerSecond: rate, Left: left(&c.record, rate), Note: c.note}
}

// paced waits as long as the source's load asks for.
func paced(ctx context.Context, pace func(context.Context) error) error {
	if pace == nil {
		return ctx.Err()
	}
	return pace(ctx)
}
