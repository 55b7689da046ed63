package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// sourceName and group are what topics and progress are called by.
const (
	sourceName = "fire"
	group      = "fire-shards"
	sinksMax   = 4
)

// Times of our programs that faults are shorter or longer than.
const (
	transactionTimeout = 10 * time.Second
	sessionTimeout     = 6 * time.Second
)

// program is one of our processes under a supervisor.
type program struct {
	*rig.Process
	http   string
	source bool

	wanted   atomic.Bool // the supervisor starts it again when it ends
	restarts atomic.Int64
}

// programs are our processes. Its supervisor is one goroutine, from supervise until its context ends.
type programs struct {
	bed    *bed
	bin    string
	source *program
	second *program // a source that is started by mistake
	sinks  [sinksMax]*program

	sourceConfig, sinkConfig string

	mu      sync.Mutex // guards the following
	finding error      // what no supervisor can mend
}

// buildPrograms builds them into a folder.
func buildPrograms(ctx context.Context, bin string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./cmd/sluice", "./cmd/sluice-source", "./cmd/sluice-sink-mysql")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

// configure writes the programs' configs; nothing is started.
func (b *bed) configure(bin string) (*programs, error) {
	p := &programs{bed: b, bin: bin}
	var err error
	if p.source, p.sourceConfig, err = p.add("source", "sluice-source", p.sourcePage); err != nil {
		return nil, err
	}
	p.source.source = true
	if p.second, _, err = p.add("source2", "sluice-source", p.sourcePage); err != nil {
		return nil, err
	}
	p.second.source = true
	for i := range p.sinks {
		name := fmt.Sprintf("sink%d", i)
		var config string
		if p.sinks[i], config, err = p.add(name, "sluice-sink-mysql", p.sinkPage); err != nil {
			return nil, err
		}
		if i == 0 {
			p.sinkConfig = config
		}
	}
	return p, nil
}

// add describes a process with a config of its own: they differ in their HTTP address.
func (p *programs) add(name, binary string, page func(http string) string) (*program, string, error) {
	http := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort())
	config, err := p.bed.file(name+".yaml", page(http))
	if err != nil {
		return nil, "", err
	}
	process := rig.New(name, filepath.Join(p.bed.dir, name+".log"), filepath.Join(p.bin, binary), []string{"--config", config})
	return &program{Process: process, http: http}, config, nil
}

func (p *programs) sourcePage(http string) string {
	return fmt.Sprintf(`name: %s
mysql: {address: %q, user: cdc, password: cdc}
kafka: {brokers: [%q], registry: %q, partitions: 4, replication: 1}
tables:
  - {match: "%s.*"}
limits: {transaction_timeout: %s}
http: %q
`, sourceName, p.bed.proxies[atSource].Address(), p.bed.proxies[atBroker].Address(), p.bed.registryURL(), database, transactionTimeout, http)
}

func (p *programs) sinkPage(http string) string {
	var unique, routes []string
	for _, t := range tablesOf(p.bed.settings.Source) {
		if len(t.unique) > 0 {
			unique = append(unique, fmt.Sprintf("%s.%s: [%s]", database, t.name, strings.Join(t.unique, ", ")))
		}
		routes = append(routes, fmt.Sprintf("  - {table: %s.%s, %s}", database, t.name, t.route))
	}
	var shards []string
	for i := range p.bed.shards {
		shards = append(shards, fmt.Sprintf("    - {name: s%d, address: %q, user: app, password: app, database: %s}", i, p.bed.proxies[atShard(i)].Address(), database))
	}
	return fmt.Sprintf(`group: %s
kafka: {brokers: [%q], registry: %q}
topics: ["%s.%s.*"]
session_timeout: %s
retry_stopped: 5s
mysql:
  create_tables: true
  unique: {%s}
  shards:
%s
routes:
%s
sources: {%s: {address: %q, user: cdc, password: cdc}}
http: %q
`, group, p.bed.proxies[atBroker].Address(), p.bed.registryURL(), sourceName, database, sessionTimeout, strings.Join(unique, ", "),
		strings.Join(shards, "\n"), strings.Join(routes, "\n"), sourceName, p.bed.proxies[atSource].Address(), http)
}

// all are the processes, running or not.
func (p *programs) all() []*program { return append([]*program{p.source, p.second}, p.sinks[:]...) }

// want says whether a process should run, and starts it or ends it by SIGTERM.
func (p *program) want(yes bool) error {
	p.wanted.Store(yes)
	if yes {
		return p.Start()
	}
	_ = p.Signal(syscall.SIGCONT) // a stopped process would not hear SIGTERM
	if err := p.Stop(40 * time.Second); err != nil && !isExit(err) {
		return err
	}
	return nil
}

// isExit reports that a process ended in its own way: how is looked at by its code.
func isExit(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit)
}

// startTimeout bounds the source's first start.
const startTimeout = 5 * time.Minute

