package elasticsearch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/elasticsearch"
	"github.com/sluice-cdc/sluice/sink/run"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
)

// pipeline is a broker, a registry, a topic with a producer that writes as a source does, and a sink's page.
type pipeline struct {
	t       *testing.T
	place   *place
	client  *kgo.Client
	encoder *avro.Encoder
	topic   string
	keyID   int
	valueID int
	version change.Version
	truth   map[int64]string
	page    string // the file
}

const topicPartitions = 4

func newPipeline(t *testing.T, kind testbed.SearchKind) *pipeline {
	t.Helper()
	p := &pipeline{t: t, place: newPlace(t, kind), topic: "src.shop.noted", truth: make(map[int64]string), version: change.Version(time.Now().UnixMicro())}
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
	if p.client, err = kgo.NewClient(kgo.SeedBrokers(broker.Address()), kgo.TransactionalID("src"), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.Close)
	configs := map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "message.timestamp.type": kadm.StringPtr("LogAppendTime"), "delete.retention.ms": kadm.StringPtr("604800000")}
	if _, err := kadm.NewClient(p.client).CreateTopic(t.Context(), topicPartitions, 1, configs, p.topic); err != nil {
		t.Fatal(err)
	}
	p.register(reg.URL())
	p.page = filepath.Join(t.TempDir(), "search.yaml")
	text := fmt.Sprintf("group: g\nkafka: {brokers: [%q], registry: %q}\ntopics: [\"src.shop.*\"]\nsession_timeout: 6s\nretry_stopped: 1s\nbatch: {max_rows: 100}\n"+
		"elasticsearch: {url: %q, create_indexes: true, index: %q, bulk_bytes: 64KiB}\n", broker.Address(), reg.URL(), p.place.base, p.place.prefix+"{db}.{table}")
	if err := os.WriteFile(p.page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pipeline) register(url string) {
	p.t.Helper()
	client, err := registry.New(registry.Options{URL: url})
	if err != nil {
		p.t.Fatal(err)
	}
	if p.encoder, err = avro.NewEncoder(noted, p.topic, schema.Options{}); err != nil {
		p.t.Fatal(err)
	}
	if p.keyID, err = client.Register(p.t.Context(), p.topic+"-key", p.encoder.KeySchema()); err != nil {
		p.t.Fatal(err)
	}
	if p.valueID, err = client.Register(p.t.Context(), p.topic+"-value", p.encoder.ValueSchema()); err != nil {
		p.t.Fatal(err)
	}
}

func textRow(id int64, note string) avro.Row {
	return avro.Row{Text: [][]byte{strconv.AppendInt(nil, id, 10), []byte(note)}}
}

