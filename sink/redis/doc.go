// Package redis is the target that keeps tables in Redis or Valkey: each row under a key of its own as a hash, as JSON or as a string,
// with indexes and a stream of changes that go with the row.
//
// New starts nothing; Apply is called from many goroutines.
//
// # Keys
//
//	shop:orders:42                the row: as hash a field a column, NULL has none; as json an object; as string one column's text
//	shop:orders#by_status:paid    a set, sorted set or geo index: its members are keys of rows; ":paid" where the index is split by a column
//	shop:orders#changes           a stream with an entry of each change
//	sluice:row:shop:orders:42     the row's version, whose it is, and where the indexes have it; of a deleted row for a set time
//	sluice:table:shop:orders      whose the name shop:orders is, and how its rows are kept
//	sluice:progress:{topic}:...   how far a partition is applied
//	sluice:progress-of:<group>    which of these a group has
//
// What a key is made of (names, values of key columns) has all bytes but letters, digits, "_-.@" and those above 127 written %XX, and
// bytes (BINARY, BIT ...) in hex, so two rows never share a key: see [template]. A row's own key is made of nothing but key columns,
// which do not change; indexes find rows by others.
//
// # Batches
//
// A batch is one round trip: a Lua script for each hundred rows, which moves the partition's progress and writes these rows, their
// indexes and entries, all or nothing. It looks first, for a script that fails half way leaves what it wrote. The progress is
// compared before (epoch and offset), so a late owner, a retry and a record that comes again do nothing. A row is written if its
// version is above the stored one. Versions are compared as text of fixed width: Lua's numbers have 53 bits. What an index had
// is read from the row's meta, never from the change's before image.
//
// Rows and progress lie on one server, and what a server loses (a crash between two fsyncs, a failover to a replica that lags, an older
// snapshot, FLUSHALL) is the end of its history: so both go back together. The next batch, also the empty one of an idle partition,
// finds the progress behind it, and the runtime asks anew: where the group's offset is above what the server holds, the topic stops and
// the command that goes on is named (replay --to target: the rows are of the time that the progress says; of an emptied server
// replay --to beginning --empty).
//
// # Cluster
//
// All that a script writes must be in one slot of the cluster. So there the keys of a table begin with the topic's name as the hash tag
// ({shop.shop.orders}:42), the progress has the same tag, and a table is in one slot, unless Table.Slots spreads it: then its rows,
// indexes, streams and progress are those of n slots ({shop.shop.orders:3}:42), by CLUSTER KEYSLOT of what stands behind the tag,
// modulo n.
package redis
