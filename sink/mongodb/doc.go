// Package mongodb is the target that keeps tables as documents in MongoDB.
//
// Each table is one collection, each row one document. A write replaces the row's document if the stored version is below the
// change's, and inserts it where there is none; a document that is not older makes the insert a duplicate of _id, which is
// success: the change was stale, or is done already. So redelivery, reordering and late retries do nothing. No transaction, no update
// pipeline and no script is used. A batch has one write a key, so its bulks go on after errors.
//
// The target keeps no progress: its consumer group's offsets are committed after what lies before them was applied, and versions
// make the repetition after a crash harmless. Writes are acknowledged by a majority's journals.
//
// New starts nothing; the driver, with goroutines of its own, is started by the first use and ended by Close. Apply is called from
// many goroutines.
//
// # Collections
//
// A collection's name is the config's pattern; "$" and "%" in it are written %24 and %25, and a name too long for the server ends in a
// hash. The document whose _id is the ObjectId of the bytes "sluice-table" says what the collection holds: source, database, table, key, and the forms
// of dates and JSON. A collection that says something else is refused, and so is one that has documents and does not say. After each
// batch the target looks whether that document is still there: a server that lost the collection makes another by itself, which
// would show only the rows that changed since. The collection sluice.collections lists all that Sluice made, for the same look at the start.
//
// Refused too are capped collections, views, those with a collation (it would make one _id of two keys), and unique indexes beside
// that of _id: rule R5 (newest wins on every unique key) cannot be kept without transactions.
//
// # Documents
//
// A document has _id, a field for each column, and _sluice with the version. A column's field has its name, with ".", "$" and "%" written
// %2e, %24, %25 and a leading "_" %5f.
//
//	TINYINT ... INT, YEAR       int; INT UNSIGNED long
//	BIGINT                      long; above 2^63 a Decimal128, which the server compares with other numbers by value
//	DECIMAL                     Decimal128 up to a precision of 34 digits, all digits of the scale kept; a string above
//	FLOAT, DOUBLE               double, the very number; -0 stays
//	DATE, DATETIME, TIMESTAMP   a date (dates: date), DATETIME taken for UTC; or MySQL's text (dates: text)
//	TIME, ENUM, SET             a string; SET's names joined by commas
//	CHAR ... LONGTEXT           a string
//	BIT                         a number, BIT(1) true or false
//	BINARY ... LONGBLOB         binary data
//	GEOMETRY                    binary data in MySQL's form: SRID, then WKB
//	VECTOR                      an array of doubles
//	JSON                        an embedded document or array (json: document), or MySQL's text (json: text)
//	NULL                        null
//
// Nothing is lost. Where a date has more than milliseconds, or an embedded document is not all that the JSON text says (a number that a
// double rounds, or spells otherwise), the text stands beside in _sluice.exact.<field>. What is no date (0000-00-00) is the text itself, and so is
// JSON that no embedded document can say: a name that is empty or has a "." or begins with "$", more than 90 levels.
//
// # Ids
//
// The _id of a key of one column is the column's value as above, except that dates are text. A key of several columns is an embedded
// document of their fields in key order. The server compares numbers by value, strings and binary data by their bytes.
//
// # Deletes
//
// A deleted row leaves a tombstone: _sluice has the version, deleted: true and deleted_at. Queries leave tombstones and the collection's
// own document out by {"_sluice.deleted": {$exists: false}}. Tombstones are removed when they are older than any record that could still
// come: see Config.KeepTombstones.
package mongodb
