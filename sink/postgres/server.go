package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluice-cdc/sluice/change"
)

const (
	dialTimeout     = 10 * time.Second
	rollbackTimeout = 5 * time.Second
	idleTime        = 5 * time.Minute // below what firewalls usually cut
	// metLockTimeout is how long the first try of a batch waits for another that holds one of its unique values. It is below the
	// server's deadlock_timeout (a second): of two that wait for each other, one gives way and comes again alone.
	metLockTimeout = 300 * time.Millisecond
)

// server is the database.
type server struct {
	config  *Config
	version string // the version column, quoted
	origin  string // the source column, quoted

	mu      sync.Mutex // guards the following
	pool    *pgxpool.Pool
	sources map[string]int64 // numbers of sources, by name
	ready   bool             // the target's own tables are there
}

// where names the database in errors.
func (s *server) where() string { return "postgres " + s.config.Address + "/" + s.config.Database }

// open returns the pool of connections, which is made at the first call and connects to nothing by itself.
func (s *server) open() (*pgxpool.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool != nil {
		return s.pool, nil
	}
	host, port := s.config.endpoint()
	parts := []string{"host=" + quoteSetting(host), "port=" + quoteSetting(port), "dbname=" + quoteSetting(s.config.Database),
		"user=" + quoteSetting(s.config.User), "sslmode=" + sslModes[s.config.TLS], "application_name=sluice"}
	if s.config.TLSCA != "" {
		parts = append(parts, "sslrootcert="+quoteSetting(s.config.TLSCA))
	}
	settings, err := pgxpool.ParseConfig(strings.Join(parts, " "))
	if err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "the connection to PostgreSQL cannot be set up", Err: err,
			Mend: "mend address, tls and tls_ca under postgres"}
	}
	settings.MaxConns = int32(s.config.Connections)
	settings.MaxConnIdleTime = idleTime
	settings.ConnConfig.ConnectTimeout = dialTimeout
	settings.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) (err error) {
		c.Password, err = s.config.password()
		return err
	}
	settings.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.PgConn().Exec(ctx, s.sessionSettings()).ReadAll()
		return err
	}
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), settings); err != nil {
		return nil, s.problem(err)
	}
	return s.pool, nil
}

// quoteSetting quotes a value of a connection string.
func quoteSetting(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// sessionSettings are what every session of the sink has: READ COMMITTED, at which a statement that waited for a row sees what
// became of it; text forms that do not depend on the server's settings; no name found but where it is said to be.
// What is answered is durable, so a server that answers before is asked not to.
// All statements look rows up by keys: a plan that reads the table instead comes from a table's statistics that are not there yet.
func (s *server) sessionSettings() string {
	return fmt.Sprintf(`SET default_transaction_isolation='read committed'; SET default_transaction_read_only=off; SET client_encoding='UTF8';
		SET timezone='UTC'; SET datestyle='ISO, YMD'; SET intervalstyle='postgres'; SET extra_float_digits=1; SET bytea_output='hex';
		SET standard_conforming_strings=on; SET search_path=''; SET lock_timeout=%d; SET statement_timeout=0;
		SET idle_in_transaction_session_timeout=60000; SET jit=off;
		SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit')='off'; SET enable_seqscan=off; SET enable_hashjoin=off; SET enable_mergejoin=off`,
		s.config.LockTimeout.Milliseconds())
}

func (s *server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool != nil {
		s.pool.Close()
		s.pool = nil
	}
}

// session is a connection that is out of the pool.
type session struct {
	*server
	pooled *pgxpool.Conn
	conn   *pgconn.PgConn
	open   bool // a transaction may be open
}

// session takes a connection out of the pool, waiting for one where all are in use. The caller releases it.
func (s *server) session(ctx context.Context) (*session, error) {
	pool, err := s.open()
	if err != nil {
		return nil, err
	}
	pooled, err := pool.Acquire(ctx)
	if err != nil {
		return nil, s.problem(err)
	}
	return &session{server: s, pooled: pooled, conn: pooled.Conn().PgConn()}, nil
}

// release gives the connection back. What is still open is rolled back; a connection that cannot even do that is closed by the pool.
func (c *session) release() {
	if c.open {
		_ = c.rollback()
	}
	c.pooled.Release()
}

func (c *session) rollback() error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	if _, err := c.exec(ctx, statement{text: "ROLLBACK"}); err != nil {
		_ = c.conn.Close(ctx) // the server rolls back when it is gone
		return err
	}
	c.open = false
	return nil
}

