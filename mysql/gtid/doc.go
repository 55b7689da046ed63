// Package gtid holds sets of global transaction identifiers: MySQL's exact sets, with tags, and MariaDB's
// positions, one sequence number a domain.
//
// It is pure: no I/O, no goroutine, no clock. A Set is changed by Add, AddSet, AddRaw, RemoveRaw and AddMariaDB only and is
// not safe for concurrent use; Clone gives one that shares nothing.
//
// The two servers mean different things by "executed". MySQL's is a set: holes are possible (a purge, a
// replica's parallel appliers, a GTID given by hand), so only the exact set answers "has the server applied
// all of this". MariaDB's is a position: with 0-1-100 executed everything of domain 0 up to sequence 100 is.
package gtid
