// Command sluice-demo shows the main job on real servers: one MySQL under fire, crawled and streamed to two shards and a search
// index, source and sink killed on the way, every row compared by content at the end.
//
// It starts everything itself, as processes of its own on loopback ports, and ends by itself. KEEP=1 leaves it running.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-cdc/sluice/change"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := newDemo(os.Stdout)
	err := d.run(ctx)
	d.end()
	if err != nil {
		fmt.Fprintln(os.Stderr, change.Explain(err))
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, d.verdict())
	if d.differences != 0 {
		os.Exit(3)
	}
}
