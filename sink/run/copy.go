package run

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

// copy writes the state of tables as of a time. First it waits until the target has all that the sources show now: what was committed by
// then is in the history.
func (c *command) copy(ctx context.Context) error {
	copier, ok := c.target.(sink.Copier)
	if !ok {
		return &change.Problem{Kind: change.Configuration, What: "this target keeps no history: there is nothing to copy a past state from", Mend: "sluice-sink-files does"}
	}
	asOf := time.Now()
	if c.asOf != "" {
		var err error
		if asOf, err = time.Parse(time.RFC3339Nano, c.asOf); err != nil {
			return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("--as-of %q: want a time like 2026-11-29T00:00:00Z", c.asOf), Err: err}
		}
	}
	if asOf.After(time.Now()) {
		return &change.Problem{Kind: change.Configuration, What: "--as-of " + c.asOf + " has not come yet"}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a, err := c.against(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	if err := c.waitFor(ctx, a); err != nil {
		return err
	}
	request := sink.CopyRequest{Tables: make(map[string][]change.TableName), AsOf: asOf.Truncate(time.Millisecond), To: c.to}
	for source, topics := range a.topics {
		for _, topic := range topics {
			table, ok := kafka.TableOf(source, topic.Name)
			if !ok {
				return &change.Problem{Kind: change.Configuration, What: "the topic " + topic.Name + " does not tell its table", Mend: "leave it out: --table"}
			}
			request.Tables[source] = append(request.Tables[source], table)
		}
	}
	var done []sink.Copied
	if err := copier.Copy(ctx, request, func(t sink.Copied) { done = append(done, t) }); err != nil {
		return err
	}
	return c.printCopied(done)
}

// waitFor waits until the target has applied what the sources show now.
func (c *command) waitFor(ctx context.Context, a *against) error {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not within %s", c.timeout))
		defer cancel()
	}
	for _, source := range a.sources() {
		mark, err := a.mark(ctx, source)
		if err != nil {
			return err
		}
		if err := a.waiter.Wait(ctx, source, a.topics[source], mark); err != nil {
			return &change.Problem{Kind: change.Retry, What: "the files do not have everything of " + source + " yet", Err: err,
				Mend: "see what holds it up: sluice status; or wait longer: --timeout"}
		}
	}
	return nil
}

func (c *command) printCopied(done []sink.Copied) error {
	if c.output == "json" {
		return c.printJSON(done)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "source\ttable\trows\tup to\twhere")
	for _, t := range done {
		upto := t.GTID
		if upto == "" {
			upto = fmt.Sprintf("version %d", t.Version)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", t.Source, t.Table, t.Rows, upto, t.Where)
	}
	return w.Flush()
}
