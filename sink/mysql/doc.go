// Package mysql is the target that keeps tables in one or more MySQL or MariaDB servers, the shards: newest
// wins on every unique key (R5 of the design), progress in the transactions of the data (R6), rows that move
// between shards (R7).
//
// # How a batch is applied
//
// The changes are routed, and of each key the newest is taken in each shard (plan.go). A shard gets its part as
// one packet: BEGIN; the progress row moves, or nothing happens; versioned DELETEs; one guarded INSERT ... ON
// DUPLICATE KEY UPDATE; COMMIT (packet.go, statement.go). The guard makes the statement succeed if, and only if,
// every row of it could be written by the rule; a unique value that another row holds fails it, and then those
// few rows are taken one by one, holders locked and looked at, in the same transaction (careful.go). What
// loses or deletes a row in trust that its own next change is on the way leaves a debt (debt.go).
//
// # What a target table has
//
// Two columns more than the source's, invisible where the server can: the version of the row's newest change,
// and the number of the source that it came from. A table that may get none has them in a table beside it (side.go). Tables of the target's own, in each shard's database:
//
//	_sluice_progress   how far each partition is applied: next offset, epoch, T
//	_sluice_source     the numbers of the sources
//	_sluice_table      which group writes a table, and the fingerprint of its route
//	_sluice_version_*  versions and sources of the rows of a table without columns for them
//	_sluice_debt       keys whose next change must still come
//
// New starts nothing and connects to nothing; connections are opened when they are needed and closed by Close.
// Each Apply runs one goroutine a shard, which has ended when Apply returns.
package mysql
