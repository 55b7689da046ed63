// Package clickhouse is the target that keeps tables in ClickHouse: each row as it is now (mode state), or each change (mode history).
//
// New starts nothing; Apply is called from many goroutines. The target has no transactions and keeps no progress: its consumer group's
// offsets are committed after what lies before them was inserted, and what then comes again is told apart by version, or by offset.
//
// # State
//
// Each table is a ReplacingMergeTree ordered by the key. A change is a row with the change's version; nothing is updated in place. Of the rows of one
// key the engine keeps that of the greatest version, at some time when it merges, and at once in a query that says FINAL. So redelivery, reordering and
// late retries do nothing. A delete is a row too, with nothing but its key and _sluice_deleted = 1; it stays, so that nothing that comes late
// brings the row back. Servers from 23.2 on leave such rows out of FINAL; older ones want WHERE _sluice_deleted = 0 beside it.
//
// Of two rows of one key with equal versions the engine keeps the one that was inserted last. No source gives one version to two different changes.
//
// # History
//
// Each change is a row: op, key, before and after as JSON, version, commit time, transaction, and topic, partition and offset, by which the table is
// ordered. A record that comes again has the same, and the engine keeps one of them. Where records can come again, which is after a
// start, an error and a replay, the target asks first which are there, so that also a query without FINAL has each once, except where an insert
// that was given up as lost is done by the server after the question. The newest after of each key is the table's state, and verify reads it so.
//
// Images are JSON and not columns: a history outlives its table's columns, and what a column was before its type changed, or before it was
// dropped, stays as it was written. Integers, BIT and floats are numbers, VECTOR an array, JSON itself, bytes base64, all else is MySQL's text.
//
// # Blocks
//
// The server writes each INSERT as a part of its own and refuses them when it has too many to merge. So what the partitions of one topic bring
// within insert_wait becomes one block. It is inserted whole or not at all, as long as it falls into one partition of the table.
//
// Rows are in the form RowBinary: no text has to be read back into a number. Servers from 23.2 on are told the columns' types too
// (RowBinaryWithNamesAndTypes), and refuse the block where a column was altered meanwhile.
//
// # Types
//
// What a table is made with, from 23.2 on, and before it where that differs. A column that takes NULL is Nullable, but for those of the key, and
// VECTOR, whose NULL is the empty array.
//
//	TINYINT ... BIGINT, YEAR    Int8 ... Int64, UInt8 ... UInt64, UInt16
//	DECIMAL                     Decimal(p, s); String above 76 (38) digits
//	FLOAT, DOUBLE               Float32, Float64
//	BIT                         UInt8 ... UInt64
//	DATE                        Date32 (Date)
//	DATETIME, TIMESTAMP         DateTime64(s, 'UTC'), a TIMESTAMP without fraction DateTime('UTC') (DateTime('UTC'), String with a fraction)
//	TIME                        Int64, microseconds
//	ENUM                        LowCardinality(String) (String)
//	VECTOR                      Array(Float32)
//	all else                    String: text in UTF-8, bytes as they are, SET's names joined by commas, JSON's text, GEOMETRY in MySQL's form
//
// Nothing is lost. A date that the column cannot hold (0000-00-00, 9999-12-31) is stored as the nearest that it can, and its text stands in
// _sluice_exact, a JSON object by column. In a key, where two would become one, it is refused.
//
// A table may have been made by hand, with other types that hold all that the source's columns can have: String for any text, bytes, decimal or date,
// wider numbers, LowCardinality, and with codecs, indexes, projections and further columns that have defaults.
package clickhouse
