package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/source"
)

func crawlCommand() *cobra.Command {
	c := &cobra.Command{Use: "crawl", Short: "read existing rows again, over the top of the running stream"}
	c.AddCommand(crawlStart(), crawlList(), crawlCancel())
	return c
}

func crawlStart() *cobra.Command {
	var where, keys string
	var dryRun bool
	c := connect(&cobra.Command{
		Use: "start DB.TABLE", Short: "crawl a table, or the rows of a condition, or named keys", Args: cobra.ExactArgs(1),
		Long: `Crawl a table, or the rows of a condition, or named keys.

A crawl of the whole table also finds the rows that are gone, and takes up a table that is stopped. Versions keep it safe
beside live writes: a crawled row never lands over newer data.`,
		Example: `  sluice crawl start shop.orders
  sluice crawl start shop.orders --where "created_at > '2026-01-01'"
  sluice crawl start shop.orders --keys '[17, 42]'`,
	}, func(c *cobra.Command, x *connection, args []string) error {
		name, err := change.ParseTableName(args[0])
		if err != nil {
			return &change.Problem{Kind: change.Configuration, What: err.Error()}
		}
		if where != "" && keys != "" {
			return &change.Problem{Kind: change.Configuration, What: "--where and --keys exclude each other"}
		}
		if x.cfg.Rule(name) == nil {
			return &change.Problem{Kind: change.Configuration, What: name.String() + " is not captured by " + x.cfg.Name,
				Mend: "add a rule for it under tables: in the source's config and restart the source"}
		}
		s := kafka.Signal{Kind: kafka.CrawlStart, Table: name.String(), Where: where, Keys: keys, By: who()}
		if dryRun {
			b, _ := json.Marshal(s)
			fmt.Printf("would send to %s: %s\n", kafka.SignalTopic(x.cfg.Name), b)
			return nil
		}
		id, err := kafka.SendSignal(c.Context(), x.client, x.cfg.Name, s)
		if err != nil {
			return err
		}
		fmt.Printf("crawl %s of %s asked for; see: sluice crawl list\n", id, name)
		return nil
	})
	c.Flags().StringVar(&where, "where", "", "an SQL condition on the table's columns")
	c.Flags().StringVar(&keys, "keys", "", "a JSON list of keys: [1,2] or [[1,\"a\"]]")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be sent")
	return c
}

func crawlCancel() *cobra.Command {
	return connect(&cobra.Command{Use: "cancel ID", Short: "end a crawl; what it has published stays", Args: cobra.ExactArgs(1)},
		func(c *cobra.Command, x *connection, args []string) error {
			_, err := kafka.SendSignal(c.Context(), x.client, x.cfg.Name, kafka.Signal{Kind: kafka.CrawlCancel, Crawl: args[0], By: who()})
			if err == nil {
				fmt.Printf("cancelling %s asked for; see: sluice crawl list\n", args[0])
			}
			return err
		})
}

func crawlList() *cobra.Command {
	var output string
	c := connect(&cobra.Command{Use: "list", Short: "the crawls that run, and the last that ended", Args: cobra.NoArgs},
		func(c *cobra.Command, x *connection, _ []string) error {
			reports, err := sourceReports(c.Context(), x)
			if err != nil {
				return err
			}
			if output == "json" {
				return json.NewEncoder(os.Stdout).Encode(reports)
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
			fmt.Fprintln(w, "CRAWL\tTABLE\tSTATE\tROWS\tOF ABOUT\tROWS/S\tLEFT\tNOTE")
			for _, r := range reports {
				printCrawls(w, &r)
			}
			return w.Flush()
		})
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

func printCrawls(w *tabwriter.Writer, r *source.Report) {
	for _, k := range r.Crawls {
		left := ""
		if k.Left > 0 {
			left = k.Left.Round(1e9).String()
		}
		note := k.Note
		if note == "" {
			note = k.Reason
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%.0f\t%s\t%s\n", k.ID, k.Table, k.State, k.Rows, k.Estimate, k.RowsPerSecond, left, note)
	}
}

func who() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	host, _ := os.Hostname()
	return u.Username + "@" + host
}
