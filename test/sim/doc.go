// Package sim runs a whole pipeline in one goroutine under a seeded scheduler: a database that shows commits late and fails
// over, one or two sources that are killed between any two steps, a broker with transactions and compaction, a group of
// two sinks with rebalances and zombies, and a target. In the end the topic and the target must be what the database
// is, and on the way package history looks on.
//
// A history is a program: a list of acts, each a kind and some numbers. What an act cannot do at that moment it does not
// do, so a program stays one when acts are taken out of it; that is how a failure is shrunk to a short story.
//
// What runs here is the production code wherever it can be called without a server:
//
//	source/merge     whole: windows, strikes, due chunks
//	mysql/gtid       the published set, D, subset and loss
//	change           Version.Next, Position.Compare
//	source/crawl     Doubts, and a crawl's record
//	kafka            Partition
//	sink/memory      the target with progress (one shard, and two shards that fail one by one), and without
//	test/history     the checker
//
// What is modelled, because it lives behind a server or inside a loop that owns a client:
//
//	server.go   commits: in the binlog, then shown, then executed; row and unique-value locks; failover that loses the tail;
//	            statements that change rows without row events (TRUNCATE, EXCHANGE PARTITION)
//	broker.go   partitions with one producer's transactions: fence, abort, last stable offset, markers, compaction
//	source.go   source's loop: deliver, version, split of key changes, checkpoint in the transaction, resume; a table that stops
//	crawl.go    crawls side by side, of the table or of named keys, that are cancelled or fail: a chunk's five steps, and the sweep
//	sink.go     sink/run's worker: begin, fetch, apply, commit of the group's offset, dead letters, replay
//	lean.go     a target with progress and without markers of deletes, as sink/mysql is: rules R5 and R6 on a map
//
// Not in it: DDL that changes what a table looks like, XA, rows that change without anything in the binlog, servers without GTIDs,
// time (T, retention of tombstones), several sources or tables, the byte limits. No clock decides anything here, so there is none:
// commit times are numbers that jump.
package sim
