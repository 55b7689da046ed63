// Package crawl reads existing rows beside the running stream: whole tables, the rows of a WHERE, or named
// keys, in chunks, without a lock, without a write to the server, and without ever overwriting newer data.
//
// What makes a chunk right is in package merge; this package is the hands: it cuts tables into key ranges,
// reads chunk after chunk by the five steps that merge needs, keeps the progress, and asks its Stream (the
// source's loop) to publish what is left of each chunk together with that progress.
//
//	Manager   runs the crawls: which chunk of which crawl is next, how large, how often tried
//	planner   cuts a table's key space into ranges by looking into the index
//	session   one chunk by the five steps, on one connection
//	bound     key values as SQL literals: the server compares them, nobody else does
//
// Nothing runs until Manager.Run, which starts its goroutines and ends them before it returns.
package crawl
