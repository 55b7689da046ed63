// Package route decides where a row goes: from a table's rule and the value of its shard key to one of a
// list of named shards.
//
// It is pure: no I/O, no clock, no goroutine, and nothing but package change below it. The same
// configuration and the same row give the same shard in every process and for ever, because the rows that were
// written by yesterday's process are looked for by today's; a route's Fingerprint says when that has changed.
//
// What a rule cannot place (NULL, a value in no range) is an error, never a default shard: the
// row's table stops (R9).
package route
