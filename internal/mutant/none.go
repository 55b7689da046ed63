//go:build !mutant_create_first && !mutant_no_fence && !mutant_fence_late && !mutant_checkpoint_apart && !mutant_no_row_skip && !mutant_skip_unchecked && !mutant_no_subset && !mutant_txn_version && !mutant_far_clock && !mutant_sink_clock && !mutant_no_wait && !mutant_open_not_delivered && !mutant_mark_first && !mutant_no_touch && !mutant_no_strike && !mutant_xa_at_prepare && !mutant_replace && !mutant_guard_without_key && !mutant_delete_unversioned && !mutant_offsets_first && !mutant_progress_uncompared && !mutant_progress_apart && !mutant_highest_shard && !mutant_read_uncommitted && !mutant_bare_tombstone && !mutant_trust_before && !mutant_move_at_once

package mutant

// Tag names the mutant of this build: none.
const Tag = ""
