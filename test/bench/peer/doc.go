// Package peer starts the programs that Sluice is measured against, on the MySQL and the Kafka that package testbed starts: Maxwell,
// Debezium's MySQL source on Kafka Connect with JSON and with Avro, and Debezium's JDBC sink. Each has a Start function that returns when it
// has begun to work, [Peer.Pids], and [Peer.Stop], which must be called. Starting a Java machine takes seconds of processor time, which are
// over by then; the compilers still learn for some seconds of work.
//
// # Versions
//
//	Apache Kafka and Kafka Connect     4.3.1
//	Debezium's MySQL source            3.6.1.Final
//	Debezium's JDBC sink               3.5.0.Final
//	Apicurio's Avro converter          2.6.13.Final, registry 3.0.9
//	Maxwell                            1.22.6, with mysql-binlog-connector-java 0.30.1 in place of 0.20.0 and mysql-connector-j 9.1.0
//	                                   in place of mysql-connector-java 8.0.17; its Kafka client is 1.0.0, its own default; and an empty
//	                                   stand-in for a class of Java's former JavaScript engine, which each value is held against
//
// All are from Maven Central. The Maxwell there is of 2019 and asks a MySQL 9 for statements that are gone; with the two newer libraries and
// a position to begin at it reads it. It is called "Maxwell 1.22.6 with binlog connector 0.30.1" in tables, because no release
// is put together so; later releases, which are not on Maven Central, may be faster or slower.
//
// # What is the same for all
//
// One MySQL, one broker, one data set. Topics with the same number of partitions and no other settings. No encryption, which the Java
// programs would otherwise do with a MySQL that offers it. The user app, which may do everything. snappy, Sluice's default: each peer's own
// default is none, which is less work for it and more for the broker and the disk; Maxwell's documentation recommends compression for
// throughput. acks=all, which costs nothing on one broker. Both compilers of Java, 1 GB of heap (half of what Connect's own script gives),
// and the garbage collector that Java chooses: G1 on two cores and 2 GB of memory or more.
//
// # What differs, and for whom
//
// The peers deliver at least once, Sluice exactly once: in favour of the peers. JSON is written without its schema (schemas.enable=false,
// which is not Connect's default); with it each record would be several times as large: in favour of Debezium. Maxwell writes one topic for all tables, because a
// topic by table is two regular expressions for each row there: in favour of Maxwell. Connect runs as one worker on its own (standalone), the
// same code for rows without a group to keep alive: in favour of Debezium. Connect asks for one request in flight for each connection, so that
// order survives a retry; that is its own setting and stays.
//
// Maxwell's rows in a topic are the new row and the old values of what changed; Debezium's and Sluice's are the row before and after, with where
// it comes from. So bytes a row differ, and MB/s say less than rows/s.
//
// # Settings
//
// They stand beside their reasons in connectProducer and debezium (debezium.go), sink (jdbc.go) and maxwell (maxwell.go), each with the page
// that it comes from; SourceOptions.Properties and SinkOptions.Properties change them, to look whether a peer is faster with others.
//
// # Traps
//
//   - A Debezium source is begun at a position by its offset, set through Connect's REST interface. The offset must have the GTID set: without
//     it, on a server with GTIDs, Debezium asks for the whole binlog from its beginning.
//   - A Debezium source that has emitted nothing has no offset: stop it, write, start it, and it begins behind what was written.
//   - Maxwell and Debezium here take the tables as they are when they start. A position must not lie before a table's last DDL.
//   - caching_sha2_password asks a client without encryption for the server's public key, until somebody has logged in as that user: package
//     testbed does so first.
//   - Apicurio's converter takes only schemas that are registered, and writes their ids into headers, unless it is told otherwise for both.
//   - Debezium's JDBC sink has neither versions nor an order between partitions. It ends at types of which docs/comparison.md has the list.
package peer
