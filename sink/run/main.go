package run

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/internal/memory"
	"github.com/sluice-cdc/sluice/internal/serve"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/shaped"
	"github.com/sluice-cdc/sluice/verify"
)

// The exit codes of every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration: a person is needed
	exitDiffer = 3 // something was found: doctor, that something is wrong; verify, rows that differ
)

// commands are those that there are.
var commands = []string{"run", "doctor", "wait", "verify", "repair", "replay", "dead", "route", "copy"}

// deadVerbs are what dead does.
var deadVerbs = []string{"list", "show", "retry", "drop"}

// parallelMax bounds what verify reads at once: each reads at the source and at the target.
const parallelMax = 16

// Definition is a kind of sink: what its binary is made of. C is the struct of the target's own keys in the
// page, named by yaml tags; it shares the page's top level with Config.
type Definition[C any] struct {
	Name    string    // "mysql": the binary is sluice-sink-mysql
	Default func() *C // the target's defaults
	Open    func(ctx context.Context, c *C, s sink.Setup) (sink.Target, error)
}

// BatchDefaults is what the struct of a target's own keys may have: the bounds of a batch where the page names none. For targets to which
// the usual ones are too small or too large.
type BatchDefaults interface {
	BatchDefaults(*BatchConfig)
}

// Main is the whole of a sink's main: it runs the command that the arguments name and ends the process with its
// exit code. The first SIGTERM or SIGINT lets run finish what is being applied and commit; the second ends at once.
func Main[C any](name string, defaults func() *C, open func(ctx context.Context, c *C, s sink.Setup) (sink.Target, error)) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	ctx, stop := context.WithCancel(context.Background())
	hard, kill := context.WithCancel(context.Background())
	go func() {
		<-signals
		stop()
		<-signals
		kill()
	}()
	d := Definition[C]{Name: name, Default: defaults, Open: open}
	os.Exit(d.Run(ctx, hard, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `usage: sluice-sink-%[1]s [run] --config FILE        apply until stopped
       sluice-sink-%[1]s doctor --config FILE       look at everything the run depends on; changes nothing
       sluice-sink-%[1]s wait --config FILE --now | --gtid SET
                                        until the target shows what the source shows now, or all transactions of a set
           --timeout TIME     how long at most (1m); 0: for ever
           --source NAME      only this source's topics; --table DB.TABLE: only this table, may be repeated
           -o json            print JSON
       sluice-sink-%[1]s verify --config FILE
                                        hold every row of the target against its source, while writes go on; 3: rows differ
           --table, --source  as above
           --limit N          differing rows of a table that are shown (20)
           --rate N           rows a second; --parallel N: tables and key ranges side by side (4)
           --rows             read and hash every row here, also where both servers could sum them up
           --keys N           keys of a table held at once where the target cannot be read by key range (2000000)
           --timeout TIME     how long neither source nor target may move while they are waited for (1m)
           --hold HOW         keep writes away from the source meanwhile: replica (it applies nothing) or read-lock (nobody commits)
           --state FILE       to go on where a run was cut off
           -o json            print JSON: what repair takes
       sluice-sink-%[1]s repair --config FILE
                                        have the source publish the differing rows anew, and look at them again; 3: some differ still
           --from FILE        what verify -o json has printed (- is stdin); else verify runs first, with its flags
           --dry-run          only show what would be sent
       sluice-sink-%[1]s replay --config FILE --to beginning|target|OFFSET|TIME
                                        go back (or forward) while the group is stopped; target: go on from where
                                        the target itself says, after it was set back from a backup
           --topics PATTERN   only these topics; may be repeated
           --empty            empty the target's tables first: needed to rebuild from the beginning
           --resend           a target that tells somebody of changes (webhook) tells again what it has told before
           --dry-run          only show what would be done
           -o json            print JSON
       sluice-sink-%[1]s dead list|show|retry|drop --config FILE [LETTER...]
                                        records that could not be applied: list those that are open; show them whole; have the
                                        source publish their rows anew; or say that nothing is to be done
           --topics PATTERN   only letters of these topics; may be repeated
           --all              list: closed ones too; retry and drop: all that are open
           --dry-run          only show what would be done
           -o json            print JSON
       sluice-sink-%[1]s route explain --config FILE
                                        of each table's newest rows: which table, key, shard and columns come out, and why; changes nothing
           --sample N         how many rows of each table (3)
           --table DB.TABLE   only this table, may be repeated; --source NAME: only this source's
           --row JSON         this row instead, of the one --table: {"id": 1, "note": "text"}
           -o json            print JSON
       sluice-sink-%[1]s copy --config FILE [--as-of TIME]
                                        write the state of tables as of a time, from the history that the target holds (files)
           --as-of TIME       like 2026-11-29T00:00:00Z; now when left out
           --to FOLDER        where to, a folder or s3://bucket/prefix; by default beside the history
           --table, --source, --timeout   as with wait
           -o json            print JSON
`

// Run is Main without the process: it returns the exit code. ctx ends a run in good order, hard at once.
func (d Definition[C]) Run(ctx, hard context.Context, args []string, stdout, stderr io.Writer) int {
	name := "run"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
	}
	c := command{name: name, stdout: stdout, stderr: stderr}
	if (name == "dead" || name == "route") && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		c.verb, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("sluice-sink-"+d.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprintf(stderr, usage, d.Name) }
	file := flags.String("config", "", "the page of this sink")
	c.flags(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		return exitUsage
	}
	if err := c.check(flags); err != nil {
		return c.failed(err)
	}
	if *file == "" {
		return c.failed(&change.Problem{Kind: change.Configuration, What: "no configuration was named", Mend: "name the page with --config FILE"})
	}
	page, own := Default(), d.Default()
	if b, ok := any(own).(BatchDefaults); ok {
		b.BatchDefaults(&page.Batch)
	}
	if err := config.Load(*file, &page, own); err != nil {
		return c.failed(err)
	}
	c.config, c.log = page, serve.NewLogger(stderr, page.Log)
	slog.SetDefault(c.log)
	target, err := d.Open(ctx, own, sink.Setup{Group: page.Group, Log: c.log})
	if err != nil {
		return c.failed(err)
	}
	c.target = target
	if len(page.Shape) > 0 {
		target = shaped.New(target, page.Shape, c.newest)
		c.target = target
	}
	err = c.run(ctx, hard)
	if closeErr := target.Close(); err == nil {
		err = closeErr
	}
	return c.failed(err)
}

// command is one call of the binary.
type command struct {
	name           string
	config         Config
	target         sink.Target
	log            *slog.Logger
	stdout, stderr io.Writer

	tables  map[change.TableName]bool
	source  string
	gtid    string
	now     bool
	timeout time.Duration

	parallel int
	rate     int64
	limit    int
	keys     int
	hold     verify.Hold
	byRows   bool
	state    string
	from     string

	row     string
	samples int

	verb    string  // of dead and route
	letters []int64 // that were named
	all     bool

	asOf string

	group  string // --group, only to be sure: must be the page's
	to     string
	topics []string
	empty  bool
	resend bool
	dryRun bool
	output string
}

func (c *command) flags(flags *flag.FlagSet) {
	flags.StringVar(&c.output, "o", "", "json: print JSON")
	switch c.name {
	case "wait":
		c.againstFlags(flags)
		flags.StringVar(&c.gtid, "gtid", "", "a GTID set")
		flags.BoolVar(&c.now, "now", false, "what the source shows now")
		flags.DurationVar(&c.timeout, "timeout", time.Minute, "how long at most; 0: for ever")
	case "verify":
		c.againstFlags(flags)
		c.compareFlags(flags)
	case "repair":
		c.againstFlags(flags)
		c.compareFlags(flags)
		flags.StringVar(&c.from, "from", "", "what verify -o json has printed; - is stdin; else verify runs first")
		flags.BoolVar(&c.dryRun, "dry-run", false, "only show what would be sent")
	case "copy":
		c.againstFlags(flags)
		flags.StringVar(&c.asOf, "as-of", "", "a time like 2026-11-29T00:00:00Z; now when left out")
		flags.StringVar(&c.to, "to", "", "a folder or s3://bucket/prefix; by default beside the history")
		flags.DurationVar(&c.timeout, "timeout", 10*time.Minute, "how long at most for the history to have everything; 0: for ever")
	case "replay":
		c.replayFlags(flags)
	case "route":
		c.againstFlags(flags)
		flags.StringVar(&c.row, "row", "", "a row of the one --table, as a JSON object")
		flags.IntVar(&c.samples, "sample", 3, "how many rows of each table")
	case "dead":
		c.topicsFlag(flags)
		flags.BoolVar(&c.all, "all", false, "list: closed letters too; retry and drop: all that are open")
		flags.BoolVar(&c.dryRun, "dry-run", false, "only show what would be done")
	}
}

func (c *command) compareFlags(flags *flag.FlagSet) {
	flags.IntVar(&c.parallel, "parallel", 4, "tables side by side, and key ranges of each")
	flags.Int64Var(&c.rate, "rate", 0, "rows of the sources a second; 0: as many as go")
	flags.IntVar(&c.limit, "limit", 20, "differing rows of a table that are shown with both images")
	flags.BoolVar(&c.byRows, "rows", false, "read and hash every row, also where the servers could sum them up")
	flags.IntVar(&c.keys, "keys", 2_000_000, "keys of a table that are held where the target cannot be read by key range")
	flags.DurationVar(&c.timeout, "timeout", time.Minute, "how long neither source nor target may move while they are waited for")
	flags.Func("hold", "replica or read-lock: keep writes away from the source meanwhile", func(text string) error {
		c.hold = verify.Hold(text)
		if c.hold != verify.HoldReplica && c.hold != verify.HoldReadLock {
			return fmt.Errorf("want replica or read-lock")
		}
		return nil
	})
	flags.StringVar(&c.state, "state", "", "a file that says how far it is: the same command goes on where it was cut off")
}

// againstFlags are those of the commands that hold the target against its sources.
func (c *command) againstFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.group, "group", "", "the group; must be the page's")
	flags.StringVar(&c.source, "source", "", "only this source's topics")
	c.tables = make(map[change.TableName]bool)
	flags.Func("table", "only this table: database.table; may be repeated", func(text string) error {
		name, err := change.ParseTableName(text)
		c.tables[name] = true
		return err
	})
}

