package system

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

var update = flag.Bool("update", false, "write the golden files anew")

// errorBed is a bed whose broker and registry can be stopped and started again, and that says the same of itself in
// every run: ports and paths get names.
type errorBed struct {
	*bed
	kafka    *localbroker.Broker
	schemas  *localregistry.Registry
	replacer []string
}

func newErrorBed(t testing.TB) *errorBed {
	t.Helper()
	b := &errorBed{bed: &bed{t: t, dir: t.TempDir()}}
	b.startBroker()
	b.startRegistry()
	t.Cleanup(func() { b.kafka.Close() })
	t.Cleanup(func() { b.schemas.Close() })
	b.call(b.dir+"/", "")
	b.call(b.broker, "kafka:9092")
	b.call(b.registry, "http://registry:8081")
	b.call(strings.TrimPrefix(b.registry, "http://"), "registry:8081")
	return b
}

// startBroker starts the broker, where it was before.
func (b *errorBed) startBroker() {
	b.t.Helper()
	o := localbroker.Options{DataDir: filepath.Join(b.dir, "kafka")}
	if b.kafka != nil {
		o.Port = b.kafka.Port
	}
	var err error
	if b.kafka, err = localbroker.Start(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
	b.broker = b.kafka.Address()
}

// startRegistry starts the registry, where it was before.
func (b *errorBed) startRegistry() {
	b.t.Helper()
	o := localregistry.Options{Dir: filepath.Join(b.dir, "registry")}
	if b.schemas != nil {
		o.Port = b.schemas.Port
	}
	var err error
	if b.schemas, err = localregistry.Start(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
	b.registry = b.schemas.URL()
}

// call gives something that is another in each run a name in the golden files.
func (b *errorBed) call(is, name string) { b.replacer = append(b.replacer, is, name) }

// passing is what else differs from run to run.
var passing = []struct {
	is   *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`time=\S+ `), ""},
	{regexp.MustCompile(`binlog\.\d{6}:\d+`), "binlog.000001:…"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(:[0-9-]+)?`), "<gtid>"},
	{regexp.MustCompile(`(pause|wait)=[0-9.]+m?s`), "$1=…"},
	{regexp.MustCompile(`tries=\d+`), "tries=…"},
	{regexp.MustCompile(`tcp 127\.0\.0\.1:\d+->`), "tcp "},
	{regexp.MustCompile(`after [0-9.]+m?s`), "after …"},
	{regexp.MustCompile(`MySQL \d+\.\d+\.\d+[^\s,)]*`), "MySQL 9.7"},
	{regexp.MustCompile(`server_id \d+`), "server_id …"},
	{regexp.MustCompile(`version \d{15,}`), "version …"},
	{regexp.MustCompile(`key [0-9a-f]{12}`), "key …"}, // the schema's id is in it
	{regexp.MustCompile(`(offset|progress) \d{2,}`), "$1 …"},
}

func (b *errorBed) normal(text string) string {
	text = strings.NewReplacer(b.replacer...).Replace(text)
	for _, p := range passing {
		text = p.is.ReplaceAllString(text, p.name)
	}
	return text
}

// golden compares the text with testdata/errors/<name>.txt. What an operator reads is looked at by eye when it changes:
// go test ./test/system -run ... -update.
func (b *errorBed) golden(name, text string) {
	b.t.Helper()
	file := filepath.Join("testdata", "errors", name+".txt")
	text = b.normal(text)
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		b.t.Errorf("%s is not what is said (-golden +now):\n%s", file, diff)
	}
}

// ends runs one of our programs to its end, and returns what a terminal shows of it, warnings and errors of the log included.
func (b *errorBed) ends(program string, args ...string) string {
	b.t.Helper()
	name := fmt.Sprintf("run-%d", time.Now().UnixNano())
	p := b.start(name, program, "", args)
	err, ended := p.Wait(30 * time.Second)
	if !ended {
		b.t.Fatalf("%s %v does not end:\n%s", program, args, p.LogTail(20))
	}
	_ = err
	return fmt.Sprintf("$ %s %s\n%sexit %d\n", program, strings.Join(args, " "), grave(p.Log()), p.ExitCode())
}

// grave returns the lines of a log that somebody must read: all that is no log line, and warnings and errors.
func grave(log string) string {
	var b strings.Builder
	for _, line := range strings.SplitAfter(log, "\n") {
		if !strings.Contains(line, "level=INFO") && !strings.Contains(line, "level=DEBUG") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// firstLine returns the first line of the process's log that has the words.
func (b *errorBed) firstLine(p *rig.Process, within time.Duration, words ...string) string {
	b.t.Helper()
	var found string
	eventually(b.t, within, "a line of the log with "+strings.Join(words, ", "), func() bool {
		for _, line := range strings.SplitAfter(p.Log(), "\n") {
			has := true
			for _, w := range words {
				has = has && strings.Contains(line, w)
			}
			if has && strings.HasSuffix(line, "\n") {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// ready asks a process whether it is ready, and returns what it says.
func ready(address string) (said string, ok bool) {
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get("http://" + address + "/readyz")
	if err != nil {
		return err.Error() + "\n", false
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return string(body), answer.StatusCode == http.StatusOK
}

// becomesReady waits until the process is ready.
func (b *errorBed) becomesReady(address string, within time.Duration) {
	b.t.Helper()
	var said string
	defer func() {
		if b.t.Failed() {
			b.t.Log(said)
		}
	}()
	eventually(b.t, within, "the process is ready", func() (ok bool) { said, ok = ready(address); return ok })
}

// says waits until /readyz says something with the words, and returns all of it.
func (b *errorBed) says(address string, within time.Duration, words string) string {
	b.t.Helper()
	var said string
	defer func() {
		if b.t.Failed() {
			b.t.Log(said)
		}
	}()
	eventually(b.t, within, "/readyz says "+words, func() bool {
		said, _ = ready(address)
		return strings.Contains(said, words)
	})
	return "GET /readyz\n" + startStep.ReplaceAllString(said, "")
}

// startStep is what a process is doing while it tries again, if it is asked just then.
var startStep = regexp.MustCompile(`(?m)^start: .*\n?`)

// http returns a free address for a process's pages.
func (b *errorBed) http() string { return fmt.Sprintf("127.0.0.1:%d", testbed.FreePort()) }
