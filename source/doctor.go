package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/registry"
)

// examination collects what doctor finds, by the place it was found at.
type examination struct {
	out   io.Writer
	wrong int
	warns int
}

func (e *examination) place(format string, args ...any) { fmt.Fprintf(e.out, format+"\n", args...) }

func (e *examination) good(format string, args ...any) {
	fmt.Fprintf(e.out, "  ✓ "+format+"\n", args...)
}

func (e *examination) found(mark string, p *change.Problem) {
	what := p.What
	if p.Where != "" {
		what += " (" + p.Where + ")"
	}
	if p.Err != nil {
		what += ": " + p.Err.Error()
	}
	fmt.Fprintf(e.out, "  %s %s\n", mark, what)
	for _, line := range [...][2]string{{"why ", p.Why}, {"mend", p.Mend}} {
		if line[1] != "" {
			fmt.Fprintf(e.out, "      %s   %s\n", line[0], strings.ReplaceAll(line[1], "\n", "\n             "))
		}
	}
}

func (e *examination) findings(all []mysql.Finding, fine string) {
	bad := false
	for i := range all {
		if all[i].Warning {
			e.warns++
			e.found("!", &all[i].Problem)
			continue
		}
		e.wrong, bad = e.wrong+1, true
		e.found("✗", &all[i].Problem)
	}
	if !bad && fine != "" {
		e.good("%s", fine)
	}
}

func (e *examination) failed(err error) {
	e.wrong++
	said := &change.Problem{What: err.Error()}
	var p *change.Problem
	if errors.As(err, &p) {
		said.Why, said.Mend = p.Why, p.Mend
	}
	e.found("✗", said)
}

// count says how many of something there are.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// doctorTime bounds the whole examination.
const doctorTime = time.Minute

// doctor looks at everything a run depends on, changes nothing, and prints what it finds. Exit 0 when nothing is wrong.
func doctor(ctx context.Context, cfg *Config, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	e := &examination{out: stdout}
	e.server(ctx, cfg)
	e.kafka(ctx, cfg)
	e.registry(ctx, cfg)
	if e.wrong > 0 {
		fmt.Fprintf(stdout, "%d wrong, %d to look at\n", e.wrong, e.warns)
		return exitDiffer
	}
	fmt.Fprintf(stdout, "nothing is wrong, %d to look at\n", e.warns)
	return exitDone
}

func (e *examination) server(ctx context.Context, cfg *Config) {
	db, err := mysql.Open(cfg.MySQL, mysql.Options{Variables: mysql.ReadVariables(), ReadTimeout: 30 * time.Second, MaxConnections: 2})
	if err != nil {
		e.place("%s", cfg.MySQL.Address)
		e.failed(err)
		return
	}
	defer db.Close()
	facts, err := mysql.ReadFacts(ctx, db)
	if err != nil {
		e.place("%s", cfg.MySQL.Address)
		e.failed(cfg.MySQL.Problem(err))
		return
	}
	e.place("%s  %s", cfg.MySQL.Address, facts.Identity())
	e.findings(findingsAt("", facts, mysql.Preflight(facts)), "binlog on, ROW format, FULL image, FULL metadata")
	if facts.GTIDMode {
		e.good("gtid_mode ON")
	}
	names, err := mysql.ListTables(ctx, db)
	if err != nil {
		e.failed(cfg.MySQL.Problem(err))
		return
	}
	var wanted []change.TableName
	for _, n := range names {
		if cfg.Rule(n) != nil {
			wanted = append(wanted, n)
		}
	}
	grants, err := mysql.CheckGrants(ctx, db, facts, wanted)
	if err != nil {
		e.failed(cfg.MySQL.Problem(err))
	} else {
		e.findings(findingsAt("", facts, grants), "the account may read the binlog and the tables")
	}
	if len(wanted) == 0 {
		e.warns++
		e.found("!", &change.Problem{What: fmt.Sprintf("no table of the server's %d matches the config", len(names)), Mend: "look at tables: in the config"})
		return
	}
	before := e.wrong
	for _, n := range wanted {
		t, extras, err := mysql.LoadTable(ctx, db, facts, n, cfg.Rule(n).Key)
		if err != nil {
			e.failed(cfg.MySQL.Problem(err))
			continue
		}
		e.findings(mysql.CheckTable(facts, t, extras, cfg.Cascades == "accept"), "")
		if _, wrong := cfg.rulePublishes(t); wrong != nil {
			e.failed(wrong)
		}
	}
	if e.wrong == before {
		e.good("%s, each with a key", count(len(wanted), "table"))
	}
}

func (e *examination) kafka(ctx context.Context, cfg *Config) {
	e.place("kafka %s", strings.Join(cfg.Kafka.Brokers, ","))
	client, err := kafka.NewClient(cfg.Kafka)
	if err != nil {
		e.failed(err)
		return
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	brokers, err := admin.ListBrokers(ctx)
	if err != nil {
		e.failed(kafka.Explain(err, "reach the brokers", strings.Join(cfg.Kafka.Brokers, ",")))
		return
	}
	e.good("%s", count(len(brokers), "broker"))
	if int(cfg.Kafka.Replication) > len(brokers) {
		e.wrong++
		e.found("✗", &change.Problem{What: fmt.Sprintf("kafka.replication is %d", cfg.Kafka.Replication),
			Why: "there are not so many brokers; topics could not be made", Mend: "lower it, or start more brokers"})
	}
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		e.failed(kafka.Explain(err, "list the topics", ""))
		return
	}
	own := 0
	for _, name := range topics.Names() {
		if _, ok := kafka.TableOf(cfg.Name, name); ok {
			own++
		}
	}
	e.good("%s of source %s", count(own, "table topic"), cfg.Name)
}

func (e *examination) registry(ctx context.Context, cfg *Config) {
	e.place("registry %s", cfg.Kafka.Registry)
	client, err := registry.New(registry.Options{URL: cfg.Kafka.Registry, User: cfg.Kafka.RegistryUser, Password: string(cfg.Kafka.RegistryPassword)})
	if err == nil {
		_, _, err = client.Latest(ctx, cfg.Name+".doctor-value")
	}
	if err != nil {
		e.failed(err)
		return
	}
	e.good("the registry answers")
}
