package sink

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Change is one record of a topic, decoded. It is shared with the runtime and read only.
//
// Values may alias the record that they were decoded from: they stay valid for as long as somebody holds them.
type Change struct {
	Op    change.Op
	Table *change.Table // the shape of Before and After; one pointer a schema, never nil (see Tombstone)

	// KeyNames and KeyValues are the key as the record's own key says it, in key order, never NULL.
	// KeyNames is shared by all changes of one key schema.
	KeyNames  []string
	KeyValues []change.Value
	Key       []byte // the key's Avro body, without the frame: equal keys of one topic have equal bytes

	// Before and After are the row images by column of Table; nil where the image is absent: no Before at
	// Create and Read, no After at Delete, neither at a tombstone. The Before of a Delete that a crawl found
	// (Origin.Snapshot is "incremental") has the key's columns alone, and NULL for all others.
	Before []change.Value
	After  []change.Value

	// TrustedBefore reports whether Before says where the row stood until now (absent: nowhere). Where it is
	// false an older state of the row may stand in any shard: at what a crawl over a table that was there before
	// has found, at a bare tombstone, and at a record so old that compaction may have removed its predecessor.
	TrustedBefore bool

	Version change.Version // the only number that orders; see change.Version

	// Tombstone marks a record without a value: Op is Delete, only the key is known, and Table is the newest
	// schema known of the topic. The source sends one after each Delete, with a version not below the delete's.
	Tombstone bool

	Origin       Origin
	Offset       int64
	AppendMillis int64 // when the broker appended the record, milliseconds since 1970 UTC
	Bytes        int   // what the record holds in memory
}

// Origin is what the envelope's source block and its times say of the change. It is empty at a tombstone.
// Nothing in it may be used to order changes.
type Origin struct {
	Connector    string // "mysql" or another producer's name
	Snapshot     string // "false", "incremental", or what the envelope says
	CommitMillis int64  // source.ts_ms
	ReadMillis   int64  // ts_ms: when the source read the change
	ServerID     int64
	GTID         string
	File         string
	Pos          int64
	Row          int32
	Thread       int64
	Query        string
	Transaction  string // the transaction block's id, empty where there is none
}

// Row returns the newest image that the change carries: After, else Before, else nil.
func (c *Change) Row() []change.Value {
	if c.After != nil {
		return c.After
	}
	return c.Before
}

// Partition is one partition of one incarnation of a topic. It is comparable, and so a map key.
type Partition struct {
	Source    string   // the name of the source, which is the prefix of its topics
	Topic     string   //
	TopicID   [16]byte // a topic that was dropped and created again has another
	Count     int32    // how many partitions the topic has; another count moves keys, so it is part of the identity
	Partition int32
}

// String returns "topic[3]".
func (p Partition) String() string { return fmt.Sprintf("%s[%d]", p.Topic, p.Partition) }

// Batch is a run of records of one partition.
type Batch struct {
	Group string // the consumer group
	Partition

	// From is the offset at which the batch begins and Next the one at which the following batch will. They
	// count records that carry no change too (transaction markers, gaps left by compaction), so Next is mostly more
	// than the last change's offset + 1, and a batch may be empty: then it only moves the progress.
	From, Next int64

	// Epoch is what Assign handed out; 0 where the target keeps no progress.
	Epoch int64

	// ThroughMillis is the T of the progress: once the batch is applied, all that was appended to the partition
	// before this time (milliseconds since 1970 UTC) is. A negative one says that the first read of the log is
	// under way and when it began. A target stores it as it is.
	ThroughMillis int64

	// Reached is above From only after a replay has gone back: the group had applied everything below it before. A target
	// that holds state applies it again; one that tells somebody of changes must not, unless Resend says that it was asked to.
	// It is 0 where the target keeps progress.
	Reached int64
	Resend  bool

	Changes []Change
	Bytes   int // the sum of the changes' Bytes
}

// NewestPerKey returns the indexes of each key's change of the greatest version, in order. That is mostly the last one, but the
// log may bring what is stale. It is for targets that hold state and keep no progress: one write a key is all that a batch then needs.
func NewestPerKey(changes []Change) []int {
	newest, keys := make(map[string]int, len(changes)), Keys(changes)
	for i := range changes {
		if best, ok := newest[keys[i]]; !ok || changes[i].Version >= changes[best].Version {
			newest[keys[i]] = i
		}
	}
	kept := slices.AppendSeq(make([]int, 0, len(newest)), maps.Values(newest))
	slices.Sort(kept)
	return kept
}

// Keys returns the changes' keys as strings, which maps want, in one piece of memory.
func Keys(changes []Change) []string {
	size := 0
	for i := range changes {
		size += len(changes[i].Key)
	}
	var all strings.Builder
	all.Grow(size)
	for i := range changes {
		all.Write(changes[i].Key)
	}
	keys, rest := make([]string, len(changes)), all.String()
	for i := range changes {
		n := len(changes[i].Key)
		keys[i], rest = rest[:n], rest[n:]
	}
	return keys
}
