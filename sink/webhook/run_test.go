package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/run"
	"github.com/sluice-cdc/sluice/sink/webhook"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
)

// pipeline is a broker, a registry and a topic of orders with a producer that writes as a source does.
type pipeline struct {
	t              *testing.T
	client         *kgo.Client
	encoder        *avro.Encoder
	keyID, valueID int
	version        change.Version
	page           string // what every page of the test begins with
}

func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	p := &pipeline{t: t, version: 1_000}
	broker, err := localbroker.Start(t.Context(), localbroker.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	reg, err := localregistry.Start(t.Context(), localregistry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reg.Close)
	if p.client, err = kgo.NewClient(kgo.SeedBrokers(broker.Address()), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	configs := map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "message.timestamp.type": kadm.StringPtr("LogAppendTime")}
	const topic = "src.shop.orders"
	if _, err := kadm.NewClient(p.client).CreateTopic(t.Context(), 2, 1, configs, topic); err != nil {
		t.Fatal(err)
	}
	schemas, err := registry.New(registry.Options{URL: reg.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if p.encoder, err = avro.NewEncoder(orders, topic, schema.Options{}); err != nil {
		t.Fatal(err)
	}
	if p.keyID, err = schemas.Register(t.Context(), topic+"-key", p.encoder.KeySchema()); err != nil {
		t.Fatal(err)
	}
	if p.valueID, err = schemas.Register(t.Context(), topic+"-value", p.encoder.ValueSchema()); err != nil {
		t.Fatal(err)
	}
	p.page = fmt.Sprintf("group: g\nkafka: {brokers: [%q], registry: %q}\ntopics: [\"src.shop.*\"]\nsession_timeout: 6s\nretry_stopped: 1s\nbatch: {max_rows: 10}\n",
		broker.Address(), reg.URL())
	return p
}

// update publishes that an order went from one status to another, and returns the change's version.
func (p *pipeline) update(id int64, from, to string) int64 {
	p.t.Helper()
	row := func(status string) avro.Row {
		return avro.Row{Text: [][]byte{strconv.AppendInt(nil, id, 10), []byte(status), []byte("1.00")}}
	}
	key, err := p.encoder.AppendKey(nil, row(""))
	if err != nil {
		p.t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	value, err := p.encoder.AppendValue(registry.AppendFrame(nil, p.valueID), &avro.Event{Op: change.Update, Before: row(from), After: row(to), TsMs: now,
		Source: avro.Source{Version: "test", Name: "src", DB: "shop", Table: orders.Name, TsMs: now}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.version++
	err = p.client.ProduceSync(p.t.Context(), &kgo.Record{Topic: "src.shop.orders", Partition: kafka.Partition(key, 2),
		Key: append(registry.AppendFrame(nil, p.keyID), key...), Value: value,
		Headers: []kgo.RecordHeader{{Key: change.VersionHeader, Value: kafka.AppendVersion(nil, p.version)}}}).FirstErr()
	if err != nil {
		p.t.Fatal(err)
	}
	return int64(p.version)
}

// page is as in the binary.
type page struct {
	Webhook webhook.Config `yaml:"webhook"`
}

var definition = run.Definition[page]{
	Name: "webhook", Default: func() *page { return &page{webhook.Default()} },
	Open: func(_ context.Context, p *page, s sink.Setup) (sink.Target, error) { return webhook.New(p.Webhook, s) },
}

// process is a run of the binary, in this process.
type process struct {
	stop, kill context.CancelFunc
	done       chan struct{}
	code       int
	log        safeBuffer
}

// safeBuffer may be read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (p *pipeline) command(page string, args ...string) *process {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "page.yaml")
	if err := os.WriteFile(file, []byte(p.page+page), 0o600); err != nil {
		p.t.Fatal(err)
	}
	c := &process{done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	hard, kill := context.WithCancel(context.Background())
	c.stop, c.kill = stop, kill
	go func() {
		defer close(c.done)
		c.code = definition.Run(ctx, hard, append(args, "--config", file), &c.log, &c.log)
	}()
	p.t.Cleanup(func() {
		c.crash()
		if p.t.Failed() {
			p.t.Logf("%v ended with %d:\n%s", args, c.code, c.log.String())
		}
	})
	return c
}

func (c *process) wait() int { <-c.done; return c.code }
func (c *process) end() int  { c.stop(); return c.wait() }
func (c *process) crash()    { c.stop(); c.kill(); <-c.done }

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// told returns nil when the versions, and no others, were accepted, each once.
func (r *receiver) told(want ...int64) func() error {
	return func() error {
		times := make(map[int64]int)
		for _, v := range versions(r.accepted()) {
			times[v]++
		}
		expected := make(map[int64]int)
		for _, v := range want {
			expected[v]++
		}
		if diff := cmp.Diff(expected, times); diff != "" {
			return errors.New(diff)
		}
		return nil
	}
}

func (r *receiver) page(more string) string {
	return fmt.Sprintf(`%swebhook:
  hooks:
    - name: paid
      tables: ["shop.orders"]
      condition: "before.status != 'PAID' && after.status == 'PAID'"
      url: "%s/paid"
      secret: %q
      retry_max: 200ms
      circuit_pause: 50ms
      circuit_max: 200ms
`, more, r.server.URL, secret)
}

// TestRefusedEvents: an event that the receiver refuses stops the topic until the receiver is mended; with dead_letter it goes to
// the group's dead letters and the rest goes on. Either way everything else is told once.
func TestRefusedEvents(t *testing.T) {
	p, r := newPipeline(t), newReceiver(t)
	var bad atomic.Int64
	r.set(0, func(x told) (int, map[string]string) {
		if x.version() == bad.Load() {
			return 422, nil
		}
		return 200, nil
	})
	one := p.update(1, "NEW", "PAID")
	p.update(1, "PAID", "PAID")
	two := p.update(1, "SENT", "PAID")
	bad.Store(two)
	three := p.update(1, "NEW", "PAID")
	sink := p.command(r.page(""), "run")
	eventually(t, "the topic stops", func() error {
		if !strings.Contains(sink.log.String(), "topic stopped") {
			return errors.New("it does not")
		}
		return r.told(one)()
	})
	for _, words := range []string{"hook paid", "HTTP 422 said by the receiver", "on_error: dead_letter"} {
		if !strings.Contains(sink.log.String(), words) {
			t.Errorf("the log does not say %q", words)
		}
	}
	bad.Store(0)
	eventually(t, "the topic goes on when the receiver is mended", r.told(one, two, three))
	bad.Store(int64(p.version) + 1) // before it is there, as the sink is quick
	four := p.update(2, "NEW", "PAID")
	if four != bad.Load() {
		t.Fatalf("the change has the version %d, not %d", four, bad.Load())
	}
	eventually(t, "the topic stops again", func() error {
		if strings.Count(sink.log.String(), "topic stopped") < 2 {
			return errors.New("it does not")
		}
		return nil
	})
	if code := sink.end(); code != 0 {
		t.Errorf("the run ended with %d", code)
	}
	five := p.update(2, "NEW", "PAID")
	sink = p.command(r.page("on_error: [{topics: \"*\", do: dead_letter}]\n"), "run")
	eventually(t, "the rest is told", r.told(one, two, three, five))
	letters := kadm.NewClient(p.client)
	ends, err := letters.ListEndOffsets(t.Context(), kafka.DeadTopic("g"))
	if o, _ := ends.Lookup(kafka.DeadTopic("g"), 0); err != nil || o.Offset != 1 {
		t.Errorf("there are %d dead letters (%v), want 1", o.Offset, err)
	}
	sink.end()
}

// TestKilledBeforeTheCommit: what was accepted and not committed is told again with the same id; a stop in good order tells nothing
// again.
func TestKilledBeforeTheCommit(t *testing.T) {
	p, r := newPipeline(t), newReceiver(t)
	var want []int64
	for range 4 {
		want = append(want, p.update(1, "NEW", "PAID")) // one row: one request after the other
	}
	killed := make(chan struct{})
	r.set(0, func(x told) (int, map[string]string) {
		if x.version() == want[2] {
			<-killed
		}
		return 200, nil
	})
	release := sync.OnceFunc(func() { close(killed) })
	defer release()
	sink := p.command(r.page(""), "run")
	eventually(t, "half of it is told", func() error {
		if n := len(r.accepted()); n < 2 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	time.Sleep(1500 * time.Millisecond) // a commit of offsets comes every second: none may be past what was accepted
	sink.crash()
	release()
	eventually(t, "the receiver has done with the third, which nobody waits for any more", func() error {
		if n := len(r.accepted()); n != 3 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	r.set(0, nil)
	sink = p.command(r.page(""), "run")
	want = append(want, p.update(1, "NEW", "PAID"))
	eventually(t, "all of it is told", func() error {
		seen := make(map[int64]bool)
		for _, v := range versions(r.accepted()) {
			seen[v] = true
		}
		if len(seen) < len(want) {
			return fmt.Errorf("%v", seen)
		}
		return nil
	})
	sink.end()
	special := make(map[int64]bool)
	for _, v := range want {
		special[v] = true
	}
	for _, problem := range check(r.accepted(), special) {
		t.Error(problem)
	}
	if n := len(r.accepted()); n < len(want)+2 {
		t.Errorf("%d requests: nothing was told again, though the process was killed before its commit", n)
	}
	before := len(r.all())
	sink = p.command(r.page(""), "run")
	more := p.update(1, "NEW", "PAID")
	eventually(t, "the next is told", func() error {
		if got := versions(r.accepted()); got[len(got)-1] != more {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	sink.end()
	if n := len(r.all()) - before; n != 1 {
		t.Errorf("%d requests after a stop in good order, want 1", n)
	}
}

// TestAHookThatDoesNotFitStopsTheTopic, and doctor says so beforehand.
func TestAHookThatDoesNotFitStopsTheTopic(t *testing.T) {
	p, r := newPipeline(t), newReceiver(t)
	p.update(1, "NEW", "PAID")
	bad := strings.Replace(r.page(""), "after.status", "after.state", 1)
	const words = `column "state" is not in shop.orders (id, status, total)`
	if c := p.command(bad, "doctor"); c.wait() != 3 || !strings.Contains(c.log.String(), words) {
		t.Errorf("doctor ended with %d:\n%s", c.code, c.log.String())
	}
	sink := p.command(bad, "run")
	eventually(t, "the topic stops", func() error {
		if text := sink.log.String(); !strings.Contains(text, "topic stopped") || !strings.Contains(text, `column \"state\"`) && !strings.Contains(text, words) {
			return errors.New("it does not")
		}
		return nil
	})
	sink.end()
	if n := len(r.all()); n != 0 {
		t.Errorf("%d requests", n)
	}
	if c := p.command(r.page(""), "verify"); c.wait() != 2 || !strings.Contains(c.log.String(), "cannot be read back") {
		t.Errorf("verify ended with %d:\n%s", c.code, c.log.String())
	}
}
