// Package mutant plants errors in the code, to see that the tests would notice them. Each constant below is one rule left out or
// bent, at the place in the production code that names it; it is true in a build with the tag of the same name, and false in every
// other, where the compiler leaves the branch out. A build has one of them at most: two tags do not compile.
//
// docs/internals.md has the table of which test catches which; test/mutants plants one after the other and demands that it does.
// A new one is a constant here, a file with its tag beside none.go, the tag in none.go, and a line in test/mutants.
package mutant

// The letters and numbers are those of the rules in docs/internals.md.
const (
	CreateFirst = Tag == "mutant_create_first" // R1: the delete of a changed key has a higher version than the create of the new one

	NoFence         = Tag == "mutant_no_fence"         // R2: each source has a transactional id of its own
	FenceLate       = Tag == "mutant_fence_late"       // R2: the id is taken with the first record, after the checkpoint was read
	CheckpointApart = Tag == "mutant_checkpoint_apart" // R2: rows in one Kafka transaction, their checkpoint in the next
	NoRowSkip       = Tag == "mutant_no_row_skip"      // R2: a transaction that was published in part is published again from its beginning
	SkipUnchecked   = Tag == "mutant_skip_unchecked"   // R2: the rows that are skipped then are not held against those that were published
	NoSubset        = Tag == "mutant_no_subset"        // R2: what was published is not held against what the server has executed

	TxnVersion = Tag == "mutant_txn_version" // R3: the version is the commit time, one for all of a transaction
	FarClock   = Tag == "mutant_far_clock"   // R3: a commit time is believed however far ahead it lies
	SinkClock  = Tag == "mutant_sink_clock"  // R3: the version is the sink's clock

	NoWait           = Tag == "mutant_no_wait"            // R4, step 2: a chunk is read before the server shows what was delivered
	OpenNotDelivered = Tag == "mutant_open_not_delivered" // R4, step 1: the transaction in progress is not in what is waited for
	MarkFirst        = Tag == "mutant_mark_first"         // R4, step 4: the high mark is read before the chunk's rows
	NoTouch          = Tag == "mutant_no_touch"           // R4, step 4: events strike no rows
	NoStrike         = Tag == "mutant_no_strike"          // R4, step 4: an event does not strike its row from a chunk that waits
	XAAtPrepare      = Tag == "mutant_xa_at_prepare"      // R4: the rows of an XA transaction are delivered at XA PREPARE

	Replace           = Tag == "mutant_replace"            // R5: rows are written by REPLACE
	GuardWithoutKey   = Tag == "mutant_guard_without_key"  // R5: the guard of an INSERT does not compare the key
	DeleteUnversioned = Tag == "mutant_delete_unversioned" // R5: deletes do not compare the version

	OffsetsFirst       = Tag == "mutant_offsets_first"       // R6: a batch counts as applied before it is
	ProgressUncompared = Tag == "mutant_progress_uncompared" // R6: the progress moves whatever epoch and offset are there
	ProgressApart      = Tag == "mutant_progress_apart"      // R6: the progress moves in a transaction of its own, before the rows
	HighestShard       = Tag == "mutant_highest_shard"       // R6: a partition goes on from the highest offset over the shards
	ReadUncommitted    = Tag == "mutant_read_uncommitted"    // R6: a sink reads what its source has not committed
	BareTombstone      = Tag == "mutant_bare_tombstone"      // R6: a tombstone in HBase leaves no cells over the row's

	TrustBefore = Tag == "mutant_trust_before" // R7: every before image is trusted
	MoveAtOnce  = Tag == "mutant_move_at_once" // R7: a row is deleted from its old shard while it is written to the new one
)
