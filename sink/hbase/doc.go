// Package hbase is the target that keeps tables in HBase, by way of its REST gateway.
//
// Each table is one table, each row one row with a cell for each column, all in one column family. The timestamp of a cell is the
// change's version: HBase shows the newest cell of each column, so the newest change wins by its own rule, in whatever order and however
// often changes come. Nothing is read before it is written; a batch is some requests with many rows each, sent at once, as protobuf: it
// is exact for bytes, and less to read than JSON with base64.
//
// The target has no transactions and keeps no progress: its consumer group's offsets are committed after what lies before them
// was applied, and versions make the repetition after a crash harmless. A row is written at once, all cells or none.
//
// New starts nothing; Apply is called from many goroutines, waits for all its requests, and has at most Config.Requests under way.
//
// # Rows
//
// A change writes every column of its schema, and beside them the cell _sluice, the row's state:
//
//	row                    the row is there
//	row ["note","tags"]    the row is there, and these columns are NULL
//	deleted 1764381660123  the row is gone: a tombstone, written at that millisecond
//	table {...}            the table's own row, with the greatest key of all, which says what the table holds
//
// NULL is an empty cell, and so are all cells of a tombstone: they stand over what is older. That is why no delete marker is used: HBase's
// markers hide what is older until a major compaction takes them away, and a stale change that comes after that would be seen. A cell
// stays through all compactions, for it is the newest.
//
// A cell that is older than its row's _sluice is no part of the row: it is left of a column that the table has no more.
//
// A change whose version is that of the row writes the row again: the later of two equal versions wins in HBase. A source gives no
// version twice, so it is the same change.
//
// # Values
//
// Values are text, as MySQL prints them: in the shell and in every language they are what they are at the source, of every type, and
// exact. HBase's own Bytes are of Java's types: they have no unsigned 64 bits, no DECIMAL that sorts, no dates. Bytes (BINARY to LONGBLOB,
// GEOMETRY, VECTOR) are themselves, BIT is a number. A column called _sluice has its cells under __sluice.
//
// # Row keys
//
// A row key is made by a template over the columns of the table's key, each of which must be in it: two rows never share a row key. It is
// text in UTF-8, and row keys have the order of their columns' values:
//
//	TINYINT ... BIGINT, YEAR  decimal digits, filled up with zeros to 3, 5, 8, 10, 19 (unsigned 20) and 4; a negative number is "-" and
//	                          the complement of each digit to 9
//	DECIMAL, TIME             so too; filled up to the digits that its integer part can have, and to three of hours
//	DATE, DATETIME, TIMESTAMP as MySQL prints them
//	BINARY ... LONGBLOB, BIT  hexadecimal digits
//	all others                the text itself; the bytes 0, 1 and 2 in it are 2 and 16, 17 or 18
//
// Behind a text or bytes of no fixed length that is not the end of the key stands the byte 1. An empty key is the byte 1. With
// {column:reverse} the characters of a part come in reverse order, the sign left where it is. {key} is all columns of the key with ":"
// between. With a salt, two hexadecimal digits stand in front: the CRC-32 (IEEE) of the rest, modulo the number of buckets.
//
// # Tables
//
// <name> is the config's pattern. In the parts that it is made of, what a table's name cannot have is written as -xx, "-" too, and a name
// that is too long ends in a hash. The table sluice-tables has a row for each table that Sluice fills: one that is in it and gone, or
// has lost its own row, was taken away by somebody, and its topic stops.
//
// # Purging
//
// Tombstones are removed when they are older than any record that could still come: see Config.KeepTombstones. Once a day each table is
// looked through, some thousand rows after each batch. Only there a delete marker is used.
package hbase
