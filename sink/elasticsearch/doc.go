// Package elasticsearch is the target that keeps tables as documents in Elasticsearch or OpenSearch.
//
// Each table is one index. A document's id is the row's key, its version the change's version, given to the server as an
// external one: it refuses whatever is not newer (409), so redelivery, reordering and late retries do nothing. The server is
// asked for nothing but _bulk, _search, index creation, mappings and aliases, so both products are served by the same code,
// and no script runs.
//
// The target has no transactions and keeps no progress: its consumer group's offsets are committed after what lies before them
// was applied, and versions make the repetition after a crash harmless.
//
// New starts nothing; Apply is called from many goroutines.
//
// # Indexes
//
// Documents live in the index <name>-rows; the alias <name> is what people search and what Sluice writes to and reads by. All
// writes demand that the alias is there (require_alias), else a server that lost the index would make another one by itself,
// with guessed mappings and without its markers of deletes. An index may be rebuilt under another name and the alias moved: with
// several indexes behind it the alias's write index is taken.
//
// <name> is the config's pattern in lower case. Characters that an index name cannot have are written as %xx, and a name too
// long for the server ends in a hash. What the index holds stands in its mapping's _meta.sluice: source, database, table, key,
// kind of documents. An index that says something else is refused, so two tables that differ in case only, or tables of two
// sources, whose versions cannot be compared, never share one.
//
// The index sluice-indexes has one document for each index that Sluice made. An index that is in it and gone was deleted by
// somebody: making it anew would show only the rows that change from now on, so the table stops until it is read from the
// beginning of the log (replay --to beginning --empty).
//
// # Documents
//
// A flat document has a field for each column, by its name with these exceptions, which the servers refuse or take for something
// else: a leading "_" is written %5f, "." is %2e, "*" is %2a, "%" is %25, and so is a leading space written by its bytes. The
// column a.b is the field a%2eb. In an envelope the same fields stand under before and after.
//
//	TINYINT ... BIGINT, YEAR    a number; above 2^63 it is in the document and not in the index
//	DECIMAL                     a number up to 15 digits, a string above: JSON readers would round it; indexed as a double
//	FLOAT, DOUBLE               a number
//	DATE, DATETIME, TIMESTAMP   ISO 8601 ("2026-01-02T03:04:05.678"), TIMESTAMP with Z; zero dates are not in the index
//	TIME, ENUM, SET             keyword; SET's names joined by commas
//	CHAR ... LONGTEXT           text, with a keyword of the first 256 letters beside (name.keyword)
//	BIT                         a number, BIT(1) true or false
//	BINARY ... LONGBLOB         base64
//	GEOMETRY                    base64 of MySQL's form: SRID, then WKB
//	VECTOR                      an array of numbers, not in the index
//	JSON                        itself, not in the index (map it otherwise to search it)
//
// What cannot be written as JSON (text that is no UTF-8, a NaN in a vector) is refused, never bent.
//
// # Ids
//
// The id is the key's values as text, joined by "|", with "|" and "\" in them written "\|" and "\\"; bytes are in hex. An id of
// more than 512 bytes, and the empty one, are "\#" and the SHA-256 of that text in hex.
//
// # Deletes
//
// A deleted row leaves a tombstone document behind (_sluice_deleted: true, _sluice_deleted_at; in envelopes op: d too), which
// the alias's filter hides. The server itself forgets a deleted document's version after index.gc_deletes (a minute by default)
// and at a restart, and would then let a stale write bring the row back. Tombstones are removed when they are older than any
// record that could still come: see Config.KeepTombstones.
package elasticsearch
