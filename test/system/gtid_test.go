package system

import (
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestGTIDsTurnedOn turns GTIDs on while the source is away. Its checkpoint is a file and an offset then. Asked by the empty set of
// GTIDs, the server would give what has one, and where the files before are purged say nothing of what has none.
func TestGTIDsTurnedOn(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{Flags: []string{"gtid_mode=OFF", "enforce_gtid_consistency=ON"}})
	shop := rig.Shop{Database: "shop", Rows: 500}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, "RESET BINARY LOGS AND GTIDS") // a server that never had any
	config := b.sourceConfig(m, "")
	source := b.source(m, "")
	b.settled(config, time.Minute)
	if err := source.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, "UPDATE shop.orders SET total = total + 1 WHERE id % 3 = 0", "FLUSH BINARY LOGS",
		"SET GLOBAL gtid_mode = OFF_PERMISSIVE", "SET GLOBAL gtid_mode = ON_PERMISSIVE", "SET GLOBAL gtid_mode = ON", "FLUSH BINARY LOGS",
		"PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY", "DELETE FROM shop.orders WHERE id % 3 = 1")
	refused := b.begin("refused", "", config, nil)
	if code := b.ends(refused, 15*time.Second); code != 2 {
		t.Errorf("exit code %d", code)
	}
	b.says(refused, time.Second, "the checkpoint is a file and an offset")
	b.begin("anew", "", config, []string{"--start-anew"})
	b.settled(config, time.Minute)
	for _, table := range rig.ShopTables {
		b.compareTopic(cdc(m), table)
	}
}
