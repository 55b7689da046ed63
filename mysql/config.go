package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"os"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/change"
)

// Config says how to reach one server.
type Config struct {
	Address      string `yaml:"address"` // host:port, [ipv6]:port or a socket's path; the port is 3306 when left out
	User         string `yaml:"user"`
	Password     Secret `yaml:"password"`
	PasswordFile string `yaml:"password_file"` // read at each connection, so that a new password needs no restart
	TLS          string `yaml:"tls"`           // off, prefer (default), require or verify: see TLSConfig
	TLSCA        string `yaml:"tls_ca"`        // PEM file; the system's authorities when empty
	TLSCert      string `yaml:"tls_cert"`      // PEM file of the client's certificate
	TLSKey       string `yaml:"tls_key"`       // PEM file of its key
}

// Options say what a pool is for.
type Options struct {
	Database        string            // default database
	MultiStatements bool              // several statements in one packet
	Variables       map[string]string // session variables, values as SQL: {"time_zone": "'+00:00'"}
	MaxPacketBytes  int               // largest packet sent; 0: as the server says, asked at each connection
	ReadTimeout     time.Duration     // longest silence of the server within a reply; 0: none
	WriteTimeout    time.Duration     // longest time for the server to take a packet; 0: none
	MaxConnections  int               // of the pool; 0: no bound
	FoundRows       bool              // RowsAffected counts the rows found, not only those changed
}

const (
	defaultPort        = "3306"
	dialTimeout        = 10 * time.Second
	idleConnectionTime = 5 * time.Minute // below what firewalls and wait_timeout usually cut
)

// Open returns a pool of connections. It connects to nothing yet; Connect does. The caller closes it.
func Open(cfg Config, o Options) (*sql.DB, error) {
	network, address := cfg.Endpoint()
	c := driver.NewConfig()
	c.Net, c.Addr, c.User, c.DBName = network, address, cfg.User, o.Database
	c.Timeout, c.ReadTimeout, c.WriteTimeout = dialTimeout, o.ReadTimeout, o.WriteTimeout
	c.MultiStatements, c.ClientFoundRows = o.MultiStatements, o.FoundRows
	c.MaxAllowedPacket = o.MaxPacketBytes
	c.InterpolateParams = true // one round trip, and the text protocol for arguments too
	c.Logger = &driver.NopLogger{}
	c.ConnectionAttributes = "program_name:sluice"
	c.Params = maps.Clone(o.Variables)

	tlsConfig, plainAllowed, err := cfg.TLSConfig()
	if err != nil {
		return nil, err
	}
	c.TLS, c.AllowFallbackToPlaintext = tlsConfig, plainAllowed
	if err := c.Apply(driver.BeforeConnect(func(_ context.Context, c *driver.Config) (err error) {
		c.Passwd, err = cfg.ReadPassword()
		return err
	})); err != nil {
		return nil, fmt.Errorf("open %s: %w", address, err)
	}
	connector, err := driver.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", address, err)
	}
	db := sql.OpenDB(connector)
	db.SetConnMaxIdleTime(idleConnectionTime)
	if o.MaxConnections > 0 {
		db.SetMaxOpenConns(o.MaxConnections)
		db.SetMaxIdleConns(o.MaxConnections)
	}
	return db, nil
}

// Connect opens a pool and makes a first connection, so that a wrong address or password shows at once, as a
// change.Problem.
func Connect(ctx context.Context, cfg Config, o Options) (*sql.DB, error) {
	db, err := Open(cfg, o)
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, cfg.Problem(err)
	}
	return db, nil
}

// Endpoint returns the network ("tcp" or "unix") and the address with its port.
func (c Config) Endpoint() (network, address string) {
	if strings.HasPrefix(c.Address, "/") {
		return "unix", c.Address
	}
	if c.Address == "" {
		return "tcp", net.JoinHostPort("127.0.0.1", defaultPort)
	}
	if _, _, err := net.SplitHostPort(c.Address); err == nil {
		return "tcp", c.Address
	}
	return "tcp", net.JoinHostPort(strings.Trim(c.Address, "[]"), defaultPort)
}

// ReadPassword returns the password: Password, or the first line of PasswordFile.
func (c Config) ReadPassword() (string, error) {
	if c.Password != "" || c.PasswordFile == "" {
		return c.Password.Reveal(), nil
	}
	content, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", &change.Problem{
			Kind: change.Configuration, What: "the password file cannot be read", Where: "password_file", Err: err,
			Mend: "name a file that this process may read, with the password on its first line",
		}
	}
	line, _, _ := strings.Cut(string(content), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

// ReadVariables are the session settings with which rows are read for Kafka: times in UTC, and every value
// in the bytes and the spelling that the binlog has (R10). The caller may change the map.
//
// character_set_results=NULL has the server send each column in its own charset: converted to the
// connection's, a character that the charset tables map differently would differ from the binlog's.
// An empty sql_mode leaves out PAD_CHAR_TO_FULL_LENGTH (CHAR would come with trailing spaces) and ANSI_QUOTES.
func ReadVariables() map[string]string {
	return map[string]string{
		"time_zone":             "'+00:00'",
		"sql_mode":              "''",
		"character_set_results": "NULL",
		"net_write_timeout":     "600", // seconds; a slow reader is not a dead one
		"net_read_timeout":      "600",
		"autocommit":            "1",
	}
}

// ServerID returns the server id with which the source of that name reads the binlog: the same at each start,
// and in the upper half of the numbers, which people who number their servers by hand leave free. Two readers
// with one id throw each other out.
func ServerID(source string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(source))
	return 1<<31 | h.Sum32()
}
