package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/sink"
)

// Topic is one table's topic as it is now.
type Topic struct {
	Name   string
	Source string // the source's name, which the topic's begins with
	ID     [16]byte
	Count  int32 // of partitions
}

// Mark is a place in a source's history up to which everything is to be applied: all transactions of a set, or all that stood
// in a server's binlog before its end as it was at one moment.
type Mark struct {
	GTID     *gtid.Set            // nil: Position counts
	Position change.Position      // of the server Server
	Server   kafka.ServerIdentity // whose binlog Position is in
}

// String says the mark as people read it.
func (m Mark) String() string {
	if m.GTID != nil {
		return m.GTID.String()
	}
	return m.Position.String()
}

// reached reports whether a checkpoint covers the mark. A position says nothing to a source that reads another server.
func (m Mark) reached(p *kafka.PositionState) (bool, error) {
	if p == nil {
		return false, nil
	}
	if m.GTID != nil {
		published, err := gtid.Parse(m.GTID.Flavor(), p.GTID)
		if err != nil {
			return false, fmt.Errorf("the checkpoint's GTID set: %w", err)
		}
		return published.Contains(m.GTID), nil
	}
	if !sameServer(m.Server, p.Server) {
		return false, &change.Problem{Kind: change.Configuration,
			What:  fmt.Sprintf("the source reads the server %s, and %s was asked", say(p.Server), say(m.Server)),
			Where: m.Server.Address, Why: "a place in one server's binlog says nothing about another's",
			Mend: "name the server that the source reads under sources: in the sink's page"}
	}
	return change.Position{File: p.File, Offset: p.Offset}.Compare(m.Position) >= 0, nil
}

// sameServer compares by uuid; MariaDB has none.
func sameServer(a, b kafka.ServerIdentity) bool {
	if a.UUID != "" || b.UUID != "" {
		return a.UUID == b.UUID
	}
	return a.ServerID == b.ServerID
}

func say(s kafka.ServerIdentity) string {
	if s.UUID != "" {
		return s.UUID
	}
	return fmt.Sprintf("with server_id %d", s.ServerID)
}

// Behind says what a wait waits for: one line, and the numbers that show whether it moves.
type Behind struct {
	What  string // "shop.shop.orders[3] at shard s1: offset 18422, 19000 is wanted"
	moved string // changes as long as things go on
}

// NotApplied is the error of a wait that came to its time limit.
type NotApplied struct {
	Behind Behind
	Err    error // why the wait ended
}

// Error says what was behind.
func (e *NotApplied) Error() string { return "not applied yet: " + e.Behind.What }

// Unwrap returns why the wait ended.
func (e *NotApplied) Unwrap() error { return e.Err }

// errStill is why a wait for a target that does not move ends.
var errStill = errors.New("nothing has moved")

// Waiter waits until a group's target has applied everything up to a mark (rule R6): the source's checkpoint covers it and no
// crawl or sweep is pending that would change the table's rows; then the last stable offset of each partition; then the
// target's progress, or the group's offsets where the target keeps none, reaches that. It is safe for concurrent use.
type Waiter struct {
	Client   *kgo.Client
	Group    string
	Progress sink.Progress // nil: the group's offsets count

	// Patience bounds how long nothing may move, neither the source nor the target; 0: for ever. A wait is not bounded by its length:
	// a target that is far behind and goes on is not late, it is not there yet.
	Patience time.Duration
	// Notice is told now and then what is being waited for. It may be nil.
	Notice func(Behind)

	mu        sync.Mutex // guards the following, and each follower
	followers map[string]*kafka.Follower
}

const (
	waitPollFirst = 10 * time.Millisecond
	waitPollMax   = 250 * time.Millisecond
	waitNotice    = 5 * time.Second
)

// checkpoint returns what the source's checkpoint says of its position and of the topics given.
func (w *Waiter) checkpoint(ctx context.Context, source string, topics []Topic, upTo stage) (*kafka.PositionState, Behind, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.followers[source]
	if f == nil {
		var err error
		if f, err = kafka.FollowCheckpoint(ctx, w.Client, source); err != nil {
			return nil, Behind{}, err
		}
		if w.followers == nil {
			w.followers = make(map[string]*kafka.Follower)
		}
		w.followers[source] = f
	}
	c, err := f.Advance(ctx)
	if err != nil {
		return nil, Behind{}, err
	}
	for i := range topics {
		if topics[i].Source != source {
			continue
		}
		if behind, err := pending(c, &topics[i], upTo); err != nil || behind.What != "" {
			return c.Position, behind, err
		}
	}
	return c.Position, Behind{}, nil
}

