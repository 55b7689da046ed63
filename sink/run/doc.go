// Package run is the runtime of every sink: it reads the topics of sources as a consumer group, decodes the records
// by the schema registry, and hands them to a target in batches, one partition after the other in order and many
// partitions at once. A sink's main is one call of [Main] with the target's name, defaults and constructor.
//
// # The goroutines
//
// [Sink.Run] starts and ends all of them:
//
//   - the group client keeps the membership; its callbacks start a worker for each partition that is assigned, and
//     stop it when the partition is taken away. It fetches nothing.
//   - the fetcher polls the other client and puts records into the queues of the workers. Only it adds and removes
//     partitions, so that no record of before can get in after.
//   - a worker for each partition: finds out where to begin, takes records from its queue, decodes, applies.
//   - the tender looks at the ends of the logs, at new topics, at what is too old, at debts; the committer mirrors the
//     progress into the group's offsets.
//
// Lock order: Sink.mu before topic.mu before worker.mu before queue.mu; none is held over a call of the network or of the
// target.
//
// # What is easily got wrong
//
//   - The worker, not the group's callback, asks the target where to begin: a target that is away must not cost the
//     membership, or the group would never come to rest.
//   - Offsets count transaction markers, so a batch's next comes from the last record of any kind.
//   - T never comes from a record's own time while the log is read for the first time: compaction leaves records of
//     any age.
//   - The group's offset is committed after the target's progress and read before it, so it is never above; one
//     that is tells of a target that was set back.
package run
