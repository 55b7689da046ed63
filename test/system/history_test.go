package system

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/sink"
	targets "github.com/sluice-cdc/sluice/sink/mysql"
	histories "github.com/sluice-cdc/sluice/test/history"
	"github.com/sluice-cdc/sluice/test/history/feed"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestHistory follows every row of the shop from the binlog through the topics to a shard that is looked at all the time, while
// a writer changes it and source and sink are killed. What is equal in the end may still have been wrong on the way: an event
// twice, a crawl that set a row back for a moment, a target that showed an older row again.
func TestHistory(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	shard, target := b.mysql(testbed.MySQLOptions{})
	shop := rig.Shop{Database: "shop", Rows: size(1500, 20000)}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := shop.Empty(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	began := b.executed(m)
	config := b.oneShardConfig("watched", shard, "  unique: {shop.customers: [email], shop.orders: [code], shop.products: [shelf]}\n")
	source := b.source(m, "crawl: {chunk_bytes: 16384}\n")
	copied := b.start("watched", "sluice-sink-mysql", "", []string{"--config", config})

	c := histories.New(histories.Options{Tombstones: true, Holders: true, FaultsMax: 20})
	looked := b.look(m, shard)
	b.shopEqual(db, []rig.Place{{Name: "shard", DB: target, Database: "shop"}}, nil, time.Minute) // the tables are there, with their columns
	stop := feed.Watch(t.Context(), 250*time.Millisecond, c, looked...)
	w := &rig.Writer{DB: db, Shop: shop, Connections: 8, PerSecond: 800, Seed: seed(t)}
	b.cli("crawl", "start", "shop.orders", "--config", b.dir+"/source.yaml")
	b.underFire(w, size(6*time.Second, 5*time.Minute), size(1, 10), source, copied)
	b.shopEqual(db, []rig.Place{{Name: "shard", DB: target, Database: "shop"}}, nil, time.Minute)
	looks, err := stop()
	if err != nil {
		t.Fatal(err)
	}

	b.told(c, m, began, rig.ShopTables...)
	for _, l := range looked {
		if err := l.Look(t.Context(), c.Rest); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range c.Check() {
		t.Error(f)
	}
	t.Logf("%d changes, %d looks, %+v", w.Changes(), looks, c.Counts())
}

// executed returns what the server has executed.
func (b *bed) executed(m *testbed.MySQL) *gtid.Set {
	b.t.Helper()
	db, err := m.Open("app", "")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	facts, err := mysql.ReadFacts(b.t.Context(), db)
	if err != nil {
		b.t.Fatal(err)
	}
	_, _, executed, err := facts.BinlogStatus(b.t.Context(), db)
	if err != nil {
		b.t.Fatal(err)
	}
	return executed
}

// historyRight holds a table's topic against the binlog since then, record by record.
func (b *bed) historyRight(m *testbed.MySQL, since *gtid.Set, table string) {
	b.t.Helper()
	c := histories.New(histories.Options{Tombstones: true, FaultsMax: 10})
	b.told(c, m, since, table)
	for _, f := range c.Check() {
		b.t.Error(f)
	}
	b.t.Logf("history of %s: %+v", table, c.Counts())
}

// told tells the Checker what the binlog has since then, and what the tables' topics have.
func (b *bed) told(c *histories.Checker, m *testbed.MySQL, since *gtid.Set, tables ...string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), size(time.Minute, 10*time.Minute))
	defer cancel()
	err := feed.ReadBinlog(ctx, feed.Binlog{
		MySQL: cdc(m), ServerID: mysql.ServerID("history"), From: since,
		Wanted: func(t change.TableName) bool { return t.DB == "shop" && slices.Contains(tables, t.Name) },
	}, c)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, table := range tables {
		topic := feed.Topic{Brokers: []string{b.broker}, Registry: b.registry, Prefix: "shop", Table: change.TableName{DB: "shop", Name: table}}
		if err := feed.ReadTopic(ctx, topic, c); err != nil {
			b.t.Fatal(err)
		}
	}
}

// look returns the shop's tables as a sink's own Scan shows them.
func (b *bed) look(m, shard *testbed.MySQL) []*feed.Target {
	b.t.Helper()
	ctx := b.t.Context()
	db, err := m.Open("app", "")
	if err != nil {
		b.t.Fatal(err)
	}
	defer db.Close()
	facts, err := mysql.ReadFacts(ctx, db)
	if err != nil {
		b.t.Fatal(err)
	}
	target, err := targets.New(targets.Config{
		Shards: []targets.Shard{{Name: "s0", Config: mysql.Config{Address: shard.Address(), User: "app", Password: "app"}, Database: "shop"}},
		Unique: map[string][]string{"shop.customers": {"email"}, "shop.orders": {"code"}, "shop.products": {"shelf"}},
	}, sink.Setup{Group: "watched", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { target.Close() })
	var all []*feed.Target
	for _, name := range rig.ShopTables {
		table, _, err := mysql.LoadTable(ctx, db, facts, change.TableName{DB: "shop", Name: name}, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		all = append(all, &feed.Target{Name: "shard", Scanner: target, Source: "shop", Table: table})
	}
	return all
}
