// Package sinktest is the suite that every target passes. A target's test is one call of [Run] with a
// function that makes a fresh, empty place for it.
//
// The suite has told cases (duplicates, stale versions, tombstones, changed keys, swapped unique values, a
// late old owner, a lost answer) and random ones: a history as a database would have it, with unique keys
// obeyed, cut into records of several partitions, some compacted away, delivered in random interleaving with
// records that come again, owners that die and owners that come late. Whatever happened on the way, in the
// end the target holds what the history's last state says. Each random test prints its seed; SLUICE_SEED
// replays it and SLUICE_HISTORIES sets how many are tried.
package sinktest
