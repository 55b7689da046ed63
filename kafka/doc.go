// Package kafka holds what source and sinks agree on about Kafka: how topics are named, made and pinned, which
// partition a key belongs to, what the checkpoint, signal and status topics hold, and how a client is built from
// the config.
//
// It reads topics with its own small reader (see fetch.go) that stops exactly where it was told to, so that a
// checkpoint or a sweep has a definite end. Nothing here starts a goroutine that outlives the call that
// started it; every function that waits takes a context.
package kafka
