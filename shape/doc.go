// Package shape gives rows another shape: it derives values from a row by expressions over column names.
//
// Expressions are those of github.com/expr-lang/expr (its language definition is the reference) without what
// reads a clock: the same row gives the same value in every process and for ever, because a shard key that is
// derived today must be derived again tomorrow to find the row.
//
// An Expression is immutable and safe for use by many goroutines; nothing here starts one or does I/O.
package shape
