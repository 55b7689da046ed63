package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink/run"
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
		Use: "status", Short: "sources, crawls, sinks, consumer groups and errors in one screen", Args: cobra.NoArgs,
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

// printProcesses prints what each process said of itself last: sources and sinks, then all that is wrong, with its remedy.
func printProcesses(statuses []kafka.Status) {
	var sources, sinks strings.Builder
	so, si := newTable(&sources), newTable(&sinks)
	fmt.Fprintln(so, "SOURCE\tROLE\tHOST\tPID\tPOSITION\tDELAY\tEVENTS\tDOING")
	fmt.Fprintln(si, "SINK\tHOST\tPID\tPARTITIONS\tLAG\tDELAY\tDOING")
	var crawls, wrong []string
	for _, s := range statuses {
		if s.Role == kafka.RoleSink {
			var r run.Status
			if json.Unmarshal(s.Report, &r) == nil {
				fmt.Fprintf(si, "%s\t%s\t%d\t%d\t%d\t%.3f s\t%s\n", s.Name, s.Process.Host, s.Process.PID, r.Partitions, r.LagRecords, r.LagSeconds, doing(s, sinkDoing(&r)))
				if !silent(s) { // what one that is gone has said is past
					wrong = append(wrong, sinkFaults(&r)...)
				}
			}
			continue
		}
		var r source.Report
		if json.Unmarshal(s.Report, &r) == nil {
			fmt.Fprintf(so, "%s\t%s\t%s\t%d\t%s\t%.3f s\t%d\t%s\n", s.Name, s.Role, s.Process.Host, s.Process.PID, r.Position, r.DelaySeconds, r.Events, doing(s, r.Doing))
			crawls = append(crawls, crawlTable(&r))
			wrong = append(wrong, sourceFaults(&r)...)
		}
	}
	so.Flush()
	fmt.Print(sources.String(), strings.Join(crawls, ""))
	if si.Flush(); strings.Count(sinks.String(), "\n") > 1 {
		fmt.Print("\n", sinks.String())
	}
	for _, w := range wrong {
		fmt.Print("\n", w)
	}
}

func newTable(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 4, 2, ' ', 0) }

// doing is what the process does, as far as that is known: one that was killed says nothing any more.
func doing(s kafka.Status, what string) string {
	if silent(s) {
		return "silent for " + time.Since(time.UnixMilli(s.Millis)).Round(time.Second).String()
	}
	return what
}

func silent(s kafka.Status) bool { return time.Since(time.UnixMilli(s.Millis)) > aged }

func crawlTable(r *source.Report) string {
	if len(r.Crawls) == 0 {
		return ""
	}
	var text strings.Builder
	w := newTable(&text)
	fmt.Fprintln(w, "\nCRAWL\tTABLE\tSTATE\tROWS\tOF ABOUT\tROWS/S\tLEFT\tNOTE")
	printCrawls(w, r)
	w.Flush()
	return text.String()
}

// fault is one thing that is wrong, for people.
func fault(what, why, mend string) string {
	text := "✗ " + what + "\n"
	if why != "" {
		text += "  why    " + why + "\n"
	}
	if mend != "" {
		text += "  mend   " + mend + "\n"
	}
	return text
}

func sourceFaults(r *source.Report) (faults []string) {
	for _, t := range r.Stopped {
		faults = append(faults, fault(t.Table+" is stopped: "+t.Reason, t.Why, t.Mend))
	}
	if r.LastError != "" {
		ago := time.Since(time.UnixMilli(r.ErrorMillis)).Round(time.Second)
		faults = append(faults, fault(fmt.Sprintf("last error of the source, %s ago: %s", ago, r.LastError), r.LastWhy, r.LastMend))
	}
	return faults
}

func sinkDoing(r *run.Status) string {
	if r.Ready {
		return "ready"
	}
	return "not ready"
}

func sinkFaults(r *run.Status) (faults []string) {
	for _, reason := range r.Reasons {
		faults = append(faults, fault(r.Group+", "+reason.Key+": "+reason.What, reason.Why, reason.Mend))
	}
	return faults
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
