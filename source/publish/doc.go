// Package publish puts rows and the checkpoint that covers them into Kafka, in one Kafka transaction (rule R2).
//
// A Publisher owns the source's transactional ids from Open on, of which transactions take turns (lane.go). It takes their producer ids
// explicitly, which fences a predecessor, and only then reads the checkpoint. Add and Set open a transaction when none is open; Commit ends
// it. Rows are encoded into record batches as they are added (batch.go); they are compressed and sent by goroutines of the Publisher's own, over the
// Kafka client's connections (sender.go), and what a broker may take later is tried again there. There is no abort: when anything of a transaction fails or takes too long, its outcome is unknown, the
// Publisher is dead, and every call returns the same *Lost. The caller then drops all it has in memory and opens a
// new Publisher, whose fencing makes the broker decide the old transaction, and reads from the new checkpoint what
// the decision was.
//
// A Publisher is used by one goroutine; only Close may be called from another. All other goroutines, its own and the Kafka client's, end
// with Close, which the Publisher itself calls when it is lost.
package publish
