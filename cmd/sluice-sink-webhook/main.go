// Command sluice-sink-webhook tells HTTP receivers of changes that meet a condition.
package main

import (
	"context"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/run"
	"github.com/sluice-cdc/sluice/sink/webhook"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	Webhook webhook.Config `yaml:"webhook"`
}

func main() {
	defaults := func() *page { return &page{webhook.Default()} }
	run.Main("webhook", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return webhook.New(p.Webhook, s)
	})
}
