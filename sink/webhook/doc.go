// Package webhook is the target that tells HTTP receivers of changes: "somebody has paid".
//
// A hook says of which tables' changes whom to tell: by the kind of change, and by a condition over the row before and after it
// (shape.Condition). An event that a hook is to be told of is one request, whose body is a stable JSON envelope or what a template
// makes of it. New starts nothing; Apply is called from many goroutines.
//
// # What is promised
//
//   - Each change that meets the hook's condition is told at least once: the group's offset passes it only after the receiver has
//     answered 2xx, or after it went to the dead letters. What was accepted and not yet committed when the process dies comes again.
//   - An event has one id for ever (Webhook-Id and Idempotency-Key), made of the hook's name, the topic, the key and the version. A
//     receiver that remembers ids does each event once.
//   - The changes of one key are told in the order of their commits, the next not before the one before it was accepted or set
//     aside. What comes again after a crash may repeat the last few of a key, in their order. Different keys, and different hooks,
//     go side by side in any order.
//   - Changes of one key in one batch are each an event; none is merged with another.
//   - After a replay went back, changes that the group had passed before are not told again, unless it was asked for (the hook's
//     resend, or replay --resend): sink/run tells how far the group had been (sink.Batch.Reached).
//
// The log keeps every change for min.compaction.lag.ms. Falling further behind than that stops the topic (Floor): changes may be
// gone. A new group begins at the start of the log, where of older changes only the last of each key is left; Since leaves out
// what is of old.
//
// # What is not known
//
// The before image is absent at a create, where it is known that there was no row. It is not known at a row that a crawl has read
// (op r), at a tombstone, and at a delete that a crawl has found. A condition that asks for it is then not met, whatever it says;
// the metric skipped_total counts these as unknown. Images that come from the binlog are what MySQL wrote, and are believed also
// while Change.TrustedBefore is false.
//
// The op tombstone is the record that follows each delete in the log. A hook is not told of it unless it asks: it says nothing new,
// except where compaction has taken the delete itself away.
//
// # Failures
//
// 2xx accepts. 4xx but 401, 407, 408, 425 and 429 refuses the event: a *sink.Refused, which stops the topic or goes to the dead
// letters. 401, 407 and redirects, of which none is followed, stop the topic in any case: every event would meet the same. All
// else, no answer too, is tried again, for ever, with growing pauses; Retry-After is heeded. After some failures in a row nothing
// is sent for a while (circuit). Short pauses are waited for within Apply; for longer ones it returns an error of kind Retry, and
// the runtime calls it again with the same batch. What the receiver has accepted of the batch is kept in memory until all of it is.
package webhook
