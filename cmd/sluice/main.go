// Command sluice is the operator's tool: what is running and how far, crawls on demand, decoded changes, checks. It never
// writes to a database.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/source"
)

// The exit codes of every command.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "sluice", Short: "change data capture from MySQL through Kafka to anywhere", Version: source.Version,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.AddCommand(crawlCommand(), statusCommand(), tailCommand(), schemaCommand(), demoCommand(), initCommand(),
		delegate("doctor", "look at everything that a source or sink depends on", true),
		delegate("verify", "hold every row of a sink's target against its source, while writes go on", false),
		delegate("repair", "have the source publish anew what differs in a sink's target, and look at it again", false),
		delegate("wait", "until a sink's target shows what the source shows now, or all transactions of a GTID set", false),
		delegate("route", "route explain: of sample rows, which table, key, shard and columns come out at a sink's target, and why", false),
		delegate("dead", "list, show, retry or drop the records that a sink could not apply", false),
		delegate("replay", "let a sink's group go back to an offset or a time, or rebuild its target from the log", false),
		delegate("copy", "write the state of tables as of a time, from the history that a sink keeps as files", false))
	if err := root.ExecuteContext(ctx); err != nil {
		os.Exit(fail(err))
	}
}

// fail prints the error with its remedy and returns the exit code that its kind has.
func fail(err error) int {
	fmt.Fprintln(os.Stderr, change.Explain(err))
	if change.SeverityOf(err) == change.Configuration || strings.HasPrefix(err.Error(), "unknown ") || strings.Contains(err.Error(), "required flag") {
		return exitUsage
	}
	return exitFailed
}

// connection is what most commands begin with: the source's config and a Kafka client.
type connection struct {
	cfg    *source.Config
	client *kgo.Client
}

// connect adds the --config flag to a command and wraps its work.
func connect(c *cobra.Command, work func(c *cobra.Command, x *connection, args []string) error) *cobra.Command {
	file := c.Flags().StringP("config", "c", "source.yaml", "the source's config file")
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := source.LoadConfig(*file)
		if err != nil {
			return err
		}
		client, err := kafka.NewClient(cfg.Kafka)
		if err != nil {
			return err
		}
		defer client.Close()
		// Reading a topic waits for brokers as long as it takes; a person wants to know.
		if _, err := kadm.NewClient(client).ListBrokers(c.Context()); err != nil {
			return kafka.Explain(err, "reach the brokers", strings.Join(cfg.Kafka.Brokers, ","))
		}
		return work(c, &connection{cfg, client}, args)
	}
	return c
}
