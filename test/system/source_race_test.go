package system

import (
	"context"
	"database/sql"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// hang is when a crawl meets a transaction that hangs between the binlog, which the source reads, and the engine, where a
// SELECT does not see it yet.
type hang string

const (
	delivered  hang = "all of it is delivered when the crawl begins"
	firstCrawl hang = "it hangs when the source starts for the first time"
	inProgress hang = "it is delivered in part when the crawl begins"
	inWindow   hang = "it comes while the window of a chunk is open"
)

// TestCrawlBesideACommitThatHangs forces the race of rule R4: semi-sync without its replica holds a transaction between binlog and
// engine. A crawl that runs meanwhile must not publish the old rows over the new ones.
func TestCrawlBesideACommitThatHangs(t *testing.T) {
	for _, when := range []hang{delivered, firstCrawl, inProgress, inWindow} {
		t.Run(string(when), func(t *testing.T) {
			b := newBed(t)
			m, db := b.mysql(testbed.MySQLOptions{})
			exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.hang (id INT NOT NULL PRIMARY KEY, v INT NOT NULL)",
				"INSERT INTO shop.hang VALUES (1, 0), (2, 0), (3, 0)",
				"INSTALL PLUGIN rpl_semi_sync_source SONAME 'semisync_source.so'",
				"SET GLOBAL rpl_semi_sync_source_timeout = 600000",
				"SET GLOBAL rpl_semi_sync_source_wait_no_replica = 1",
				"SET GLOBAL rpl_semi_sync_source_wait_point = 'AFTER_SYNC'")
			if when == inProgress {
				exec1(t, db, "CREATE TABLE shop.filler (id INT NOT NULL PRIMARY KEY, v TEXT)")
			}
			config := b.sourceConfig(m, "limits: {transaction_bytes: 20000}\n")
			b.crawlBesideHang(m, config, when)
			if _, differ := b.differences(cdc(m), "hang"); len(differ) > 0 {
				t.Errorf("%d differences: %s", len(differ), differ[0])
			}
		})
	}
}

// crawlBesideHang has a transaction hang and a crawl run beside it; then the transaction goes on.
func (b *bed) crawlBesideHang(m *testbed.MySQL, config string, when hang) {
	t := b.t
	t.Helper()
	db, err := m.Open("app", "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	begin := func(stop string) *rig.Process {
		return b.begin("source", "faultpoints", config, nil, "SLUICE_FAULT="+stop)
	}
	var source *rig.Process
	switch when {
	case inWindow: // of the first crawl
		source = begin("crawl/after-open:1:stop")
		b.says(source, 10*time.Second, "fault: stop")
	case inProgress: // it is a thousand events long
		binary(t, "sluice", "") // a source that stands still for long loses its connection
		source = begin("source/before-publish:200:stop")
		b.says(source, 10*time.Second, "crawl is over")
	case delivered:
		b.says(begin(""), 10*time.Second, "crawl is over")
	}
	exec1(t, db, "SET GLOBAL rpl_semi_sync_source_enabled = 1")
	hanging := make(chan error, 1)
	go func() { hanging <- writeHanging(db, when == inProgress) }()
	switch when {
	case firstCrawl:
		time.Sleep(300 * time.Millisecond)
		begin("")
	case inWindow:
		time.Sleep(300 * time.Millisecond)
		source.Signal(syscall.SIGCONT)
	case inProgress:
		b.says(source, time.Minute, "fault: stop")
		b.cli("crawl", "start", "shop.hang", "--config", config)
		source.Signal(syscall.SIGCONT)
	case delivered:
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
	b.caughtUp(m, config, 30*time.Second)
}

// writeHanging changes the three rows in one transaction, a long one if asked for. It returns when the transaction hangs no more.
func writeHanging(db *sql.DB, long bool) error {
	tx, err := db.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	statements := []string{"UPDATE hang SET v = 1 WHERE id = 1", "DELETE FROM hang WHERE id = 2", "INSERT INTO hang VALUES (4, 1)"}
	if long {
		statements = append(statements, "INSERT INTO filler WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < 4000) "+
			"SELECT /*+ SET_VAR(cte_max_recursion_depth = 100000) */ n, REPEAT('filler', 300) FROM seq")
	}
	for _, q := range statements {
		if _, err := tx.Exec(q); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// all returns the operations of all keys.
func (h *history) all() string {
	var s strings.Builder
	for _, ops := range h.events {
		s.WriteString(ops)
	}
	return s.String()
}
