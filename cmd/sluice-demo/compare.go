package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-cdc/sluice/testbed/rig"
)

// compare waits until the targets have what the source has, then shows the table of all comparisons. What still differs after
// the time to catch up is a difference.
func (d *demo) compare(ctx context.Context) error {
	began := time.Now()
	deadline := began.Add(catchUp)
	source := rig.Place{Name: "source", DB: d.sourceDB, Database: databaseName}
	shards := []rig.Place{
		{Name: "shard0", DB: d.shardDBs[0], Database: databaseName},
		{Name: "shard1", DB: d.shardDBs[1], Database: databaseName},
	}
	var lines []string
	var worst []*rig.Comparison
	for _, table := range rig.ShopTables {
		byShard, err := until(ctx, deadline, func() (*rig.Comparison, error) { return rig.Compare(ctx, source, shards, table) })
		if err != nil {
			return err
		}
		line := fmt.Sprintf("  %-18s %9s %9s %9s", "shop."+table, grouped(byShard.Source), grouped(byShard.Targets[0]), grouped(byShard.Targets[1]))
		differ := byShard.Differences
		worst = append(worst, byShard)
		if d.search != nil {
			byIndex, err := until(ctx, deadline, func() (*rig.Comparison, error) {
				return rig.CompareSearch(ctx, source, d.search.URL(), "shop.shop."+table, table)
			})
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %9s", grouped(byIndex.Targets[0]))
			differ += byIndex.Differences
			worst = append(worst, byIndex)
		}
		lines = append(lines, fmt.Sprintf("%s %13d", line, differ))
		d.rows += byShard.Source
		d.differences += differ
	}
	d.say("  ✓ all targets compared %.1f s after the writer's end\n", time.Since(began).Seconds())
	heads := fmt.Sprintf("  %-18s %9s %9s %9s", "table", "source", "shard0", "shard1")
	if d.search != nil {
		heads += fmt.Sprintf(" %9s", "search")
	}
	d.say("%s %13s", heads, "differences")
	for _, l := range lines {
		d.say("%s", l)
	}
	d.say("  every row compared by content")
	for _, c := range worst {
		for _, e := range c.Examples {
			d.say("  differs: shop.%s\n    source %q\n    target %q", c.Table, e.Source, e.Target)
		}
	}
	return nil
}

// until compares again until nothing differs or the time is over.
func until(ctx context.Context, deadline time.Time, compare func() (*rig.Comparison, error)) (*rig.Comparison, error) {
	for {
		c, err := compare()
		if err == nil && c.Differences == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			return c, err
		}
		time.Sleep(300 * time.Millisecond)
	}
}
