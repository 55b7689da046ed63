// Command sluice-sink-redis keeps tables as hashes, JSON or strings in Redis or Valkey, with indexes of them, newest wins.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/redis"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	Redis redis.Config `yaml:"redis"`
}

func main() {
	defaults := func() *page { return &page{redis.Default()} }
	run.Main("redis", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return redis.New(p.Redis, s)
	})
}
