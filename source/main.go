package source

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/internal/memory"
	"github.com/sluice-cdc/sluice/internal/serve"
)

// The exit codes of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration: a person is needed
	exitDiffer = 3 // doctor: something is wrong
)

const usage = `usage: sluice-source [run] --config source.yaml      follow the server until stopped
       sluice-source doctor --config source.yaml     look at everything the run depends on
       sluice-source version

For one start, when an error has named it:
  --accept-lost-transactions   a failover lost transactions that were published: crawl all tables, take out what is gone
  --start-anew                 what came since the checkpoint cannot be read (purged, another server): go on from the server's
                               present end, crawl all tables, take out what is gone
  --accept-statements          rows were changed by logged statements: crawl all tables over the top instead
  --forget DB.TABLE            begin this table anew (its topic was deleted or made again); may be repeated
`

// Main is the program sluice-source: it returns the exit code. The first SIGTERM or SIGINT commits what is at hand and ends;
// a second one ends at once.
func Main(args []string, stdout, stderr io.Writer) int {
	command := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("sluice-source", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	file := flags.String("config", "source.yaml", "the config file")
	var accept Accept
	flags.BoolVar(&accept.LostTransactions, "accept-lost-transactions", false, "")
	flags.BoolVar(&accept.Anew, "start-anew", false, "")
	flags.BoolVar(&accept.Statements, "accept-statements", false, "")
	flags.Func("forget", "", func(s string) error {
		name, err := change.ParseTableName(s)
		accept.Forget = append(accept.Forget, name)
		return err
	})
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitDone
	} else if err != nil {
		return exitUsage
	}
	switch {
	case command == "version":
		fmt.Fprintln(stdout, "sluice-source", Version)
		return exitDone
	case command != "run" && command != "doctor" || flags.NArg() > 0:
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	cfg, err := LoadConfig(*file)
	if err != nil {
		return report(err, stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { // the second signal finds no handler and ends the process
		<-ctx.Done()
		stop()
	}()
	if command == "doctor" {
		return doctor(ctx, cfg, stdout, stderr)
	}
	return run(ctx, cfg, accept, stderr)
}

// LoadConfig reads source.yaml. The error names every problem with its line.
func LoadConfig(file string) (*Config, error) {
	cfg := Default()
	if err := config.Load(file, &cfg); err != nil {
		return nil, err
	}
	return &cfg, nil
}

// memoryBesideLimits is what a source needs besides what its configuration bounds, in bytes: batches on their way to Kafka, the runtime. Not all
// that may be full is full at the same time.
const memoryBesideLimits = 24 << 20

func run(ctx context.Context, cfg *Config, accept Accept, stderr io.Writer) int {
	memory.Limit(cfg.Limits.QueueBytes + cfg.Limits.WindowBytes + cfg.Limits.XAMemoryBytes + memoryBesideLimits)
	log := serve.NewLogger(stderr, cfg.Log)
	slog.SetDefault(log)
	s := New(*cfg, accept, log)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(s.stats, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := &serve.Server{
		Address: cfg.HTTP, Health: &s.stats.health, Metrics: metrics, Log: log, Status: func() any { return s.stats.Report() },
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	served := make(chan error, 1)
	go func() {
		err := server.Run(ctx)
		if err != nil {
			cancel(err)
		}
		served <- err
	}()
	err := s.Run(ctx)
	cancel(nil)
	if e := <-served; err == nil {
		err = e
	}
	if err == nil {
		return exitDone
	}
	return report(err, stderr)
}

// report prints the error with its remedy and returns the exit code that its kind has.
func report(err error, stderr io.Writer) int {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		for _, e := range all.Unwrap() {
			fmt.Fprintln(stderr, change.Explain(e))
		}
	} else {
		fmt.Fprintln(stderr, change.Explain(err))
	}
	if change.SeverityOf(err) == change.Configuration {
		return exitUsage
	}
	return exitFailed
}