// stage is what a wait waits for.
type stage bool

const (
	logApplied stage = false // what is in the log by now; of crawls, only a table's first
	allCrawled stage = true  // what the source still has to crawl and to sweep, too
)

// pending says what the source still has to do before the topic shows the table: its first crawl, and, if that is waited for, one over the
// top after a change of values that the binlog does not tell row by row, a sweep.
func pending(c *kafka.Checkpoint, t *Topic, upTo stage) (Behind, error) {
	var state *kafka.TableState
	for _, s := range c.Tables {
		if s.Topic == t.Name {
			state = s
		}
	}
	if state == nil {
		return Behind{What: t.Name + ": the source does not publish it"}, nil
	}
	if state.Stopped != nil {
		return Behind{}, &change.Problem{Kind: change.Poison, Table: state.Table, What: state.Table.String() + " is stopped at the source: " + state.Stopped.Reason,
			Why: "its changes are not published; the target cannot be equal", Mend: state.Stopped.Mend}
	}
	if state.TopicID != t.ID || state.Partitions != t.Count {
		return Behind{}, &change.Problem{Kind: change.Fatal, Table: state.Table, Where: t.Name, What: "the topic is not the one that the source publishes into",
			Why: "it was deleted and made again, or has more partitions", Mend: "see what the source says: sluice status"}
	}
	if state.Crawled && upTo == logApplied {
		return Behind{}, nil
	}
	for _, k := range c.Crawls {
		if k.Table != state.Table || k.Where != "" && state.Crawled || k.Keys != "" {
			continue
		}
		if k.State != "done" && k.State != "cancelled" && k.State != "failed" {
			return Behind{What: fmt.Sprintf("%s is being crawled: %d rows of about %d", k.Table, k.Rows, k.Estimate),
				moved: fmt.Sprint(k.ID, k.State, k.Rows, k.Ranges)}, nil
		}
	}
	if s := c.Sweeps[state.Table]; s != nil {
		return Behind{What: fmt.Sprintf("%s is being swept: %d keys looked up", s.Table, s.Keys), moved: fmt.Sprint(s.Pass, s.Keys)}, nil
	}
	if !state.Crawled {
		return Behind{What: state.Table.String() + " was never crawled as a whole; only what has changed since is in its topic"}, nil
	}
	return Behind{}, nil
}

// Wait returns when the target has applied everything of the topics, which are one source's, up to the mark. The error is a
// *NotApplied when the context ends or the patience does.
func (w *Waiter) Wait(ctx context.Context, source string, topics []Topic, mark Mark) error {
	return w.wait(ctx, source, topics, mark, allCrawled)
}

// WaitForLog is Wait, but for crawls that are pending over the top of what was crawled before.
func (w *Waiter) WaitForLog(ctx context.Context, source string, topics []Topic, mark Mark) error {
	return w.wait(ctx, source, topics, mark, logApplied)
}

func (w *Waiter) wait(ctx context.Context, source string, topics []Topic, mark Mark, upTo stage) error {
	p := &pace{waiter: w, began: time.Now(), poll: waitPollFirst}
	for {
		position, behind, err := w.checkpoint(ctx, source, topics, upTo)
		if err == nil && behind.What == "" {
			var reached bool
			if reached, err = mark.reached(position); reached {
				break
			}
			at := "nothing yet"
			if position != nil {
				at = (change.Position{File: position.File, Offset: position.Offset}).String()
				if mark.GTID != nil {
					at = position.GTID
				}
			}
			behind = Behind{What: fmt.Sprintf("the source %s has published %s; %s is wanted", source, at, mark), moved: at}
		}
		if err := p.again(ctx, behind, err); err != nil {
			return err
		}
	}
	wanted := make(map[string]kafka.Ends, len(topics))
	started := make(map[string]kafka.Ends, len(topics))
	for i := 0; i < len(topics); {
		ends, starts, err := kafka.StableEnds(ctx, w.Client, topics[i].Name)
		if err == nil {
			wanted[topics[i].Name], started[topics[i].Name] = ends, starts
			i++
			continue
		}
		if err := p.again(ctx, Behind{}, err); err != nil {
			return err
		}
	}
	for {
		behind, err := w.behind(ctx, topics, wanted, started)
		if err == nil && behind.What == "" {
			return nil
		}
		if err := p.again(ctx, behind, err); err != nil {
			return err
		}
	}
}

