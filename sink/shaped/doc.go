// Package shaped stands in front of a target and gives it rows in another shape: under other names, with columns left out, changed and
// added, only those that pass a filter, in several tables or several in one. To the target behind it they are tables like any other, so that
// every target has all of it.
//
// # What a change becomes
//
// Each table of the target that rows of a source's table go to is a lane. A change is asked of each lane whether its row passes, after and
// before:
//
//	after passes, before too                      the change, both images in the target's shape
//	after passes, before not (or there was none)  a create: the row comes in
//	after passes not (or there is none)           a delete with the change's version: the row goes out
//	neither passes, and before can be trusted     nothing: the row is not there, and was not
//
// Where the before image cannot be trusted (rule R7 of the design: see sink.Change.TrustedBefore), the row may be there whatever it says, so
// there is always a write or a delete. The delete is one more stale one where there is nothing; newest wins as ever.
//
// So a row that leaves a filter is deleted, one that comes to pass it is written, and one that moves from one table of a split to
// another is written there and deleted here. The lanes of a batch are applied one after the other: between them the row may be in both
// tables or in none for a moment.
//
// # Progress
//
// A target that keeps progress keeps one for each lane, as it does for each shard: after a crash they may stand apart, and each goes on
// from its own (see sink.LaneTopic). A table that only changes its columns keeps the progress under the topic's own name.
//
// A Target starts no goroutine, and does no I/O but what the target behind it does and asking for the newest schema.
package shaped
