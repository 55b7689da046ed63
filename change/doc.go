// Package change holds the words that every other package speaks: the row, its table and key, the
// change event, the position in the server's history and the version that orders all changes.
//
// It depends on the standard library only, starts no goroutine, does no I/O and reads no clock. Everything
// here is plain data; values are immutable once they are shared unless their comment says otherwise.
package change
