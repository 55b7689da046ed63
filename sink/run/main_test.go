package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/memory"
	"github.com/sluice-cdc/sluice/testbed"
)

// own is the part of the page that is the target's.
type own struct {
	Memory struct {
		Mode string `yaml:"mode"`
	} `yaml:"memory"`
}

func (o *own) Check(report func(path, problem string)) {
	if o.Memory.Mode != "kept" && o.Memory.Mode != "plain" {
		report("memory.mode", fmt.Sprintf("%q: want kept or plain", o.Memory.Mode))
	}
}

// definition is a kind of sink over a store that outlives its runs.
func definition(store *memory.Store) Definition[own] {
	return Definition[own]{
		Name:    "memory",
		Default: func() *own { o := &own{}; o.Memory.Mode = "kept"; return o },
		Open: func(_ context.Context, o *own, s sink.Setup) (sink.Target, error) {
			if s.Group == "refuse" {
				return nil, &change.Problem{Kind: change.Configuration, What: "the shard s0 refuses the password", Mend: "mend it"}
			}
			if o.Memory.Mode == "plain" {
				return store.OpenPlain(), nil
			}
			return store.Open(), nil
		},
	}
}

func page(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sink.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// output collects what a command prints, from any goroutine.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestUsage(t *testing.T) {
	good := page(t, "group: g\nkafka: {brokers: [\"127.0.0.1:1\"], registry: \"http://127.0.0.1:1\"}\ntopics: [\"s.*\"]\n")
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "name the page with --config"},
		{"-h", 0, "usage: sluice-sink-memory"},
		{"run --config nothing.yaml", 2, "cannot be read"},
		{"walk --config " + good, 2, `there is no command "walk"`},
		{"run --fast", 2, "flag provided but not defined"},
		{"run --to 5 --config " + good, 2, "flag provided but not defined"},
		{"replay --config " + good, 2, "replay needs --to"},
		{"doctor -o xml --config " + good, 2, "want json"},
		{"run --config " + page(t, "group: g\ntopic: [x]\nmemory: {mod: plain}\n"), 2,
			"sink.yaml:2: unknown key \"topic\" (did you mean \"topics\"?)\nerror: "},
		{"run --config " + page(t, "group: g\nmemory: {mode: lost}\nkafka: {brokers: [b], registry: \"http://r\"}\ntopics: [a]\n"), 2, `memory.mode: "lost": want kept or plain`},
		{"run --config " + page(t, "group: refuse\nkafka: {brokers: [b], registry: \"http://r\"}\ntopics: [a]\n"), 2, "the shard s0 refuses the password\n  mend   mend it"},
	} {
		var out, errs output
		code := definition(memory.NewStore(memory.Config{})).Run(t.Context(), t.Context(), strings.Fields(c.args), &out, &errs)
		if code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%q: exit %d, want %d, with\n%s\nwant %q in it", c.args, code, c.code, errs.String(), c.want)
		}
	}
}

func TestRunServesAndStops(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	a := w.table("a", 2)
	w.publish(a.random(r, 50)...)
	port := testbed.FreePort()
	defer testbed.ReleasePort(port)
	file := page(t, fmt.Sprintf("group: g\nkafka: {brokers: [%q], registry: %q}\ntopics: [%q]\nhttp: \"127.0.0.1:%d\"\nmemory: {mode: plain}\n",
		w.address, w.url, w.prefix+".*", port))
	store := memory.NewStore(memory.Config{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs output
	code := make(chan int, 1)
	go func() { code <- definition(store).Run(ctx, t.Context(), []string{"--config", file}, &out, &errs) }()
	a.shown(store)

	at := fmt.Sprintf("http://127.0.0.1:%d", port)
	eventually(t, "ready", func() error { _, err := get(at + "/readyz"); return err })
	body, err := get(at + "/status")
	var status Status
	if err == nil {
		err = json.Unmarshal([]byte(body), &status)
	}
	if err != nil || status.Group != "g" || status.Partitions != 2 || len(status.Topics) != 1 || status.Topics[0].Topic != a.topic {
		t.Errorf("status is %s (%v)", body, err)
	}
	body, err = get(at + "/metrics")
	for _, want := range []string{`sluice_sink_changes_total{op="c",topic="` + a.topic + `"}`, "sluice_sink_apply_seconds_bucket", "sluice_sink_partitions 2",
		"sluice_sink_delay_seconds_count", "go_goroutines"} {
		if err != nil || !strings.Contains(body, want) {
			t.Errorf("metrics lack %s (%v)", want, err)
		}
	}
	stop()
	if c := <-code; c != 0 {
		t.Errorf("exit %d with\n%s", c, errs.String())
	}
}

func get(url string) (string, error) {
	response, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(string(body))
	}
	return string(body), err
}

func TestDoctor(t *testing.T) {
	w := newWorld(t)
	a := w.table("a", 2)
	w.publish(a.put(1, "x")...)
	file := page(t, fmt.Sprintf("group: g\nkafka: {brokers: [%q], registry: %q}\ntopics: [%q]\n", w.address, w.url, w.prefix+".*"))
	store := memory.NewStore(memory.Config{})
	examine := func(args ...string) (int, string) {
		var out, errs output
		code := definition(store).Run(t.Context(), t.Context(), append([]string{"doctor", "--config", file}, args...), &out, &errs)
		return code, out.String() + errs.String()
	}
	code, text := examine()
	want := fmt.Sprintf(`kafka %s
  ✓ 1 broker
  ✓ 1 topic to read
topic %s
  ! min.compaction.lag.ms is 0
      why    any change may be compacted away: moves between shards look at all shards, and history would have holes
      mend   kafka-configs --alter --topic %s --add-config min.compaction.lag.ms=604800000
group g
  ✓ nothing has been read yet: a run begins at the log's start, 2 partitions, 2 offsets wait
registry %s
  ✓ it answers, with the schemas of 1 table
memory
  ✓ the target is a map in this process
nothing is wrong, 1 to look at
`, w.address, a.topic, a.topic, w.url)
	if diff := cmp.Diff(want, text); code != 0 || diff != "" {
		t.Errorf("exit %d (-want +got):\n%s", code, diff)
	}

	s := start(t, w.config(), store.Open())
	a.shown(store)
	s.end()
	if _, err := w.adm.CreatePartitions(t.Context(), 1, a.topic); err != nil {
		t.Fatal(err)
	}
	code, text = examine("-o", "json", "--group-of-nobody")
	if code != 2 {
		t.Errorf("exit %d with %s", code, text)
	}
	file = page(t, fmt.Sprintf("group: %s\nkafka: {brokers: [%q], registry: %q}\ntopics: [%q]\n", w.config().Group, w.address, w.url, w.prefix+".*"))
	code, text = examine("-o", "json")
	var findings []struct{ Level, What, Mend string }
	if err := json.Unmarshal([]byte(text), &findings); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	found := false
	for _, f := range findings {
		found = found || f.Level == "wrong" && strings.Contains(f.What, "has 3 partitions, progress is of 2") && strings.Contains(f.Mend, "sluice replay")
	}
	if code != 3 || !found {
		t.Errorf("exit %d, want 3 with the added partition found, in %s", code, text)
	}
	if positions, _ := store.Open().Positions(t.Context(), w.config().Group); len(positions) != 2 {
		t.Errorf("doctor changed the progress: %v", positions)
	}
}
