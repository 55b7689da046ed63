package system

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

var schemaDefault schema.Options

func cdc(m *testbed.MySQL) mysql.Config {
	return mysql.Config{Address: m.Address(), User: "cdc", Password: "cdc"}
}

// settled waits until a source has published all that the server has: its topic-side position does not move any more and
// no crawl runs.
func (b *bed) settled(config string, within time.Duration) {
	b.t.Helper()
	last, same := "", 0
	var out string
	defer func() {
		if b.t.Failed() {
			b.t.Log(out)
		}
	}()
	eventually(b.t, within, "the source has published everything", func() bool {
		p := rig.New("status", b.dir+"/status.log", binary(b.t, "sluice", ""), []string{"status", "--config", config})
		before := len(p.Log())
		if err := p.Start(); err != nil {
			b.t.Fatal(err)
		}
		if err, ok := p.Wait(20 * time.Second); err != nil {
			b.t.Fatalf("sluice status: %v\n%s", err, p.Log())
		} else if !ok {
			b.t.Fatal("sluice status hangs")
		}
		out = p.Log()[before:]
		busy := strings.Contains(out, "running") || strings.Contains(out, "planning") || strings.Contains(out, "sweeping")
		line := ""
		for _, l := range strings.Split(out, "\n") {
			if strings.HasPrefix(l, "shop") && strings.Contains(l, "source") {
				line = strings.Join(strings.Fields(l)[:5], " ") + strings.Join(strings.Fields(l)[7:], " ")
			}
		}
		if busy || line == "" || line != last {
			last, same = line, 0
			return false
		}
		same++
		return same >= 3
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
