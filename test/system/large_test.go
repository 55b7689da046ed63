package system

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// largePeak is what a process may take in memory at the most, whatever a transaction's size.
const largePeak = 300 << 20

// TestLargeTransaction takes one transaction that is larger than the memory the processes may take, plain and as the server compresses
// it, through the source to a shard, and at full size to Elasticsearch too.
func TestLargeTransaction(t *testing.T) {
	kilobyte := strings.Repeat(", HEX(RANDOM_BYTES(512))", size(4, 1))
	t.Run("plain", func(t *testing.T) { largeTransaction(t, "OFF", "CONCAT(''"+kilobyte+")") })
	// Compresses 20 to 1, so that in Kafka it is small.
	t.Run("compressed", func(t *testing.T) { largeTransaction(t, "ON", fmt.Sprintf("REPEAT(SHA2(n, 512), %d)", size(32, 8))) })
}

// largeTransaction writes text, some kilobytes, into each row.
func largeTransaction(t *testing.T, compression, text string) {
	rows, rowBytes, patience := size(90_000, 2_000_000), size(4096, 1024), size(2*time.Minute, 15*time.Minute)
	b := newBed(t)
	large := []string{"innodb-buffer-pool-size=256M", "innodb-redo-log-capacity=512M", "max-binlog-size=1G"}
	m, db := b.mysql(testbed.MySQLOptions{Flags: append(large, "binlog-transaction-compression="+compression)})
	shard, target := b.mysql(testbed.MySQLOptions{Flags: append(large, "skip-log-bin")})
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.large (id INT NOT NULL PRIMARY KEY, v VARCHAR(4200) CHARACTER SET latin1 NOT NULL)")
	exec1(t, target, "CREATE DATABASE shop")
	config := b.sourceConfig(m, "")
	source := b.begin("source", "", config, nil)
	procs := []*rig.Process{source, b.start("shard", "sluice-sink-mysql", "", []string{"--config", b.oneShardConfig("shard", shard, "")})}
	var index string
	if full() {
		s, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{Kind: testbed.Elasticsearch})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Stop() })
		index = s.URL()
		procs = append(procs, b.start("search", "sluice-sink-elasticsearch", "", []string{"--config", b.searchConfig("search", index)}))
	}
	b.says(source, 20*time.Second, "crawl is over")
	exec1(t, db, fmt.Sprintf("INSERT INTO shop.large WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < %d) "+
		"SELECT /*+ SET_VAR(cte_max_recursion_depth = 10000000) */ n, %s FROM s", rows, text))
	began := time.Now()
	b.caughtUp(m, config, patience)
	t.Logf("%d MB in one transaction: published %v after its commit", rows*rowBytes>>20, time.Since(began).Round(100*time.Millisecond))
	eventually(t, patience, "the shard has all rows", func() bool { return count(target, "shop.large") == rows })
	b.equal(db, target, "large")
	if index != "" {
		from := rig.Place{Name: "source", DB: db, Database: "shop"}
		eventually(t, patience, "the index has all rows", func() bool {
			c, err := rig.CompareSearch(t.Context(), from, index, "shop.shop.large", "large")
			return err == nil && c.Differences == 0
		})
	}
	t.Logf("all targets were equal %v after its commit", time.Since(began).Round(100*time.Millisecond))
	for _, p := range procs {
		peak := p.PeakBytes()
		t.Logf("%s: peak %d MB", p.Name, peak>>20)
		if peak > largePeak || peak == 0 {
			t.Errorf("%s: peak %d MB", p.Name, peak>>20)
		}
	}
	h := b.readTopic("large")
	if h.records != rows || len(h.events) != rows {
		t.Errorf("%d records of %d keys for %d rows, ops %v", h.records, len(h.events), rows, opsText(h.ops))
	}
}

// count returns a table's rows, -1 where it cannot be read yet.
func count(db *sql.DB, table string) int {
	n := -1
	if err := db.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n); err != nil {
		return -1
	}
	return n
}
