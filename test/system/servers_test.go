package system

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestOlderServers takes the shop from the servers that people have besides the newest MySQL to two shards of the newest: written
// to all the while, with source and sink killed in the middle, each topic compared with its table and each row with the shards.
func TestOlderServers(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL80, testbed.MariaDB1011} {
		t.Run(string(version), func(t *testing.T) {
			b := newBed(t)
			m, db := b.mysql(testbed.MySQLOptions{Version: version})
			m0, db0 := b.mysql(testbed.MySQLOptions{})
			m1, db1 := b.mysql(testbed.MySQLOptions{})
			shop := rig.Shop{Database: "shop", Rows: 50_000}
			if err := shop.Load(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			b.emptyShop(version, db0, db1)
			config := b.sourceConfig(m, "")
			source := b.source(m, "")
			sink := b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.shardsConfig("shards", m0, m1)})
			w := &rig.Writer{DB: db, Shop: shop, Connections: 6, PerSecond: 800, Seed: seed(t)}
			b.underFire(w, size(8*time.Second, 20*time.Second), 1, source, sink)
			b.settled(config, time.Minute)
			for _, table := range rig.ShopTables {
				h := b.compareTopic(cdc(m), table)
				t.Log(m.Version, table, fmt.Sprintf("records %d, ops %v, rows %d", h.records, h.ops, len(h.newest)))
			}
			b.shopEqual(db, []rig.Place{{Name: "s0", DB: db0, Database: "shop"}, {Name: "s1", DB: db1, Database: "shop"}}, nil, time.Minute)
			t.Logf("%d changes", w.Changes())
		})
	}
}
