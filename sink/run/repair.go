package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/user"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/verify"
)

// repair has the sources publish anew what differs. It writes to no target: a row on its way through the pipeline is the only one that
// is safe beside those that are written meanwhile.
func (c *command) repair(ctx context.Context) error {
	a, err := c.against(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	report, err := a.differences(ctx)
	if err != nil {
		return err
	}
	repairs, err := verify.Repairs(report, who())
	if err != nil {
		return err
	}
	if c.dryRun || len(repairs) == 0 {
		return c.printRepairs(repairs)
	}
	r, err := a.comparison(ctx)
	if err != nil {
		return err
	}
	after, err := r.Repair(ctx, repairs, report)
	if err != nil {
		return err
	}
	unlisted := int64(0)
	for _, t := range report.Tables {
		unlisted += t.Unlisted
	}
	if unlisted > 0 {
		fmt.Fprintf(c.stderr, "%d more rows differed than a report lists: run the command again\n", unlisted)
	}
	found := c.printReport(after)
	if found != nil || unlisted > 0 {
		c.adviseStill(after)
		return orFound(found)
	}
	return nil
}

func orFound(err error) error {
	if err == nil {
		return errFound
	}
	return err
}

// adviseStill says what a repair cannot mend: a row whose version is above all that the source gives.
func (c *command) adviseStill(after *verify.Report) {
	if after.Differences > 0 {
		fmt.Fprintln(c.stderr, "what still differs was published anew and did not win: is the version of the target's row above the present time, "+
			"or does a trigger or another program write to the target? See docs/verify.md")
	}
}

// differences reads the report of an earlier verify, or runs one.
func (a *against) differences(ctx context.Context) (*verify.Report, error) {
	if a.c.from == "" {
		return a.compare(ctx)
	}
	text, err := readAll(a.c.from)
	report := &verify.Report{}
	if err == nil {
		err = json.Unmarshal(text, report)
	}
	if err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: "the report cannot be read", Where: a.c.from, Err: err, Mend: "sluice verify --config FILE -o json > report.json"}
	}
	if report.Group != a.c.config.Group {
		return nil, &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("the report is of group %q, the page's group is %q", report.Group, a.c.config.Group)}
	}
	return report, nil
}

func readAll(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(file)
}

// printRepairs prints what would be sent.
func (c *command) printRepairs(repairs []verify.Repair) error {
	if c.output == "json" {
		return c.printJSON(append([]verify.Repair{}, repairs...))
	}
	for _, p := range repairs {
		text, err := json.Marshal(p.Signal)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stdout, "would send to %s: %s\n", kafka.SignalTopic(p.Source), text)
	}
	if len(repairs) == 0 {
		fmt.Fprintln(c.stdout, "nothing differs")
	}
	return nil
}

func who() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	host, _ := os.Hostname()
	return u.Username + "@" + host
}
