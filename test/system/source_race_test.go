package system

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// TestCrawlBesideACommitThatHangs forces the race of rule R4: semi-sync without its replica holds a transaction between the
// binlog, which the source reads, and the engine, where a SELECT does not see it yet. A crawl that starts meanwhile must not
// publish the old rows over the new ones.
func TestCrawlBesideACommitThatHangs(t *testing.T) {
	for _, first := range []bool{false, true} {
		name := map[bool]string{false: "asked for", true: "first"}[first]
		t.Run(name, func(t *testing.T) {
			b, m, config := newHangBed(t)
			if differ := b.crawlBesideHang(m, config, first); len(differ) > 0 {
				t.Errorf("%d differences: %s", len(differ), differ[0])
			}
		})
	}
	// The same without step 2 must go wrong, or this test would prove nothing.
	t.Run("without the wait", func(t *testing.T) {
		b, m, config := newHangBed(t)
		differ := b.crawlBesideHang(m, config, false, "SLUICE_FAULT_OFF=crawl/wait-executed")
		if len(differ) == 0 {
			t.Error("the crawl was right without waiting: the race was not met")
		} else {
			t.Logf("as it must be: %s", differ[0])
		}
	})
}

func newHangBed(t *testing.T) (*bed, *testbed.MySQL, string) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.hang (id INT NOT NULL PRIMARY KEY, v INT NOT NULL)",
		"INSERT INTO shop.hang VALUES (1, 0), (2, 0), (3, 0)",
		"INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
		"SET GLOBAL rpl_semi_sync_source_timeout = 600000",
		"SET GLOBAL rpl_semi_sync_source_wait_no_replica = 1",
		"SET GLOBAL rpl_semi_sync_source_wait_point = 'AFTER_SYNC'")
	return b, m, b.sourceConfig(m, "")
}

// crawlBesideHang has a transaction hang, a crawl begin, and the transaction go on; it returns how topic and table differ then.
func (b *bed) crawlBesideHang(m *testbed.MySQL, config string, first bool, env ...string) []string {
	t := b.t
	t.Helper()
	db, err := m.Open("app", "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if !first {
		b.says(b.begin("source", "faultpoints", config, nil, env...), 10*time.Second, "crawl is over")
	}
	exec1(t, db, "SET GLOBAL rpl_semi_sync_source_enabled = 1")
	hanging := make(chan error, 1)
	go func() {
		tx, err := db.BeginTx(context.Background(), nil)
		for _, q := range []string{"UPDATE hang SET v = 1 WHERE id = 1", "DELETE FROM hang WHERE id = 2", "INSERT INTO hang VALUES (4, 1)"} {
			if err == nil {
				_, err = tx.Exec(q)
			}
		}
		if err == nil {
			err = tx.Commit()
		}
		hanging <- err
	}()
	if first {
		time.Sleep(300 * time.Millisecond)
		b.begin("source", "faultpoints", config, nil, env...)
	} else {
		eventually(t, 10*time.Second, "the stream has published the transaction that hangs", func() bool {
			h := b.readTopic("hang")
			return strings.Contains(h.all(), "u") && strings.Contains(h.all(), "d")
		})
		b.cli("crawl", "start", "shop.hang", "--config", config)
	}
	time.Sleep(1500 * time.Millisecond)
	select {
	case err := <-hanging:
		t.Fatalf("the commit did not hang: %v", err)
	default:
	}
	exec1(t, db, "SET GLOBAL rpl_semi_sync_source_enabled = 0")
	if err := <-hanging; err != nil {
		t.Fatal(err)
	}
	b.caughtUp(m, config, 15*time.Second)
	_, differ := b.differences(cdc(m), "hang")
	return differ
}

// all returns the operations of all keys.
func (h *history) all() string {
	var s strings.Builder
	for _, ops := range h.events {
		s.WriteString(ops)
	}
	return s.String()
}
