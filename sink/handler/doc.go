// Package handler lets a program of a few lines do with the changes whatever it likes: a function is called for each change, and
// the runtime (package run) does the rest: reading, decoding, order, retries, dead letters, offsets, metrics, shutdown.
//
//	func main() {
//		handler.Main("mine", func(ctx context.Context, e *handler.Event) error {
//			if e.Became("status", "PAID") {
//				return notify(ctx, e.ID(), e.New("email").String())
//			}
//			return nil
//		})
//	}
//
// There are three kinds, each a [sink.Target]:
//
//   - [New]: a function that does something elsewhere. [Main] is a whole program around it.
//   - [Map]: a function that says what to write where, over another target: documents made of several tables, enriched rows.
//   - [InTransaction]: a function that keeps results in tables of a MySQL database, in one transaction with the progress:
//     exactly once.
//
// # What is promised
//
//   - The changes of one key come in the order of their commits, the next not before the function has returned for the one before
//     it. Different keys, of one batch and of many partitions, come side by side: at most Options.Parallel for each partition, and
//     the page's parallel partitions at once.
//   - New and Map: at least once. The group's offset passes a change only after the function has returned nil for it, or it went
//     to the dead letters. After a crash, or when a partition changes hands, the last changes come again, in their order.
//     Event.ID is the same then. While the process lives, a change that is done (for Map: whose writes are applied) does not come again.
//   - InTransaction: exactly once in the tables of that database. What the function does elsewhere is at least once.
//   - A plain error is tried again: a few times at once, then with growing pauses, for ever, and /readyz says so. What [Refuse] returns stops the topic, or,
//     with on_error: dead_letter, sets that record aside. A change.Problem counts by its kind. A panic ends the process: the
//     record comes again.
//   - A misspelt column stops the topic: see [Event.New].
//
// # What is not known
//
// The log keeps every change for min.compaction.lag.ms; before that it has only the newest of each key. A new group begins there,
// so a first update may come without the create before it, and the row before it may never have been seen (Event.TrustedBefore).
// Rows also come again by crawls (op r). So what is computed of changes must not add up before and after: it keeps what it has
// counted for each key (examples/counters). Falling behind by more than min.compaction.lag.ms stops the topic, unless
// Options.StateOnly says that the newest state of each key is enough.
//
// New, Map and InTransaction start nothing. The goroutines of a batch have ended when Apply returns.
package handler
