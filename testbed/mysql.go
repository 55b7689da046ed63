package testbed

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// socketPathMax is below what a Unix address holds (107 bytes and a zero).
const socketPathMax = 100

// MySQLOptions say which server to start and how. The zero value is the newest
// MySQL with binlog, GTIDs, full row images and full metadata.
type MySQLOptions struct {
	Version MySQLVersion
	// Durable makes each commit survive a crash of the machine (sync_binlog=1,
	// innodb_flush_log_at_trx_commit=1). Without it a commit survives a kill of
	// the server, which is what Kill does, but not a power cut.
	Durable bool
	// TLS gives the server a certificate for its address and localhost, signed by
	// the authority whose certificate is at CAFile. Without it MySQL has its own
	// generated one, which no client can verify, and MariaDB has none.
	TLS bool
	// Flags are added to the command line and win over this package's own:
	// "gtid_mode=OFF", "--max-allowed-packet=1G".
	Flags []string
	// Dir is the folder in which the instance's folder is made; default the
	// system's temp folder.
	Dir string
	// Host is where it runs and listens; nil is this machine, on 127.0.0.1. The
	// user root is then there only over the socket (Exec).
	Host *Host
	// MovableClock lets SetClock move the server's wall clock. It costs a read
	// of a small file at every question for the time.
	MovableClock bool
	Log          Log
}

// MySQL is a running server. It has the users root (no password), cdc/cdc
// (what a source needs, no more) and app/app (everything).
type MySQL struct {
	*server

	// Flavor is the version that was asked for or, for MySQLNewest, taken.
	Flavor MySQLVersion
	// Version is as the server prints it: 9.7.4, 10.11.14-MariaDB.
	Version string
	// Socket is the server's own Unix socket.
	Socket string
	// DataDir is where the server keeps its data and binlogs (binlog.000001).
	DataDir string
	// ServerID is unique among the servers of this machine: the port.
	ServerID uint32
	// CAFile is the PEM certificate that signed the server's, with TLS.
	CAFile string

	home *mysqlHome
	args []string
	// clock is nil when the server has the machine's.
	clock *movableClock
	// socketDir is removed by Stop; empty when the socket lies in dir.
	socketDir string
}

// StartMySQL fetches the server when it is not in the cache, starts it and
// waits until it answers. The caller must Stop it.
func StartMySQL(ctx context.Context, o MySQLOptions) (*MySQL, error) {
	home, err := mysqlInstall(ctx, o.Version, o.Log)
	if err != nil {
		unmet("mysql "+string(o.Version), err)
		return nil, err
	}
	base, err := newServer(home.version.cacheName(), o.Dir, "error.log")
	if err != nil {
		return nil, err
	}
	base.host = o.Host
	m := &MySQL{
		server: base,
		Flavor: home.version, Version: home.FullVersion,
		DataDir: filepath.Join(base.dir, "data"), ServerID: uint32(base.Port), home: home,
	}
	if err := m.prepare(ctx, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare %s: %w", m.Version, err), m)
	}
	if err := m.Start(ctx); err != nil {
		return nil, joinStop(err, m)
	}
	o.Log.printf("%s ready on %s, pid %d", m.Version, m.Address(), m.Pid())
	met("mysql", m.Version)
	return m, nil
}

func (m *MySQL) prepare(ctx context.Context, o MySQLOptions) error {
	if err := copyFolder(m.home.template(), m.DataDir); err != nil {
		return fmt.Errorf("copy the template: %w", err)
	}
	temp := filepath.Join(m.dir, "tmp")
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	m.Socket = filepath.Join(m.dir, "mysql.sock")
	if len(m.Socket) > socketPathMax {
		short, err := os.MkdirTemp("/tmp", "sluice-")
		if err != nil {
			return fmt.Errorf("make a folder with a path short enough for a socket: %w", err)
		}
		m.socketDir = short
		m.Socket = filepath.Join(short, "mysql.sock")
	}
	m.args = append([]string{"--no-defaults"}, m.home.baseFlags()...)
	m.args = append(m.args, userFlag()...)
	m.args = append(m.args,
		"--datadir="+m.DataDir, "--socket="+m.Socket, "--tmpdir="+temp, "--secure-file-priv="+temp,
		"--pid-file="+filepath.Join(m.dir, "mysqld.pid"),
		fmt.Sprintf("--port=%d", m.Port), "--bind-address="+m.ip(), fmt.Sprintf("--server-id=%d", m.ServerID))
	m.args = append(m.args, m.flags(o)...)
	if o.TLS {
		if err := m.prepareTLS(); err != nil {
			return err
		}
	}
	for _, flag := range o.Flags {
		m.args = append(m.args, "--"+strings.TrimPrefix(flag, "--"))
	}
	m.command = func() *exec.Cmd { return m.home.serverCommand(m.args...) }
	m.ready = m.answers
	if o.MovableClock {
		return m.prepareClock(ctx, o.Log)
	}
	return nil
}

