package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unsafe"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

const (
	// strictMode is the sql_mode of every session: a value that does not fit is an error, 0 is no wish for an
	// AUTO_INCREMENT value, and zero and impossible dates that the source holds can be stored.
	strictMode = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
	// laxMode is what '' is stored with into an ENUM that has no such name.
	laxMode = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"

	lockWaitSeconds    = 5
	packetReserveBytes = 4 << 10  // headroom below max_allowed_packet
	packetBytesMax     = 16 << 20 // what one packet holds at most, whatever the server allows
)

// shard is one server, or one database of one.
type shard struct {
	config      Shard
	connections int
	version     string                            // the version column, quoted
	beside      func(table change.TableName) bool // whether it stands in a side table
	index       int

	mu    sync.Mutex // guards the following; never held while one of db's connections is waited for
	db    *sql.DB
	facts *server.Facts
	ready bool // the target's own tables are there

	numbering sync.Mutex       // guards the following; nobody who has a connection waits for it
	sources   map[string]int64 // numbers of sources, by name
}

// pool returns the pool of sessions for writing, opened at the first call.
func (s *shard) pool(ctx context.Context) (*sql.DB, *server.Facts, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		return s.db, s.facts, nil
	}
	probe, err := server.Open(s.config.Config, server.Options{MaxConnections: 1})
	if err != nil {
		return nil, nil, err
	}
	defer probe.Close()
	facts, err := server.ReadFacts(ctx, probe)
	if err != nil {
		return nil, nil, s.problem(err)
	}
	db, err := server.Open(s.config.Config, server.Options{
		MultiStatements: true, MaxConnections: s.connections, MaxPacketBytes: int(facts.MaxAllowedPacket),
		FoundRows: true, Variables: sessionVariables(facts),
	})
	if err != nil {
		return nil, nil, err
	}
	s.db, s.facts = db, facts
	return db, facts, nil
}

// sessionVariables are what every session of the sink has.
//
// READ COMMITTED, because REPEATABLE READ locks the gaps of absent keys and deadlocks on them. Foreign keys are off:
// rows of different tables come in no order between them. Unique checks are on: they are the rule.
func sessionVariables(f *server.Facts) map[string]string {
	isolation := "transaction_isolation"
	if f.Flavor == gtid.MariaDB {
		isolation = "tx_isolation" // the only name before 11.1, and still known after
	}
	v := map[string]string{
		isolation:                  "'READ-COMMITTED'",
		"sql_mode":                 "'" + strictMode + "'",
		"time_zone":                "'+00:00'",
		"foreign_key_checks":       "0",
		"unique_checks":            "1",
		"autocommit":               "1",
		"innodb_lock_wait_timeout": strconv.Itoa(lockWaitSeconds),
	}
	if f.IsMySQL(5, 7, 9) {
		// A DELETE of many keys is one condition; over this bound MySQL would read the whole table instead.
		v["range_optimizer_max_mem_size"] = "0"
	}
	return v
}

// packetMax is how many bytes of statements go in one packet.
func (s *shard) packetMax() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(int(s.facts.MaxAllowedPacket)-packetReserveBytes, packetBytesMax)
}

// rowAlias reports whether INSERT ... AS new ON DUPLICATE KEY UPDATE is known; else it is VALUES(column).
func rowAlias(f *server.Facts) bool { return f.IsMySQL(8, 0, 19) }

// invisibleColumns reports whether columns can be kept out of SELECT *.
func invisibleColumns(f *server.Facts) bool {
	if f.Flavor == gtid.MariaDB {
		return f.AtLeast(10, 3, 0)
	}
	return f.IsMySQL(8, 0, 23)
}

// close lets go of the connections. What it may say is of no use: a connection that was broken before cannot say goodbye.
func (s *shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		s.db.Close()
		s.db = nil
	}
}

// conn takes a connection out of the pool, waiting for one where all are in use.
func (s *shard) conn(ctx context.Context) (*session, error) {
	db, _, err := s.pool(ctx)
	if err != nil {
		return nil, err
	}
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, s.problem(err)
	}
	return &session{shard: s, conn: c}, nil
}

// qualify returns the quoted name of one of the target's own tables.
func (s *shard) qualify(name string) string {
	return server.QuoteName(s.config.Database) + "." + server.QuoteName(name)
}

// target returns the name of the shard's table for a table of the source.
func (s *shard) target(t change.TableName) change.TableName {
	return change.TableName{DB: s.config.Database, Name: t.Name}
}

