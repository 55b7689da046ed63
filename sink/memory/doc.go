// Package memory is a target in a map, and with that the meaning of correct: the rules of newest wins, of
// unique keys, of progress with the data and of moves between shards, each in a few lines that can be read. Other
// targets are compared with it (package sinktest); the runtime is tested with it.
//
// A [Store] is the place, as a database server would be; it outlives the targets that are opened on it, so a
// crash is: drop the target, open another. Everything is guarded by one mutex of the Store, and no
// goroutine is started.
package memory
