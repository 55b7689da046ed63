// Package merge decides which rows of a crawled chunk may still be published when the stream of change
// events has gone on meanwhile. It is the heart of the crawl that locks nothing and writes nothing: the
// window of DBLog, without its writes to the source.
//
// A chunk's life, and what the Merger remembers of it:
//
//	Open     every key that the stream carries for the table is remembered from here, exactly
//	(outside: wait until the server shows what the stream has carried, SELECT the chunk, note the
//	position of the server's log after it: the high mark)
//	Read     the remembered keys strike their rows from the chunk; from here each Touch strikes
//	Due      the stream has passed the high mark: the rows that are left are newer than anything carried
//	         before, and older than anything that comes after
//
// What makes it right: a row of the chunk was seen by a SELECT that also saw every transaction the stream
// had carried before Open (the caller waited for that), so only transactions carried after Open can be
// newer than the row or unseen by it. All of those that the SELECT saw lie below the high mark. So between
// Open and Due each carried key's event says all there is to know of that row, and the chunk's row is
// dropped; a row that was not carried has not changed and is the newest.
//
// The package is pure: no I/O, no goroutine, no clock, no lock. One goroutine owns a Merger.
package merge
