// Command sluice-sink-files keeps the whole history of changes as Parquet files, on a local disk or in S3.
package main

import (
	"context"
	"time"

	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/files"
	"github.com/sluice-cdc/sluice/sink/run"
)

// page is what the config file holds for this target, beside what every sink's has.
type page struct {
	Files files.Config `yaml:"files"`
}

// BatchDefaults has batches wait for more: each is a file, before it is merged into larger ones.
func (*page) BatchDefaults(b *run.BatchConfig) {
	*b = run.BatchConfig{MaxBytes: 8 << 20, MaxRows: 50_000, MaxWait: 5 * time.Second}
}

func main() {
	defaults := func() *page { return &page{files.Default()} }
	run.Main("files", defaults, func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) {
		return files.New(p.Files, s)
	})
}
