// Package sink is what a target has to know: the change as it comes out of Kafka, the batch in which it
// comes, and the two methods that take it.
//
// A target is a [Target]: Apply and Close. What else it can do (keep progress with the data, prepare its
// tables, be read back for verify, be checked by doctor, be replayed) it says by having the method set of
// one of the small interfaces here; package sink/run looks for them. Package sinktest holds the suite that
// every target passes, package memory the target that says what correct means.
//
// The package holds types, and pure functions over them: it starts no goroutine, does no I/O and depends on the standard library
// and package change.
//
// # What the runtime promises a target
//
//   - Apply is called for many partitions at once, never twice at the same time for one partition.
//   - The batches of one partition come in offset order, each beginning where the one before ended, until
//     ownership changes. After that, or after a crash, records may come again: see [Progress] and [Change].
//   - The changes of a batch are in offset order; the changes of one key are in one partition in commit
//     order. All changes of a batch are of one topic, so of one table, though maybe of several schemas of it.
//   - Prepare, where there is one, has returned nil for a table's schema before a change with it comes.
//
// # What a target promises
//
//   - When Apply returns nil, all of the batch is done, durably. When it returns an error, the kind of the
//     error alone says what happens next: see [Target].
//   - Newest wins: a change whose version is not above what the target holds for its key does nothing.
package sink
