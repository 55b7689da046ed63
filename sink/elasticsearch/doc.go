// Package elasticsearch is the target that keeps tables as documents in Elasticsearch or OpenSearch.
//
// Each table is one index. A document's id is the row's key, its version the change's version, given to the server as an
// external one: it refuses whatever is not newer (409), so redelivery, reordering and late retries do nothing. The server is
// asked for nothing but _bulk, index creation and mappings, so both products are served by the same code, and no script runs.
//
// A deleted row leaves a tombstone document behind, for the server forgets a deleted document's version after
// index.gc_deletes (a minute by default) and at a restart, and would then let a stale write bring the row back. Documents are
// written to the index <name>-rows; the alias <name> shows those that are no tombstones, and is what people search. Tombstones
// are removed when they are older than any record that could still come.
//
// The target has no transactions and keeps no progress: its consumer group's offsets are committed after what lies before them
// was applied, and versions make the repetition after a crash harmless.
//
// New starts nothing; Apply is called from many goroutines.
package elasticsearch
