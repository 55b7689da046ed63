// Command sluice-sink-mongodb keeps tables as documents in MongoDB, newest wins.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/mongodb"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	MongoDB mongodb.Config `yaml:"mongodb"`
}

func main() {
	defaults := func() *page { return &page{mongodb.Default()} }
	run.Main("mongodb", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return mongodb.New(p.MongoDB, s)
	})
}