// statement is one with its parameters, all in text form.
type statement struct {
	text   string
	values [][]byte
}

// result is what a statement gave: the rows' fields, nil for NULL, and how many rows it changed.
type result struct {
	rows    [][][]byte
	changed int64
}

// exec sends the statements in one round trip. After the first error the server runs none of the rest.
func (c *session) exec(ctx context.Context, statements ...statement) ([]result, error) {
	batch := &pgconn.Batch{}
	for _, s := range statements {
		batch.ExecParams(s.text, s.values, nil, nil, nil)
	}
	reader := c.conn.ExecBatch(ctx, batch)
	var results []result
	for reader.NextResult() {
		read := reader.ResultReader().Read()
		if read.Err != nil {
			break
		}
		results = append(results, result{rows: read.Rows, changed: read.CommandTag.RowsAffected()})
	}
	return results, reader.Close()
}

// query runs each over the rows of a SELECT; the fields are nil where they are NULL, and valid until each returns.
func (c *session) query(ctx context.Context, s statement, each func(fields [][]byte) error) error {
	reader := c.conn.ExecParams(ctx, s.text, s.values, nil, nil, nil)
	var broken error
	for broken == nil && reader.NextRow() {
		broken = each(reader.Values())
	}
	_, err := reader.Close() // the rest of the rows is read and dropped
	if broken != nil {
		return broken
	}
	return err
}

// withSession runs f with a connection of the pool.
func (s *server) withSession(ctx context.Context, f func(c *session) error) error {
	c, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	return s.problem(f(c))
}

// withLock runs f in a transaction while this process alone, of all sinks, holds the named lock.
func (s *server) withLock(ctx context.Context, name string, f func(c *session) error) error {
	return s.withSession(ctx, func(c *session) error {
		c.open = true
		lock := statement{"SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [][]byte{[]byte("sluice " + name)}}
		if _, err := c.exec(ctx, statement{text: "BEGIN"}, lock); err != nil {
			return err
		}
		if err := f(c); err != nil {
			return err
		}
		if _, err := c.exec(ctx, statement{text: "COMMIT"}); err != nil {
			return err
		}
		c.open = false
		return nil
	})
}

// sourceNumber returns the number by which rows name the source, given out at first sight.
func (s *server) sourceNumber(ctx context.Context, name string) (int64, error) {
	s.mu.Lock()
	n, ok := s.sources[name]
	s.mu.Unlock()
	if ok {
		return n, nil
	}
	err := s.withSession(ctx, func(c *session) error {
		// Asked first, so that a sequence's number is not spent at each start.
		ask := statement{"SELECT id FROM " + s.own(sourceTable) + " WHERE name=$1", [][]byte{[]byte(name)}}
		give := statement{"INSERT INTO " + s.own(sourceTable) + " (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", ask.values}
		found, err := c.exec(ctx, ask)
		if err == nil && len(found[0].rows) == 0 {
			if _, err = c.exec(ctx, give); err == nil {
				found, err = c.exec(ctx, ask)
			}
		}
		if err != nil {
			return err
		}
		if len(found[0].rows) != 1 {
			return errors.New("a source's number is not there right after it was given out")
		}
		n, err = strconv.ParseInt(string(found[0].rows[0][0]), 10, 64)
		return err
	})
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[name] = n
	return n, nil
}

// sourceNames returns the names of all sources by their numbers.
func (c *session) sourceNames(ctx context.Context) (map[int64]string, error) {
	names := make(map[int64]string)
	err := c.query(ctx, statement{text: "SELECT id,name FROM " + c.own(sourceTable)}, func(fields [][]byte) error {
		n, err := strconv.ParseInt(string(fields[0]), 10, 64)
		names[n] = string(fields[1])
		return err
	})
	return names, err
}
