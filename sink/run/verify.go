package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/verify"
)

// verify holds the target against its sources, row by row, while writes go on.
func (c *command) verify(ctx context.Context) error {
	a, err := c.against(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	report, err := a.compare(ctx)
	if found := c.printReport(report); err == nil {
		err = found
	}
	if err != nil && ctx.Err() != nil {
		err = &change.Problem{Kind: change.Retry, What: "stopped before the end", Mend: "with --state FILE the same command goes on where it was cut off"}
	}
	return err
}

// ballastBytes are held and never touched, so that they take no memory. The collector counts them: it runs when there is as much garbage as
// is held, and without them little is, while all rows pass through.
const ballastBytes = 32 << 20

// compare runs verify over the topics.
func (a *against) compare(ctx context.Context) (*verify.Report, error) {
	r, err := a.comparison(ctx)
	if err != nil {
		return nil, err
	}
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	release, err := a.hold(ctx)
	if err != nil {
		return nil, err
	}
	report, err := r.Compare(ctx)
	if held := release(); err == nil {
		err = held
	}
	return report, err
}

// hold keeps writes away from all sources, if that is asked for.
func (a *against) hold(ctx context.Context) (release func() error, err error) {
	var all []func() error
	release = func() error {
		var errs []error
		for _, one := range all {
			errs = append(errs, one())
		}
		return errors.Join(errs...)
	}
	if a.c.hold == verify.NoHold {
		return release, nil
	}
	for _, source := range a.sources() {
		one, err := a.servers[source].Hold(ctx, a.c.hold)
		if err != nil {
			return nil, errors.Join(err, release())
		}
		all = append(all, one)
		fmt.Fprintf(a.c.stderr, "the source %s is held (%s)\n", source, a.c.hold)
	}
	return release, nil
}

func (a *against) comparison(ctx context.Context) (*verify.Run, error) {
	a.waiter.Patience = a.c.timeout
	schemas, err := a.c.registry()
	if err != nil {
		return nil, err
	}
	state, err := verify.LoadState(a.c.state, a.c.config.Group)
	if err != nil {
		return nil, err
	}
	r := &verify.Run{Target: a.c.target, Waiter: a.waiter, Registry: schemas, Servers: a.servers, State: state, Log: a.c.log,
		ByRows: a.c.byRows, Parallel: a.c.parallel, Rate: a.c.rate, Limit: a.c.limit, Keys: a.c.keys, Tell: a.c.teller()}
	for _, source := range a.sources() {
		if _, err := a.server(ctx, source); err != nil {
			return nil, err
		}
		r.Topics = append(r.Topics, a.topics[source]...)
	}
	return r, nil
}

func (c *command) registry() (*registry.Client, error) {
	k := c.config.Kafka
	return registry.New(registry.Options{URL: k.Registry, User: k.RegistryUser, Password: string(k.RegistryPassword)})
}

// printReport prints what was found and returns what the exit code comes of.
func (c *command) printReport(r *verify.Report) error {
	if r == nil {
		return nil
	}
	var err error
	if c.output == "json" {
		err = c.printJSON(r)
	} else {
		err = r.Print(c.stdout, c.limit)
	}
	switch {
	case err != nil:
		return err
	case r.Undecided > 0:
		return &change.Problem{Kind: change.Retry, What: fmt.Sprintf("%d rows were changed each time they were looked at", r.Undecided),
			Why: "of them it cannot be said whether they are equal", Mend: "verify again when they are changed less often, or with --hold"}
	case r.Differences > 0:
		return errFound
	}
	return nil
}

// teller returns what tells of progress: one line that is written over at a terminal, else a line now and then.
func (c *command) teller() func(verify.Progress) {
	terminal := false
	if f, ok := c.stderr.(*os.File); ok {
		info, err := f.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	const every = 10 // calls, which come once a second
	n := 0
	return func(p verify.Progress) {
		line := sayProgress(p)
		switch n++; {
		case terminal:
			fmt.Fprintf(c.stderr, "\r%s\x1b[K", line)
			if p.Rows >= p.Estimate {
				fmt.Fprint(c.stderr, "\r\x1b[K")
			}
		case n%every == 0:
			fmt.Fprintln(c.stderr, line)
		}
	}
}

func sayProgress(p verify.Progress) string {
	percent := int64(100)
	if p.Estimate > 0 {
		percent = min(99, 100*p.Rows/p.Estimate)
	}
	line := fmt.Sprintf("verify  %s of about %s rows  %d %%  %s/s", verify.Grouped(p.Rows), verify.Grouped(p.Estimate), percent, verify.Grouped(int64(p.RowsPerSecond)))
	if p.Left > 0 {
		line += "  " + p.Left.Round(time.Second).String() + " left"
	}
	if p.Differences > 0 {
		line += fmt.Sprintf("  %d differ", p.Differences)
	}
	if p.Table != "" {
		line += "  " + p.Table
	}
	return line
}
