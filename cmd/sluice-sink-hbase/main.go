// Command sluice-sink-hbase keeps tables as rows in HBase, newest wins.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/hbase"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	HBase hbase.Config `yaml:"hbase"`
}

func main() {
	defaults := func() *page { return &page{hbase.Default()} }
	run.Main("hbase", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return hbase.New(p.HBase, s)
	})
}
