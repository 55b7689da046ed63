package testbed

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// clockSlack is how far a server's clock may be from where it was set, on a
// busy machine.
const clockSlack = 5 * time.Second

const year = 365 * 24 * time.Hour

func TestMovableClock(t *testing.T) {
	t.Parallel()
	for _, version := range allMySQL {
		t.Run(version.cacheName(), func(t *testing.T) {
			t.Parallel()
			m := startMySQL(t, MySQLOptions{Version: version, MovableClock: true})
			mustExec(t, m, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (0)")
			wantClock(t, m, 0)
			for i, offset := range []time.Duration{year, -90 * time.Minute, 1500 * time.Millisecond} {
				if err := m.SetClock(offset); err != nil {
					t.Fatal(err)
				}
				wantClock(t, m, offset)
				mustExec(t, m, fmt.Sprintf("INSERT INTO d.t VALUES (%d)", i+1))
			}
			if err := m.SetClock(-year); err != nil {
				t.Fatal(err)
			}
			wantTimeouts(t, m)
			wantIdle(t, m)
			killAndStart(t, m)
			wantClock(t, m, -year)
			if err := m.SetClock(0); err != nil {
				t.Fatal(err)
			}
			wantClock(t, m, 0)
			if version == MySQL97 { // the others came without mysqlbinlog, or know no such timestamp
				wantCommitTimes(t, m, year, -90*time.Minute)
			}
			for _, pattern := range faketimeShared {
				if path := fmt.Sprintf(pattern, strconv.Itoa(m.Pid())); exists(path) {
					t.Errorf("the library left %s", path)
				}
			}
		})
	}
}

func TestClockThatStands(t *testing.T) {
	t.Parallel()
	if err := startMySQL(t, MySQLOptions{}).SetClock(time.Hour); err == nil {
		t.Error("a clock that can not be moved was moved")
	}
}

// wantClock asks for the time of statements and of rows.
func wantClock(t *testing.T, m *MySQL, offset time.Duration) {
	t.Helper()
	for _, expression := range []string{"SYSDATE(6)", "NOW(6)"} {
		text := query(t, m, "app", "SELECT UNIX_TIMESTAMP("+expression+")")
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		want := float64(time.Now().Add(offset).UnixMicro()) / 1e6
		if math.Abs(seconds-want) > clockSlack.Seconds() {
			t.Errorf("with the clock moved by %s, %s is %s from where it should be", offset, expression,
				time.Duration((seconds-want)*float64(time.Second)))
		}
	}
}

// wantTimeouts has the server wait for what does not come: on its own condition
// variables and on InnoDB's.
func wantTimeouts(t *testing.T, m *MySQL) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	holder, err := open(t, m, "app").BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback()
	if _, err := holder.ExecContext(ctx, "DELETE FROM d.t WHERE id = 0"); err != nil {
		t.Fatal(err)
	}
	var locked sql.NullString
	if err := holder.QueryRowContext(ctx, "SELECT GET_LOCK('l', 0)").Scan(&locked); err != nil || locked.String != "1" {
		t.Fatalf("GET_LOCK: %q, %v", locked.String, err)
	}
	statements := []string{"SELECT GET_LOCK('l', 1)", "DELETE FROM d.t WHERE id = 0", "SELECT SLEEP(1)"}
	if m.Flavor.IsMariaDB() {
		statements = append(statements, "SELECT MASTER_GTID_WAIT('0-1-1000000', 1)")
	} else {
		statements = append(statements, "SELECT WAIT_FOR_EXECUTED_GTID_SET(CONCAT(@@server_uuid, ':1-1000000'), 1)")
	}
	db := open(t, m, "app")
	var group sync.WaitGroup
	for _, statement := range statements {
		group.Go(func() {
			waiter, err := db.Conn(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			defer waiter.Close()
			if _, err := waiter.ExecContext(ctx, "SET SESSION innodb_lock_wait_timeout = 1"); err != nil {
				t.Error(err)
			}
			began := time.Now()
			_, _ = waiter.ExecContext(ctx, statement) // some end with an error, all after a second
			if took := time.Since(began); took < 900*time.Millisecond || took > time.Second+clockSlack {
				t.Errorf("%s took %s, not a second", statement, took)
			}
		})
	}
	group.Wait()
}

// wantIdle wants a server that nobody asks for anything to sleep: one whose waits
// end at once works as well, at the price of a core.
func wantIdle(t *testing.T, m *MySQL) {
	t.Helper()
	used := func() (ticks int) { // of a hundredth of a second
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		// proc_pid_stat(5): the name in parentheses, then from field 3 on.
		fields := strings.Fields(string(stat[strings.LastIndex(string(stat), ")")+1:]))
		for _, field := range fields[11:13] { // utime, stime
			n, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			ticks += n
		}
		return ticks
	}
	before := used()
	time.Sleep(2 * time.Second)
	if ticks := used() - before; ticks > 20 {
		t.Errorf("an idle server used %d0 ms of processor time in 2 s", ticks)
	}
}

var commitTimestamp = regexp.MustCompile(`original_commit_timestamp=([0-9]+) `)

// wantCommitTimes wants a transaction of each offset in the first binlog.
func wantCommitTimes(t *testing.T, m *MySQL, offsets ...time.Duration) {
	t.Helper()
	cmd, err := m.Tool("mysqlbinlog", m.DataDir+"/binlog.000001")
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("mysqlbinlog: %v\n%s", err, output)
	}
	found := map[time.Duration]bool{}
	for _, match := range commitTimestamp.FindAllSubmatch(output, -1) {
		micros, err := strconv.ParseInt(string(match[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		for _, offset := range offsets {
			if distance := time.Since(time.UnixMicro(micros).Add(-offset)); distance.Abs() < 2*time.Minute {
				found[offset] = true
			}
		}
	}
	if len(found) != len(offsets) {
		t.Errorf("of the clocks %v the binlog shows %v:\n%s", offsets, found, output)
	}
}
