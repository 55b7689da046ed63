package mysql

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// Numbers of server errors that decide what is done next. The manual's "Server Error Message Reference" names
// them.
const (
	errorNull           = 1048 // ER_BAD_NULL_ERROR: the guard of an INSERT, or the progress row
	errorDuplicate      = 1062 // ER_DUP_ENTRY
	errorDuplicateNamed = 1586 // ER_DUP_ENTRY_WITH_KEY_NAME
	errorNoTable        = 1146 // ER_NO_SUCH_TABLE
	errorNoColumn       = 1054 // ER_BAD_FIELD_ERROR
	errorNoIndex        = 1176 // ER_KEY_DOES_NOT_EXITS
	errorNoDefault      = 1364 // ER_NO_DEFAULT_FOR_FIELD
	errorTableDenied    = 1142 // ER_TABLEACCESS_DENIED_ERROR
	errorOutOfRange     = 1690 // ER_DATA_OUT_OF_RANGE: the guard of an INSERT beside a side table
)

// retryNumbers are errors of a server that will take writes again later.
var retryNumbers = map[uint16]bool{
	1020: true, // ER_CHECKREAD (MariaDB: record has changed since last read)
	1021: true, // ER_DISK_FULL
	1114: true, // ER_RECORD_FILE_FULL: the table is full, as the disk is
	1205: true, // ER_LOCK_WAIT_TIMEOUT
	1206: true, // ER_LOCK_TABLE_FULL
	1213: true, // ER_LOCK_DEADLOCK
	1223: true, // ER_CANT_UPDATE_WITH_READLOCK
	1290: true, // ER_OPTION_PREVENTS_STATEMENT: --read-only, after a failover
	1412: true, // ER_TABLE_DEF_CHANGED: the table was altered while the transaction ran
	1615: true, // ER_NEED_REPREPARE
	1792: true, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
	1836: true, // ER_READ_ONLY_MODE
	3058: true, // ER_USER_LOCK_DEADLOCK
	3572: true, // ER_LOCK_NOWAIT
}

// contended reports whether the transaction met another: it is rolled back, and done again alone.
func contended(err error) bool {
	switch server.ErrorNumber(err) {
	case server.ErrorDeadlock, server.ErrorLockWaitTimeout, 1020:
		return true
	}
	return false
}

// lostOwnership reports whether the progress row refused to move: its column is the only one of that name.
func lostOwnership(err error) bool {
	var e *mysqldriver.MySQLError
	return errors.As(err, &e) && e.Number == errorNull && strings.Contains(e.Message, "'"+progressColumn+"'")
}

// guardFailed reports whether a guarded INSERT met a row that it may not write over: another's unique value, or
// another source's row.
func (tx *transaction) guardFailed(err error) bool {
	var e *mysqldriver.MySQLError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Number {
	case errorDuplicate, errorDuplicateNamed:
		return true
	case errorOutOfRange:
		return strings.Contains(e.Message, largestNumber)
	}
	return e.Number == errorNull && strings.Contains(e.Message, "'"+tx.table.sourceColumn+"'")
}

// ofTable reports whether an error is about the table, whatever row was written.
func ofTable(err error) bool {
	switch server.ErrorNumber(err) {
	case errorNoTable, errorNoColumn, errorNoDefault, errorTableDenied, errorNoIndex, 1044, 1049, 1136, 1143:
		return true
	}
	return false
}

// ofRow reports whether the server refused a statement for what stands in it.
func ofRow(err error) bool {
	n := server.ErrorNumber(err)
	if n == 0 || contended(err) || retryNumbers[n] || ofTable(err) || lostOwnership(err) {
		return false
	}
	p, ok := server.Config{}.ServerProblem(n, err).(*change.Problem)
	return ok && p.Kind == change.Fatal // that is: not one of a server that refuses us
}

// rowTooLarge is what a row gives that no packet can hold.
type rowTooLarge struct {
	bytes, max int
}

func (e *rowTooLarge) Error() string {
	return fmt.Sprintf("the row takes %d bytes as a statement, max_allowed_packet leaves %d", e.bytes, e.max)
}

// refuse names the one change that a shard does not take.
func (t *table) refuse(c *sink.Change, s *shard, why, mend string, cause error) error {
	where := fmt.Sprintf("table %s, key %s, version %d, %s", t.names[s.index], keyText(c.KeyNames, c.KeyValues), c.Version, s.where())
	p := &change.Problem{
		Kind: change.Poison, Table: t.source, Where: where, Err: cause, Mend: mend,
		What: fmt.Sprintf("a row of %s cannot be written", t.source), Why: why,
	}
	return &sink.Refused{Offset: c.Offset, Err: p}
}

// keyText prints a key for people: "id=42" or "(region=eu, id=42)".
func keyText(names []string, values []change.Value) string {
	parts := make([]string, len(values))
	for i := range values {
		name := "?"
		if i < len(names) {
			name = names[i]
		}
		parts[i] = name + "=" + printable(values[i])
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

const printedKeyBytesMax = 64

func printable(v change.Value) string {
	switch v.Kind {
	case change.Raw:
		return "0x" + hex.EncodeToString(v.Bytes[:min(len(v.Bytes), printedKeyBytesMax)])
	case change.Str:
		return fmt.Sprintf("%q", v.Bytes[:min(len(v.Bytes), printedKeyBytesMax)])
	}
	return v.String()
}

// lockName makes a name of at most 64 characters, which is what GET_LOCK takes.
func lockName(name string) string {
	name = "sluice " + name
	if len(name) <= 64 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:40] + hex.EncodeToString(sum[:12])
}