func (p *pipeline) record(op change.Op, id int64, before, after avro.Row) *kgo.Record {
	p.t.Helper()
	key, err := p.encoder.AppendKey(nil, textRow(id, ""))
	if err != nil {
		p.t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	value, err := p.encoder.AppendValue(registry.AppendFrame(nil, p.valueID), &avro.Event{Op: op, Before: before, After: after, TsMs: now,
		Source: avro.Source{Version: "test", Name: "src", DB: "shop", Table: noted.Name, TsMs: now}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.version++
	return &kgo.Record{Topic: p.topic, Partition: kafka.Partition(key, topicPartitions), Key: append(registry.AppendFrame(nil, p.keyID), key...), Value: value,
		Headers: []kgo.RecordHeader{{Key: change.VersionHeader, Value: kafka.AppendVersion(nil, p.version)}}}
}

// change does one random thing to a row.
func (p *pipeline) change(r *rand.Rand) []*kgo.Record {
	id, note := r.Int64N(700), fmt.Sprintf("note %d", r.IntN(1000))
	before, there := p.truth[id]
	switch {
	case there && r.IntN(3) == 0:
		delete(p.truth, id)
		gone := p.record(change.Delete, id, textRow(id, before), avro.Row{})
		bare := p.record(change.Delete, id, textRow(id, before), avro.Row{})
		bare.Value = nil
		return []*kgo.Record{gone, bare}
	case there && r.IntN(4) == 0:
		return []*kgo.Record{p.record(change.Read, id, avro.Row{}, textRow(id, before))}
	case there:
		p.truth[id] = note
		return []*kgo.Record{p.record(change.Update, id, textRow(id, before), textRow(id, note))}
	}
	p.truth[id] = note
	return []*kgo.Record{p.record(change.Create, id, avro.Row{}, textRow(id, note))}
}

// publish does n random things, in transactions of some fifty.
func (p *pipeline) publish(r *rand.Rand, n int) {
	p.t.Helper()
	for n > 0 {
		if err := p.client.BeginTransaction(); err != nil {
			p.t.Fatal(err)
		}
		var records []*kgo.Record
		for range min(n, 50) {
			records = append(records, p.change(r)...)
			n--
		}
		if err := p.client.ProduceSync(p.t.Context(), records...).FirstErr(); err != nil {
			p.t.Fatal(err)
		}
		if err := p.client.EndTransaction(p.t.Context(), kgo.TryCommit); err != nil {
			p.t.Fatal(err)
		}
	}
}

// searchPage is as in the binary.
type searchPage struct {
	Elasticsearch elasticsearch.Config `yaml:"elasticsearch"`
}

var definition = run.Definition[searchPage]{
	Name:    "elasticsearch",
	Default: func() *searchPage { return &searchPage{elasticsearch.Default()} },
	Open: func(_ context.Context, p *searchPage, s sink.Setup) (sink.Target, error) {
		return elasticsearch.New(p.Elasticsearch, s)
	},
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

func (p *pipeline) command(args ...string) *process {
	c := &process{done: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	hard, kill := context.WithCancel(context.Background())
	c.stop, c.kill = stop, kill
	go func() {
		defer close(c.done)
		c.code = definition.Run(ctx, hard, append(args, "--config", p.page), &c.log, &c.log)
	}()
	p.t.Cleanup(func() {
		c.stop()
		c.kill()
		<-c.done
		if p.t.Failed() {
			p.t.Logf("%v ended with %d:\n%s", args, c.code, c.log.String())
		}
	})
	return c
}

// end stops a run in good order, crash at once.
func (c *process) end()   { c.stop(); <-c.done }
func (c *process) crash() { c.stop(); c.kill(); <-c.done }

// differ compares what people see with the truth.
func (p *pipeline) differ() error {
	alias := p.place.prefix + "shop.noted"
	if status, _ := p.place.request("POST", "/"+alias+"/_refresh", ""); status == 404 {
		return errors.New("there is no index")
	}
	hits, _ := p.place.must("POST", "/"+alias+"/_search", `{"size":10000}`)["hits"].(map[string]any)
	list, _ := hits["hits"].([]any)
	seen := make(map[string]string)
	for _, h := range list {
		doc, _ := h.(map[string]any)["_source"].(map[string]any)
		id, _ := doc["id"].(json.Number)
		seen[id.String()], _ = doc["note"].(string)
	}
	for id, note := range p.truth {
		if got, ok := seen[strconv.FormatInt(id, 10)]; got != note || !ok {
			return fmt.Errorf("row %d is %q, want %q", id, got, note)
		}
	}
	if len(seen) != len(p.truth) || len(list) != len(seen) {
		return fmt.Errorf("%d documents of %d rows, want %d", len(list), len(seen), len(p.truth))
	}
	return nil
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c *process) says(words string) func() error {
	return func() error {
		if strings.Contains(c.log.String(), words) {
			return nil
		}
		return fmt.Errorf("nothing is said of %q", words)
	}
}

// TestFromKafkaToTheIndex: a few thousand changes, the sink killed in the midst of them; then the index is emptied and filled
// anew, and one that was lost is not made anew in silence.
func TestFromKafkaToTheIndex(t *testing.T) {
	p := newPipeline(t, testbed.Elasticsearch)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	index := p.place.prefix + "shop.noted-rows"
	p.publish(r, 2000)
	first := p.command("run")
	eventually(t, "the sink is at work", func() error {
		if status, _ := p.place.request("GET", "/"+index, ""); status != 200 {
			return errors.New("there is no index")
		}
		if p.place.count(index, matchAll) == 0 {
			return errors.New("there is no document")
		}
		return nil
	})
	first.crash()
	p.publish(r, 1000)
	second := p.command("run")
	p.publish(r, 1000)
	eventually(t, "the index shows the truth after the crash", p.differ)
	second.end()
	if second.code != 0 {
		t.Errorf("the run ended with %d", second.code)
	}

	// A row whose delete the log has forgotten.
	p.place.must("PUT", "/"+index+"/_doc/ghost", `{"id": 100000, "note": "ghost"}`)
	if refused := p.command("replay", "--to", "beginning"); refused.wait() != 2 || refused.says("not empty: "+p.place.prefix+"shop.noted")() != nil {
		t.Errorf("a replay over the rows ended with %d:\n%s", refused.code, refused.log.String())
	}
	if emptied := p.command("replay", "--to", "beginning", "--empty"); emptied.wait() != 0 {
		t.Fatalf("the replay ended with %d:\n%s", emptied.code, emptied.log.String())
	}
	if n := p.place.count(index, matchAll); n != 0 {
		t.Errorf("%d documents are left", n)
	}
	third := p.command("run")
	eventually(t, "the index shows the truth after the replay", p.differ)
	third.end()

	p.place.must("DELETE", "/"+index, "")
	p.publish(r, 10)
	fourth := p.command("run")
	eventually(t, "the lost index is noticed", fourth.says("was there before and is gone"))
	fourth.end()
	if emptied := p.command("replay", "--to", "beginning", "--empty"); emptied.wait() != 0 {
		t.Fatalf("the replay ended with %d:\n%s", emptied.code, emptied.log.String())
	}
	p.command("run")
	eventually(t, "the index shows the truth after its loss", p.differ)
}

// wait waits for the command's end and returns its exit code.
func (c *process) wait() int { <-c.done; return c.code }
