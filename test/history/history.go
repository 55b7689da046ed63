// Package history checks what a pipeline did, row by row: the binlog says what happened, the topic must say the same, and
// a target may show only what the topic says, and never an older thing after a newer.
//
// A [Checker] is told everything in any mixture of the three feeds, each in its own order, and judges at the end:
//
//   - Event: a change of a row, in the binlog's order. It is the truth.
//   - Record: a record of the topic, in each partition's order.
//   - Observation: a row as a target showed it, in the order of the looks.
//
// Of a topic it demands: per key, the stream's records are the binlog's events, none twice, none missing, none before its
// time; what a crawl says of a row (op r, or the delete of a sweep) is what the binlog says of it at that very place; versions grow in
// each partition; each delete is followed by its tombstone. Of a target with a floor, which is one that keeps its progress with
// the rows: a row that is shown is a record of the topic, by version and content; versions do not fall; after
// absence comes only what is newer; and where the look saw the progress too, the row is the newest below it. That a row is
// absent, or as it was, for a moment, because another one has its unique value, is allowed where the target is said to have such
// keys.
//
// The Checker starts no goroutine, does no I/O and is not safe for concurrent use. ReadBinlog and ReadTopic feed it from
// real servers.
package history

import (
	"crypto/sha256"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
)

// Row is a row's content in a canonical form; empty: no row. It is compared, and printed where it differs.
type Row string

// Digest returns a Row of fixed length that stands for content, for histories that would not fit into memory.
func Digest(content []byte) Row {
	sum := sha256.Sum256(content)
	return Row(fmt.Sprintf("%x", sum[:12]))
}

// Key names a row: its table, and the Avro body of its key without the frame.
type Key struct {
	Table change.TableName
	Body  string
}

// String returns "db.table hex".
func (k Key) String() string { return fmt.Sprintf("%s %x", k.Table, k.Body) }

// Event is one change of one row, as the binlog says it. A change of the key is two: a delete, then a create.
type Event struct {
	Key    Key
	Op     change.Op // Create, Update or Delete
	Before Row       // empty at Create
	After  Row       // empty at Delete
	Where  string    // for people: a position or GTID
}

// Record is one record of a topic that nothing was compacted out of.
type Record struct {
	Key       Key
	Partition int32
	Offset    int64
	Op        change.Op // Delete at a tombstone
	Tombstone bool
	// Crawled says that a crawl wrote it, and not the stream: op r, or the delete that a sweep found, which does not know the row
	// before.
	Crawled bool
	Version change.Version
	Before  Row // of the stream's updates and deletes
	After   Row
}

// place says where the record stands.
func (r *Record) place() string {
	return fmt.Sprintf("%s[%d] offset %d", r.Key.Table, r.Partition, r.Offset)
}

// Observation is one row as a target showed it at one moment.
type Observation struct {
	// Target names the place: a shard of a target is a place of its own.
	Target  string
	Key     Key
	Present bool
	Version change.Version // 0 where it is not present, or the target stores none
	Row     Row
	// Next is the next offset of the key's partition, read in the same snapshot as the row; negative: not known.
	Next int64
}

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	Duplicate   Kind = "duplicate"         // the topic has an event twice
	Gap         Kind = "gap"               // the topic lacks an event
	Reorder     Kind = "reorder"           // the topic has an event before or after its time
	Invented    Kind = "invented"          // the topic has an event that the binlog does not have
	StaleCrawl  Kind = "stale crawl"       // a crawl's record says other than the binlog at its place
	VersionBack Kind = "version back"      // a version that does not grow
	NoTombstone Kind = "no tombstone"      // a delete without its tombstone
	Unpublished Kind = "unpublished"       // a target shows what the topic does not have
	WentBack    Kind = "went back"         // a target shows an older row after a newer one
	Revived     Kind = "revived"           // a target shows a row after its delete, or again after absence
	Missed      Kind = "missed"            // a target passed a record without showing it
	Different   Kind = "different at rest" // a target at rest is not what the topic says
)

// Fault is one thing that is wrong.
type Fault struct {
	Kind  Kind
	Key   Key
	Where string // a place in the topic, or the target's name
	What  string
}

