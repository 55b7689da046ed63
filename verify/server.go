package verify

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/shape"
)

// Server is a source's database server, as verify reads it: plain SELECTs in autocommit.
type Server struct {
	config mysql.Config
	facts  *mysql.Facts
	db     *sql.DB

	// Hashes are the salts and keys of columns that the source hashes, by database.table.column.
	Hashes map[string]shape.Hash
}

// serverConnections bounds what verify opens at the source: one for each table that is walked, and one for each range that is
// settled, see Run.Parallel.
const serverConnections = 40

// Connect connects to a source's server. The caller closes it.
func Connect(ctx context.Context, config mysql.Config) (*Server, error) {
	probe, err := mysql.Connect(ctx, config, mysql.Options{MaxConnections: 1})
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	facts, err := mysql.ReadFacts(ctx, probe)
	if err != nil {
		return nil, config.Problem(err)
	}
	db, err := mysql.Open(config, mysql.Options{MaxConnections: serverConnections, Variables: sessionVariables(facts)})
	if err != nil {
		return nil, err
	}
	return &Server{config: config, facts: facts, db: db}, nil
}

// sessionVariables are what every session at a source has: values in the spelling in which a target's are read (times in UTC,
// text in UTF-8, CHAR without its padding), no bound of time, and nothing seen that is older than the statement.
func sessionVariables(f *mysql.Facts) map[string]string {
	v := map[string]string{
		"time_zone": "'+00:00'", "sql_mode": "''", "autocommit": "1",
		"net_write_timeout": "600", // seconds: what waits for the target must not lose its connection
	}
	if f.Flavor == gtid.MariaDB {
		v["max_statement_time"], v["tx_isolation"] = "0", "'READ-COMMITTED'"
	} else {
		v["max_execution_time"], v["transaction_isolation"] = "0", "'READ-COMMITTED'"
	}
	if f.IsMySQL(5, 7, 9) {
		v["range_optimizer_max_mem_size"] = "0" // over its bound many keys would be a scan of the table
	}
	if f.Flavor != gtid.MySQL || !f.GTIDMode {
		v["innodb_lock_wait_timeout"] = "10" // the rows of keys are read with a lock there: see rowsOf
	}
	return v
}

// Close closes the connections.
func (s *Server) Close() error { return s.db.Close() }

func (s *Server) identity() kafka.ServerIdentity {
	_, address := s.config.Endpoint()
	return kafka.ServerIdentity{UUID: s.facts.ServerUUID, ServerID: s.facts.ServerID, Address: address}
}

// Now returns the end of the server's binlog: everything that a SELECT has shown before lies before it. Not gtid_executed, for a
// SELECT shows rows before their GTID is in that (rule R4).
func (s *Server) Now(ctx context.Context) (Mark, error) {
	mark, err := s.mark(ctx, s.db)
	return mark, s.config.Problem(err)
}

func (s *Server) mark(ctx context.Context, q mysql.Queryer) (Mark, error) {
	facts := *s.facts // BinlogStatus writes into it, and other sessions share it
	file, offset, _, err := facts.BinlogStatus(ctx, q)
	if err != nil {
		return Mark{}, err
	}
	m := Mark{Position: change.Position{File: file, Offset: offset}, Server: s.identity()}
	if m.Server.UUID != "" { // a proxy or a failover may have led this connection elsewhere
		if err := q.QueryRowContext(ctx, "SELECT @@GLOBAL.server_uuid").Scan(&m.Server.UUID); err != nil {
			return Mark{}, fmt.Errorf("ask for server_uuid: %w", err)
		}
	}
	return m, nil
}

// session is one connection to the server, for reading that must not see less than has been published.
type session struct {
	server *Server
	conn   *sql.Conn
}

func (s *Server) session(ctx context.Context) (*session, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, s.config.Problem(err)
	}
	return &session{server: s, conn: conn}, nil
}

func (x *session) close() { x.conn.Close() }

// abandon closes the connection: what it was sending is not wanted any more.
func (x *session) abandon() {
	_ = x.conn.Raw(func(any) error { return driver.ErrBadConn })
	x.conn.Close()
}

// gtids reports whether the session can wait for transactions by their GTIDs; else what is being committed is waited for by locks.
func (x *session) gtids() bool {
	return x.server.facts.Flavor == gtid.MySQL && x.server.facts.GTIDMode
}

// visible waits until the session's SELECTs show everything that the checkpoint says was published: the server hands a
// transaction to the binlog's readers before it is visible (rule R4).
func (x *session) visible(ctx context.Context, published *kafka.PositionState) error {
	if published == nil || published.GTID == "" || !x.gtids() {
		return nil
	}
	const slice = 1 // second
	query := fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %d)", mysql.QuoteString(published.GTID), slice)
	for began := time.Now(); ; {
		var timedOut sql.NullInt64
		if err := x.conn.QueryRowContext(ctx, query).Scan(&timedOut); err != nil {
			return x.server.config.Problem(fmt.Errorf("wait for executed GTIDs: %w", err))
		}
		if timedOut.Valid && timedOut.Int64 == 0 {
			return nil
		}
		if time.Since(began) > visiblePatience {
			return &change.Problem{Kind: change.Retry, What: "the server does not show what has been published", Where: x.server.identity().Address, Err: errStill,
				Why:  "a commit hangs (semi-synchronous replication without its replica), or the server lacks transactions that the source has published",
				Mend: "is it the server that the source reads? See: sluice status"}
		}
	}
}

const visiblePatience = time.Minute
