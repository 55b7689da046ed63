package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// TestSourceFailoverToAnotherForm goes on at a replica where the transaction that was published in part has the same GTID and other
// rows, as triggers or filters of its own may leave it: rows cannot be skipped by number then, and what was published of them is
// wrong. The source says so, and a crawl mends the topic.
func TestSourceFailoverToAnotherForm(t *testing.T) {
	b := newBed(t)
	m1, db1, m2, db2 := b.pair()
	l := newLedger(t, db1, 100)
	config := b.sourceConfig(m1, failoverLimits)
	p := b.begin("first", "faultpoints", config, nil)
	b.says(p, 20*time.Second, "crawl is over")
	b.caughtUp(m1, config, 10*time.Second)
	p.Kill()
	if err := testbed.WaitForReplica(t.Context(), m1, m2); err != nil {
		t.Fatal(err)
	}
	exec1(t, db2, "STOP REPLICA")
	if err := l.write(t.Context(), 6000); err != nil { // about 60 Kafka transactions
		t.Fatal(err)
	}
	b.killed(t, config, "source/after-commit:25", 20*time.Second)
	gtid := b.executed(m1).Minus(b.executed(m2)).String()
	if err := m1.Kill(); err != nil {
		t.Fatal(err)
	}
	conn, err := db2.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{
		"SET gtid_next = '" + gtid + "'", "BEGIN",
		fmt.Sprintf("INSERT INTO shop.ledger WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < 8000) "+
			"SELECT /*+ SET_VAR(cte_max_recursion_depth = 10000) */ n + %d, 7, 'another form' FROM seq", 2*l.cold),
		"COMMIT", "SET gtid_next = 'AUTOMATIC'",
	} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	config = b.sourceConfig(m2, failoverLimits)
	second := b.begin("second", "faultpoints", config, nil)
	b.caughtUp(m2, config, 30*time.Second)
	b.compareTopic(cdc(m2), "ledger")
	if !strings.Contains(second.Log(), "in another form") {
		t.Errorf("it does not say that %s is another transaction:\n%s", gtid, second.LogTail(10))
	}
}