// problem makes an error of the driver or server one for the operator.
func (s *shard) problem(err error) error {
	if err == nil {
		return nil
	}
	if n := server.ErrorNumber(err); n != 0 {
		if retryNumbers[n] {
			return &change.Problem{Kind: change.Retry, Where: s.where(), Err: err, What: "the shard cannot write at the moment",
				Mend: "nothing, if it passes: it is tried again"}
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &change.Problem{Kind: change.Retry, What: "the shard did not answer in time", Where: s.where(), Err: err,
			Mend: "nothing, if it passes: it is tried again"}
	}
	return s.config.Config.Problem(err)
}

func (s *shard) where() string {
	_, address := s.config.Endpoint()
	return "shard " + s.config.Name + ", " + address
}

// session is one connection, used by one goroutine.
type session struct {
	shard   *shard
	conn    *sql.Conn
	open    bool // a transaction is
	tainted bool // its settings may not be the target's own
}

// release gives the connection back. With a transaction still open that cannot be rolled back, it is thrown away.
func (c *session) release() {
	if c.tainted {
		c.discard()
	}
	if c.open {
		_ = c.rollback() // thrown away where that failed
	}
	c.conn.Close()
}

const rollbackTimeout = 2 * time.Second

// rollback ends the transaction, also when the caller's context has ended.
func (c *session) rollback() error {
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	_, err := c.exec(ctx, []byte("ROLLBACK"))
	if err != nil {
		c.discard()
		return fmt.Errorf("roll back: %w", driver.ErrBadConn)
	}
	c.open = false
	return nil
}

// discard has the pool close the connection; the server then rolls back.
func (c *session) discard() {
	c.open, c.tainted = false, false
	_ = c.conn.Raw(func(any) error { return driver.ErrBadConn }) // it returns just that
}

// exec sends statements as one packet and returns the rows that each of them changed. At the first error the
// server runs none of the rest; which statement it was, only the error's text tells.
func (c *session) exec(ctx context.Context, statements []byte) (affected []int64, err error) {
	err = c.conn.Raw(func(connection any) error {
		// Not copied, for it may have megabytes: the driver has sent it and keeps nothing of it when it returns.
		text := unsafe.String(unsafe.SliceData(statements), len(statements))
		result, err := connection.(driver.ExecerContext).ExecContext(ctx, text, nil)
		if err == nil {
			affected = result.(mysqldriver.Result).AllRowsAffected()
		}
		return err
	})
	return affected, err
}

// query runs each over the rows of a SELECT; fields are nil where they are NULL, and valid until each returns.
func (c *session) query(ctx context.Context, statement []byte, each func(fields []sql.RawBytes) error) error {
	return queryRows(ctx, c.conn, string(statement), each)
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func queryRows(ctx context.Context, q queryer, statement string, each func(fields []sql.RawBytes) error) error {
	return querySets(ctx, q, statement, func(_ int, fields []sql.RawBytes) error { return each(fields) })
}

// querySets is queryRows of several SELECTs; each is told which of them a row is of.
func querySets(ctx context.Context, q queryer, statements string, each func(set int, fields []sql.RawBytes) error) error {
	rows, err := q.QueryContext(ctx, statements)
	if err != nil {
		return err
	}
	defer rows.Close()
	for set := 0; ; set++ {
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		fields := make([]sql.RawBytes, len(columns))
		pointers := make([]any, len(columns))
		for i := range fields {
			pointers[i] = &fields[i]
		}
		for rows.Next() {
			if err := rows.Scan(pointers...); err != nil {
				return err
			}
			if err := each(set, fields); err != nil {
				return err
			}
		}
		if rows.Err() != nil || !rows.NextResultSet() {
			return rows.Err()
		}
	}
}

// withLock runs f while this process alone, of all sinks, holds the named lock of the server.
func (s *shard) withLock(ctx context.Context, name string, f func(c *session) error) error {
	c, err := s.conn(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	name = lockName(name)
	var got sql.NullInt64
	if err := c.conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", name, lockTimeoutSeconds).Scan(&got); err != nil {
		return s.problem(err)
	}
	if got.Int64 != 1 {
		return &change.Problem{Kind: change.Retry, What: fmt.Sprintf("another process holds the lock %q", name), Where: s.where(),
			Mend: "nothing, if it passes: it is tried again"}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
		defer cancel()
		if _, err := c.conn.ExecContext(ctx, "DO RELEASE_LOCK(?)", name); err != nil {
			c.discard() // the lock goes with the connection
		}
	}()
	return f(c)
}

const lockTimeoutSeconds = 30

// sourceNumber returns the number by which the shard's rows name the source, given out at first sight. It may wait for a connection.
func (s *shard) sourceNumber(ctx context.Context, name string) (int64, error) {
	s.numbering.Lock()
	defer s.numbering.Unlock()
	if n, ok := s.sources[name]; ok {
		return n, nil
	}
	db, _, err := s.pool(ctx)
	if err != nil {
		return 0, err
	}
	read := func() (n int64, err error) {
		err = db.QueryRowContext(ctx, "SELECT id FROM "+s.qualify(sourceTable)+" WHERE name = ?", name).Scan(&n)
		return n, err
	}
	n, err := read()
	if errors.Is(err, sql.ErrNoRows) {
		// Another process may do the same: the second of them changes nothing.
		if _, err = db.ExecContext(ctx, "INSERT INTO "+s.qualify(sourceTable)+" (name) VALUES (?) ON DUPLICATE KEY UPDATE id = id", name); err == nil {
			n, err = read()
		}
	}
	if err != nil {
		return 0, s.problem(err)
	}
	s.sources[name] = n
	return n, nil
}

// sourceNames reads all sources' names by their numbers. They are few.
func (s *shard) sourceNames(ctx context.Context) (map[int64]string, error) {
	db, _, err := s.pool(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[int64]string)
	err = queryRows(ctx, db, "SELECT id,name FROM "+s.qualify(sourceTable), func(fields []sql.RawBytes) error {
		number, err := strconv.ParseInt(string(fields[0]), 10, 64)
		names[number] = string(fields[1])
		return err
	})
	if server.ErrorNumber(err) == errorNoTable {
		return names, nil
	}
	return names, s.problem(err)
}

// sourceName returns the name of a source's number, for people.
func (s *shard) sourceName(ctx context.Context, c *session, number int64) string {
	var name string
	err := c.conn.QueryRowContext(ctx, "SELECT name FROM "+s.qualify(sourceTable)+" WHERE id = ?", number).Scan(&name)
	if err != nil {
		return "number " + strconv.FormatInt(number, 10)
	}
	return name
}
