package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
)

// Run holds the tables of a group's topics against its target. Its fields are set before Compare is called.
type Run struct {
	Target   sink.Target
	Waiter   *Waiter
	Registry *registry.Client
	Servers  map[string]*Server // by source
	Topics   []Topic
	State    *State
	Log      *slog.Logger

	ByRows   bool  // hash every row here, also where the servers could sum them up
	Parallel int   // tables side by side, and key ranges side by side, over all tables; at most 16
	Rate     int64 // rows of the sources a second, over all; 0: as many as go
	Limit    int   // differing rows of a table that are kept with both images
	Keys     int   // of a table, held at the same time where the target cannot be read by key range; of each some hundred bytes

	// Tell is called about once a second with how far the run is. It may be nil.
	Tell func(Progress)

	pace   *limiter
	slots  chan struct{} // one for each range that is being compared
	tables []*tableRun
}

// Progress is how far a run is.
type Progress struct {
	Rows          int64 // of the sources, read so far
	Estimate      int64 // of all, by the servers' statistics; where a target is read in passes, times those
	RowsPerSecond float64
	Left          time.Duration // 0: not known
	Differences   int64
	Table         string // one that is being compared
}

// Compare goes over all tables and returns what differs. The tables' errors are joined; the report tells what was compared.
func (r *Run) Compare(ctx context.Context) (*Report, error) {
	scanner, ok := sink.Ability[sink.Scanner](r.Target)
	if !ok {
		return nil, &change.Problem{Kind: change.Configuration, What: "this target cannot be read back", Why: "it has no Scan"}
	}
	r.pace, r.slots = newLimiter(r.Rate), make(chan struct{}, r.Parallel)
	if err := r.prepare(ctx, scanner); err != nil {
		return nil, err
	}
	began := time.Now()
	told := r.tellEvery(ctx, time.Second)
	err := r.compareAll(ctx)
	told()
	report := r.report()
	report.Seconds = time.Since(began).Seconds()
	if saved := r.save(); err == nil {
		err = saved
	}
	return report, err
}

// prepare looks at every table before any is compared.
func (r *Run) prepare(ctx context.Context, scanner sink.Scanner) error {
	for _, topic := range r.Topics {
		tables, err := r.views(ctx, topic)
		if err != nil {
			return err
		}
		for _, t := range tables {
			t.scanner = scanner
		}
		r.tables = append(r.tables, tables...)
	}
	return nil
}

// views returns the topic's table, once for each table of the target in which its rows stand.
func (r *Run) views(ctx context.Context, topic Topic) ([]*tableRun, error) {
	t, err := r.table(ctx, topic)
	if err != nil {
		return nil, err
	}
	viewer, ok := r.Target.(sink.Viewer)
	if !ok {
		r.resume(t)
		return []*tableRun{t}, nil
	}
	views, err := viewer.Views(ctx, topic.Source, t.table)
	if err != nil {
		return nil, err
	}
	if len(views) == 0 {
		r.resume(t)
		return []*tableRun{t}, nil
	}
	var tables []*tableRun
	for i := range views {
		if i > 0 {
			if t, err = r.table(ctx, topic); err != nil {
				return nil, err
			}
		}
		t.see(&views[i])
		tables = append(tables, t)
		r.resume(t)
	}
	return tables, nil
}

func (r *Run) table(ctx context.Context, topic Topic) (*tableRun, error) {
	text, id, err := r.Registry.Latest(ctx, topic.Name+"-value")
	if err == nil && text == "" {
		err = &change.Problem{Kind: change.Retry, What: "the registry has no schema of " + topic.Name + "-value", Mend: "is it the registry that the source writes to?"}
	}
	if err != nil {
		return nil, err
	}
	decoder, err := avro.NewDecoder(text)
	if err != nil {
		return nil, err
	}
	table := decoder.Table()
	parsed, err := schema.Parse(text)
	if err != nil {
		return nil, err
	}
	t := &tableRun{run: r, topic: topic, table: table, published: table, names: published(table), value: decoder, valueID: id, decoders: make(map[int]*avro.KeyDecoder)}
	t.shaper, _ = sink.Ability[sink.Shaper](r.Target)
	if t.source, err = r.Servers[topic.Source].loadTable(ctx, table, parsed.Shaping); err != nil {
		return nil, err
	}
	t.result = TableResult{Table: table.String(), Source: topic.Source, Topic: topic.Name, KeyColumns: table.KeyNames()}
	return t, nil
}

// resume takes up what an earlier run has compared of the table.
func (r *Run) resume(t *tableRun) {
	if s := r.State.Tables[t.name()]; s != nil && s.TopicID == t.topic.ID {
		t.result, t.place = s.Result, s.Place
		t.rows.Store(t.result.SourceRows)
		t.differ.Store(t.result.Differences)
	}
}

// name tells the table from others in the state: a topic's rows may stand in several.
func (t *tableRun) name() string {
	if t.view == nil {
		return t.topic.Name
	}
	return sink.LaneTopic(t.topic.Name, t.table.TableName)
}

