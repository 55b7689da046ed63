package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/verify"
)

// against is what wait, verify and repair have in common: the sources behind the page's topics, and how far the target is.
type against struct {
	c       *command
	client  *kgo.Client
	topics  map[string][]verify.Topic // by source
	servers map[string]*verify.Server // by source
	waiter  *verify.Waiter
}

// against makes ready to hold the target against its sources. The caller closes it.
func (c *command) against(ctx context.Context) (*against, error) {
	if err := c.sameGroup(); err != nil {
		return nil, err
	}
	client, err := kafka.NewClient(c.config.Kafka)
	if err != nil {
		return nil, err
	}
	a := &against{c: c, client: client, topics: make(map[string][]verify.Topic), servers: make(map[string]*verify.Server)}
	progress, _ := sink.Ability[sink.Progress](c.target)
	a.waiter = &verify.Waiter{Client: client, Group: c.config.Group, Progress: progress,
		Notice: func(b verify.Behind) { fmt.Fprintln(c.stderr, "waiting: "+b.What) }}
	if err := a.findTopics(ctx); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *against) close() {
	for _, s := range a.servers {
		s.Close()
	}
	a.client.Close()
}

// sameGroup is for people who name the group to be sure.
func (c *command) sameGroup() error {
	if c.group == "" || c.group == c.config.Group {
		return nil
	}
	return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("--group is %q, the page's group is %q", c.group, c.config.Group),
		Mend: "name the page of that group with --config"}
}

// findTopics lists the page's topics, or those of the tables that were named, by source.
func (a *against) findTopics(ctx context.Context) error {
	patterns, err := parsePatterns(a.c.config.Topics)
	if err != nil {
		return err
	}
	admin := kadm.NewClient(a.client)
	if _, err := admin.ListBrokers(ctx); err != nil { // listing topics waits for brokers as long as it takes
		return kafka.Explain(err, "reach the brokers", strings.Join(a.c.config.Kafka.Brokers, ","))
	}
	found, err := listTopics(ctx, admin, patterns)
	if err != nil {
		return err
	}
	unmet := maps.Clone(a.c.tables)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		source := sourceOf(name)
		if a.c.source != "" && source != a.c.source {
			continue
		}
		if len(a.c.tables) > 0 {
			table, ok := kafka.TableOf(source, name)
			if !ok || !a.c.tables[table] {
				continue
			}
			delete(unmet, table)
		}
		a.topics[source] = append(a.topics[source], verify.Topic{Name: name, Source: source, ID: found[name].id, Count: found[name].count})
	}
	for table := range unmet {
		return &change.Problem{Kind: change.Configuration, What: "no topic of this page is " + table.String() + "'s",
			Mend: "look at topics in the page: <source>.<database>.<table>"}
	}
	if len(a.topics) == 0 {
		return &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("no topic matches %q", a.c.config.Topics), Mend: "look at topics in the page and at --source"}
	}
	return nil
}

// sources returns the names in order.
func (a *against) sources() []string { return slices.Sorted(maps.Keys(a.topics)) }

// server connects to a source's server, as the page says.
func (a *against) server(ctx context.Context, source string) (*verify.Server, error) {
	if s := a.servers[source]; s != nil {
		return s, nil
	}
	config, ok := a.c.config.Sources[source]
	if !ok {
		return nil, &change.Problem{Kind: change.Configuration, What: "the page does not say where the source " + source + " reads from",
			Why:  "what the source shows is asked of its database server",
			Mend: fmt.Sprintf("add to the page:\nsources:\n  %s: {address: \"host:3306\", user: cdc, password_file: FILE}", source)}
	}
	s, err := verify.Connect(ctx, config.Config)
	if err == nil {
		s.Hashes = config.Hash
		a.servers[source] = s
	}
	return s, err
}

// waited is what wait prints.
type waited struct {
	Group   string  `json:"group"`
	Source  string  `json:"source"`
	Applied bool    `json:"applied"`
	Upto    string  `json:"upto"`
	Behind  string  `json:"behind,omitempty"`
	Seconds float64 `json:"seconds"`
}

// wait returns when the target has applied everything up to --gtid or --now.
func (c *command) wait(ctx context.Context) error {
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("not within %s", c.timeout))
		defer cancel()
	}
	a, err := c.against(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	if c.gtid != "" && len(a.topics) > 1 {
		return &change.Problem{Kind: change.Configuration, What: "the page's topics are of several sources: " + strings.Join(a.sources(), ", "),
			Why: "a GTID set is of one of them", Mend: "name it: --source NAME"}
	}
	began := time.Now()
	marks := make(map[string]verify.Mark)
	for _, source := range a.sources() { // all are asked before any is waited for
		if marks[source], err = a.mark(ctx, source); err != nil {
			return err
		}
	}
	for _, source := range a.sources() {
		err := a.waiter.Wait(ctx, source, a.topics[source], marks[source])
		result := waited{Group: c.config.Group, Source: source, Applied: err == nil, Upto: marks[source].String(), Seconds: time.Since(began).Seconds()}
		var late *verify.NotApplied
		if errors.As(err, &late) {
			result.Behind = late.Behind.What
			err = &change.Problem{Kind: change.Retry, What: fmt.Sprintf("the target of %s has not applied everything up to %s", c.config.Group, marks[source]),
				Where: late.Behind.What, Err: late.Err, Mend: "see what holds it up: sluice status; or wait longer: --timeout"}
		}
		if printErr := c.printWaited(result); err == nil {
			err = printErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mark is what is waited for at one source.
func (a *against) mark(ctx context.Context, source string) (verify.Mark, error) {
	if a.c.gtid == "" {
		s, err := a.server(ctx, source)
		if err != nil {
			return verify.Mark{}, err
		}
		return s.Now(ctx)
	}
	flavor := gtid.MySQL
	if !strings.Contains(a.c.gtid, ":") { // MariaDB's are domain-server-sequence
		flavor = gtid.MariaDB
	}
	set, err := gtid.Parse(flavor, a.c.gtid)
	if err != nil || set.Empty() {
		return verify.Mark{}, &change.Problem{Kind: change.Configuration, What: fmt.Sprintf("--gtid %q is no GTID set", a.c.gtid), Err: err}
	}
	return verify.Mark{GTID: set}, nil
}

func (c *command) printWaited(w waited) error {
	if c.output == "json" {
		return json.NewEncoder(c.stdout).Encode(w)
	}
	if !w.Applied {
		return nil // the error says it all
	}
	_, err := fmt.Fprintf(c.stdout, "%s: everything of %s up to %s is applied (%.1f s)\n", w.Group, w.Source, w.Upto, w.Seconds)
	return err
}
