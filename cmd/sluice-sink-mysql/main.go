// Command sluice-sink-mysql applies change events to one MySQL or to many shards, newest wins.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/mysql"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	MySQL  mysql.Config `yaml:"mysql"`
	Routes []route.Spec `yaml:"routes"`
}

func main() {
	run.Main("mysql", func() *page { return &page{} }, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		p.MySQL.Routes = p.Routes
		return mysql.New(p.MySQL, s)
	})
}
