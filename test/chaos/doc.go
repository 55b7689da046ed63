// Package chaos is the torture: one server that a thousand sessions write to, its replica, two shards, a broker and a registry, with
// source and sinks between them, and faults at random moments from one seed, several at a time. Every few minutes the faults
// stop and every row is compared by content under a read lock; in between `verify` compares while writes and faults go on. In the end
// the history of every change is followed from the binlog through the topics.
//
//	make torture DURATION=30m SEED=7
//
// Anything that differs stops the run and leaves what is known of it in a folder. A run is one call of Run, which starts
// and stops everything, goroutines, processes and servers, and removes what they kept. Where the machine lets it (root on Linux)
// each server has a host of its own, in a network namespace; else they are on loopback, and the kinds of faults that
// need hosts are left out and named.
package chaos
