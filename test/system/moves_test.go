package system

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestUnloggedMovesBesideWriters moves rows to other shards without a row event, and then changes them again and again while the
// crawl over the top looks for them: events strike their rows from the crawl, and what they say of before was never true of the
// shards. A row that stays in its old shard stays for good.
func TestUnloggedMovesBesideWriters(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	m1, db1 := b.mysql(testbed.MySQLOptions{})
	const rows = 6000
	shop := rig.Shop{Database: "shop", Rows: rows}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	exec1(t, db0, "CREATE DATABASE shop")
	exec1(t, db1, "CREATE DATABASE shop")
	config := b.sourceConfig(m, "crawl: {chunk_bytes: 16384, workers: 1}\n")
	source := b.source(m, "crawl: {chunk_bytes: 16384, workers: 1}\n")
	b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.shardsConfig("shards", m0, m1)})
	shards := []rig.Place{{Name: "s0", DB: db0, Database: "shop"}, {Name: "s1", DB: db1, Database: "shop"}}
	b.shopEqual(db, shards, nil, time.Minute)

	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"SET sql_log_bin = 0", "UPDATE shop.orders SET user_id = user_id + 1", "SET sql_log_bin = 1"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	for i := range 4 {
		random := rand.New(rand.NewPCG(seed(t), uint64(i)))
		writing.Go(func() {
			for ctx.Err() == nil {
				// Without ctx, so that the last one is over when this is: see drive.
				_, _ = db.Exec(fmt.Sprintf("UPDATE shop.orders SET total = total + 1 WHERE id %% 50 = %d", random.IntN(50)))
			}
		})
	}
	b.crawlAgain(source, config, 40*time.Second, "shop.orders")
	cancel()
	writing.Wait()
	b.shopEqual(db, shards, nil, time.Minute)
}

// TestCancelledCrawlLeavesDoubt moves rows without a row event and has a crawl over the top cancelled before it reads any. Rows that are
// then deleted by an event say that they stood where no target has them, and no later crawl meets them.
func TestCancelledCrawlLeavesDoubt(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	m1, db1 := b.mysql(testbed.MySQLOptions{})
	shop := rig.Shop{Database: "shop", Rows: 500}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	exec1(t, db0, "CREATE DATABASE shop")
	exec1(t, db1, "CREATE DATABASE shop")
	config := b.sourceConfig(m, "")
	source := b.source(m, "")
	b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.shardsConfig("shards", m0, m1)})
	shards := []rig.Place{{Name: "s0", DB: db0, Database: "shop"}, {Name: "s1", DB: db1, Database: "shop"}}
	b.shopEqual(db, shards, nil, time.Minute)

	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	run := func(statements ...string) {
		t.Helper()
		for _, q := range statements {
			if _, err := conn.ExecContext(t.Context(), q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
	}
	run("SET sql_log_bin = 0", "UPDATE shop.orders SET user_id = user_id + 1", "SET sql_log_bin = 1")
	run("LOCK TABLES shop.orders WRITE") // so that the crawl cannot read it
	id := strings.Fields(b.cli("crawl", "start", "--config", config, "shop.orders"))[1]
	b.says(source, 20*time.Second, `msg="crawl wanted" crawl=`+id)
	b.cli("crawl", "cancel", "--config", config, id)
	b.says(source, 20*time.Second, `msg="crawl is over" crawl=`+id+` table=shop.orders state=cancelled`)
	run("UNLOCK TABLES", "DELETE FROM shop.orders WHERE id % 5 = 0")
	b.crawlAgain(source, config, 40*time.Second, "shop.orders")
	b.shopEqual(db, shards, nil, time.Minute)
}
