// Package rowimage reads what MySQL and MariaDB write about rows into the binlog: the TABLE_MAP event that
// describes a table, the rows events that carry row images, and the values in them.
//
// The path of a row is: [ParseTableMap] once a table and shape, [ParseRows] once an event, then
// [TableMap.Image] (or [TableMap.AfterPartial]) once a row image. Image only finds where each column's bytes
// begin and end and copies nothing: a [Cell] aliases the event. Whoever encodes a row calls the decoders of
// single values here (AppendDecimal, DecodeTime, AppendJSON, ...), which append to a buffer of the caller, so
// that a row costs no allocation. [TableMap.Value] gives the same as a change.Value, for tests and slow paths.
//
// Everything is pure: no I/O, no goroutine, no clock. Every function that reads bytes from outside returns an
// error on bytes that it cannot read and never panics; the fuzz tests hold it to that.
package rowimage
