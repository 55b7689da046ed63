// Command sluice-sink-clickhouse keeps tables, or the history of their changes, in ClickHouse.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/clickhouse"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	ClickHouse clickhouse.Config `yaml:"clickhouse"`
}

// BatchDefaults has one partition's batch fill a block.
func (p *page) BatchDefaults(b *run.BatchConfig) {
	b.MaxRows, b.MaxBytes = p.ClickHouse.InsertRows, p.ClickHouse.InsertBytes
}

func main() {
	defaults := func() *page { return &page{clickhouse.Default()} }
	run.Main("clickhouse", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return clickhouse.New(p.ClickHouse, s)
	})
}
