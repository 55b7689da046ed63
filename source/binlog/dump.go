package binlog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/client"
	wire "github.com/go-mysql-org/go-mysql/mysql"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// dump is one replication connection.
//
// The commands are sent from here and not by go-mysql's BinlogSyncer, for what that one does not do: ask for
// heartbeats that carry the offset in 64 bits (they place a resume in a file over 4 GiB), end at once when the
// context does, leave KILL alone (after a restart of the server the id that it remembers is somebody else's),
// and keep one identity over reconnects, by which the server ends our own dead connections.
type dump struct {
	cfg      *Config
	from     From
	readable []XA // open XA transactions whose rows come again
	conn     *client.Conn
}

const (
	connectTimeout = 15 * time.Second

	flagHeartbeatV2      = 0x02 // of COM_BINLOG_DUMP_GTID
	flagSendAnnotateRows = 0x02 // of COM_BINLOG_DUMP, MariaDB's only
	binlogBegin          = 4    // offset of a file's first event
)

// run connects, asks for the dump and decodes it. The connection is closed when it returns.
func (d *dump) run(ctx context.Context, handle func(*Event) error) error {
	network, err := d.connect(ctx)
	if err != nil {
		return d.problem(err)
	}
	stop := context.AfterFunc(ctx, func() { network.Close() }) // ends a read at once
	defer func() {
		stop()
		network.Close()
	}()
	if err := d.start(); err != nil {
		return d.problem(err)
	}
	decoder := d.newDecoder(handle)
	defer decoder.xa.close()
	for {
		if err := d.packet(decoder); err != nil {
			return err
		}
	}
}

// packet reads one packet and has it decoded.
func (d *dump) packet(decoder *decoder) error {
	p := packet{decoder: decoder}
	defer p.stop()
	err := d.conn.ReadPacketTo(&p)
	if p.stream != nil {
		if err := p.finish(err); err != nil {
			return d.decodeProblem(err)
		}
	}
	if err != nil {
		return d.problem(err)
	}
	if p.stream != nil {
		return nil
	}
	switch {
	case len(p.bytes) > 0 && p.bytes[0] == wire.OK_HEADER:
		if err := decoder.event(p.bytes[1:]); err != nil {
			return d.decodeProblem(err)
		}
		return nil
	case len(p.bytes) > 0 && p.bytes[0] == wire.ERR_HEADER:
		return d.problem(d.conn.HandleErrorPacket(p.bytes))
	}
	return d.problem(io.ErrUnexpectedEOF) // EOF: the server ends the dump
}

// connect opens the connection and returns the socket beneath it.
func (d *dump) connect(ctx context.Context) (net.Conn, error) {
	tlsConfig, plainAllowed, err := d.cfg.MySQL.TLSConfig()
	if err != nil {
		return nil, err
	}
	password, err := d.cfg.MySQL.ReadPassword()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	network, address := d.cfg.MySQL.Endpoint()
	for {
		var socket net.Conn
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			var dialer net.Dialer
			var err error
			if socket, err = dialer.DialContext(ctx, network, address); err == nil {
				err = socket.SetDeadline(time.Now().Add(connectTimeout))
			}
			return socket, err
		}
		d.conn, err = client.ConnectWithDialer(ctx, network, address, d.cfg.MySQL.User, password, "", dial, func(c *client.Conn) error {
			c.SetTLSConfig(tlsConfig)
			c.SetAttributes(map[string]string{"program_name": "sluice", "_client_role": "binary_log_listener"})
			c.ReadTimeout = d.cfg.ReadTimeout
			return nil
		})
		if err == nil {
			return socket, socket.SetDeadline(time.Time{})
		}
		if plainAllowed && tlsConfig != nil && strings.Contains(err.Error(), "does not support TLS") {
			tlsConfig = nil // tls: prefer
			continue
		}
		if socket != nil {
			socket.Close()
		}
		return nil, err
	}
}

