package mysql

import (
	"bytes"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
)

// work is what a batch asks of one shard: of each key the newest change only, each list in version order.
type work struct {
	upserts []*sink.Change
	deletes []*sink.Change
	// leaves are deletes of rows that now belong to another shard. They wait until every shard has its upserts, so
	// that the row is twice for a moment rather than nowhere (R7).
	leaves []*sink.Change
}

// planner splits a batch by shard.
type planner struct {
	table     *table
	positions []int64 // by shard: changes of an offset below are done there
	chosen    [][]pick
	newest    [][]int // by shard, and by the number of the key: behind its pick; 0 where it has none
	key       int     // the number of the key of the change at hand
	row       []change.Value
	anywhere  bool // another source's row of the key, which this one takes over, may stand in any shard
}

// pick is what is done for a key in one shard; one without a change was replaced by a newer.
type pick struct {
	change *sink.Change
	kind   pickKind
}

type pickKind uint8

const (
	upsert pickKind = iota
	remove
	leave
)

// plan routes the batch's changes. It is pure. The newest of a key is taken after routing, for each shard, so a
// delete that a move caused stays although the row's newest change went elsewhere.
func plan(t *table, changes []sink.Change, positions []int64, anywhere bool) ([]work, error) {
	p := &planner{table: t, anywhere: anywhere, positions: positions, chosen: make([][]pick, len(positions)), newest: make([][]int, len(positions))}
	for i := range p.newest {
		p.newest[i] = make([]int, len(changes))
		p.chosen[i] = make([]pick, 0, len(changes)/len(positions)+1)
	}
	numbers, keys := make(map[string]int, len(changes)), sink.Keys(changes)
	for i := range changes {
		c := &changes[i]
		number, known := numbers[keys[i]]
		if !known {
			number = len(numbers)
			numbers[keys[i]] = number
		}
		p.key = number
		if c.Tombstone && i > 0 && deletesSameKey(&changes[i-1], c) {
			continue // the delete before it says the same, and where the row was
		}
		if err := p.route(c); err != nil {
			return nil, err
		}
	}
	works := make([]work, len(positions))
	for i := range works {
		for _, pick := range p.chosen[i] {
			switch w := &works[i]; {
			case pick.change == nil:
			case pick.kind == upsert:
				w.upserts = append(w.upserts, pick.change)
			case pick.kind == remove:
				w.deletes = append(w.deletes, pick.change)
			default:
				w.leaves = append(w.leaves, pick.change)
			}
		}
	}
	return works, nil
}

func deletesSameKey(c, tombstone *sink.Change) bool {
	return c.Op == change.Delete && !c.Tombstone && bytes.Equal(c.Key, tombstone.Key)
}

func (p *planner) route(c *sink.Change) error {
	if c.Op == change.Delete {
		p.pick(c, p.before(c), remove)
		return nil
	}
	to, err := p.table.placement.shard(c.After)
	if err != nil {
		return p.table.unroutable(c, err)
	}
	p.pick(c, to, upsert)
	if to == route.All || p.table.placement.keyed && !overTheTop(c) {
		return nil
	}
	if before := p.before(c); before != to && before != nowhere { // it may stand in another shard until now
		p.pick(c, before, leave)
	}
	return nil
}

const nowhere = -2

// before returns the shard in which the row stood before the change: an index, nowhere, or route.All where it may
// be any.
func (p *planner) before(c *sink.Change) int {
	placement := &p.table.placement
	row := c.Before
	switch {
	case overTheTop(c), p.anywhere && !placement.keyed:
		return route.All
	case placement.keyed:
		row = p.keyRow(c)
	case !c.TrustedBefore || c.Tombstone:
		return route.All
	case row == nil && c.Op == change.Delete:
		return route.All
	case row == nil:
		return nowhere
	}
	at, err := placement.shard(row)
	if err != nil { // it cannot be told, or the rule had no place for it
		return route.All
	}
	return at
}

// overTheTop reports whether a crawl over rows that were there before says so of this one: what the source was asked for to mend what
// a target has wrong. Then it may stand in any shard, whatever the routes say.
func overTheTop(c *sink.Change) bool { return c.Origin.Snapshot == "incremental" }

// keyRow returns a row with nothing but the key, for a shard key that needs no more. It is the same one each time.
func (p *planner) keyRow(c *sink.Change) []change.Value {
	if p.row == nil {
		p.row = make([]change.Value, len(p.table.schema.Columns))
	}
	for i, column := range p.table.schema.Key {
		p.row[column] = c.KeyValues[i]
	}
	return p.row
}

// pick takes the change for its key in a shard, or in all (but that which it has been taken for), unless the key has
// a newer one there.
func (p *planner) pick(c *sink.Change, at int, kind pickKind) {
	for i := range p.chosen {
		if (at != route.All && at != i) || c.Offset < p.positions[i] { // below, this shard has done it
			continue
		}
		if behind := p.newest[i][p.key]; behind > 0 {
			other := &p.chosen[i][behind-1]
			if other.change == c || other.change.Version > c.Version {
				continue
			}
			other.change = nil
		}
		p.chosen[i] = append(p.chosen[i], pick{c, kind})
		p.newest[i][p.key] = len(p.chosen[i])
	}
}

// unroutable is the error for a row that the route has no place for.
func (t *table) unroutable(c *sink.Change, err error) error {
	return &sink.Refused{Offset: c.Offset, Err: &change.Problem{
		Kind: change.Poison, Table: t.source, Err: err,
		What:  "a row of " + t.source.String() + " cannot be routed",
		Where: "key " + keyText(c.KeyNames, c.KeyValues) + ", rule " + t.placement.rule.String(),
		Why:   "no shard is right for it, and a wrong one would hold it twice",
		Mend:  "mend the row at the source, or the table's route",
	}}
}
