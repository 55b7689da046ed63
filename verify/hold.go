package verify

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// Hold is how writes are kept away from a source while it is compared.
type Hold string

// The holds.
const (
	NoHold       Hold = ""          // writes go on
	HoldReplica  Hold = "replica"   // the source is a replica: it applies nothing meanwhile
	HoldReadLock Hold = "read-lock" // nobody can commit meanwhile
)

// holdRelease is how long letting go may take, also after the command was stopped.
const holdRelease = 30 * time.Second

// Hold keeps writes away until release is called, which the caller must do whatever happens; ctx's end does not matter to it. The
// error of release says that the hold did not last, or could not be let go.
func (s *Server) Hold(ctx context.Context, how Hold) (release func() error, err error) {
	conn, err := s.db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "SET SESSION wait_timeout = 604800, SESSION lock_wait_timeout = 60")
	}
	if err != nil {
		return nil, s.config.Problem(err)
	}
	h := &holding{server: s, conn: conn}
	begin, end := h.lock, "UNLOCK TABLES"
	if how == HoldReplica {
		begin, end = h.stopReplica, "START "+s.replica()+" SQL_THREAD"
	}
	if err := begin(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdRelease)
		defer cancel()
		defer conn.Close()
		_, err := conn.ExecContext(ctx, end)
		if err == nil {
			return nil
		}
		lost := &change.Problem{Kind: change.Retry, What: "the hold of the source did not last to the end", Where: s.identity().Address, Err: err,
			Why: "the connection that held it is gone; rows may have changed while they were compared"}
		if how == HoldReplica {
			lost.Mend = end + ";" // it stays stopped
			if _, err := s.db.ExecContext(ctx, end); err == nil {
				lost.Mend = "nothing: it applies again; verify again"
			}
		}
		return lost
	}, nil
}

// holding is a hold that begins.
type holding struct {
	server *Server
	conn   *sql.Conn
}

// lock keeps everybody from committing. The server lets go by itself when the connection ends.
func (h *holding) lock(ctx context.Context) error {
	if _, err := h.conn.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
		return &change.Problem{Kind: change.Retry, What: "the source cannot be locked for reading", Where: h.server.identity().Address, Err: err,
			Mend: fmt.Sprintf("GRANT RELOAD ON *.* TO '%s'@'%%'; or wait for long statements to end", h.server.config.User)}
	}
	return nil
}

// replica is the server's word for it.
func (s *Server) replica() string {
	if s.facts.IsMySQL(8, 0, 22) {
		return "REPLICA"
	}
	return "SLAVE"
}

// stopReplica has the server apply nothing. One that does not apply is left as it is: it would be started at the end.
func (h *holding) stopReplica(ctx context.Context) error {
	s := h.server
	running, err := h.applies(ctx)
	if err == nil && !running {
		err = &change.Problem{Kind: change.Configuration, What: "the source is no replica that applies changes", Where: s.identity().Address,
			Why: "there is nothing to hold", Mend: "look at SHOW " + s.replica() + " STATUS; for a server that is written to itself: --hold read-lock"}
	}
	if err != nil {
		return s.config.Problem(err)
	}
	if _, err := h.conn.ExecContext(ctx, "STOP "+s.replica()+" SQL_THREAD"); err != nil {
		return &change.Problem{Kind: change.Configuration, What: "the replica cannot be held", Where: s.identity().Address, Err: err,
			Mend: fmt.Sprintf("GRANT REPLICATION_SLAVE_ADMIN ON *.* TO '%s'@'%%';", s.config.User)}
	}
	return nil
}

// applies reports whether the server is a replica whose applier runs.
func (h *holding) applies(ctx context.Context) (bool, error) {
	rows, err := h.conn.QueryContext(ctx, "SHOW "+h.server.replica()+" STATUS")
	if err != nil {
		return false, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return false, err
	}
	if !rows.Next() {
		return false, errors.Join(rows.Err())
	}
	var running sql.NullString
	into := make([]any, len(columns))
	for i, name := range columns {
		into[i] = new(sql.RawBytes)
		if strings.EqualFold(name, "Replica_SQL_Running") || strings.EqualFold(name, "Slave_SQL_Running") {
			into[i] = &running
		}
	}
	if err := rows.Scan(into...); err != nil {
		return false, err
	}
	return running.String == "Yes", rows.Close()
}