// start sets the session up and sends the commands of a replica.
func (d *dump) start() error {
	if err := d.checkServer(); err != nil {
		return err
	}
	purged, err := d.purged()
	if err != nil {
		return err
	}
	begin, readable, err := planDump(d.from, d.cfg.Facts.Flavor, purged)
	if err != nil {
		return err
	}
	d.readable = readable
	for _, statement := range d.session(begin) {
		if _, err := d.conn.Execute(statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	if err := d.register(); err != nil {
		return err
	}
	d.cfg.Log.Info("reading the binlog", slog.String("position", begin.String()), slog.Int("open_xa", len(readable)))
	if begin.gtid != nil && d.cfg.Facts.Flavor == gtid.MySQL {
		return d.dumpGTID(begin.gtid)
	}
	return d.dumpPosition(begin)
}

// checkServer refuses a connection that leads to another server than the one whose history was looked at: behind a
// load balancer, or when a failover comes in between. MariaDB has no server_uuid.
func (d *dump) checkServer() error {
	want := d.cfg.Facts.ServerUUID
	if want == "" {
		return nil
	}
	result, err := d.conn.Execute("SELECT @@GLOBAL.server_uuid")
	if err != nil {
		return fmt.Errorf("read server_uuid: %w", err)
	}
	defer result.Close()
	here, err := result.GetString(0, 0)
	if err != nil {
		return fmt.Errorf("read server_uuid: %w", err)
	}
	if here == want {
		return nil
	}
	_, address := d.cfg.MySQL.Endpoint()
	return &change.Problem{
		Kind: change.Retry, What: fmt.Sprintf("the connection leads to another server (%s) than a moment ago (%s)", here, want), Where: address,
		Mend: "nothing: it is tried again; if it stays, give the source an address that means one server",
	}
}

func (d *dump) purged() (*gtid.Set, error) {
	if d.cfg.Facts.Flavor == gtid.MariaDB || d.from.GTID == nil {
		return gtid.New(d.cfg.Facts.Flavor), nil
	}
	result, err := d.conn.Execute("SELECT @@GLOBAL.gtid_purged")
	if err != nil {
		return nil, fmt.Errorf("read gtid_purged: %w", err)
	}
	defer result.Close()
	text, err := result.GetString(0, 0)
	if err != nil {
		return nil, fmt.Errorf("read gtid_purged: %w", err)
	}
	return gtid.Parse(gtid.MySQL, text)
}

// session are the statements of a replica's session. Servers read both the old and the new names of the user
// variables; variables they do not know do no harm.
func (d *dump) session(begin plan) []string {
	heartbeat := d.cfg.Heartbeat.Nanoseconds()
	statements := []string{
		fmt.Sprintf("SET @@SESSION.net_write_timeout = %d, @@SESSION.net_read_timeout = %d", netWriteTimeoutSec, netWriteTimeoutSec),
		"SET @master_binlog_checksum = @@GLOBAL.binlog_checksum, @source_binlog_checksum = @@GLOBAL.binlog_checksum",
		fmt.Sprintf("SET @master_heartbeat_period = %d, @source_heartbeat_period = %d", heartbeat, heartbeat),
	}
	if d.cfg.Facts.Flavor == gtid.MySQL {
		uuid := d.uuid()
		return append(statements, fmt.Sprintf("SET @slave_uuid = '%s', @replica_uuid = '%s'", uuid, uuid))
	}
	const understandsGTID = 4
	statements = append(statements, fmt.Sprintf("SET @mariadb_slave_capability = %d", understandsGTID))
	if begin.gtid != nil {
		statements = append(statements, fmt.Sprintf("SET @slave_connect_state = '%s', @slave_gtid_strict_mode = 1", begin.gtid))
	}
	return statements
}

// uuid is the replica's identity, the same at each connection of this source.
func (d *dump) uuid() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "sluice source %d", d.cfg.ServerID))
	return string(gtid.AppendUUID(nil, [16]byte(sum[:16])))
}

// register sends COM_REGISTER_SLAVE, so that SHOW REPLICAS lists the source with its host.
func (d *dump) register() error {
	const nameMax = 255
	host, _ := os.Hostname() // only shown to people
	host = host[:min(len(host), nameMax)]
	user := d.cfg.MySQL.User[:min(len(d.cfg.MySQL.User), nameMax)]
	b := make([]byte, 4, 64) // the packet's header is written by WritePacket
	b = append(b, wire.COM_REGISTER_SLAVE)
	b = binary.LittleEndian.AppendUint32(b, d.cfg.ServerID)
	b = append(append(b, byte(len(host))), host...)
	b = append(append(b, byte(len(user))), user...)
	b = append(b, 0)          // no password
	b = append(b, 0, 0)       // port
	b = append(b, 0, 0, 0, 0) // rank, not used
	b = append(b, 0, 0, 0, 0) // source's id, not used
	d.conn.ResetSequence()
	if err := d.conn.WritePacket(b); err != nil {
		return fmt.Errorf("register as a replica: %w", err)
	}
	if _, err := d.conn.ReadOKPacket(); err != nil {
		return fmt.Errorf("register as a replica: %w", err)
	}
	return nil
}

// dumpGTID sends COM_BINLOG_DUMP_GTID: the server sends all that is not in the set.
func (d *dump) dumpGTID(delivered *gtid.Set) error {
	set, err := wire.ParseMysqlGTIDSet(delivered.String())
	if err != nil {
		return fmt.Errorf("encode the GTID set: %w", err)
	}
	encoded := set.Encode()
	flags := uint16(0)
	if d.cfg.Facts.IsMySQL(8, 0, 26) {
		flags = flagHeartbeatV2
	}
	b := make([]byte, 4, 32+len(encoded))
	b = append(b, wire.COM_BINLOG_DUMP_GTID)
	b = binary.LittleEndian.AppendUint16(b, flags)
	b = binary.LittleEndian.AppendUint32(b, d.cfg.ServerID)
	b = binary.LittleEndian.AppendUint32(b, 0) // no file: the server finds it
	b = binary.LittleEndian.AppendUint64(b, binlogBegin)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(encoded)))
	b = append(b, encoded...)
	d.conn.ResetSequence()
	return d.conn.WritePacket(b)
}

