// Command sluice-sink-postgres keeps tables in a PostgreSQL database, newest wins.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/postgres"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	Postgres postgres.Config `yaml:"postgres"`
}

func main() {
	defaults := func() *page { return &page{postgres.Default()} }
	run.Main("postgres", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return postgres.New(p.Postgres, s)
	})
}
