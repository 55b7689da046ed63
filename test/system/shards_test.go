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
	for _, d := range []*sql.DB{db0, db1} { // with the source's UNIQUE keys
		if err := shop.Empty(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	source := b.source(m, "")
	sink := b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.shardsConfig("shards", m0, m1)})
	w := &rig.Writer{DB: db, Shop: shop, Connections: 16, PerSecond: 2000, Seed: seed(t)}
	b.underFire(w, size(40*time.Second, 10*time.Minute), size(3, 20), source, sink)
	t.Logf("%d changes", w.Changes())
	b.shopEqual(db, []rig.Place{{Name: "s0", DB: db0, Database: "shop"}, {Name: "s1", DB: db1, Database: "shop"}}, nil, time.Minute)
}