func (c *command) replayFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.group, "group", "", "the group; must be the page's")
	flags.StringVar(&c.to, "to", "", "beginning, target, an offset, or a time like 2026-11-20T09:00:00Z")
	flags.BoolVar(&c.empty, "empty", false, "empty the target's tables first")
	flags.BoolVar(&c.resend, "resend", false, "tell again what was told before (webhook)")
	flags.BoolVar(&c.dryRun, "dry-run", false, "only show what would be done")
	c.topicsFlag(flags)
}

func (c *command) topicsFlag(flags *flag.FlagSet) {
	flags.Func("topics", "only the topics of this pattern; may be repeated", func(text string) error {
		_, err := parsePattern(text)
		c.topics = append(c.topics, text)
		return err
	})
}

func (c *command) check(flags *flag.FlagSet) error {
	problem := ""
	switch {
	case !slices.Contains(commands, c.name):
		problem = fmt.Sprintf("there is no command %q", c.name)
	case c.name == "dead":
		problem = c.checkDead(flags.Args())
	case flags.NArg() > 0:
		problem = fmt.Sprintf("%q is no flag", flags.Arg(0))
	case c.output != "" && c.output != "json":
		problem = fmt.Sprintf("-o %q: want json", c.output)
	case (c.name == "verify" || c.name == "repair") && (c.parallel < 1 || c.parallel > parallelMax || c.rate < 0 || c.limit < 0 || c.keys < 1 || c.timeout <= 0):
		problem = fmt.Sprintf("want --parallel 1 to %d, --rate and --limit 0 or more, --keys 1 or more, --timeout more than 0s", parallelMax)
	case c.name == "wait" && c.now == (c.gtid != ""):
		problem = "wait needs one of --now and --gtid SET"
	case c.name == "route" && c.verb != "explain":
		problem = fmt.Sprintf("route %q: want explain", c.verb)
	case c.name == "route" && c.row != "" && len(c.tables) != 1:
		problem = "--row needs the one --table that it is of"
	case c.name == "route" && (c.samples < 1 || c.samples > sampleMax):
		problem = fmt.Sprintf("want --sample 1 to %d", sampleMax)
	case c.name == "replay" && c.to == "":
		problem = "replay needs --to"
	}
	if problem == "" {
		return nil
	}
	flags.Usage()
	return &change.Problem{Kind: change.Configuration, What: problem}
}

