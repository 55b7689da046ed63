package handler

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// Querier is a *sql.DB, *sql.Conn or *sql.Tx.
type Querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// WaitVisible waits until the source's own sessions see the event's transaction, and all that were committed before it: MySQL hands
// a transaction to the readers of the binlog before it makes its rows visible, by microseconds on a plain server, by seconds under
// semi-synchronous replication. What is read afterwards, from the same server, is at least as new as the event.
//
// Rows that a crawl has found are visible already. Without GTIDs, and on MariaDB, it cannot be told: a Configuration problem. The
// server must keep binlog_order_commits=ON, the default. q must be the server that the source reads, or a replica: it waits for it.
func WaitVisible(ctx context.Context, q Querier, e *Event, timeout time.Duration) error {
	gtid := e.GTID()
	if e.change.Op == change.Read || e.Bare() || e.change.Origin.Snapshot == overTheTop {
		return nil
	}
	if !strings.Contains(gtid, ":") {
		return &change.Problem{Kind: change.Configuration, What: "the source has no MySQL GTIDs: whether a change is visible yet cannot be told",
			Why: "what is read from the server might be older than the event, and would stay", Mend: "SET PERSIST gtid_mode = ON (step by step: OFF_PERMISSIVE, ON_PERMISSIVE, ON)"}
	}
	var late bool
	if err := q.QueryRowContext(ctx, "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)", gtid, timeout.Seconds()).Scan(&late); err != nil {
		return fmt.Errorf("wait for %s: %w", gtid, err)
	}
	if late {
		return &change.Problem{Kind: change.Retry, What: fmt.Sprintf("transaction %s is not visible after %s", gtid, timeout),
			Why: "a replica lags, or the server waits for its replicas' acknowledgement", Mend: "nothing, if it passes: it is tried again"}
	}
	return nil
}
