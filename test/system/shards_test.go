package system

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// shardsConfig writes shards.yaml: the shop by modulus over the servers given.
func (b *bed) shardsConfig(group string, shards ...*testbed.MySQL) string {
	var list strings.Builder
	for i, s := range shards {
		fmt.Fprintf(&list, "    - {name: s%d, address: %q, user: app, password: app, database: shop}\n", i, s.Address())
	}
	return b.file(group+".yaml", fmt.Sprintf(`group: %s
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
mysql:
  create_tables: true
  unique: {shop.customers: [email], shop.orders: [code], shop.products: [shelf]}
  shards:
%sroutes:
  - {table: shop.customers,   by: id,       rule: modulus}
  - {table: shop.orders,      by: user_id,  rule: modulus}
  - {table: shop.order_items, by: order_id, rule: modulus}
  - {table: shop.products,    by: sku,      rule: hash}
`, group, b.broker, b.registry, list.String()))
}

// shopIndexes gives the shards the shop's secondary UNIQUE keys before the sink begins.
var shopIndexes = []string{
	"CREATE DATABASE IF NOT EXISTS shop",
}

// TestShardsUnderFire sends the shop to two shards while a writer changes it; source and sink are killed on the way, and
// every row is compared by content.
func TestShardsUnderFire(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	m1, db1 := b.mysql(testbed.MySQLOptions{})
	shop := rig.Shop{Database: "shop", Rows: 20000}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	exec1(t, db0, shopIndexes...)
	exec1(t, db1, shopIndexes...)
	config := b.sourceConfig(m, "")
	source := b.source(m, "")
	sink := b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.shardsConfig("shards", m0, m1)})
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	w := &rig.Writer{DB: db, Shop: shop, Connections: 8, PerSecond: 1500, Seed: 2}
	go func() {
		time.Sleep(4 * time.Second)
		source.Kill()
		source.Start()
		time.Sleep(3 * time.Second)
		sink.Kill()
		sink.Start()
	}()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	b.settled(config, time.Minute)
	t.Logf("%d changes", w.Changes())
	source1 := rig.Place{Name: "source", DB: db, Database: "shop"}
	targets := []rig.Place{{Name: "s0", DB: db0, Database: "shop"}, {Name: "s1", DB: db1, Database: "shop"}}
	for _, table := range rig.ShopTables {
		var c *rig.Comparison
		for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
			var err error
			if c, err = rig.Compare(t.Context(), source1, targets, table); err == nil && c.Differences == 0 {
				break
			} else if err != nil && time.Until(end) < time.Second {
				t.Error(err)
			}
		}
		if c == nil || c.Differences > 0 {
			t.Errorf("%s: %+v", table, c)
			continue
		}
		t.Logf("%s: source %d, shards %v, differences %d", table, c.Source, c.Targets, c.Differences)
	}
}
