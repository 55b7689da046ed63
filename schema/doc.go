// Package schema turns a table into the Avro schemas of its topic, and such a schema's text back into the
// table. It is pure: no I/O, no goroutine, no clock; the same table gives the same text, byte for byte.
//
// The value is Debezium's change event (record <topic>.Envelope), the key a record of the key's columns
// (<topic>.Key), both as Debezium's MySQL connector gives them to Confluent's AvroConverter, so that Kafka
// Connect, Flink, ClickHouse or Materialize read the topics unchanged. Types are mapped so ("connect" is the
// name of the Kafka Connect type, where there is one):
//
//	TINYINT, SMALLINT            int         connect int16 (unsigned SMALLINT: int)
//	MEDIUMINT, INT               int         unsigned INT: long
//	BIGINT                       long        unsigned: bytes, connect Decimal of scale 0; a setting makes it long
//	DECIMAL                      bytes       connect Decimal; settings: double, string
//	FLOAT, DOUBLE                float, double
//	BIT(1), BIT(n)               boolean, bytes little-endian io.debezium.data.Bits
//	YEAR                         int         io.debezium.time.Year
//	DATE                         int         io.debezium.time.Date; days since 1970
//	TIME                         long        io.debezium.time.MicroTime; microseconds, signed
//	DATETIME(0-3), (4-6)         long        io.debezium.time.Timestamp, .MicroTimestamp; the wall clock as if UTC
//	TIMESTAMP                    string      io.debezium.time.ZonedTimestamp; UTC, the column's fractional digits
//	CHAR ... LONGTEXT            string      in UTF-8 whatever the column's charset is
//	BINARY ... LONGBLOB          bytes       BINARY padded to its length
//	ENUM, SET                    string      io.debezium.data.Enum, .EnumSet: the name; names joined by commas
//	JSON                         string      io.debezium.data.Json: the text that the server prints
//	POINT                        record      io.debezium.data.geometry.Point (x, y, wkb, srid)
//	other GEOMETRY               record      io.debezium.data.geometry.Geometry (wkb, srid; srid 0 is null)
//	VECTOR                       array       of float, io.debezium.data.FloatVector
//
// # Dates that are none
//
// MySQL stores dates that no calendar has: 0000-00-00, 2024-00-00, 2024-02-31. Debezium bends them to NULL or
// to 1970. Here they are exact: a date y-m-d that is not in the (proleptic Gregorian) calendar is the day
//
//	InvalidDay - (y*10000 + m*100 + d)     with InvalidDay = -1,000,000
//
// counted from 1970-01-01, below every date that MySQL can hold (0000-01-01 is day -719,528). A DATETIME is that
// day and the time of day. The zero TIMESTAMP is 1970-01-01T00:00:00Z, which no real TIMESTAMP can be (they begin
// one second later) and which is what Debezium writes for NOT NULL columns.
//
// # Columns may be absent
//
// A value's field is a union of null and its type, default null, even when the column is NOT NULL; only the key's
// columns are plain. Else ADD COLUMN ... NOT NULL, an everyday change, would be refused by a registry under its
// default BACKWARD compatibility, because a reader of the new schema has nothing to put into old records, and MySQL's
// own default (an expression, perhaps) can't always be written as an Avro default. What the column really is says
// the property sluice.nullable, so that a sink makes the right table.
//
// # Properties
//
// Each field carries its column exactly (sluice.type, .unsigned, .length, .precision, .scale, .charset, .collation,
// .elements, .geometry, .nullable, .name where the Avro name differs, and .hidden where the source hides its values), the Value record its
// table (sluice.database, .table, .key, and .where where the source leaves rows out) and those settings that are not the default. Avro and Kafka Connect ignore properties they don't know.
// The key schema holds nothing but the key's columns and their types: its id is part of every key's bytes, and must not
// change with the table's other columns or with settings, which therefore never apply to it.
package schema
