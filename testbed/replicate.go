package testbed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// replicationPoll is how often a wait for a replica asks again.
const replicationPoll = 20 * time.Millisecond

// Replicate makes replica follow source by GTID from the beginning of the
// source's binlog, and returns when both of its threads run. The replica must
// be fresh: transactions of its own would stay in its GTID set. Both must be
// MySQL, or both MariaDB.
func Replicate(ctx context.Context, source, replica *MySQL) error {
	if source.Flavor.IsMariaDB() != replica.Flavor.IsMariaDB() {
		return fmt.Errorf("replicate %s to %s: their GTIDs are of different kinds", source.Version, replica.Version)
	}
	if replica.host != nil && source.host == nil {
		return fmt.Errorf("replicate %s to %s: a host does not reach the machine's 127.0.0.1; start the source on a host of the same Net",
			source.Address(), replica.Address())
	}
	if err := replica.Exec(ctx, replica.replicationStatements(source)...); err != nil {
		return fmt.Errorf("replicate %s to %s: %w", source.Address(), replica.Address(), err)
	}
	for {
		status, err := replica.ReplicaStatus(ctx)
		if err != nil {
			return err
		}
		if status.IORunning && status.SQLRunning {
			return nil
		}
		if status.Problem != "" {
			return fmt.Errorf("replicate %s to %s: %s", source.Address(), replica.Address(), status.Problem)
		}
		if err := sleep(ctx, replicationPoll); err != nil {
			return fmt.Errorf("wait for %s to replicate from %s: %w", replica.Address(), source.Address(), err)
		}
	}
}

// replicationStatements are in the server's own words. The user is app, which
// has every privilege; its password is sent under the source's public key.
func (m *MySQL) replicationStatements(source *MySQL) []string {
	switch {
	case m.Flavor.IsMariaDB():
		return []string{
			fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='app', MASTER_PASSWORD='app', "+
				"MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos", source.ip(), source.Port),
			"START SLAVE",
		}
	case m.Flavor.MySQL9Words():
		return []string{
			fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d, SOURCE_USER='app', SOURCE_PASSWORD='app', "+
				"SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1", source.ip(), source.Port),
			"START REPLICA",
		}
	}
	return []string{
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='app', MASTER_PASSWORD='app', "+
			"MASTER_CONNECT_RETRY=1, MASTER_AUTO_POSITION=1, GET_MASTER_PUBLIC_KEY=1", source.ip(), source.Port),
		"START SLAVE",
	}
}

// ReplicaStatus is what SHOW REPLICA STATUS says of the only channel.
type ReplicaStatus struct {
	IORunning, SQLRunning bool
	// Problem is the last error of either thread, empty if there is none.
	Problem string
}

// ReplicaStatus asks a replica how it is.
func (m *MySQL) ReplicaStatus(ctx context.Context) (ReplicaStatus, error) {
	statement := "SHOW SLAVE STATUS"
	if m.Flavor.MySQL9Words() {
		statement = "SHOW REPLICA STATUS"
	}
	columns, err := m.queryRow(ctx, statement)
	if err != nil {
		return ReplicaStatus{}, fmt.Errorf("ask %s for its replication: %w", m.Address(), err)
	}
	either := func(names ...string) string {
		for _, name := range names {
			if value := columns[name]; value != "" {
				return value
			}
		}
		return ""
	}
	return ReplicaStatus{
		IORunning:  either("Replica_IO_Running", "Slave_IO_Running") == "Yes",
		SQLRunning: either("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
		Problem:    either("Last_IO_Error", "Last_SQL_Error"),
	}, nil
}

// WaitForReplica returns when the replica has applied all that the source had
// committed when this was called.
func WaitForReplica(ctx context.Context, source, replica *MySQL) error {
	position, wait := "SELECT @@GLOBAL.gtid_executed", "SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 1)"
	if source.Flavor.IsMariaDB() {
		position, wait = "SELECT @@GLOBAL.gtid_binlog_pos", "SELECT MASTER_GTID_WAIT('%s', 1)"
	}
	var executed string
	if err := source.queryValue(ctx, position, &executed); err != nil {
		return fmt.Errorf("ask %s for its GTIDs: %w", source.Address(), err)
	}
	for {
		// One second a time: the server would not hear of a cancelled context.
		var timedOut int
		if err := replica.queryValue(ctx, fmt.Sprintf(wait, strings.ReplaceAll(executed, "\n", "")), &timedOut); err != nil {
			return fmt.Errorf("wait for %s: %w", replica.Address(), err)
		}
		if timedOut == 0 {
			return nil
		}
		status, err := replica.ReplicaStatus(ctx)
		if err != nil {
			return err
		}
		if status.Problem != "" {
			return fmt.Errorf("wait for %s: its replication stands: %s", replica.Address(), status.Problem)
		}
	}
}

// queryRow reads one row of unknown columns as text; no row is an empty map.
func (m *MySQL) queryRow(ctx context.Context, statement string) (map[string]string, error) {
	db, err := m.openSocket()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	if !rows.Next() {
		return found, rows.Err()
	}
	values := make([]sql.NullString, len(names))
	targets := make([]any, len(names))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := rows.Scan(targets...); err != nil {
		return nil, err
	}
	for i, name := range names {
		found[name] = values[i].String
	}
	return found, errors.Join(rows.Err(), rows.Close())
}

// queryValue reads one value as root over the socket.
func (m *MySQL) queryValue(ctx context.Context, query string, into any) error {
	db, err := m.openSocket()
	if err != nil {
		return err
	}
	defer db.Close()
	return db.QueryRowContext(ctx, query).Scan(into)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