// dumpPosition sends COM_BINLOG_DUMP. Its offset has 32 bits: beyond them the whole file is read, and what was
// delivered is skipped. For MariaDB with GTIDs @slave_connect_state counts instead.
func (d *dump) dumpPosition(begin plan) error {
	offset, flags := uint32(binlogBegin), uint16(0)
	if begin.offset > binlogBegin && begin.offset <= math.MaxUint32 {
		offset = uint32(begin.offset)
	}
	if d.cfg.Facts.Flavor == gtid.MariaDB {
		flags = flagSendAnnotateRows
	}
	b := make([]byte, 4, 32+len(begin.file))
	b = append(b, wire.COM_BINLOG_DUMP)
	b = binary.LittleEndian.AppendUint32(b, offset)
	b = binary.LittleEndian.AppendUint16(b, flags)
	b = binary.LittleEndian.AppendUint32(b, d.cfg.ServerID)
	b = append(b, begin.file...)
	d.conn.ResetSequence()
	return d.conn.WritePacket(b)
}

// problem makes an error of the connection into one for the operator.
func (d *dump) problem(err error) error {
	var server *wire.MyError
	var known *change.Problem
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &server) && server.Code == mysql.ErrorBinlogUnreadable:
		return d.unreadable(server)
	case errors.As(err, &server):
		return d.cfg.MySQL.ServerProblem(server.Code, server)
	}
	if p := d.cfg.MySQL.Problem(err); errors.As(p, &known) {
		return p
	}
	_, address := d.cfg.MySQL.Endpoint()
	if strings.Contains(err.Error(), "auth plugin") {
		return &change.Problem{
			Kind: change.Configuration, What: "the account's authentication plugin is not supported", Where: address, Err: err,
			Mend: "ALTER USER ... IDENTIFIED WITH caching_sha2_password BY ... (MariaDB: mysql_native_password)",
		}
	}
	return &change.Problem{
		Kind: change.Retry, What: "the connection that reads the binlog was lost", Where: address, Err: err,
		Mend: "nothing: it is tried again",
	}
}

// unreadable judges error 1236, under which the server reports all that is wrong with a dump. Its texts are
// all that tells one from the other.
func (d *dump) unreadable(err *wire.MyError) error {
	_, address := d.cfg.MySQL.Endpoint()
	text := strings.ToLower(err.Message)
	has := func(parts ...string) bool {
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
	p := &change.Problem{Kind: change.Configuration, Where: address, Err: err}
	switch {
	case has("more gtids than the", "diverged"):
		p.What = "the server lacks transactions that were read already"
		p.Why = "a failover lost them: the topics hold rows that the server does not have"
		p.Mend = "sluice-source --start-anew (it goes on from now, crawls all tables and takes out what is gone)"
	case has("purged", "could not find first log file", "not in the master's binlog", "could not find gtid state", "probably pruned"):
		return purgedProblem("", err)
	case has("same server_uuid", "same server_id"):
		p.Kind, p.What = change.Retry, "another reader with the same server id took over"
		p.Mend = "give each source a name of its own; no two processes may run under one"
	case has("impossible position", "wrong offset"):
		p.What = "the binlog file ends before the position"
		p.Why = "the server was restored, or its machine crashed with sync_binlog off: the topics may hold rows that it does not have"
		p.Mend = "sluice-source --start-anew (it goes on from now, crawls all tables and takes out what is gone)"
	case has("max_allowed_packet", "event too big"):
		p.What, p.Mend = "an event is larger than the server may send", "raise max_allowed_packet on the server"
	case has("misconfigured server id", "server id"):
		p.What, p.Mend = "the server has no server_id", "set server_id on the server"
	case has("binary log is not open"):
		p.What, p.Mend = "the server writes no binlog", "set log_bin in the server's configuration file and restart it"
	default:
		p.Kind, p.What, p.Mend = change.Retry, "the server broke off the dump of its binlog", "look into the server's error log if this stays"
	}
	return p
}

// decodeProblem keeps handle's errors as they are; a stream that ended within a transaction is read again.
func (d *dump) decodeProblem(err error) error {
	if !errors.Is(err, errBroken) {
		return err
	}
	_, address := d.cfg.MySQL.Endpoint()
	return &change.Problem{
		Kind: change.Retry, What: "the server ended the stream within a transaction", Where: address, Err: err,
		Mend: "nothing: it is read again from the transaction's begin",
	}
}

// String names the place for people.
func (p plan) String() string {
	if p.gtid != nil {
		return p.gtid.String()
	}
	return change.Position{File: p.file, Offset: p.offset}.String()
}