// checkDead reads the letters' numbers and returns what is wrong.
func (c *command) checkDead(args []string) (problem string) {
	for _, a := range args {
		n, err := strconv.ParseInt(a, 10, 64)
		if err != nil || n < 0 {
			return fmt.Sprintf("%q is no letter's number: flags come before them", a)
		}
		c.letters = append(c.letters, n)
	}
	switch some := len(c.letters) > 0; {
	case !slices.Contains(deadVerbs, c.verb):
		return fmt.Sprintf("dead %q: want %s", c.verb, strings.Join(deadVerbs, ", "))
	case (c.verb == "retry" || c.verb == "drop") && !some && !c.all && len(c.topics) == 0:
		return "dead " + c.verb + " needs the letters' numbers, --topics or --all"
	case some && (c.all || len(c.topics) > 0):
		return "letters are named by number, or by --topics and --all"
	case c.output == "json" && c.verb == "drop":
		return "dead drop prints no JSON"
	}
	return ""
}

// memoryBesideQueues is what a sink needs besides the records that wait, in bytes: an answer of a broker, the batches that are being decoded
// and written, the runtime.
const memoryBesideQueues = 112 << 20

func (c *command) run(ctx, hard context.Context) error {
	if _, readable := sink.Ability[sink.Scanner](c.target); !readable && (c.name == "verify" || c.name == "repair") {
		return &change.Problem{Kind: change.Configuration, What: "this target cannot be read back: there is nothing to hold against the source",
			Mend: "wait --now returns when everything up to now was applied"}
	}
	switch c.name {
	case "doctor":
		return c.doctor(ctx)
	case "replay":
		return c.replay(ctx)
	case "wait":
		return c.wait(ctx)
	case "verify":
		return c.verify(ctx)
	case "repair":
		return c.repair(ctx)
	case "dead":
		return c.dead(ctx)
	case "route":
		return c.explain(ctx)
	case "copy":
		return c.copy(ctx)
	}
	s, err := New(c.config, c.target, c.log)
	if err != nil {
		return err
	}
	memory.Limit(int64(c.config.QueueBytes) + memoryBesideQueues)
	s.metrics.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if own, ok := sink.Ability[prometheus.Collector](c.target); ok {
		s.metrics.registry.MustRegister(own)
	}
	return s.runAndServe(ctx, hard)
}

