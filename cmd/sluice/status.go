package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/source"
)

// aged is how old a status may be before the screen says so.
const aged = 10 * time.Second

// sourceReports returns what the sources of this name last said of themselves, the live one first.
func sourceReports(ctx context.Context, x *connection) ([]source.Report, error) {
	all, err := kafka.ReadStatus(ctx, x.client, x.cfg.Name)
	if err != nil {
		return nil, err
	}
	var reports []source.Report
	for _, s := range all {
		var r source.Report
		if s.Role == kafka.RoleSource && json.Unmarshal(s.Report, &r) == nil {
			reports = append(reports, r)
		}
	}
	return reports, nil
}

func statusCommand() *cobra.Command {
	var output string
	c := connect(&cobra.Command{
		Use: "status", Short: "sources, crawls, consumer groups and errors in one screen", Args: cobra.NoArgs,
	}, func(c *cobra.Command, x *connection, _ []string) error {
		statuses, err := kafka.ReadStatus(c.Context(), x.client, x.cfg.Name)
		if err != nil {
			return err
		}
		lags, err := groupLags(c.Context(), x)
		if err != nil {
			return err
		}
		if output == "json" {
			return json.NewEncoder(os.Stdout).Encode(map[string]any{"processes": statuses, "lag": lags})
		}
		printProcesses(statuses)
		printGroups(lags)
		return nil
	})
	c.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return c
}

func printProcesses(statuses []kafka.Status) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tROLE\tHOST\tPID\tPOSITION\tDELAY\tEVENTS\tDOING")
	for _, s := range statuses {
		var r source.Report
		if json.Unmarshal(s.Report, &r) != nil {
			continue
		}
		doing := r.Doing
		if age := time.Since(time.UnixMilli(s.Millis)); age > aged {
			doing = "silent for " + age.Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%.3f s\t%d\t%s\n", s.Name, s.Role, s.Process.Host, s.Process.PID, r.Position, r.DelaySeconds, r.Events, doing)
	}
	w.Flush()
	for _, s := range statuses {
		var r source.Report
		if json.Unmarshal(s.Report, &r) == nil {
			printReport(&r)
		}
	}
}

func printReport(r *source.Report) {
	if len(r.Crawls) > 0 {
		w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "\nCRAWL\tTABLE\tSTATE\tROWS\tOF ABOUT\tROWS/S\tLEFT\tNOTE")
		printCrawls(w, r)
		w.Flush()
	}
	for _, t := range r.Stopped {
		fmt.Printf("\n✗ %s is stopped: %s\n  mend   %s\n", t.Table, t.Reason, t.Mend)
	}
	if r.LastError != "" {
		fmt.Printf("\nlast error %s ago: %s\n", time.Since(time.UnixMilli(r.ErrorMillis)).Round(time.Second), r.LastError)
		if r.LastMend != "" {
			fmt.Printf("  mend   %s\n", r.LastMend)
		}
	}
}

// groupLags returns the lag of every consumer group that reads topics of this source, one line a topic.
func groupLags(ctx context.Context, x *connection) ([]kafka.Lag, error) {
	admin := kadm.NewClient(x.client)
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return nil, kafka.Explain(err, "list the consumer groups", "")
	}
	all, err := kafka.Lags(ctx, admin, groups.Groups())
	if err != nil {
		return nil, err
	}
	var own []kafka.Lag
	for _, l := range all {
		if strings.HasPrefix(l.Topic, x.cfg.Name+".") {
			own = append(own, l)
		}
	}
	return own, nil
}

func printGroups(lags []kafka.Lag) {
	type place struct{ group, topic string }
	sums := map[place]*kafka.Lag{}
	var order []place
	for _, l := range lags {
		p := place{l.Group, l.Topic}
		if sums[p] == nil {
			sums[p] = &kafka.Lag{}
			order = append(order, p)
		}
		sums[p].Records += l.Records
		sums[p].Partition++
	}
	if len(order) == 0 {
		fmt.Println("\nno consumer group has read these topics yet")
		return
	}
	sort.Slice(order, func(i, j int) bool {
		return order[i].group < order[j].group || order[i].group == order[j].group && order[i].topic < order[j].topic
	})
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\nGROUP\tTOPIC\tPARTITIONS\tLAG (offsets)")
	for _, p := range order {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\n", p.group, p.topic, sums[p].Partition, sums[p].Records)
	}
	w.Flush()
}
