package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
	"github.com/sluice-cdc/sluice/test/history"
)

const (
	memberCount = 2
	sourceName  = "src"
	groupName   = "group"
)

// targetKind is what a history's group writes to.
type targetKind uint8

const (
	withProgress    targetKind = iota // sink/memory with progress, one shard
	withShards                        // the same over two shards, one of which may fail after the other has committed
	withoutProgress                   // sink/memory by versions and markers alone; the group's offsets say where to go on
	leanTarget                        // progress, and no markers
	targetKinds
)

func (k targetKind) String() string {
	return [...]string{"a target with progress", "two shards with progress", "a target without progress", "a target with progress and without markers"}[k]
}

// target is what the simulation needs of one.
type target interface {
	sink.Target
	sink.Scanner
}

// group is the consumer group: who owns which partition, and its offsets.
type group struct {
	w       *world
	kind    targetKind
	target  target
	store   *memory.Store
	keeper  sink.Progress // nil: the target keeps none
	owner   [partitionCount]int
	offsets [partitionCount]int64
	members [memberCount]member
	clock   change.Version // of the sink that takes versions from its own clock
	failing bool           // the next commit of a second shard fails
}

// member is one sink.
type member struct{ parts [partitionCount]worked }

// worked is a member's work on one partition. It may be held by one whose partition is another's by now: a zombie.
type worked struct {
	begun bool
	next  int64
	epoch int64
	batch *sink.Batch
}

var errShard = &change.Problem{Kind: change.Retry, What: "the shard went away"}

func newGroup(w *world, kind targetKind) *group {
	g := &group{w: w, kind: kind, clock: 1 << 40}
	if kind == leanTarget {
		l := &lean{w: w, progress: make(map[sink.Partition]*mark)}
		g.target, g.keeper = l, l
		return g
	}
	config := memory.Config{Uniques: map[change.TableName][][]string{table.TableName: {{"code"}}}}
	if kind == withShards {
		config.Shards = []string{"s0", "s1"}
		config.Route = func(_ *change.Table, row []change.Value) (string, error) { return config.Shards[row[1].Int()%2], nil }
		config.Fault = func(shard string) error {
			if shard == "s1" && g.failing {
				g.failing = false
				return errShard
			}
			return nil
		}
	}
	g.store = memory.NewStore(config)
	if kind == withoutProgress {
		g.target = g.store.OpenPlain()
		return g
	}
	t := g.store.Open()
	g.target, g.keeper = t, t
	return g
}

// spots are the partitions as targets know them.
var spots = func() (all [partitionCount]sink.Partition) {
	for p := range all {
		all[p] = sink.Partition{Source: sourceName, Topic: sourceName + "." + table.String(), TopicID: [16]byte{1}, Count: partitionCount, Partition: int32(p)}
	}
	return all
}()

// work takes a member's next step on a partition: begin, fetch, or apply.
func (g *group) work(who, p int, a act) {
	m := &g.members[who].parts[p]
	switch {
	case !m.begun && g.owner[p] != who:
	case !m.begun:
		m.begun, m.next = true, g.offsets[p]
		if g.keeper != nil {
			m.next, m.epoch, _, _ = g.keeper.Assign(context.Background(), groupName, spots[p])
		}
		g.w.tell("sink %d begins partition %d at %d, epoch %d", who, p, m.next, m.epoch)
	case m.batch == nil && g.owner[p] != who && g.keeper == nil:
		m.begun = false // it has heard of it
	case m.batch == nil:
		g.fetch(who, p, m, 1+int64(a.c)%6)
		if g.w.loose && a.d%16 == 5 {
			g.letter(m)
		}
	default:
		g.failing = a.d%8 == 1
		g.apply(who, p, m)
	}
}

func (g *group) fetch(who, p int, m *worked, most int64) {
	b := g.w.broker
	next := min(b.stable(p), m.next+most)
	if next <= m.next {
		return
	}
	m.batch = &sink.Batch{Group: groupName, Partition: spots[p], From: m.next, Next: next, Epoch: m.epoch, ThroughMillis: next}
	b.read(p, m.next, next, func(r *record) {
		c := g.decode(p, r)
		if n := len(m.batch.Changes); c.Tombstone && n > 0 && m.batch.Changes[n-1].Op == change.Delete && m.batch.Changes[n-1].Version == c.Version {
			return // as sink/mysql does: the delete before it says the same, and where the row was
		}
		m.batch.Changes = append(m.batch.Changes, c)
	})
	if g.w.has(OffsetsFirst) && g.owner[p] == who {
		g.offsets[p] = next
	}
	g.w.tell("sink %d fetches partition %d from %d to %d", who, p, m.next, next)
}

// letter puts the first change of a batch into the dead letters. Some day a person will have its key crawled.
func (g *group) letter(m *worked) {
	if m.batch == nil || len(m.batch.Changes) == 0 {
		return
	}
	c := m.batch.Changes[0]
	m.batch.Changes = m.batch.Changes[1:]
	g.w.dead += fmt.Sprint(c.KeyValues[0].Int())
	g.w.tell("%s of key %d, version %d, goes to the dead letters", c.Op, c.KeyValues[0].Int(), c.Version)
}

// replay has a partition read again from an offset below where the group stands. The sinks are stopped for that.
func (g *group) replay(p int, back int64) {
	for who := range g.members {
		g.kill(who)
	}
	to := g.offsets[p]
	if g.keeper != nil {
		to, _, _, _ = g.keeper.Assign(context.Background(), groupName, spots[p])
	}
	to -= back % (to + 1)
	g.offsets[p] = min(g.offsets[p], to)
	switch t := g.target.(type) {
	case *memory.Target:
		_ = t.SetProgress(context.Background(), groupName, []sink.Reset{{Partition: spots[p], Next: to, ThroughMillis: to}}) // it cannot fail
	case *lean:
		t.progress[spots[p]].next = to
	}
	g.w.tell("partition %d is to be read again from %d", p, to)
}

