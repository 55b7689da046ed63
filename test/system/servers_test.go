package system

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestOlderServers takes the shop from the servers that people have besides the newest MySQL: written to all the while, with
// the source killed in the middle, and each topic compared with its table afterwards.
func TestOlderServers(t *testing.T) {
	for _, version := range []testbed.MySQLVersion{testbed.MySQL80, testbed.MariaDB1011} {
		t.Run(string(version), func(t *testing.T) {
			b := newBed(t)
			m, db := b.mysql(testbed.MySQLOptions{Version: version})
			shop := rig.Shop{Database: "shop", Rows: 50_000}
			if err := shop.Load(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			config := b.sourceConfig(m, "")
			source := b.source(m, "")
			ctx, cancel := context.WithTimeout(t.Context(), size(8*time.Second, 20*time.Second))
			defer cancel()
			w := &rig.Writer{DB: db, Shop: shop, Connections: 6, PerSecond: 800, Seed: seed(t)}
			killed := make(chan error, 1)
			go func() {
				time.Sleep(3 * time.Second)
				err := source.Kill()
				if err == nil {
					err = source.Start()
				}
				killed <- err
			}()
			if err := w.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if err := <-killed; err != nil {
				t.Fatal(err)
			}
			b.settled(config, time.Minute)
			for _, table := range rig.ShopTables {
				h := b.compareTopic(cdc(m), table)
				t.Log(m.Version, table, fmt.Sprintf("records %d, ops %v, rows %d", h.records, h.ops, len(h.newest)))
			}
			t.Logf("%d changes", w.Changes())
		})
	}
}
