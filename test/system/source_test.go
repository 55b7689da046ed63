package system

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/source"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

var schemaDefault schema.Options

func cdc(m *testbed.MySQL) mysql.Config {
	return mysql.Config{Address: m.Address(), User: "cdc", Password: "cdc"}
}

// settled waits until a live source has nothing more to publish: its position does not move any more and no crawl runs.
func (b *bed) settled(config string, within time.Duration) {
	b.t.Helper()
	var last string
	same := 0
	eventually(b.t, within, "the source has published everything", func() bool {
		now := ""
		for _, s := range b.statuses(config) {
			var r source.Report
			if json.Unmarshal(s.Report, &r) != nil || s.Role != kafka.RoleSource || time.Since(time.UnixMilli(s.Millis)) > 3*time.Second {
				continue // what a process said before it was killed stands still, and says nothing
			}
			busy := r.Doing != ""
			for _, c := range r.Crawls {
				busy = busy || !crawl.Ended(c.State)
			}
			if !busy {
				now = s.Instance + " " + r.Position.String()
			}
		}
		if now == "" || now != last {
			last, same = now, 0
			return false
		}
		same++
		return same >= 20 // of the looks that eventually takes: two statuses of the source at least
	})
}

// TestSourceUnderFire crawls a shop while a writer changes it, with the source killed in the middle, and compares the topics
// with the tables.
func TestSourceUnderFire(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{Log: t.Logf})
	shop := rig.Shop{Database: "shop", Rows: 20000}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	config := b.sourceConfig(m, "")
	source := b.source(m, "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w := &rig.Writer{DB: db, Shop: shop, Connections: 8, PerSecond: 1500, Seed: 1}
	go func() {
		for _, after := range []time.Duration{2, 5, 7} {
			time.Sleep(after * time.Second / 2)
			source.Kill()
			source.Start()
		}
	}()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	b.settled(config, 20*time.Second)
	t.Logf("%d changes", w.Changes())
	for _, table := range rig.ShopTables {
		h := b.compareTopic(cdc(m), table)
		t.Log(table, fmt.Sprintf("records %d, ops %v, rows %d", h.records, h.ops, len(h.newest)))
	}
}
