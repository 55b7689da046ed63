package system

import (
	"database/sql"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestVerifySpeed holds verify's speed against that of mysqldump --single-transaction of the same table, in pairs, one right after the
// other: by sums of the servers, and with every row hashed here. The ratio counts, for the machine's load swings.
func TestVerifySpeed(t *testing.T) {
	if !full() {
		t.Skip("a measurement: SLUICE_FULL=1")
	}
	b := newVerifyBed(t, 300_000, 100)
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	b.shards = []*sql.DB{db0}
	if err := (rig.Shop{Database: "shop"}).Empty(t.Context(), db0); err != nil {
		t.Fatal(err)
	}
	b.more(b.shardsConfig("shards", m0), "  - {table: shop.exact, by: owner, rule: modulus}\n")
	b.sink = b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.config})
	b.verified(0, "verify", "--table", "shop.exact")
	for _, how := range []struct {
		flag  string
		least float64
	}{{"--rows=false", 1}, {"--rows", 0.5}} {
		var ratios []float64
		for range 3 {
			began := time.Now()
			dump, err := b.m.Tool("mysqldump", "--no-defaults", "--protocol=tcp", "-h127.0.0.1", fmt.Sprintf("-P%d", b.m.Port), "-uapp", "-papp",
				"--single-transaction", "--set-gtid-purged=OFF", "--no-tablespaces", "shop", "exact")
			if err != nil {
				t.Skip(err)
			}
			var errs strings.Builder
			dump.Stdout, dump.Stderr = io.Discard, &errs
			if err := dump.Run(); err != nil {
				t.Fatalf("mysqldump: %v\n%s", err, errs.String())
			}
			dumped := time.Since(began)
			began = time.Now()
			report, _ := b.verified(0, "verify", "--table", "shop.exact", how.flag)
			verified := time.Since(began)
			ratios = append(ratios, dumped.Seconds()/verified.Seconds())
			t.Logf("%s: %d rows (%d summed up) in %.1f s, mysqldump %.1f s: %.2f times its speed", how.flag, report.Tables[0].SourceRows,
				report.Tables[0].SummedRows, verified.Seconds(), dumped.Seconds(), ratios[len(ratios)-1])
		}
		slices.Sort(ratios)
		if ratios[1] < how.least {
			t.Errorf("%s: %.2f times the speed of mysqldump (median of %v), want %.1f", how.flag, ratios[1], ratios, how.least)
		}
	}
}
