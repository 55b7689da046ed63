// Command bench runs the benchmark of package test/bench: see docs/benchmarks.md. `make bench` builds and starts it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sluice-cdc/sluice/test/bench"
)

// Exit codes: 0 done, whatever the goals; 1 failed, rows lost among that; 2 usage.
func main() {
	var s bench.Settings
	flag.BoolVar(&s.Quick, "quick", false, "the smaller data")
	flag.BoolVar(&s.Alone, "alone", false, "without opponents")
	only := flag.String("only", "", "these works: "+strings.Join(bench.Works, ","))
	flag.IntVar(&s.Rows, "rows", 0, "rows or changes of each work; 0: as many as it has by itself")
	flag.IntVar(&s.Pairs, "pairs", 0, "pairs of which the median counts; 0: 3")
	flag.StringVar(&s.Programs, "programs", "", "the folder of the built programs")
	flag.StringVar(&s.Dir, "dir", "", "a folder for servers, configs and logs; default one in the system's temp folder")
	out := flag.String("o", "", "a file for the whole table")
	flag.Parse()
	if *only != "" {
		s.Only = strings.Split(*only, ",")
	}
	if err := s.Check(); err != nil || flag.NArg() > 0 {
		if err == nil {
			err = fmt.Errorf("%q is no flag", flag.Arg(0))
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, s, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run writes the whole table to a file, also that of a run that has failed.
func run(ctx context.Context, s bench.Settings, out string) error {
	var full bytes.Buffer
	err := bench.Run(ctx, s, os.Stderr, &full, os.Stdout)
	if out == "" || full.Len() == 0 {
		return err
	}
	if write := os.WriteFile(out, full.Bytes(), 0o644); write != nil {
		return errors.Join(err, write)
	}
	fmt.Fprintln(os.Stderr, "the whole table:", out)
	return err
}
