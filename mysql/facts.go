package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-cdc/sluice/mysql/gtid"
)

// Queryer is what a pool, a connection and a transaction have in common.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Facts is what a server says of itself.
type Facts struct {
	Flavor              gtid.Flavor
	Version             string // as the server prints it: 9.7.4, 10.11.14-MariaDB-0+deb12u2-log
	Major, Minor, Patch int

	ServerUUID string // MariaDB has none: empty
	ServerID   uint32
	Hostname   string
	Port       int

	GTIDMode            bool // MySQL: gtid_mode=ON; MariaDB: always
	LogBin              bool
	BinlogFormat        string // ROW, MIXED, STATEMENT
	RowImage            string // FULL, MINIMAL, NOBLOB (MariaDB: FULL_NODUP too)
	RowMetadata         string // FULL, MINIMAL, NO_LOG (MariaDB); empty: the server does not know it
	RowValueOptions     string // PARTIAL_JSON or empty
	Compression         bool   // binlog_transaction_compression, MariaDB: log_bin_compress
	LogUpdates          bool   // log_replica_updates: a replica's binlog holds what it applied
	SyncBinlog          int64
	FlushLog            int64  // innodb_flush_log_at_trx_commit
	ExpireSeconds       int64  // binlog retention; 0: for ever
	BinlogDoDB          string // databases whose changes alone are logged; read by BinlogStatus
	BinlogIgnoreDB      string
	MaxAllowedPacket    int64
	LowerCaseTableNames int
	ReadOnly            bool
	NativeForeignKeys   bool // innodb_native_foreign_keys=ON (9.6): cascades stay in InnoDB, out of the binlog
	HiddenKeys          bool // show_gipk_in_create_table_and_information_schema=OFF: generated keys are not shown
}

// AtLeast reports whether the server's version is that or newer. MySQL's and MariaDB's numbers are not
// comparable: ask for the flavor first.
func (f *Facts) AtLeast(major, minor, patch int) bool {
	if f.Major != major {
		return f.Major > major
	}
	if f.Minor != minor {
		return f.Minor > minor
	}
	return f.Patch >= patch
}

// IsMySQL reports whether the server is a MySQL of that version or newer.
func (f *Facts) IsMySQL(major, minor, patch int) bool {
	return f.Flavor == gtid.MySQL && f.AtLeast(major, minor, patch)
}

// Identity names the server in errors and logs.
func (f *Facts) Identity() string {
	name := "MySQL"
	if f.Flavor == gtid.MariaDB {
		name = "MariaDB"
	}
	return fmt.Sprintf("%s %s, server_id %d", name, f.Version, f.ServerID)
}

// CascadesLogged reports whether rows changed by foreign-key cascades are in the binlog (R12).
func (f *Facts) CascadesLogged() bool { return f.IsMySQL(9, 6, 0) && !f.NativeForeignKeys }

// ReadFacts asks the server. It needs no privilege. Settings that a server does not know are left empty:
// SHOW VARIABLES leaves them out where SELECT @@name would fail.
func ReadFacts(ctx context.Context, q Queryer) (*Facts, error) {
	rows, err := q.QueryContext(ctx, "SHOW GLOBAL VARIABLES")
	if err != nil {
		return nil, fmt.Errorf("read the server's variables: %w", err)
	}
	defer rows.Close()
	v := variables{}
	for rows.Next() {
		var name string
		var value sql.NullString
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("read the server's variables: %w", err)
		}
		v[name] = value.String
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the server's variables: %w", err)
	}
	return v.facts()
}

// variables are a server's global variables by name, in lower case.
type variables map[string]string

func (v variables) on(name string) bool {
	return strings.EqualFold(v[name], "ON") || v[name] == "1"
}

