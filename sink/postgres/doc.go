// Package postgres is the target that keeps tables in a PostgreSQL database: newest wins on every unique key (R5 of the design),
// progress in the transactions of the data (R6).
//
// # How a batch is applied
//
// Of each key the newest change is taken (plan.go). The batch goes to the server in one round trip, as one transaction at READ
// COMMITTED: the progress row moves, or the transaction fails; versioned DELETEs; one INSERT ... SELECT FROM unnest(...) ON CONFLICT
// (key) DO UPDATE ... WHERE the stored version is less; the debts of these keys are struck; COMMIT (apply.go, statement.go). ON
// CONFLICT names the primary key alone, so a row that meets another's value of a further unique key fails the statement
// (23505). Then the transaction is done again with the rows in conflict taken one by one, holders locked and looked at
// (careful.go). What loses or deletes a row in trust that its own next change is on the way leaves a debt (debt.go).
//
// Two transactions that wait for each other's unique values end by a short lock timeout rather than by the server's deadlock
// detector, which takes a second, and are repeated while no other of this process runs on the table.
//
// # What a target table has
//
// Two columns more than the source's: the version of the row's newest change, and the number of the source that it came from.
// Tables of the target's own lie in a schema of its own, _sluice:
//
//	progress   how far each partition is applied: next offset, epoch, T
//	source     the numbers of the sources
//	owner      which group writes a table
//	debt       keys whose next change must still come
//
// # What a value becomes
//
// types.go has the map from MySQL's types; it loses nothing but what PostgreSQL cannot hold at all: NUL in text, and dates that no
// calendar has. Those stop the table with the row named, or are changed as the configuration says, and verify then
// expects what they were changed to (shape.go).
//
// # Limits
//
// One server: rows are not spread over several. A column that leaves the source's table stays at the target. Foreign keys,
// deferrable unique keys and triggers at the target are refused: see docs/targets/postgres.md for all.
//
// New starts nothing and connects to nothing; connections are opened when they are needed and closed by Close. Apply runs in its
// caller's goroutine.
package postgres