// pace is how a wait asks again and again.
type pace struct {
	waiter *Waiter
	began  time.Time
	poll   time.Duration
	last   Behind
	moved  time.Time // when last was seen to change
	said   time.Time
}

// again sleeps a little. It returns the error that ends the wait, if any.
func (p *pace) again(ctx context.Context, behind Behind, err error) error {
	now := time.Now()
	if err != nil && (ctx.Err() != nil || change.SeverityOf(err) != change.Retry) {
		return ended(ctx, err, p.last)
	}
	if err != nil { // brokers in motion: asked again, as patiently as for anything else
		behind = Behind{What: err.Error()}
	}
	if behind != p.last || p.moved.IsZero() {
		p.last, p.moved = behind, now
	}
	if patience := p.waiter.Patience; patience > 0 && now.Sub(p.moved) > patience {
		return &NotApplied{Behind: behind, Err: fmt.Errorf("%w for %s", errStill, patience)}
	}
	if p.said.IsZero() {
		p.said = now
	}
	if p.waiter.Notice != nil && now.Sub(p.said) > waitNotice {
		p.said = now
		p.waiter.Notice(behind)
	}
	select {
	case <-ctx.Done():
		return &NotApplied{Behind: behind, Err: context.Cause(ctx)}
	case <-time.After(p.poll):
	}
	p.poll = min(2*p.poll, waitPollMax)
	return nil
}

// ended makes an error that came of the context's end one that says what was waited for.
func ended(ctx context.Context, err error, last Behind) error {
	if ctx.Err() != nil && last.What != "" {
		return &NotApplied{Behind: last, Err: context.Cause(ctx)}
	}
	return err
}

// behind returns the partition that is furthest from what is wanted, and "" when all are there.
func (w *Waiter) behind(ctx context.Context, topics []Topic, wanted, started map[string]kafka.Ends) (Behind, error) {
	reached, err := w.reached(ctx)
	if err != nil {
		return Behind{}, err
	}
	worst, total := Behind{}, int64(0)
	for _, t := range topics {
		for p, end := range wanted[t.Name] {
			if end <= started[t.Name][p] {
				continue // nothing in it to apply
			}
			id := sink.Partition{Source: t.Source, Topic: t.Name, TopicID: t.ID, Count: t.Count, Partition: int32(p)}
			at, ok := reached(id)
			if !ok {
				at.next = -1
			}
			if at.next >= end {
				continue
			}
			if left := end - at.next; worst.What == "" || left > total {
				total, worst = left, sayBehind(id, at, end)
			}
		}
	}
	if worst.What != "" {
		worst.moved = fmt.Sprint(worst.What, total)
	}
	return worst, nil
}

func sayBehind(id sink.Partition, at stored, end int64) Behind {
	where := id.String()
	if at.shard != "" {
		where += " at shard " + at.shard
	}
	if at.next < 0 {
		return Behind{What: where + ": nothing is applied yet, offset " + fmt.Sprint(end) + " is wanted"}
	}
	return Behind{What: fmt.Sprintf("%s: applied up to offset %d, %d is wanted", where, at.next, end)}
}

// stored is how far a partition is applied, in the shard that is furthest behind.
type stored struct {
	next  int64
	shard string
}

// reached asks how far each partition is applied.
func (w *Waiter) reached(ctx context.Context) (func(sink.Partition) (stored, bool), error) {
	if w.Progress == nil {
		return w.committed(ctx)
	}
	all, err := w.Progress.Positions(ctx, w.Group)
	if err != nil {
		return nil, fmt.Errorf("read the target's progress: %w", err)
	}
	lowest := make(map[sink.Partition]stored, len(all))
	for _, p := range all {
		if have, ok := lowest[p.Partition]; !ok || p.Next < have.next {
			lowest[p.Partition] = stored{p.Next, p.Shard}
		}
	}
	return func(p sink.Partition) (stored, bool) { s, ok := lowest[p]; return s, ok }, nil
}

// committed asks for the group's offsets. The topic's identity is in what the checkpoint pins: see pending.
func (w *Waiter) committed(ctx context.Context) (func(sink.Partition) (stored, bool), error) {
	offsets, err := kadm.NewClient(w.Client).FetchOffsets(ctx, w.Group)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, kafka.Explain(err, "ask for the group's offsets", w.Group)
	}
	return func(p sink.Partition) (stored, bool) {
		o, ok := offsets.Lookup(p.Topic, p.Partition)
		return stored{next: o.At}, ok
	}, nil
}
