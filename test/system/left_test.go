package system

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestTableLeftAndTakenUp starts the source with a config that leaves a table out, and then with one that captures it again: what
// the table has missed in between is in no event that will come.
func TestTableLeftAndTakenUp(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	shop := rig.Shop{Database: "shop", Rows: 500}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	config := b.sourceConfig(m, "")
	source := b.source(m, "")
	b.settled(config, time.Minute)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	again := func(name, more string) {
		t.Helper()
		if err := source.Stop(20 * time.Second); err != nil {
			t.Fatal(err)
		}
		source = b.begin(name, "", b.file(name+".yaml", strings.Replace(string(text), "tables:\n", "tables:\n"+more, 1)), nil)
		b.settled(config, time.Minute)
	}
	again("without", "  - {match: shop.orders, skip: true}\n")
	exec1(t, db, "UPDATE shop.orders SET total = total + 1 WHERE id % 3 = 0", "DELETE FROM shop.orders WHERE id % 3 = 1",
		"UPDATE shop.customers SET name = CONCAT(name, '!')")
	b.settled(config, time.Minute)
	again("with", "")
	for _, table := range rig.ShopTables {
		b.compareTopic(cdc(m), table)
	}
	published := b.readTopic("orders").records
	again("with", "") // once is enough
	if n := b.readTopic("orders").records; n != published {
		t.Errorf("the table was crawled at the next start too: %d records, then %d", published, n)
	}
}