func (v variables) number(name string) int64 {
	n, err := strconv.ParseInt(v[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// first returns the value of the first name that the server knows: names change between versions.
func (v variables) first(names ...string) string {
	for _, name := range names {
		if value, ok := v[name]; ok {
			return value
		}
	}
	return ""
}

func (v variables) facts() (*Facts, error) {
	f := &Facts{
		Version: v["version"], ServerUUID: v["server_uuid"], ServerID: uint32(v.number("server_id")),
		Hostname: v["hostname"], Port: int(v.number("port")),
		LogBin: v.on("log_bin"), BinlogFormat: strings.ToUpper(v["binlog_format"]),
		RowImage: strings.ToUpper(v["binlog_row_image"]), RowMetadata: strings.ToUpper(v["binlog_row_metadata"]),
		RowValueOptions:     strings.ToUpper(v["binlog_row_value_options"]),
		Compression:         v.on("binlog_transaction_compression") || v.on("log_bin_compress"),
		LogUpdates:          variables{"x": v.first("log_replica_updates", "log_slave_updates")}.on("x"),
		SyncBinlog:          v.number("sync_binlog"),
		FlushLog:            v.number("innodb_flush_log_at_trx_commit"),
		MaxAllowedPacket:    v.number("max_allowed_packet"),
		LowerCaseTableNames: int(v.number("lower_case_table_names")),
		ReadOnly:            v.on("read_only") || v.on("super_read_only"),
		NativeForeignKeys:   v.on("innodb_native_foreign_keys"),
		HiddenKeys:          strings.EqualFold(v["show_gipk_in_create_table_and_information_schema"], "OFF"),
	}
	var err error
	if f.Major, f.Minor, f.Patch, err = parseVersion(f.Version); err != nil {
		return nil, err
	}
	if strings.Contains(strings.ToLower(f.Version+v["version_comment"]), "mariadb") {
		f.Flavor = gtid.MariaDB
	}
	f.GTIDMode = f.Flavor == gtid.MariaDB || strings.EqualFold(v["gtid_mode"], "ON")
	f.ExpireSeconds = v.number("binlog_expire_logs_seconds")
	if f.ExpireSeconds == 0 { // the older of the two; MariaDB's days may have a fraction
		days, _ := strconv.ParseFloat(v["expire_logs_days"], 64)
		f.ExpireSeconds = int64(days * 24 * 3600)
	}
	if !v.on("binlog_expire_logs_auto_purge") && v["binlog_expire_logs_auto_purge"] != "" {
		f.ExpireSeconds = 0
	}
	return f, nil
}

// parseVersion reads the numbers of "8.0.15-debug" and "10.11.14-MariaDB". Replicas of old kinds print
// "5.5.5-10.11.14-MariaDB": the first three are a mask then.
func parseVersion(text string) (major, minor, patch int, err error) {
	if rest, ok := strings.CutPrefix(text, "5.5.5-"); ok {
		text = rest
	}
	numbers, _, _ := strings.Cut(text, "-")
	fields := strings.Split(numbers, ".")
	if len(fields) < 3 {
		return 0, 0, 0, fmt.Errorf("server version %q: want three numbers", text)
	}
	var parsed [3]int
	for i := range parsed {
		if parsed[i], err = strconv.Atoi(fields[i]); err != nil {
			return 0, 0, 0, fmt.Errorf("server version %q: want three numbers: %w", text, err)
		}
	}
	return parsed[0], parsed[1], parsed[2], nil
}

// StatusStatement is the statement that shows the end of the binlog: its words changed in 8.2 and the old
// ones are gone from 8.4.
func (f *Facts) StatusStatement() string {
	if f.IsMySQL(8, 2, 0) {
		return "SHOW BINARY LOG STATUS"
	}
	return "SHOW MASTER STATUS"
}

// BinlogStatus returns the end of the binlog, and what is executed up to there. It also notes the server's
// binlog filters in f. MariaDB's set is asked right after the end and may be further than it.
func (f *Facts) BinlogStatus(ctx context.Context, q Queryer) (file string, offset uint64, executed *gtid.Set, err error) {
	rows, err := q.QueryContext(ctx, f.StatusStatement())
	if err != nil {
		return "", 0, nil, fmt.Errorf("read the end of the binlog: %w", err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", 0, nil, fmt.Errorf("read the end of the binlog: %w", err)
	}
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return "", 0, nil, fmt.Errorf("read the end of the binlog: %w", err)
		}
		return "", 0, nil, &binlogOffProblem
	}
	var set string
	values := make([]any, len(columns))
	for i, name := range columns {
		switch name {
		case "File":
			values[i] = &file
		case "Position":
			values[i] = &offset
		case "Binlog_Do_DB":
			values[i] = &f.BinlogDoDB
		case "Binlog_Ignore_DB":
			values[i] = &f.BinlogIgnoreDB
		case "Executed_Gtid_Set":
			values[i] = &set
		default:
			values[i] = new(sql.RawBytes)
		}
	}
	if err := rows.Scan(values...); err != nil {
		return "", 0, nil, fmt.Errorf("read the end of the binlog: %w", err)
	}
	if err := rows.Close(); err != nil {
		return "", 0, nil, fmt.Errorf("read the end of the binlog: %w", err)
	}
	executed, err = f.executed(ctx, q, set)
	return file, offset, executed, err
}

// Executed returns what the server has executed: @@gtid_executed, MariaDB's @@gtid_binlog_pos.
func (f *Facts) Executed(ctx context.Context, q Queryer) (*gtid.Set, error) {
	var set string
	if f.Flavor == gtid.MySQL {
		if err := q.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&set); err != nil {
			return nil, fmt.Errorf("read gtid_executed: %w", err)
		}
	}
	return f.executed(ctx, q, set)
}

// Purged returns the GTIDs whose binlog files are gone. MariaDB does not say: the set is empty.
func (f *Facts) Purged(ctx context.Context, q Queryer) (*gtid.Set, error) {
	if f.Flavor == gtid.MariaDB {
		return gtid.New(gtid.MariaDB), nil
	}
	var set string
	if err := q.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_purged").Scan(&set); err != nil {
		return nil, fmt.Errorf("read gtid_purged: %w", err)
	}
	return gtid.Parse(gtid.MySQL, set)
}

func (f *Facts) executed(ctx context.Context, q Queryer, set string) (*gtid.Set, error) {
	if f.Flavor == gtid.MariaDB {
		if err := q.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&set); err != nil {
			return nil, fmt.Errorf("read gtid_binlog_pos: %w", err)
		}
	}
	return gtid.Parse(f.Flavor, set)
}
