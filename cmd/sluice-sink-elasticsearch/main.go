// Command sluice-sink-elasticsearch keeps tables as documents in Elasticsearch or OpenSearch, newest wins.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	Elasticsearch elasticsearch.Config `yaml:"elasticsearch"`
}

func main() {
	defaults := func() *page { return &page{elasticsearch.Default()} }
	run.Main("elasticsearch", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return elasticsearch.New(p.Elasticsearch, s)
	})
}