// flags are what makes a server fit to be a source or a target, and small
// enough to run many.
func (m *MySQL) flags(o MySQLOptions) []string {
	flags := []string{
		"--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-image=FULL", "--binlog-row-metadata=FULL",
		"--skip-name-resolve", "--performance-schema=OFF",
		"--innodb-buffer-pool-size=64M", "--innodb-use-native-aio=OFF", m.home.smallRedoFlag(),
	}
	if m.Flavor.IsMariaDB() {
		flags = append(flags, "--log-slave-updates=ON", "--gtid-strict-mode=ON")
	} else {
		flags = append(flags, "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--mysqlx=OFF")
		if m.Flavor == MySQL80 {
			flags = append(flags, "--log-slave-updates=ON")
		} else {
			flags = append(flags, "--log-replica-updates=ON")
		}
	}
	if o.Durable {
		return append(flags, "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=ON")
	}
	return append(flags, "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2")
}

// answers asks on the server's own socket, which no other server has.
func (m *MySQL) answers(ctx context.Context) error {
	var port int
	if err := m.queryValue(ctx, "SELECT @@port", &port); err != nil {
		return err
	}
	if port != m.Port {
		return fmt.Errorf("its port is %d, not %d", port, m.Port)
	}
	return nil
}

// openSocket is a pool as root over the server's own socket.
func (m *MySQL) openSocket() (*sql.DB, error) {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr = "root", "unix", m.Socket
	config.Logger = &mysql.NopLogger{} // not being ready is no news
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Config is the driver's configuration for a TCP connection as one of the
// template's users: "root", "cdc" or "app".
func (m *MySQL) Config(user string) *mysql.Config {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr = user, "tcp", m.Address()
	if user != "root" {
		config.Passwd = user
	}
	return config
}

// Open opens a pool over TCP as one of the template's users, with or without a
// default database. The caller closes it.
func (m *MySQL) Open(user, database string) (*sql.DB, error) {
	config := m.Config(user)
	config.DBName = database
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", m.Address(), err)
	}
	return sql.OpenDB(connector), nil
}

// warm logs in as app once. Then the server knows the password's hash, and a client of Java's that may neither encrypt nor ask for the
// server's key can log in as well (caching_sha2_password).
func (m *MySQL) warm(ctx context.Context) error {
	db, err := m.Open("app", "")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.PingContext(ctx); err != nil {
		return fmt.Errorf("log in to %s: %w", m.Address(), err)
	}
	return nil
}

// Exec runs statements one after the other as root over the socket.
func (m *MySQL) Exec(ctx context.Context, statements ...string) error {
	db, err := m.openSocket()
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", m.Socket, err)
	}
	defer conn.Close()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// Tool is a command that runs one of the client programs that came with the
// server: mysql, mysqldump, mysqlbinlog (MySQL 8.0.15 came without).
func (m *MySQL) Tool(name string, args ...string) (*exec.Cmd, error) {
	if m.home.Host != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		return m.home.command(path, args...), nil
	}
	path := filepath.Join(m.home.root(), "usr/bin", name)
	if !exists(path) {
		return nil, fmt.Errorf("%s came without %s", m.Version, name)
	}
	return m.home.command(path, args...), nil
}

// Stop ends the server in order and removes its data. It may be called more
// than once.
func (m *MySQL) Stop() error {
	err := m.server.Stop()
	if m.socketDir != "" {
		os.RemoveAll(m.socketDir) // a socket's folder; what stays is empty
	}
	return err
}
