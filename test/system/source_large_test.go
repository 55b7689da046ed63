package system

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// largePeak is what the source may take in memory at the most, whatever a transaction's size.
const largePeak = 300 << 20

// TestSourceLargeTransaction publishes one transaction that is larger than the memory the source may take, plain and as the
// server compresses it.
func TestSourceLargeTransaction(t *testing.T) {
	for _, compression := range []string{"OFF", "ON"} {
		t.Run("compression "+compression, func(t *testing.T) {
			const rowBytes = 1024 + 16
			rows := size(300_000, 2_000_000)
			b := newBed(t)
			m, db := b.mysql(testbed.MySQLOptions{Flags: []string{
				"binlog-transaction-compression=" + compression, "innodb-buffer-pool-size=256M", "innodb-redo-log-capacity=512M", "max-binlog-size=1G",
			}})
			exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.large (id INT NOT NULL PRIMARY KEY, v VARCHAR(1100) CHARACTER SET latin1 NOT NULL)")
			config := b.sourceConfig(m, "")
			p := b.begin("source", "", config, nil)
			b.says(p, 20*time.Second, "crawl is over")
			exec1(t, db, fmt.Sprintf("INSERT INTO shop.large WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d) "+
				"SELECT /*+ SET_VAR(cte_max_recursion_depth = 10000000) */ n, REPEAT(SHA2(n, 512), 8) FROM s", rows))
			began := time.Now()
			b.caughtUp(m, config, size(time.Minute, 5*time.Minute))
			took := time.Since(began)
			peak := p.PeakBytes()
			t.Logf("%d MB in one transaction: peak %d MB, caught up %v after its commit", rows*rowBytes>>20, peak>>20, took.Round(100*time.Millisecond))
			if peak > largePeak || peak == 0 {
				t.Errorf("peak %d MB", peak>>20)
			}
			h := b.readTopic("large")
			if h.records != rows || len(h.events) != rows {
				t.Errorf("%d records of %d keys for %d rows, ops %v", h.records, len(h.events), rows, opsText(h.ops))
			}
		})
	}
}
