package sink

import (
	"context"
	"log/slog"

	"github.com/sluice-cdc/sluice/change"
)

// Target is what a sink writes to.
type Target interface {
	// Apply writes the batch: all of it, or an error. It is called from many goroutines, for different
	// partitions. It returns when the batch is durable, or when ctx ends and nothing is in flight any more: what
	// then happened to the batch is unknown, and it may come again.
	//
	// What its error is decides what follows (change.SeverityOf): a Retry is tried again with back-off, the same
	// batch and epoch; a Poison stops the batch's topic, or, where it is a *Refused and the user chose so, sends
	// that one record to the dead letters and comes again without it; Configuration and Fatal end the process.
	// An *OwnershipLost makes the runtime assign the partition anew. An error must not leave half of a
	// batch behind together with its progress: a target without transactions applies again by version.
	Apply(ctx context.Context, b *Batch) error

	// Close lets go of connections. No Apply is running or will come.
	Close() error
}

// Setup is what a target is opened with besides its own configuration.
type Setup struct {
	Group string       // the consumer group: a target table belongs to one
	Log   *slog.Logger // never nil
}

// Progress is the ability to keep how far each partition was applied in the same transactions as the data
// (rule R6 of the design). Records that come again, a late old owner and single late retries then do
// nothing, so the target needs no tombstones of its own.
//
// For each group and partition there is one record in each shard: next offset, epoch and T, under the
// partition's full identity. The first statement of each shard's transaction moves Next to b.Next (and T to
// b.ThroughMillis) if, and only if, the stored epoch is b.Epoch and the stored next is the expected one; else the
// target rolls back and returns an *OwnershipLost. The record moves in every shard, also in those that the
// batch has nothing for. Shards commit one by one, so after a crash or a failed try they may stand apart; what a
// shard does with a batch follows from its own next alone:
//
//	next = -1              nothing was applied yet: all of the batch
//	next = b.From          the usual case: all of the batch
//	b.From < next < b.Next the changes at offsets from next on; earlier ones were applied
//	next >= b.Next         nothing: the shard is done with the batch and is left alone
//	next < b.From          *OwnershipLost
//
// A target that has this ability is asked before every other source of offsets: what it says wins over the
// group's offsets in Kafka, which are a mirror for lag tools.
type Progress interface {
	// Assign makes the caller the owner of the partition: in every shard it sets the epoch to one more than the
	// greatest over all shards, and returns it with the lowest next over the shards. From then on a batch with any
	// other epoch fails. found is false where at least one shard did not know the partition, or knew it with next = -1:
	// it is made known there with next = -1, and the caller begins at the log's start; shards that stand further skip
	// what they have.
	Assign(ctx context.Context, group string, p Partition) (next int64, epoch int64, found bool, err error)

	// Positions returns all that is stored for the group, each shard's record apart: for the checks of topic id and
	// partition count at assignment, for wait, status and replay. It changes nothing. A target that has never
	// been used returns none.
	Positions(ctx context.Context, group string) ([]Position, error)
}

// Position is one stored record of progress.
type Position struct {
	Partition
	Shard         string // empty where the target has one place only
	Next          int64  // -1: known, nothing applied yet
	Epoch         int64
	ThroughMillis int64 // as in Batch; 0 before the first batch
}

// Resender is the ability to take one old record again, out of the log's order. It is for targets that tell somebody of changes: for those the
// record itself counts. At all others a dead letter is mended by having its row read anew.
type Resender interface {
	// Resend applies the change although the group has passed it. A Retry is worth another call.
	Resend(ctx context.Context, p Partition, c *Change) error
}

// Preparer is the ability to make or check the target's tables before changes come. Calls come one at a
// time, at the first sight of each schema of a table in this process, before any change with it is applied;
// while it runs, other tables go on. It must be idempotent, and safe against other processes that do the same
// (the design's expand: add what is missing, take nothing away).
type Preparer interface {
	Prepare(ctx context.Context, group string, source string, tables []*change.Table) error
}

// Checker is the ability to tell, without changing anything, what is wrong or will become so. tables are
// the newest schemas of the topics that the configuration names; there may be none yet.
type Checker interface {
	Check(ctx context.Context, group string, tables []*change.Table) ([]Finding, error)
}

// Finding is one line of doctor.
type Finding struct {
	Level Level
	Where string // the server, shard or table; findings are grouped by it
	What  string
	Why   string // for Warning and Wrong: what will happen
	Mend  string // the statement or command that helps
}

// Level says how bad a finding is.
type Level uint8

// The levels of findings.
const (
	Good    Level = iota // checked, and right
	Warning              // works, until something happens that the finding names
	Wrong                // does not work, or loses or bends rows
)
