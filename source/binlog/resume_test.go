package binlog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/testbed"
)

// resumePoint is what a source would have noted after the events: delivered is what was executed before them,
// nil without GTIDs.
func resumePoint(events []*Event, delivered *gtid.Set) From {
	var from From
	if delivered != nil {
		from.GTID = delivered.Clone()
	}
	within := false
	for _, e := range events {
		switch e.Kind {
		case Begin:
			within = true
		case Commit, Prepared, Dropped:
			within = false
			if from.GTID != nil {
				e.GTID.AddTo(from.GTID)
			}
			var open []XA
			for _, xa := range from.OpenXA {
				if xa.XID != e.XID {
					open = append(open, xa)
				}
			}
			if e.Kind == Prepared {
				open = append(open, XA{XID: e.XID, GTID: e.GTID.String(), File: e.Start.File, Offset: e.Start.Offset})
			}
			from.OpenXA = open
		}
		if !within {
			from.File, from.Offset = e.Position.File, e.Position.Offset
		}
	}
	return from
}

// TestOpenXA begins behind an XA PREPARE whose rows are asked for at XA COMMIT.
func TestOpenXA(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80} {
		t.Run(string(version), func(t *testing.T) {
			s := start(t, version)
			_, executed := s.end()
			s.session("CREATE TABLE t (id INT PRIMARY KEY)")
			s.session("XA START 'x1'", "INSERT INTO t VALUES (1)", "XA END 'x1'", "XA PREPARE 'x1'")
			s.session("XA START 'x2'", "INSERT INTO t VALUES (2)", "XA END 'x2'", "XA PREPARE 'x2'")
			s.session("INSERT INTO t VALUES (3)")
			from := resumePoint(s.read(s.config(), From{GTID: executed}), executed)
			if len(from.OpenXA) != 2 {
				t.Fatalf("open: %+v", from.OpenXA)
			}
			s.session("INSERT INTO t VALUES (4)")
			s.session("XA COMMIT 'x1'")
			s.session("XA ROLLBACK 'x2'")
			want := []string{"begin", "rows t c 1", "commit", "begin", "rows t c 1 xid X'7831',X'',1", "commit xid X'7831',X'',1",
				"begin", "dropped xid X'7832',X'',1"}
			byPosition := From{File: from.File, Offset: from.Offset, OpenXA: from.OpenXA}
			for name, from := range map[string]From{"gtid": from, "position": byPosition} {
				cfg := s.config()
				cfg.XAMemoryBytes = 1 // everything goes to files
				if diff := cmp.Diff(want, story(t, s.read(cfg, from))); diff != "" {
					t.Errorf("%s: want -, got +\n%s", name, diff)
				}
			}
			from.OpenXA = nil // as if nothing were known of them
			want = []string{"begin", "rows t c 1", "commit", "begin", "unknown-xa xid X'7831',X'',1", "commit xid X'7831',X'',1",
				"begin", "dropped xid X'7832',X'',1"}
			if diff := cmp.Diff(want, story(t, s.read(s.config(), from))); diff != "" {
				t.Errorf("unknown: want -, got +\n%s", diff)
			}
		})
	}
}

// TestReconnect kills the connection again and again while rows are written. What arrives, each time from what
// was noted, must be every row once and in order.
func TestReconnect(t *testing.T) {
	s := start(t, testbed.MySQL97)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s.session("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
	_, executed := s.end()
	const transactions = 300
	writer := make(chan error, 1)
	go func() {
		for i := range transactions {
			compression := [...]string{"OFF", "ON"}[i%2]
			if _, err := s.db.Exec("SET SESSION binlog_transaction_compression = " + compression); err != nil {
				writer <- err
				return
			}
			if _, err := s.db.Exec("INSERT INTO t (v) VALUES (?), (?), (?)", i, i, i); err != nil {
				writer <- err
				return
			}
		}
		writer <- nil
	}()
	var events []*Event
	kills, transactionsSeen := 0, 0
	for transactionsSeen < transactions {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		stopAfter := 1 + random.IntN(60)
		err := New(s.config()).Run(ctx, resumePoint(whole(events), executed), func(e *Event) error {
			events = append(events, e)
			if e.Kind == Commit {
				if transactionsSeen++; transactionsSeen == transactions {
					return errEnough
				}
			}
			if stopAfter--; stopAfter == 0 {
				kills++
				return s.killReaders(t)
			}
			return nil
		})
		cancel()
		if errors.Is(err, errEnough) {
			break
		}
		if change.SeverityOf(err) != change.Retry {
			t.Fatalf("after a KILL: %v", err)
		}
		events = whole(events)
	}
	if err := <-writer; err != nil {
		t.Fatal(err)
	}
	if t.Logf("%d kills", kills); kills < 3 {
		t.Errorf("only %d kills: the test says little", kills)
	}
	next := uint32(1)
	var walker Walker
	for _, e := range events {
		if e.Kind != Rows || !strings.HasPrefix(e.Table.DB, s.name) {
			continue
		}
		err := walker.Walk(e, func(_, after []rowimage.Cell, _ []byte) error {
			if id := uint32(after[0].Data[0]) | uint32(after[0].Data[1])<<8; id != next {
				return fmt.Errorf("row %d instead of %d", id, next)
			}
			next++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if next != 3*transactions+1 {
		t.Errorf("%d rows arrived", next-1)
	}
}

// whole cuts off the events of a transaction that did not end.
func whole(events []*Event) []*Event {
	for i := len(events) - 1; i >= 0; i-- {
		switch events[i].Kind {
		case Commit:
			return events[:i+1]
		case Begin:
			return events[:i]
		}
	}
	return events
}

func (s *server) killReaders(t *testing.T) error {
	rows, err := s.db.Query("SELECT ID FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			return err
		}
		if _, err := s.db.Exec(fmt.Sprintf("KILL %d", id)); err != nil && mysql.ErrorNumber(err) != 1094 {
			return err
		}
	}
	return rows.Err()
}

// TestPurged asks for what the server does not have any more.
func TestPurged(t *testing.T) {
	server, err := testbed.StartMySQL(t.Context(), testbed.MySQLOptions{Version: testbed.MySQL97})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop() })
	s := attach(t, server)
	begin, executed := s.end()
	s.session("CREATE TABLE t (id INT PRIMARY KEY)", "XA START 'old'", "INSERT INTO t VALUES (1)", "XA END 'old'", "XA PREPARE 'old'")
	from := resumePoint(s.read(s.config(), From{GTID: executed}), executed)
	s.session("FLUSH BINARY LOGS")
	file, _ := s.end()
	s.session("PURGE BINARY LOGS TO '" + file.File + "'")

	for name, from := range map[string]From{"gtid": {GTID: executed}, "position": {File: begin.File, Offset: begin.Offset}} {
		err := New(s.config()).Run(t.Context(), from, func(*Event) error { return nil })
		var problem *change.Problem
		if !errors.As(err, &problem) || problem.Kind != change.Configuration || !strings.Contains(problem.What, "purged") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "gtid" && !strings.Contains(problem.What, s.facts.ServerUUID) {
			t.Errorf("the missing GTIDs are not named: %s", problem.What)
		}
	}
	// The rows of the prepared transaction are gone: the stream goes on, and its commit is unknown.
	s.session("XA COMMIT 'old'")
	want := []string{"begin", "unknown-xa xid X'6f6c64',X'',1", "commit xid X'6f6c64',X'',1"}
	if diff := cmp.Diff(want, story(t, s.read(s.config(), from))); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}
