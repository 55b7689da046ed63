// Package verify holds a target against its source, by content, while both go on being written to; waits until a target has
// applied everything up to a position; and has the source publish anew what differs.
//
// The order of things is rule R11's. A first look compares the table's rows by their hashes as they are found, a key range or a
// share of all keys at a time; nothing is waited for, so rows that are being changed differ. Every key that differs is looked at again:
//
//  1. The ends of the table's topic are noted, and then the checkpoint, which says what had been published by then.
//  2. In one session at the source: wait until all of that is visible, read the keys, and read the end of the binlog.
//  3. Wait until the target has applied everything up to there (Waiter).
//  4. Read the keys at the target.
//  5. Read the topic from the ends noted in step 1 to its ends now. A key that it carries was touched meanwhile: it is looked at
//     again. A key that it does not carry has had one and the same state in the log all the time, which the source shows and the target
//     must show: if they differ, it is a difference.
//
// The first of these looks are at all keys of a range together, of which only hashes are held, and wait for no crawl: they settle what was
// merely on its way. What differs then gets looks of its own, with both images, that also wait until no crawl or sweep is pending which would
// mend it. Only they find a difference.
//
// So no difference is a matter of time, and none is overlooked because a row is busy: one that is touched in every round is reported as
// undecided, never as equal.
//
// What decides is pure and in row.go, delta.go and judge.go: no clock, no goroutine, no I/O. Everything else is a shell around it.
// Run, Wait and Repair block; the goroutines that they start have ended when they return. Nothing here writes to a target or a
// database: repair goes through the source's crawl, so versions keep it safe.
package verify