// runAndServe runs the sink and its HTTP pages.
func (s *Sink) runAndServe(ctx, hard context.Context) error {
	serving, end := context.WithCancel(hard)
	defer end()
	server := &serve.Server{Address: s.config.HTTP, Health: s.health, Metrics: s.metrics.registry, Log: s.log,
		Status: func() any { return s.Status() }}
	served := make(chan error, 1)
	go func() {
		err := server.Run(serving)
		if err != nil {
			s.fail(err)
		}
		served <- err
	}()
	err := s.Run(ctx, hard)
	end()
	<-served
	return err
}

// newest returns the newest schema of a source's table.
func (c *command) newest(ctx context.Context, source string, t change.TableName) (*change.Table, error) {
	if source == "" { // doctor asks about newest schemas alone
		return nil, nil
	}
	client, err := c.registry()
	if err != nil {
		return nil, err
	}
	return newestTable(ctx, client, kafka.TopicName(source, t))
}

// printJSON prints what -o json asks for.
func (c *command) printJSON(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// errFound is doctor's: what was found is printed already.
var errFound = errors.New("something is wrong")

// failed prints the error with its remedy and returns its exit code.
func (c *command) failed(err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errFound) {
		return exitDiffer
	}
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		for _, e := range many.Unwrap() {
			fmt.Fprintln(c.stderr, change.Explain(e))
		}
	} else {
		fmt.Fprintln(c.stderr, change.Explain(err))
	}
	if change.SeverityOf(err) == change.Configuration {
		return exitUsage
	}
	return exitFailed
}
