package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/redis"
	"github.com/sluice-cdc/sluice/testbed"
)

// servers are started at their first use, once, and stopped when all tests are done.
var servers = map[string]*shared{"redis": {}, "valkey": {}, "cluster": {}}

type shared struct {
	once   sync.Once
	nodes  []*testbed.RedisServer
	missed error // it cannot be had here
	failed error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range servers {
		for _, node := range s.nodes {
			if err := node.Stop(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

func serverOf(t testing.TB, name string) []*testbed.RedisServer {
	t.Helper()
	s := servers[name]
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		kind := testbed.Redis
		if name == "valkey" {
			kind = testbed.Valkey
		}
		if s.missed = testbed.Available(ctx, string(kind)); s.missed != nil {
			return
		}
		if name == "cluster" {
			s.nodes, s.failed = testbed.StartRedisCluster(ctx, 3, testbed.RedisOptions{})
			return
		}
		var node *testbed.RedisServer
		if node, s.failed = testbed.StartRedis(ctx, testbed.RedisOptions{Kind: kind}); s.failed == nil {
			s.nodes = []*testbed.RedisServer{node}
		}
	})
	if s.missed != nil {
		t.Skipf("no %s to test with: %v", name, s.missed)
	}
	if s.failed != nil {
		t.Fatal(s.failed)
	}
	return s.nodes
}

// ownServer starts a server for one test.
func ownServer(t testing.TB, settings map[string]string) *testbed.RedisServer {
	t.Helper()
	if err := testbed.Available(t.Context(), "redis"); err != nil {
		t.Skip(err)
	}
	s, err := testbed.StartRedis(t.Context(), testbed.RedisOptions{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

// place is what one test writes to.
type place struct {
	t      testing.TB
	nodes  []*testbed.RedisServer
	source string
	config redis.Config
}

// newPlace empties a shared server: redis, valkey or cluster.
func newPlace(t testing.TB, name string) *place {
	t.Helper()
	nodes := serverOf(t, name)
	for _, node := range nodes {
		if _, err := node.Do(t.Context(), "FLUSHALL"); err != nil {
			t.Fatal(err)
		}
	}
	return placeOn(t, nodes...)
}

func placeOn(t testing.TB, nodes ...*testbed.RedisServer) *place {
	p := &place{t: t, nodes: nodes, source: "src", config: redis.Default()}
	p.config.Timeout = 10 * time.Second
	for _, n := range nodes {
		p.config.Addresses = append(p.config.Addresses, n.Address())
	}
	p.config.Cluster = len(nodes) > 1
	return p
}

// check fails the test where the config is wrong.
func (p *place) check() {
	p.t.Helper()
	p.config.Check(func(path, problem string) { p.t.Errorf("%s: %s", path, problem) })
}

func (p *place) open() *redis.Target {
	p.t.Helper()
	p.check()
	target, err := redis.New(p.config, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return target
}

// owner is a target that has seen a table and owns a partition of its topic.
type owner struct {
	*redis.Target
	p     *place
	table *change.Table
	part  sink.Partition
	epoch int64
	at    int64
}

// own opens a target that takes the table's partition over.
func (p *place) own(table *change.Table) *owner {
	p.t.Helper()
	o := &owner{Target: p.open(), p: p, table: table,
		part: sink.Partition{Source: p.source, Topic: p.source + "." + table.String(), TopicID: [16]byte{7}, Count: 1}}
	p.t.Cleanup(func() { o.Close() })
	if err := o.Prepare(p.t.Context(), "g", p.source, []*change.Table{table}); err != nil {
		p.t.Fatal(change.Explain(err))
	}
	o.assign()
	return o
}

func (o *owner) assign() (found bool) {
	o.p.t.Helper()
	var next int64
	o.again(func() (err error) {
		next, o.epoch, found, err = o.Assign(o.p.t.Context(), "g", o.part)
		return err
	})
	if o.at = 0; found {
		o.at = next
	}
	return found
}

// batch makes the next batch of the partition.
func (o *owner) batch(changes ...sink.Change) *sink.Batch {
	b := &sink.Batch{Group: "g", Partition: o.part, From: o.at, Epoch: o.epoch, Changes: changes, ThroughMillis: 1000}
	b.Next = b.From + int64(len(changes))
	for i := range changes {
		changes[i].Offset = b.From + int64(i)
	}
	return b
}

// try applies the next batch.
func (o *owner) try(changes ...sink.Change) error {
	b := o.batch(changes...)
	err := o.Apply(o.p.t.Context(), b)
	if err == nil {
		o.at = b.Next
	}
	return err
}

func (o *owner) apply(changes ...sink.Change) {
	o.p.t.Helper()
	if err := o.try(changes...); err != nil {
		o.p.t.Fatal(change.Explain(err))
	}
}

// until applies the next batch as the runtime does: a server that does not answer is asked again.
func (o *owner) until(changes ...sink.Change) {
	o.p.t.Helper()
	o.again(func() error { return o.try(changes...) })
}

// again does something until it succeeds or fails for good.
func (o *owner) again(do func() error) {
	o.p.t.Helper()
	for try := 0; ; try++ {
		err := do()
		if err == nil {
			return
		}
		if change.SeverityOf(err) != change.Retry || try > 100 {
			o.p.t.Fatal(change.Explain(err))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// do sends one command to the place's first server.
func (p *place) do(args ...string) string {
	p.t.Helper()
	said, err := p.nodes[0].Do(p.t.Context(), args...)
	if err != nil {
		p.t.Fatalf("%v: %v", args, err)
	}
	return said
}

// holds fails unless the command's answer is that.
func (p *place) holds(want string, args ...string) {
	p.t.Helper()
	if got := p.do(args...); got != want {
		p.t.Errorf("%v is %q, want %q", args, got, want)
	}
}

// table makes a table of that name with the key id and the columns.
func table(name string, columns ...change.Column) *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0},
		Columns: append([]change.Column{{Name: "id", Type: change.BigInt}}, columns...)}
}

var note = change.Column{Name: "note", Type: change.VarChar, Length: 100, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"}

func row(id int64, values ...change.Value) []change.Value {
	return append([]change.Value{change.IntValue(id)}, values...)
}

func text(s string) change.Value { return change.StringValue(s) }

var null change.Value

// put is a row that exists since version v; drop is one that is gone since then.
func put(t *change.Table, v change.Version, image []change.Value) sink.Change {
	return keyed(sink.Change{Op: change.Create, Table: t, After: image, Version: v, Bytes: 100}, image)
}

func drop(t *change.Table, v change.Version, image []change.Value) sink.Change {
	return keyed(sink.Change{Op: change.Delete, Table: t, Before: image, TrustedBefore: true, Version: v, Bytes: 100}, image)
}

func keyed(c sink.Change, image []change.Value) sink.Change {
	c.KeyNames = c.Table.KeyNames()
	for _, k := range c.Table.Key {
		c.KeyValues = append(c.KeyValues, image[k])
		c.Key = append(append(c.Key, image[k].String()...), 0)
	}
	return c
}

// scan returns the rows by their key as text.
func (o *owner) scan(keys ...[]change.Value) map[string]sink.Row {
	o.p.t.Helper()
	rows := make(map[string]sink.Row)
	err := o.Scan(o.p.t.Context(), sink.Scan{Source: o.p.source, Table: o.table, Keys: keys}, func(r sink.Row) error {
		key := ""
		for _, k := range o.table.Key {
			key += r.Values[k].String() + " "
		}
		if _, twice := rows[key]; twice {
			o.p.t.Errorf("row %s is there twice", key)
		}
		rows[strings.TrimSpace(key)] = r
		return nil
	})
	if err != nil {
		o.p.t.Fatal(change.Explain(err))
	}
	return rows
}

// problemOf fails unless err is a Problem of that kind whose text, remedy included, has all the words.
func problemOf(t testing.TB, err error, kind change.Severity, words ...string) {
	t.Helper()
	said := "nothing"
	if err != nil {
		said = change.Explain(err)
	}
	if err == nil || change.SeverityOf(err) != kind {
		t.Errorf("got %s (kind %s), want a problem of kind %s", said, change.SeverityOf(err), kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("the problem\n%s\nshould say %q", said, w)
		}
	}
}
