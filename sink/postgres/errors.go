package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// SQLSTATEs that decide what is done next; "PostgreSQL Error Codes" in the manual's appendix A names them.
const (
	stateUnique       = "23505" // unique_violation
	stateNotNull      = "23502" // not_null_violation: the progress row, another source's row, or a value
	stateNoTable      = "42P01" // undefined_table
	stateNoSchema     = "3F000" // invalid_schema_name
	stateNoColumn     = "42703" // undefined_column
	stateDenied       = "42501" // insufficient_privilege
	stateLockTimeout  = "55P03" // lock_not_available
	stateDeadlock     = "40P01" // deadlock_detected
	stateSerialize    = "40001" // serialization_failure: not at READ COMMITTED, but asked for by a trigger it may be
	stateReadOnly     = "25006" // read_only_sql_transaction: a standby, after a failover
	stateCanceled     = "57014" // query_canceled
	stateNoDatabase   = "3D000" // invalid_catalog_name
	classConnection   = "08"
	classAccount      = "28" // wrong password, no line in pg_hba.conf
	classData         = "22"
	classIntegrity    = "23"
	classResources    = "53" // disk full, out of memory, too many connections
	classLimits       = "54" // a key that is longer than an index page takes
	classIntervention = "57" // the server is shut down or starts
	classSystem       = "58" // I/O error
	classSyntax       = "42" // what is there is not what the statement says
)

func stateOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// contended reports whether the transaction met another: it is rolled back, and done again alone.
func contended(err error) bool {
	switch stateOf(err) {
	case stateDeadlock, stateSerialize, stateLockTimeout:
		return true
	}
	return false
}

// lostOwnership reports whether the progress row refused to move.
func lostOwnership(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == stateNotNull && e.ColumnName == progressColumn && e.TableName == progressTable
}

// guardFailed reports whether an upsert met a row that it may not write over: another's unique value, or another source's row.
func (s *server) guardFailed(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == stateUnique || e.Code == stateNotNull && e.ColumnName == s.config.SourceColumn)
}

// ofRow reports whether the server refused a statement for what stands in it.
func ofRow(err error) bool {
	state := stateOf(err)
	return len(state) == 5 && (state[:2] == classData || state[:2] == classIntegrity || state[:2] == classLimits) && !lostOwnership(err)
}

// ofTable reports whether an error is about the table, whatever row was written.
func ofTable(err error) bool {
	state := stateOf(err)
	return len(state) == 5 && (state[:2] == classSyntax || state == stateNoSchema || state == "428C9") // 428C9: generated_always
}

// problem makes an error of the driver or server one for the operator.
func (s *server) problem(err error) error {
	var known *change.Problem
	var refused *sink.Refused
	var lost *sink.OwnershipLost
	if err == nil || errors.As(err, &known) || errors.As(err, &refused) || errors.As(err, &lost) {
		return err
	}
	p := &change.Problem{Kind: change.Fatal, Where: s.where(), Err: err, What: "the database refuses a statement"}
	state := stateOf(err)
	switch {
	case state == "" && !errors.As(err, new(*pgconn.ConnectError)) && !broken(err):
		return err // not the server's: a value that cannot be read, a scan that its caller ended
	case state == "", state[:2] == classConnection, state[:2] == classIntervention, state == stateCanceled:
		p.Kind, p.What, p.Mend = change.Retry, "the database cannot be reached", "nothing, if it passes: it is tried again"
	case contended(err), state[:2] == classResources, state[:2] == classSystem:
		p.Kind, p.What, p.Mend = change.Retry, "the database cannot write at the moment", "nothing, if it passes: it is tried again"
	case state == stateReadOnly:
		p.Kind, p.What, p.Mend = change.Retry, "the database is read-only: it may be a standby", "name the primary in postgres.address"
	case state[:2] == classAccount:
		p.Kind, p.What = change.Configuration, "the database refuses the user "+s.config.User
		p.Mend = "mend user and password under postgres, or the server's pg_hba.conf"
	case state == stateNoDatabase:
		p.Kind, p.What = change.Configuration, "the database "+s.config.Database+" does not exist"
		p.Mend = "CREATE DATABASE " + quoteName(s.config.Database) + " ENCODING 'UTF8';"
	case state == stateDenied:
		p.Kind, p.What = change.Configuration, "the user "+s.config.User+" lacks a privilege"
		p.Mend = "GRANT what the cause names, or have the tables made by their owner"
	}
	return p
}

// broken reports whether an error is a connection's that ended or was never there.
func broken(err error) bool {
	for _, end := range []error{context.DeadlineExceeded, context.Canceled, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, pgconn.ErrConnClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	var network net.Error
	return errors.As(err, &network) || pgconn.SafeToRetry(err)
}

// badValue is a value that PostgreSQL cannot store, found before the server was asked.
type badValue struct {
	change *sink.Change
	column string
	mend   string
	err    error
}

func (e *badValue) Error() string { return "column " + e.column + ": " + e.err.Error() }

func (e *badValue) Unwrap() error { return e.err }

// refuse names the one change that the target does not take.
func (t *table) refuse(c *sink.Change, s *server, why, mend string, cause error) error {
	where := fmt.Sprintf("table %s, key %s, version %d, %s", t.place, keyText(c.KeyNames, c.KeyValues), c.Version, s.where())
	return &sink.Refused{Offset: c.Offset, Err: &change.Problem{
		Kind: change.Poison, Table: t.source, Where: where, Err: cause, Mend: mend,
		What: fmt.Sprintf("a row of %s cannot be written", t.source), Why: why,
	}}
}

// altered is the error where the table is no longer what was prepared.
func (t *table) altered(s *server, err error) error {
	return &change.Problem{Kind: change.Poison, Table: t.source, Where: s.where(), Err: err,
		What: "the target's table " + t.place.String() + " is not what it was at the start",
		Why:  "rows are written by what the table was when it was looked at",
		Mend: "undo what was altered, or wait: the table is looked at again when its topic is tried again"}
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
