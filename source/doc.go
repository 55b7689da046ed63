// Package source is the way of a row from MySQL into Kafka: one process per database server reads the binlog
// (source/binlog) and, beside it, existing rows (source/crawl), decides what of both is published
// (source/merge) and publishes it exactly once (source/publish).
//
// Run lives in sessions. A session takes the producer id, reads the checkpoint, connects to the server and goes on
// from there; whatever goes wrong ends it, all memory of it is dropped, and the next one begins the same
// way. There is no second path of recovery: a lost connection, a fenced producer, a changed server and a
// kill -9 all end in the same few lines.
//
// Inside a session one goroutine, the loop, owns all state: position, version, tables, windows and the open
// Kafka transaction. The binlog reader feeds it through a queue bounded in bytes; crawl workers, signals and
// status ask it by closures. So there are no locks in this package but those of the queue and the statistics.
package source
