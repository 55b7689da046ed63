package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

const (
	discoverEvery = 10 * time.Second
	endsEvery     = 5 * time.Second
	debtsEvery    = time.Minute
	tendTick      = 500 * time.Millisecond
)

// tend looks after what no single worker sees: topics that appear or change, the ends of the logs, debts.
func (s *Sink) tend(ctx context.Context) {
	tick := time.NewTicker(tendTick)
	defer tick.Stop()
	var discovered, measured, asked time.Time
	said := make(complaints)
	owed, seen := &worker{}, make(sightings) // who stops topics because of debts, and those that are open
	for {
		// Until a topic was found it is looked for at every tick: a new sink is waited for.
		if time.Since(discovered) >= discoverEvery || len(s.seenTopics()) == 0 {
			s.note(ctx, said, "discover topics", s.discover(ctx))
			discovered = time.Now()
		}
		if time.Since(measured) >= endsEvery {
			s.note(ctx, said, "look at the ends of the logs", s.measure(ctx))
			measured = time.Now()
		}
		if s.debtor != nil && s.progress != nil && time.Since(asked) >= debtsEvery {
			s.note(ctx, said, "look at debts", s.checkDebts(ctx, owed, seen, s.endsNow))
			asked = time.Now()
		}
		if s.pulse.last.Load() > 0 {
			s.health.Clear("start")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// complaints are when an error was last said in the log, by what was being done.
type complaints map[string]complaint

type complaint struct {
	text string
	at   time.Time
}

// complainEvery is how often the log says one and the same error.
const complainEvery = 15 * time.Second

// due reports whether the error is to be said now.
func (c complaints) due(doing string, err error) bool {
	if last := c[doing]; last.text == err.Error() && time.Since(last.at) < complainEvery {
		return false
	}
	c[doing] = complaint{err.Error(), time.Now()}
	return true
}

// note handles an error of the tender: it tries again by itself, unless a person is needed.
func (s *Sink) note(ctx context.Context, said complaints, doing string, err error) {
	if err == nil || ctx.Err() != nil {
		s.health.Clear(doing)
		delete(said, doing)
		return
	}
	if change.SeverityOf(err) == change.Configuration {
		s.fail(err)
		return
	}
	s.health.Set(doing, err)
	if !said.due(doing, err) {
		return
	}
	var p *change.Problem
	if !errors.As(err, &p) {
		p = &change.Problem{}
	}
	s.log.Warn("cannot "+doing+"; trying again", "error", err, "why", p.Why, "mend", p.Mend)
}

func (s *Sink) seenTopics() map[string]incarnation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// discover tells the group of topics that have come to match, and has the partitions of topics that are no longer
// what they were begun anew, which finds out what to do.
func (s *Sink) discover(ctx context.Context) error {
	found, err := listTopics(ctx, s.admin, s.patterns)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		s.health.Set("topics", &change.Problem{What: fmt.Sprintf("no topic matches %q yet", s.config.Topics),
			Mend: "is the source running, and are the patterns <source>.<database>.<table>?"})
		return nil
	}
	s.health.Clear("topics")
	before := s.seenTopics()
	s.mu.Lock()
	s.seen = found
	s.mu.Unlock()
	for name, now := range found {
		was, known := before[name]
		switch {
		case !known:
			s.log.Info("topic found", "topic", name, "partitions", now.count)
			s.group.AddConsumeTopics(name)
		case was != now:
			s.log.Warn("the topic is not what it was", "topic", name, "partitions", now.count, "before", was.count)
			s.beginAnew(name)
		}
	}
	return nil
}

// beginAnew has the workers of a topic find out anew where to begin.
func (s *Sink) beginAnew(name string) {
	for _, w := range s.allWorkers() {
		if w.at.topic == name {
			w.beginAnew()
		}
	}
}

func (w *worker) beginAnew() {
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// measure asks for the ends of the logs: for lag, for T at the end of the log, and for what lies too far back.
func (s *Sink) measure(ctx context.Context) error {
	workers := s.allWorkers()
	if len(workers) == 0 {
		return nil
	}
	names := make(map[string]bool)
	for _, w := range workers {
		names[w.at.topic] = true
	}
	var list []string
	for name := range names {
		list = append(list, name)
	}
	asked := time.Now()
	v := &survey{}
	if err := v.bounds(ctx, s.admin, list); err != nil {
		return err
	}
	for _, w := range workers {
		s.measured(ctx, w, v, asked)
	}
	s.showLag(workers)
	return nil
}

func (s *Sink) measured(ctx context.Context, w *worker, v *survey, asked time.Time) {
	e := ends{asked: asked, start: offset(v.starts, w.at), end: offset(v.ends, w.at), stable: offset(v.stables, w.at)}
	if e.start < 0 || e.end < 0 || e.stable < 0 {
		return
	}
	before := w.look()
	if before.next >= 0 && before.state == "reading" && before.next == before.ends.lastNext && e.stable > before.next && before.queue.size() == 0 {
		// Nothing has come since the last look though there are offsets: perhaps none of them has a record any more.
		to, err := s.emptyTo(ctx, w.at, before.next, e.stable)
		if err != nil {
			s.log.Debug("cannot look for empty offsets", "topic", w.at.topic, "partition", w.at.partition, "error", err)
		}
		e.emptyFromNext, e.emptyTo = before.next, to
	}
	e.lastNext = before.next
	w.mu.Lock()
	w.view.ends = e
	w.mu.Unlock()
	if before.next < 0 || w.topic.halted() != nil {
		return
	}
	if before.next < e.start || s.checkAge(w.topic, w.at, before.through, time.Now()) != nil {
		w.beginAnew() // which finds the same, and stops the topic
	}
}

// showLag sets the gauges of lag.
func (s *Sink) showLag(workers []*worker) {
	oldest := make(map[string]float64)
	for _, w := range workers {
		v := w.look()
		if v.next < 0 {
			continue
		}
		s.metrics.lagRecords.WithLabelValues(w.at.topic, strconv.Itoa(int(w.at.partition))).Set(float64(v.lagRecords()))
		oldest[w.at.topic] = max(oldest[w.at.topic], v.lag(time.Now()).Seconds())
	}
	for name, seconds := range oldest {
		s.metrics.lagSeconds.WithLabelValues(name).Set(seconds)
	}
}

// lagRecords is how many offsets wait.
func (v *view) lagRecords() int64 { return max(0, v.ends.stable-max(v.next, v.ends.start, 0)) }

// lag is how old the newest change applied is, while newer ones wait.
func (v *view) lag(now time.Time) time.Duration {
	newest := max(v.commitMs, v.appendMs)
	if v.lagRecords() == 0 || newest == 0 {
		return 0
	}
	return max(0, now.Sub(time.UnixMilli(newest)))
}

// sighting is where a topic's logs ended after a debt had been seen for the first time.
type sighting struct {
	topic incarnation
	ends  map[int32]int64 // high watermarks
}

// sightings are those of the debts that are open. They are this process's own: after a start each debt is new.
type sightings map[sink.Debt]sighting

// checkDebts stops topics with a debt that everything that could pay it has passed (rule R5).
//
// What pays a debt was appended no later than the change that made it, or than the newer row that it found; and the target had either of them when
// the debt was seen. So the logs' ends at that time are the bound. No clock can be: partitions are applied at different speeds, and a newer row
// may be of a reading of the log that went further than this one has come.
func (s *Sink) checkDebts(ctx context.Context, owed *worker, seen sightings, ask func(context.Context, []string) (kadm.ListedOffsets, error)) error {
	// The progress is asked before the debts: a debt that is there after all partitions have passed it was not paid.
	positions, err := s.progress.Positions(ctx, s.config.Group)
	if err != nil {
		return err
	}
	debts, err := s.debtor.Debts(ctx, s.config.Group)
	if err != nil {
		return err
	}
	topics := s.seenTopics()
	if err := seen.update(ctx, debts, topics, ask); err != nil {
		return err
	}
	unpaid := unpaidDebts(debts, seen, positions)
	for name := range topics {
		t := s.topicOf(name)
		if err := unpaid[name]; err == nil {
			if t.release(owed) {
				s.health.Clear("topic " + name)
				s.metrics.paused.WithLabelValues(name).Set(0)
				s.log.Info("topic goes on: its debts are paid", "topic", name)
			}
		} else if t.halt(owed, err) {
			s.health.Set("topic "+name, err)
			s.metrics.paused.WithLabelValues(name).Set(1)
			s.log.Error("topic stopped; others go on", "topic", name, "error", change.Explain(err))
		}
	}
	return nil
}

// endsNow asks for the high watermarks. What a transaction wrote is below them before its end can be seen in any partition, which the last
// stable offset of another does not promise.
func (s *Sink) endsNow(ctx context.Context, names []string) (kadm.ListedOffsets, error) {
	v := &survey{}
	err := v.bounds(ctx, s.admin, names)
	return v.ends, err
}

// update forgets debts that are gone and notes the ends for those that are new. A debt that has grown is a new one.
func (seen sightings) update(ctx context.Context, debts []sink.Debt, topics map[string]incarnation,
	ask func(context.Context, []string) (kadm.ListedOffsets, error)) error {
	open, names := make(map[sink.Debt]bool, len(debts)), make(map[string]bool)
	for _, d := range debts {
		now, known := topics[d.Topic]
		if was, noted := seen[d]; known && (!noted || was.topic != now) {
			delete(seen, d)
			names[d.Topic] = true
		}
		open[d] = true
	}
	maps.DeleteFunc(seen, func(d sink.Debt, _ sighting) bool { return !open[d] })
	if len(names) == 0 {
		return nil
	}
	listed, err := ask(ctx, slices.Sorted(maps.Keys(names)))
	if err != nil {
		return err
	}
	fresh := make(map[string]sighting) // shared by a topic's debts
	for name := range names {
		at := sighting{topics[name], make(map[int32]int64)}
		for partition, o := range listed[name] {
			at.ends[partition] = o.Offset
		}
		if len(at.ends) == int(at.topic.count) {
			fresh[name] = at
		}
	}
	for _, d := range debts {
		if at, ok := fresh[d.Topic]; ok {
			if _, noted := seen[d]; !noted {
				seen[d] = at
			}
		}
	}
	return nil
}

// passed reports whether every partition was applied, by every shard, up to where it ended then.
func (at sighting) passed(name string, positions []sink.Position) bool {
	beyond := make(map[int32]bool)
	for _, p := range positions {
		if p.Topic != name || p.TopicID != at.topic.id || p.Count != at.topic.count {
			continue
		}
		if max(p.Next, 0) < at.ends[p.Partition.Partition] {
			return false
		}
		beyond[p.Partition.Partition] = true
	}
	return len(beyond) == len(at.ends)
}

// unpaidDebts returns a problem for each topic with a debt that all its partitions have passed.
func unpaidDebts(debts []sink.Debt, seen sightings, positions []sink.Position) map[string]error {
	problems := make(map[string]error)
	for _, d := range debts {
		at, noted := seen[d]
		if !noted || problems[d.Topic] != nil || !at.passed(d.Topic, positions) {
			continue
		}
		problems[d.Topic] = &change.Problem{Kind: change.Poison, Table: d.Table, Where: d.Topic,
			What: fmt.Sprintf("the row with key %s gave way to another with the same unique value (version %d), "+
				"and its own next change never came", d.Key, d.Version),
			Why:  "a unique key of the target is stricter than the source's, or was changed: the row is missing at the target",
			Mend: "compare the unique keys of source and target (columns, collation), then: crawl the table over the top: sluice crawl start"}
	}
	return problems
}

var errNoLeader = errors.New("the partition has no leader")

// leader returns the broker that leads the partition, and the topic's id.
func leader(ctx context.Context, adm *kadm.Client, at spot) (int32, [16]byte, error) {
	details, err := adm.Metadata(ctx, at.topic)
	if err != nil {
		return 0, [16]byte{}, kafka.Explain(err, "look for the partition's leader", sayPartition(at))
	}
	t := details.Topics[at.topic]
	if p, ok := t.Partitions[at.partition]; ok && p.Leader >= 0 {
		return p.Leader, t.ID, nil
	}
	return 0, [16]byte{}, errNoLeader
}
