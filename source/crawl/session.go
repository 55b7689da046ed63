package crawl

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// session is one connection to the server. Steps 2 to 4 of a chunk run in one session, and the server is
// asked for its name before and after: a proxy or a failover in between would compare one server's rows with
// another one's log. A session belongs to one worker at a time.
type session struct {
	db      *sql.DB
	facts   *mysql.Facts
	locking bool // no GTIDs to wait for: rows are read with LOCK IN SHARE MODE

	conn *sql.Conn // nil: not connected
}

// connect connects if need be and makes the session what the reads rely on.
func (s *session) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	unlimited := "SET SESSION max_execution_time = 0" // a chunk that is too slow is made smaller, not killed
	if s.facts.Flavor == gtid.MariaDB {
		unlimited = "SET SESSION max_statement_time = 0"
	}
	for _, set := range [...]string{
		unlimited,
		// A SELECT inside a transaction would look through the read view of that transaction's first one.
		"SET SESSION autocommit = 1, SESSION innodb_lock_wait_timeout = 1",
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
	} {
		if _, err := conn.ExecContext(ctx, set); err != nil {
			conn.Close()
			return fmt.Errorf("set up the session: %w", err)
		}
	}
	s.conn = conn
	return nil
}

// close gives the connection up. It is not used again: what it was doing may not be finished.
func (s *session) close() {
	if s.conn == nil {
		return
	}
	// A bad connection is closed by the pool; a good one would be kept with its session as it is.
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	s.conn.Close()
	s.conn = nil
}

// errOtherServer says that this session's server is not the one that the stream reads.
var errOtherServer = errors.New("the connection leads to another server than the stream's")

// checkServer compares the server's name with that of the stream's. MariaDB has none.
func (s *session) checkServer(ctx context.Context, uuid string) error {
	if uuid == "" {
		return nil
	}
	var here string
	if err := s.conn.QueryRowContext(ctx, "SELECT @@GLOBAL.server_uuid").Scan(&here); err != nil {
		return fmt.Errorf("ask for server_uuid: %w", err)
	}
	if here != uuid {
		return fmt.Errorf("%w: %s, not %s", errOtherServer, here, uuid)
	}
	return nil
}

const (
	waitSlice = 1 * time.Second // of one WAIT_FOR_EXECUTED_GTID_SET; then it is asked again
	waitNote  = 3 * time.Second // a wait that is longer is reported
)

// waitExecuted waits until the server shows all of the set to a SELECT that starts then. A commit that hangs
// (semi-sync without its replica) holds it as long as it hangs; note is told.
func (s *session) waitExecuted(ctx context.Context, set *gtid.Set, note func(string)) error {
	if s.locking || set == nil || set.Empty() || mutant.NoWait {
		return nil
	}
	query := fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', %d)", set, int(waitSlice/time.Second))
	for start := time.Now(); ; {
		var timedOut sql.NullInt64
		if err := s.conn.QueryRowContext(ctx, query).Scan(&timedOut); err != nil {
			return fmt.Errorf("wait for executed GTIDs: %w", err)
		}
		if timedOut.Valid && timedOut.Int64 == 0 {
			return nil
		}
		if waited := time.Since(start); waited > waitNote {
			note(fmt.Sprintf("still waiting (%s) for the server to show transactions that the binlog has delivered; a commit hangs, or this server lacks them",
				waited.Round(time.Second)))
		}
	}
}

// highMark reads the end of the server's log.
func (s *session) highMark(ctx context.Context) (change.Position, error) {
	facts := *s.facts // BinlogStatus writes into it, and other sessions share it
	file, offset, _, err := facts.BinlogStatus(ctx, s.conn)
	return change.Position{File: file, Offset: offset}, err
}

// settle waits for a DDL that is being committed. With GTIDs, waiting for them is enough.
func (s *session) settle(ctx context.Context, table change.TableName) error {
	if !s.locking {
		return nil
	}
	var one int
	err := s.conn.QueryRowContext(ctx, "SELECT 1 FROM "+mysql.QuoteTable(table)+" LIMIT 1").Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
