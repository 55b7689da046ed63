// Package binlog reads a server's binlog: it turns the bytes of one replication connection into Events in
// commit order.
//
// What it promises:
//   - Every event of the binlog moves Event.Position forward, also those that carry nothing (rotate,
//     heartbeat, format description): they arrive as Idle. Offset is a sum of our own in 64 bits; the
//     event header's has 32.
//   - A transaction is Begin, then Rows and Statements, then exactly one of Commit, Prepared and Dropped.
//     It is never held whole: what the binlog sends is committed already. A compressed transaction is
//     decompressed as a stream. At most one event of the binlog is in memory, beside what handle keeps.
//   - Rows of XA transactions are held under their xid from XA PREPARE on and delivered at XA COMMIT, as
//     part of the commit's transaction. Beyond Config.XAMemoryBytes they lie in files.
//   - Nothing is skipped: an event that says that changes are missing (INCIDENT), or that is of an unknown
//     kind and not marked as ignorable, ends the stream with an error.
//
// The decoder (decode.go) is without clock, goroutine and connection: bytes in, Events out. Reader.Run is the
// shell around it: it connects, reads packets in the caller's goroutine and hands each event to handle before
// it reads the next, so that a slow handle is back pressure on the socket. Run returns at the first error of
// the connection; to connect again, and from where, is the caller's to say.
//
// The file formats are those of the MySQL source (libs/mysql/binlog/event) and of MariaDB's knowledge base,
// "Replication Protocol".
package binlog
