package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/sluice-cdc/sluice/change"
)

// Numbers of server errors that callers ask for.
const (
	ErrorAccessDenied     = 1045
	ErrorNoSuchTable      = 1146
	ErrorLockWaitTimeout  = 1205
	ErrorDeadlock         = 1213
	ErrorSpecificAccess   = 1227
	ErrorBinlogUnreadable = 1236
)

// ErrorNumber returns the server's number of the error, or 0.
func ErrorNumber(err error) uint16 {
	var server *mysqldriver.MySQLError
	if errors.As(err, &server) {
		return server.Number
	}
	return 0
}

// Problem makes an error of the driver or the server into one for the operator. What it does not know stays
// as it is, and so is fatal.
func (c Config) Problem(err error) error {
	var known *change.Problem
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	var server *mysqldriver.MySQLError
	if errors.As(err, &server) {
		return c.ServerProblem(server.Number, err)
	}
	return c.connectionProblem(err)
}

// ServerProblem makes an error that the server sent, whatever client library read it, into one for the operator.
func (c Config) ServerProblem(number uint16, err error) error {
	_, address := c.Endpoint()
	p := &change.Problem{Kind: change.Fatal, Where: address, Err: err, What: fmt.Sprintf("the server answered with error %d", number)}
	if known, ok := serverErrors[number]; ok {
		p.Kind, p.What, p.Mend = known.kind, known.what, known.mend
		if number == ErrorAccessDenied {
			p.What = fmt.Sprintf("the server refuses user %q", c.User)
		}
	}
	return p
}

type serverError struct {
	kind       change.Severity
	what, mend string
}

const (
	mendGrant = "GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the configured user"
	mendWait  = "nothing: it is tried again"
)

// serverErrors are the errors with which a server refuses a connection or breaks it off, by number: see the
// manual's "Server Error Message Reference".
var serverErrors = map[uint16]serverError{
	1040: {change.Retry, "the server has too many connections", "raise max_connections, or close what is not needed"},
	1203: {change.Retry, "the user has too many connections", "raise max_user_connections"},
	1226: {change.Retry, "the user is over one of its resource limits", "ALTER USER ... WITH MAX_..._PER_HOUR 0"},
	1044: {change.Configuration, "the user may not use this database", mendGrant},
	1045: {change.Configuration, "the server refuses the user",
		"check user and password; the account's host part must match the address we come from: SELECT user, host FROM mysql.user"},
	1049: {change.Configuration, "the database does not exist", "check the name"},
	1129: {change.Configuration, "the server has blocked this host after too many failed connections",
		"TRUNCATE TABLE performance_schema.host_cache on MySQL, FLUSH HOSTS on MariaDB"},
	1130: {change.Configuration, "no account of the server may come from this host", "CREATE USER with a host part that matches"},
	1142: {change.Configuration, "a privilege on a table is missing", mendGrant},
	1143: {change.Configuration, "a privilege on a column is missing", mendGrant},
	1227: {change.Configuration, "a privilege is missing", mendGrant},
	1820: {change.Configuration, "the user must change its password first", "ALTER USER ... IDENTIFIED BY ..."},
	1862: {change.Configuration, "the user's password has expired", "ALTER USER ... PASSWORD EXPIRE NEVER, or set a new one"},
	3118: {change.Configuration, "the account is locked", "ALTER USER ... ACCOUNT UNLOCK"},
	3159: {change.Configuration, "the server accepts encrypted connections only", "set tls: require (or verify)"},
	4151: {change.Configuration, "the account is locked", "ALTER USER ... ACCOUNT UNLOCK"}, // MariaDB's
	1053: {change.Retry, "the server is shutting down", mendWait},
	1077: {change.Retry, "the server is shutting down", mendWait},
	1079: {change.Retry, "the server is shutting down", mendWait},
	1152: {change.Retry, "the connection was broken off", mendWait},
	1158: {change.Retry, "the connection was broken off", mendWait},
	1159: {change.Retry, "the server waited too long for us", mendWait},
	1160: {change.Retry, "the connection was broken off", mendWait},
	1161: {change.Retry, "the server waited too long for us to read", mendWait},
	1205: {change.Retry, "a lock was not free in time", mendWait},
	1213: {change.Retry, "the statement met a deadlock", mendWait},
	1317: {change.Retry, "the statement was killed", mendWait},
	1927: {change.Retry, "the connection was killed", mendWait},
	3024: {change.Retry, "the statement took longer than the server allows", "raise max_execution_time for this user's sessions"},
	3169: {change.Retry, "the connection was killed", mendWait},
	4031: {change.Retry, "the server closed an idle connection", mendWait},
}

// connectionProblem judges what happens before or instead of a server's answer.
func (c Config) connectionProblem(err error) error {
	network, address := c.Endpoint()
	p := &change.Problem{Kind: change.Retry, Where: address, Err: err, Mend: mendWait}
	var (
		dns         *net.DNSError
		verify      *tls.CertificateVerificationError
		unknown     x509.UnknownAuthorityError
		hostname    x509.HostnameError
		record      tls.RecordHeaderError
		operational *net.OpError
	)
	switch {
	case errors.As(err, &dns):
		// Not a matter for a person only: names vanish while a container is being restarted.
		p.What, p.Mend = fmt.Sprintf("host %q cannot be found", dns.Name), "check address if this stays"
	case errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &hostname):
		p.Kind, p.What = change.Configuration, "the server's certificate cannot be trusted"
		p.Mend = "name the authority that signed it in tls_ca, and the host as the certificate does in address; tls: require does not check the name"
	case errors.Is(err, mysqldriver.ErrNoTLS):
		p.Kind, p.What, p.Mend = change.Configuration, "the server has no TLS", "set up TLS on the server, or tls: off"
	case errors.As(err, &record), errors.As(err, &operational) && operational.Op == "local error":
		// It had said that it can encrypt, and then spoke plainly, or broke off in the middle of its words: the connection was killed, or
		// it is shutting down. What the two can't agree on is a remote error, or none of the network's.
		p.What, p.Mend = "the server ended the connection before it was encrypted", "nothing, if it passes; else see the server's log"
	case errors.As(err, &operational) && operational.Op == "remote error":
		p.Kind, p.What = change.Configuration, "the server refused the encrypted connection"
		p.Mend = "check tls_cert and tls_key, and the server's tls_version and require_secure_transport"
	case errors.As(err, &operational) && operational.Op == "dial":
		p.What, p.Mend = "the server cannot be reached", "start the server, or check address and firewalls, if this stays"
		if network == "unix" {
			p.Mend = "start the server, or check the socket's path, if this stays"
		}
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysqldriver.ErrInvalidConn), errors.As(err, &operational),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		p.What = "the connection to the server was lost"
	case errors.Is(err, mysqldriver.ErrNativePassword), errors.Is(err, mysqldriver.ErrOldPassword),
		errors.Is(err, mysqldriver.ErrCleartextPassword), errors.Is(err, mysqldriver.ErrUnknownPlugin):
		p.Kind, p.What = change.Configuration, "the account's authentication plugin is not supported"
		p.Mend = "ALTER USER ... IDENTIFIED WITH caching_sha2_password BY ... (MariaDB: mysql_native_password)"
	default: // a caller's own deadline too; a dial's time-out is a net.OpError
		return err
	}
	return p
}
