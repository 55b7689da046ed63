// Package bench measures Sluice on real servers, side by side with its peers and with what the machine allows (the floor), in one run on
// the same data. `make bench` runs it; docs/benchmarks.md says how, what each goal is, and what is done about noise.
//
// What is measured is a [Contender]: our programs here (ours.go), the peers in test/bench/peer and the bare programs in test/bench/floor by
// way of the table in rivals.go, where each has one entry. A contender is one run: it is made, primed before the work's data is written,
// started, watched by its own word on how far it is, and stopped. Its rate and its processor time are those between the first sign of
// progress and the end, so that the start of a Java machine counts for nobody.
//
// A work (backlog.go, crawl.go, ...) writes its data, lets the contenders run in pairs, ours and then the other, and compares what has
// arrived with the source: all rows by content. A run that lost rows fails, whatever its rate was.
//
// What needs no server is pure and tested on its own: medians and verdicts (verdict.go), percentiles (percentile.go), /proc (proc.go),
// settings (settings.go) and how many changes a backlog has (data.go). The package's goroutines all end with the call that started them.
package bench