// decode is what sink/run makes of a record.
func (g *group) decode(p int, r *record) sink.Change {
	c := sink.Change{
		Op: r.op, Table: table, KeyNames: keyNames, KeyValues: []change.Value{change.IntValue(int64(r.key))}, Key: bodies[r.key],
		Before: r.before.values(r.key), After: r.after.values(r.key), Version: r.version, Tombstone: r.tombstone, Offset: r.offset,
	}
	// Rule R7: not where nothing is said of before, nor where compaction may have removed the record before, nor in doubt.
	c.TrustedBefore = !r.tombstone && !r.doubted && r.offset >= g.w.broker.horizon[p] && (r.op != change.Read || r.fresh) && (r.op != change.Delete || r.before != nil)
	if g.w.has(TrustBefore) {
		c.TrustedBefore = !r.tombstone && !r.doubted
	}
	g.clock++
	switch {
	case g.w.has(SinkClock):
		c.Version = g.clock
	case g.w.has(DeleteUnversioned) && c.Op == change.Delete:
		c.Version = max(c.Version, 1<<41)
	}
	return c
}

var keyNames = table.KeyNames()

func (g *group) apply(who, p int, m *worked) {
	b := m.batch
	err := g.target.Apply(context.Background(), b)
	var lost *sink.OwnershipLost
	switch {
	case errors.As(err, &lost):
		*m = worked{}
		g.w.tell("sink %d has lost partition %d", who, p)
	case err != nil:
		g.w.tell("sink %d: partition %d from %d: %v", who, p, b.From, err)
		if change.SeverityOf(err) != change.Retry {
			g.w.fail(err)
		}
	default:
		g.w.tell("sink %d applies partition %d from %d to %d", who, p, b.From, b.Next)
		m.next, m.batch = b.Next, nil
		g.look(b)
		if g.keeper == nil && g.owner[p] != who {
			*m = worked{} // what was in flight was its last
		}
	}
}

// commit writes the group's offset. The coordinator refuses it from one who is not the owner.
func (g *group) commit(who, p int) {
	if m := &g.members[who].parts[p]; m.begun && g.owner[p] == who && m.batch == nil {
		g.offsets[p] = m.next
		g.w.tell("sink %d commits offset %d of partition %d", who, m.next, p)
	}
}

// move gives a partition to another member. The one that had it may not have heard of it.
func (g *group) move(p, to int, told bool) {
	from := g.owner[p]
	if from == to {
		return
	}
	m := &g.members[from].parts[p]
	switch {
	case told:
		*m = worked{}
	case m.begun && m.batch == nil:
		g.fetch(from, p, m, 3) // in flight while the other takes over
	}
	g.owner[p] = to
	g.w.tell("partition %d goes from sink %d to sink %d (told: %v)", p, from, to, told)
}

// kill drops what a member knows.
func (g *group) kill(who int) {
	g.members[who] = member{}
	g.w.tell("sink %d is killed", who)
}

// look notes what the target shows of the rows that a batch was about.
func (g *group) look(b *sink.Batch) {
	if g.w.checker == nil || g.keeper == nil || g.w.loose || g.w.has(SinkClock) || g.w.has(DeleteUnversioned) {
		return
	}
	for i := range b.Changes {
		key := int(b.Changes[i].KeyValues[0].Int())
		o := history.Observation{Target: "target", Key: historyKeys[key], Next: b.Next}
		if row := g.get(key); row != nil {
			o.Present, o.Version, o.Row = true, row.Version, contentOf(row.Values)
			if g.kind == withShards { // the row may stand in a shard that is further, or have left one that is not
				o.Target, o.Next = row.Shard, -1
			}
		} else if g.kind == withShards {
			continue
		}
		g.w.checker.Observe(o)
	}
}

// get reads one row.
func (g *group) get(key int) *sink.Row {
	if l, ok := g.target.(*lean); ok {
		if h := l.rows[key]; h != nil {
			return &sink.Row{Values: h.values, Version: h.version}
		}
		return nil
	}
	if row, ok := g.store.Get(table.TableName, change.IntValue(int64(key))); ok {
		return &row
	}
	return nil
}

func contentOf(values []change.Value) history.Row {
	return (&row{user: int(values[1].Int()), code: int(values[2].Int()), n: int(values[3].Int())}).content()
}

// compare holds the target against the table.
func (g *group) compare(want *state) error {
	var got [keyCount]int
	err := g.target.Scan(context.Background(), sink.Scan{Source: sourceName, Table: table}, func(r sink.Row) error {
		key := r.Values[0].Int()
		got[key]++
		switch row := want[key]; {
		case got[key] > 1:
			return fmt.Errorf("the target has key %d twice", key)
		case contentOf(r.Values) != row.content():
			return fmt.Errorf("key %d: the table holds %s, the target %s of version %d", key, row, contentOf(r.Values), r.Version)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for key, row := range want {
		if row != nil && got[key] == 0 {
			return fmt.Errorf("key %d: the table holds %s, the target nothing", key, row)
		}
	}
	debtor, ok := g.target.(sink.Debtor)
	if !ok {
		return nil
	}
	debts, err := debtor.Debts(context.Background(), groupName)
	if err == nil && len(debts) > 0 {
		err = fmt.Errorf("the debt of key %s, made by version %d, was not paid", debts[0].Key, debts[0].Version)
	}
	return err
}