// compareAll compares the tables side by side. A table that fails leaves the others alone.
func (r *Run) compareAll(ctx context.Context) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, r.Parallel)
	errs := make([]error, len(r.tables))
	for i, t := range r.tables {
		if s := r.State.Tables[t.name()]; s != nil && s.Done && s.TopicID == t.topic.ID {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = r.compareOne(ctx, t)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errors.Join(errs...)
}

// compareOne waits until what the source shows now is applied, so that what differs then is little, and compares.
func (r *Run) compareOne(ctx context.Context, t *tableRun) error {
	mark, err := t.source.server.Now(ctx)
	if err == nil {
		err = t.applied(ctx, mark, quick)
	}
	if err == nil {
		err = t.compare(ctx)
	}
	if err == nil {
		t.mu.Lock()
		r.note(t, true)
		t.mu.Unlock()
	}
	return err
}

// note puts a table's progress into the state. The table's lock is held.
func (r *Run) note(t *tableRun, done bool) {
	s := &tableState{TopicID: t.topic.ID, Done: done, Place: t.place, Result: t.result}
	s.Place.ahead = nil
	s.Result.Rows = slices.Clone(t.result.Rows)
	s.Result.Kinds = make(map[Kind]int64, len(t.result.Kinds))
	for k, n := range t.result.Kinds {
		s.Result.Kinds[k] = n
	}
	r.State.mu.Lock()
	defer r.State.mu.Unlock()
	if old := r.State.Tables[t.name()]; old != nil && old.Done && old.TopicID == t.topic.ID {
		return
	}
	r.State.Tables[t.name()] = s
}

// save writes how far all tables are.
func (r *Run) save() error {
	for _, t := range r.tables {
		t.mu.Lock()
		r.note(t, false)
		t.mu.Unlock()
	}
	return r.State.write()
}

func (r *Run) report() *Report {
	report := &Report{Group: r.Waiter.Group, Started: r.State.Started}
	for _, t := range r.tables {
		t.mu.Lock()
		result := t.result
		t.mu.Unlock()
		slices.SortFunc(result.Rows, func(a, b Difference) int { return compareKeys(a.Key, b.Key) })
		report.Differences += result.Differences
		report.Undecided += result.Undecided
		report.Tables = append(report.Tables, result)
	}
	return report
}

// compareKeys orders keys for people: numbers by their length first.
func compareKeys(a, b []string) int {
	for i := range min(len(a), len(b)) {
		numbers := strings.Trim(a[i], "0123456789") == "" && strings.Trim(b[i], "0123456789") == ""
		if c := cmp.Compare(len(a[i]), len(b[i])); numbers && c != 0 {
			return c
		}
		if c := strings.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

// tellEvery tells how far the run is, and saves it now and then, until the function that it returns is called.
func (r *Run) tellEvery(ctx context.Context, every time.Duration) (stop func()) {
	done, over := make(chan struct{}), make(chan struct{})
	began, first := time.Now(), r.progress().Rows
	go func() {
		defer close(over)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 1; ; n++ {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			p := r.progress()
			p.RowsPerSecond = float64(p.Rows-first) / time.Since(began).Seconds()
			if p.RowsPerSecond > 0 && p.Estimate > p.Rows {
				p.Left = time.Duration(float64(p.Estimate-p.Rows) / p.RowsPerSecond * float64(time.Second))
			}
			if r.Tell != nil {
				r.Tell(p)
			}
			if n%saveTicks == 0 {
				if err := r.save(); err != nil {
					r.Log.Warn("the state file was not written", "error", err)
				}
			}
		}
	}()
	return func() { close(done); <-over }
}

const saveTicks = 5

func (r *Run) progress() Progress {
	var p Progress
	for _, t := range r.tables {
		rows := t.rows.Load()
		t.mu.Lock()
		estimate := t.source.rows * int64(max(t.place.Passes, 1))
		t.mu.Unlock()
		p.Rows += rows
		p.Differences += t.differ.Load()
		p.Estimate += max(estimate, rows)
		if rows > 0 && rows < estimate {
			p.Table = t.table.String()
		}
	}
	return p
}

// limiter paces the reading of the sources.
type limiter struct {
	mu   sync.Mutex // guards the following
	rate int64
	due  time.Time
}

func newLimiter(rate int64) *limiter { return &limiter{rate: rate, due: time.Now()} }

// wait takes as long as so many rows may, less what is given back meanwhile.
func (l *limiter) wait(ctx context.Context, rows int64) error {
	for left := time.Until(l.add(rows)); left > 0; left = time.Until(l.add(0)) {
		select {
		case <-time.After(min(left, 100*time.Millisecond)):
		case <-ctx.Done():
			return fmt.Errorf("paced: %w", context.Cause(ctx))
		}
	}
	return nil
}

// add counts so many rows more, or gives back what was counted and is not there; it returns when the next may be read.
func (l *limiter) add(rows int64) (due time.Time) {
	now := time.Now()
	if l.rate <= 0 {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.due.Before(now) {
		l.due = now
	}
	l.due = l.due.Add(time.Duration(float64(rows) / float64(l.rate) * float64(time.Second)))
	return l.due
}
