package system

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// pair starts a primary and a replica of it.
func (b *bed) pair() (primary *testbed.MySQL, db *sql.DB, replica *testbed.MySQL, replicaDB *sql.DB) {
	b.t.Helper()
	primary, db = b.mysql(testbed.MySQLOptions{})
	replica, replicaDB = b.mysql(testbed.MySQLOptions{})
	if err := testbed.Replicate(b.t.Context(), primary, replica); err != nil {
		b.t.Fatal(err)
	}
	return primary, db, replica, replicaDB
}

const failoverLimits = "limits: {transaction_bytes: 20000, history_wait: 2s}\n"

// TestSourceFailover kills the primary while a large transaction is published in part, and goes on at the replica: in the
// middle of it, with nothing twice.
func TestSourceFailover(t *testing.T) {
	b := newBed(t)
	m1, db1, m2, db2 := b.pair()
	l := newLedger(t, db1, 500)
	config := b.sourceConfig(m1, failoverLimits)
	p := b.begin("first", "faultpoints", config, nil)
	b.says(p, 20*time.Second, "crawl is over")
	for range 20 {
		if err := l.write(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	b.caughtUp(m1, config, 10*time.Second)
	p.Kill()
	if err := l.write(t.Context(), 6000); err != nil { // about 60 Kafka transactions
		t.Fatal(err)
	}
	b.killed(t, config, "source/after-commit:25", 20*time.Second)
	if err := testbed.WaitForReplica(t.Context(), m1, m2); err != nil {
		t.Fatal(err)
	}
	if err := m1.Kill(); err != nil {
		t.Fatal(err)
	}
	published := b.readTopic("ledger").records
	exec1(t, db2, "STOP REPLICA")
	l.db = db2
	config = b.sourceConfig(m2, failoverLimits)
	second := b.begin("second", "faultpoints", config, nil)
	for range 20 {
		if err := l.write(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	b.caughtUp(m2, config, 20*time.Second)
	t.Logf("%d records were there at the failover", published)
	if strings.Contains(second.Log(), "in another form") {
		t.Error("the transaction was not recognised:\n" + second.LogTail(10))
	}
	l.check(t, b.compareTopic(cdc(m2), "ledger"), 1)
}

// TestSourceFailoverThatLost goes on at a replica that never got what was published, whole transactions or the rest of one:
// the source says so within the time set, and takes the phantom rows out when it is told to.
func TestSourceFailoverThatLost(t *testing.T) {
	for _, part := range []bool{false, true} {
		t.Run(map[bool]string{false: "whole transactions", true: "a transaction in part"}[part], func(t *testing.T) {
			b := newBed(t)
			m1, db1, m2, db2 := b.pair()
			l := newLedger(t, db1, 500)
			config := b.sourceConfig(m1, failoverLimits)
			p := b.begin("first", "faultpoints", config, nil)
			b.says(p, 20*time.Second, "crawl is over")
			if err := l.write(t.Context(), 50); err != nil {
				t.Fatal(err)
			}
			b.caughtUp(m1, config, 10*time.Second)
			if err := testbed.WaitForReplica(t.Context(), m1, m2); err != nil {
				t.Fatal(err)
			}
			exec1(t, db2, "STOP REPLICA")
			if part {
				p.Kill()
				if err := l.write(t.Context(), 3000); err != nil {
					t.Fatal(err)
				}
				b.killed(t, config, "source/after-commit:12", 20*time.Second)
			} else {
				for range 5 {
					if err := l.write(t.Context(), 30); err != nil {
						t.Fatal(err)
					}
				}
				b.caughtUp(m1, config, 10*time.Second)
				p.Kill()
			}
			var uuid string
			if err := db1.QueryRow("SELECT @@server_uuid").Scan(&uuid); err != nil {
				t.Fatal(err)
			}
			if err := m1.Kill(); err != nil {
				t.Fatal(err)
			}
			config = b.sourceConfig(m2, failoverLimits)
			if _, differ := b.differences(cdc(m2), "ledger"); len(differ) == 0 {
				t.Fatal("nothing was lost: the test proves nothing")
			}
			exec1(t, db2, "INSERT INTO shop.ledger VALUES (100000, 1, 'written after the failover')")
			began := time.Now()
			lost := b.begin("lost", "faultpoints", config, nil)
			eventually(t, 15*time.Second, "the source has refused, or gone on", func() bool {
				return !lost.Running() || strings.Contains(lost.Log(), "reading the binlog")
			})
			if lost.Running() {
				t.Fatal("it goes on at a server that lacks what was published")
			}
			if code := lost.ExitCode(); code != 2 {
				t.Errorf("exit code %d", code)
			}
			for _, want := range []string{"the server lacks transactions that were published: " + uuid, "--accept-lost-transactions"} {
				if !strings.Contains(lost.Log(), want) {
					t.Errorf("it does not say %q:\n%s", want, lost.LogTail(10))
				}
			}
			t.Logf("named after %v", time.Since(began).Round(100*time.Millisecond))
			// It is told once; a kill right after must not make it forget.
			b.begin("accepting", "faultpoints", config, []string{"--accept-lost-transactions"}, "SLUICE_FAULT=crawl/after-read:1:kill").Wait(15 * time.Second)
			again := b.begin("again", "faultpoints", config, nil)
			b.caughtUp(m2, config, 20*time.Second)
			h := b.compareTopic(cdc(m2), "ledger")
			t.Logf("equal again: ops %v; %s", opsText(h.ops), fmt.Sprint(again.Running()))
		})
	}
}