// reading waits until the source follows the binlog: what was written before is known to the first crawl only, and no history of
// it is in the topics.
func (p *programs) reading(ctx context.Context) error {
	for end := time.Now().Add(startTimeout); !strings.Contains(p.source.Log(), "reading the binlog"); {
		if !p.source.Running() || time.Now().After(end) || !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("the source does not follow the binlog within %s:\n%s", startTimeout, p.source.LogTail(15))
		}
	}
	return nil
}

// supervise starts what has ended again until ctx ends, and looks for what that cannot mend.
func (p *programs) supervise(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, one := range p.all() {
			if !one.wanted.Load() {
				continue
			}
			if !one.Running() {
				p.ended(one)
			} else if n%20 == 0 {
				p.look(ctx, one)
			}
		}
	}
}

// ended starts a process again, unless its end is a finding.
func (p *programs) ended(one *program) {
	if code := one.ExitCode(); code > 1 {
		p.find(fmt.Errorf("%s ended with exit code %d, which no supervisor can mend:\n%s", one.Name, code, one.LogTail(15)))
		one.wanted.Store(false)
		return
	}
	time.Sleep(200 * time.Millisecond)
	if !one.wanted.Load() {
		return
	}
	one.restarts.Add(1)
	if err := one.Start(); err != nil {
		p.find(err)
	}
}

// find keeps the first finding.
func (p *programs) find(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finding == nil {
		p.finding = err
		p.bed.out.note("FOUND: %v", err)
	}
}

func (p *programs) found() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finding
}

// stoppedSaid is what both programs' /status have in common of what has stopped for good.
type stoppedSaid struct {
	Stopped []struct{ Table, Reason, Why, Mend string } `json:"stopped"` // the source's tables
	Topics  []struct {
		Topic   string
		Stopped *struct{ Kind, What, Why, Mend string }
	} `json:"topics"` // the sink's
	LagRecords   int64   `json:"lag_records"`
	DelaySeconds float64 `json:"delay_seconds"`
	Events       int64   `json:"events"`
}

// status asks a process; a process that does not answer says nothing.
func (p *program) status(ctx context.Context) (*stoppedSaid, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/status", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	said := &stoppedSaid{}
	return said, json.NewDecoder(response.Body).Decode(said)
}

// look asks a process whether a table or a topic has stopped.
func (p *programs) look(ctx context.Context, one *program) {
	said, err := one.status(ctx)
	if err != nil {
		return
	}
	for _, s := range said.Stopped {
		p.find(fmt.Errorf("%s has stopped the table %s: %s; %s; %s", one.Name, s.Table, s.Reason, s.Why, s.Mend))
	}
	for _, t := range said.Topics {
		switch {
		case t.Stopped == nil:
		case strings.Contains(t.Stopped.What, "has no schema with id"):
			// A registry that was killed answers before it has read its own journal, and knows no schema then. The topic is
			// tried again by itself; one that stays stopped keeps the target from catching up, which is found.
			p.bed.out.note("%s: the topic %s waits: %s", one.Name, t.Topic, t.Stopped.What)
		default:
			table := strings.TrimPrefix(t.Topic, sourceName+"."+database+".")
			p.find(&different{how: one.Name + " has stopped the topic " + t.Topic, keys: map[string][][]string{table: namedKeys(t.Stopped.What)},
				said: fmt.Sprintf("(%s) %s; %s; %s", t.Stopped.Kind, t.Stopped.What, t.Stopped.Why, t.Stopped.Mend)})
		}
	}
}

// keyNamed is how a sink's errors name a key: "key id=4" or "key (no=4, seq=0)".
var keyNamed = regexp.MustCompile(`key \(?((?:\w+=-?\d+(?:, )?)+)\)?`)

// namedKeys are the keys that an error names.
func namedKeys(text string) (keys [][]string) {
	for _, m := range keyNamed.FindAllStringSubmatch(text, -1) {
		var key []string
		for _, part := range strings.Split(m[1], ", ") {
			_, value, _ := strings.Cut(part, "=")
			key = append(key, value)
		}
		keys = append(keys, key)
	}
	return keys
}

// crashes looks through the logs for what must never be there.
func (p *programs) crashes() error {
	for _, one := range p.all() {
		log := one.Log()
		for _, never := range []string{"DATA RACE", "panic:", "fatal error:"} {
			if at := strings.Index(log, never); at >= 0 {
				return fmt.Errorf("%s: %.3000s", one.Name, log[at:])
			}
		}
	}
	return nil
}

// stop ends all processes.
func (p *programs) stop() error {
	all := p.all()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { errs[i] = one.want(false) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// command runs one of our commands to its end and returns its exit code with both outputs.
func (p *programs) command(ctx context.Context, binary string, args ...string) (code int, stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, binary), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = os.Environ()
	err = cmd.Run()
	if isExit(err) {
		err = nil
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String(), err
}
