package system

import (
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// TestVerifyEveryType holds each column type at its edges against a shard and, where it can be had, an index: nothing differs, whichever
// way it is compared. (That what differs is found is TestVerify's matter, and verify's own tests'.)
func TestVerifyEveryType(t *testing.T) {
	b := &verifyBed{bed: newBed(t)}
	var fill func(string)
	var pairs []string
	b.m, b.source, fill, pairs = typedBed(b.bed)
	shard, target := b.mysql(testbed.MySQLOptions{})
	exec1(t, target, "CREATE DATABASE shop")
	config := b.sourceConfig(b.m, "")
	b.bed.source(b.m, "")
	b.settled(config, time.Minute)
	fill("_made")
	b.more(b.oneShardConfig("types", shard, ""), "")
	b.start("shard", "sluice-sink-mysql", "", []string{"--config", b.config})
	for _, how := range []string{"--rows=false", "--rows"} {
		report, found := b.verified(0, "verify", how)
		rows, summed := int64(0), int64(0)
		for _, r := range report.Tables {
			rows, summed = rows+r.SourceRows, summed+r.SummedRows
		}
		if len(found) > 0 || len(report.Tables) != 2*len(pairs) || rows == 0 || (summed == 0) != (how == "--rows") {
			t.Errorf("%s: %d tables, %d rows, %d summed up; these differ: %q", how, len(report.Tables), rows, summed, found)
		}
		t.Logf("%s: %d tables, %d rows, %d of them summed up", how, len(report.Tables), rows, summed)
	}

	t.Run("elasticsearch", func(t *testing.T) {
		needs(t, "elasticsearch")
		search, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{Kind: testbed.Elasticsearch})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { search.Stop() })
		b.more(b.searchConfig("search", search.URL()), "")
		b.start("search", "sluice-sink-elasticsearch", "", []string{"--config", b.config})
		report, found := b.verified(0, "verify")
		if len(found) > 0 || len(report.Tables) != 2*len(pairs) {
			t.Errorf("%d tables; these differ: %q", len(report.Tables), found)
		}
		t.Logf("%d tables are the same in the index", len(report.Tables))
	})
}