// String returns the fault in one line.
func (f Fault) String() string {
	return fmt.Sprintf("%s: %s at %s: %s", f.Kind, f.Key, f.Where, f.What)
}

// Options say what is expected.
type Options struct {
	// Tombstones: each delete is followed by a record without a value.
	Tombstones bool
	// Holders: the targets have unique keys, so a row may be absent, or as it was, for a moment.
	Holders bool
	// Keep says which keys are followed, for histories that would not fit into memory; nil: all. That versions grow is looked at
	// in all records.
	Keep func(Key) bool
	// FaultsMax bounds what Check returns; 0: 100.
	FaultsMax int
}

// Checker holds the histories of all keys. Make one with New.
type Checker struct {
	options Options
	keys    map[Key]*life
	order   []Key // as they were met, so that faults come in one order
	newest  map[partition]change.Version
	unsure  map[change.TableName]bool // tables that Unlogged was told of
	early   []Fault                   // seen when they were told
	faults  []Fault
	counts  Counts
}

type partition struct {
	table  change.TableName
	number int32
}

// Counts says how much was looked at.
type Counts struct {
	Keys, Events, Records, Crawled, Observations int
}

// life is all that is known of one key.
type life struct {
	events  []Event
	records []Record
	unsure  []int // indexes into events before which the row changed without an event: see Unlogged
	targets map[string]*shown
}

// New returns a Checker that knows nothing yet.
func New(o Options) *Checker {
	if o.FaultsMax == 0 {
		o.FaultsMax = 100
	}
	return &Checker{options: o, keys: make(map[Key]*life), newest: make(map[partition]change.Version), unsure: make(map[change.TableName]bool)}
}

func (c *Checker) life(k Key) *life {
	l := c.keys[k]
	if l == nil {
		l = &life{}
		c.keys[k] = l
		c.order = append(c.order, k)
	}
	return l
}

// Wants reports whether the key is followed: what is told of others is left out.
func (c *Checker) Wants(k Key) bool { return c.options.Keep == nil || c.options.Keep(k) }

// Event takes the next event of the binlog.
func (c *Checker) Event(e Event) {
	if !c.Wants(e.Key) {
		return
	}
	l := c.life(e.Key)
	l.events = append(l.events, e)
	c.counts.Events++
}

// Unlogged says that rows of the table may have changed here without an event: TRUNCATE, DDL that changes values,
// history that a failover lost. What a crawl says after it is believed, until the row's next event.
func (c *Checker) Unlogged(table change.TableName) {
	c.unsure[table] = true
	for _, k := range c.order {
		if k.Table == table {
			l := c.keys[k]
			l.unsure = append(l.unsure, len(l.events))
		}
	}
}

// Record takes the next record of a partition.
func (c *Checker) Record(r Record) {
	p := partition{r.Key.Table, r.Partition}
	last, met := c.newest[p]
	if met && (r.Version < last || r.Version == last && !r.Tombstone) {
		c.early = append(c.early, Fault{VersionBack, r.Key, r.place(), fmt.Sprintf("version %d after %d", r.Version, last)})
	}
	c.newest[p] = max(last, r.Version)
	if !c.Wants(r.Key) {
		return
	}
	l := c.life(r.Key)
	l.records = append(l.records, r)
	c.counts.Records++
	if r.Crawled {
		c.counts.Crawled++
	}
}

// Check judges the topic and what targets showed, all that was told so far. What a target showed of records that were not
// told yet is a fault: tell all records first. It may be called again when more was told.
func (c *Checker) Check() []Fault {
	c.faults = nil
	for _, f := range c.early {
		c.fault(f)
	}
	for _, k := range c.order {
		l := c.keys[k]
		c.checkTopic(k, l)
		c.checkTargets(k, l)
	}
	return c.faults
}

// Counts returns how much was told.
func (c *Checker) Counts() Counts {
	c.counts.Keys = len(c.keys)
	return c.counts
}

func (c *Checker) fault(f Fault) {
	if len(c.faults) < c.options.FaultsMax {
		c.faults = append(c.faults, f)
	}
}
