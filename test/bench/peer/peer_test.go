package peer_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/test/bench/peer"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// bed is what the peers stand between.
type bed struct {
	t     *testing.T
	kafka *testbed.Kafka
	mysql *testbed.MySQL
	db    *sql.DB
}

// newBed starts Kafka and a MySQL with the table shop.sb, like sysbench's. What is large and slow here is not part of `make test`.
func newBed(t *testing.T, names ...string) *bed {
	t.Helper()
	if slices.Contains([]string{"", "0"}, os.Getenv("SLUICE_FULL")) {
		t.Skip("SLUICE_FULL=1 fetches the peers, 90 MB, and starts them")
	}
	for _, name := range append([]string{"mysql-9.7", "kafka"}, names...) {
		if err := testbed.Available(t.Context(), name); err != nil {
			t.Skipf("%s: %v", name, err)
		}
	}
	b := &bed{t: t}
	var err error
	if b.kafka, err = testbed.StartKafka(t.Context(), testbed.KafkaOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.kafka.Stop() })
	b.mysql, b.db = b.startMySQL()
	return b
}

const tableSB = "CREATE TABLE shop.sb (id INT NOT NULL PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL) CHARACTER SET utf8mb4"

func (b *bed) startMySQL() (*testbed.MySQL, *sql.DB) {
	b.t.Helper()
	m, err := testbed.StartMySQL(b.t.Context(), testbed.MySQLOptions{Version: testbed.MySQL97})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { m.Stop() })
	if err := m.Exec(b.t.Context(), "CREATE DATABASE shop", tableSB); err != nil {
		b.t.Fatal(err)
	}
	db, err := m.Open("app", "")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { db.Close() })
	return m, db
}

// The changes of a backlog, and the rows that are there before and, as a trap, must not come with it.
const (
	rowsBefore = 100
	inserts    = 3000
	updates    = 700
	deletes    = 300
)

func (b *bed) insert(from, to int) {
	b.t.Helper()
	b.exec("USE shop", "SET SESSION cte_max_recursion_depth = 1000000", fmt.Sprintf(`INSERT INTO shop.sb WITH RECURSIVE n (i) AS
		(SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i, i %% 97, CONCAT('é ', SHA2(i, 256)), LEFT(SHA2(i, 512), 60) FROM n`, from, to))
}

func (b *bed) exec(statements ...string) {
	b.t.Helper()
	if err := b.mysql.Exec(b.t.Context(), statements...); err != nil {
		b.t.Fatal(err)
	}
}

// backlog writes rows that are before the position it returns, and the changes after it.
func (b *bed) backlog() peer.Position {
	b.t.Helper()
	b.insert(1, rowsBefore)
	from, err := peer.Now(b.t.Context(), b.mysql)
	if err != nil {
		b.t.Fatal(err)
	}
	b.insert(rowsBefore+1, rowsBefore+inserts)
	b.exec(fmt.Sprintf("UPDATE shop.sb SET k = k + 1000, pad = 'updated' WHERE id > %d", rowsBefore+inserts-updates),
		fmt.Sprintf("DELETE FROM shop.sb WHERE id BETWEEN %d AND %d", rowsBefore+1, rowsBefore+deletes))
	return from
}

// rows are those of the source as text, by id, from one id on.
func (b *bed) rows(from int) map[string]string {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.t.Context(), "SELECT CONCAT(id), CONCAT_WS('|', id, k, c, pad) FROM shop.sb WHERE id >= ?", from)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	list := map[string]string{}
	for rows.Next() {
		var id, row string
		if err := rows.Scan(&id, &row); err != nil {
			b.t.Fatal(err)
		}
		list[id] = row
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return list
}

// event is a change as a peer tells it.
type event struct {
	op  string // c, u, d or r
	id  string
	row string // the new row; empty of a delete
}

// told is what came out of a topic.
type told struct {
	ops        map[string]int
	rows       map[string]string // as the changes leave them
	partitions map[int32]bool
}

// read reads so many changes and, for a moment, whether there are more. A record that decode gives no event for, such as a tombstone, is
// none.
func (b *bed) read(p peer.Peer, topic string, changes int, decode func(*kgo.Record) (event, bool)) told {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.Address()), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	seen := told{map[string]int{}, map[string]string{}, map[int32]bool{}}
	n := 0
	take := func(within time.Duration) {
		ctx, cancel := context.WithTimeout(b.t.Context(), within)
		defer cancel()
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			e, ok := decode(r)
			if !ok {
				return
			}
			n++
			seen.ops[e.op]++
			seen.partitions[r.Partition] = true
			if e.op == "d" {
				delete(seen.rows, e.id)
			} else {
				seen.rows[e.id] = e.row
			}
		})
	}
	for began := time.Now(); n < changes; take(time.Second) {
		if err := p.Failed(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		if time.Since(began) > 4*time.Minute {
			b.t.Fatalf("%d changes of %d came; ops %v; the end of its log:\n%s", n, changes, seen.ops, tail(p.Log()))
		}
	}
	take(3 * time.Second)
	return seen
}

func tail(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// check compares.
func (b *bed) check(got told, ops map[string]int, rows map[string]string, partitions int) {
	b.t.Helper()
	if diff := cmp.Diff(ops, got.ops); diff != "" {
		b.t.Errorf("changes by kind (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(rows, got.rows); diff != "" {
		b.t.Errorf("rows (-source +topic):\n%.3000s", diff)
	}
	if len(got.partitions) != partitions {
		b.t.Errorf("the changes are in %d partitions, want %d", len(got.partitions), partitions)
	}
}

// own looks at what the peer says of itself.
func (b *bed) own(p peer.Peer, name, role string) {
	b.t.Helper()
	b.t.Logf("%s, pids %v", p.Name(), p.Pids())
	if !strings.HasPrefix(p.Name(), name) {
		b.t.Errorf("it is called %q, want %q", p.Name(), name)
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Pids()[role]))
	if err != nil || !strings.Contains(string(command), "java") || len(p.Pids()) != 1 {
		b.t.Errorf("pids %v: the process %q, %v; want one of Java's, as %s", p.Pids(), command, err, role)
	}
}

func (b *bed) stop(p peer.Peer) {
	b.t.Helper()
	pids := p.Pids()
	if err := p.Stop(); err != nil {
		b.t.Error(err)
	}
	for name, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			b.t.Errorf("the process of the %s, %d, is there after Stop", name, pid)
		}
	}
}

const partitions = 3

func (b *bed) source(prefix string, from *peer.Position) peer.SourceOptions {
	return peer.SourceOptions{MySQL: b.mysql, Kafka: b.kafka, Database: "shop", Table: "sb", From: from, Prefix: prefix, Partitions: partitions, Progress: b.t.Logf}
}

var backlogOps = map[string]int{"c": inserts, "u": updates, "d": deletes}

// TestMaxwell has it read a backlog, twice: each run reads all of it.
func TestMaxwell(t *testing.T) {
	b := newBed(t, "maxwell")
	from := b.backlog()
	for _, prefix := range []string{"one", "two"} {
		o := b.source(prefix, &from)
		m, err := peer.StartMaxwell(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Stop()
		b.own(m, "Maxwell 1.22.6 with binlog connector 0.30.1 and driver 9.1.0", "source")
		b.check(b.read(m, o.Topic(), inserts+updates+deletes, maxwellEvent), backlogOps, b.rows(rowsBefore+1), partitions)
		b.stop(m)
	}
}

// TestDebezium has it read the rows that are there and a backlog, in JSON.
func TestDebezium(t *testing.T) {
	b := newBed(t, "connect", "debezium-mysql")
	from := b.backlog()
	b.debezium("JSON", from, nil, jsonEvent)
}

// TestDebeziumAvro does so in Avro, and then has Debezium's JDBC sink write the rows into another MySQL.
func TestDebeziumAvro(t *testing.T) {
	b := newBed(t, "registry", "connect", "debezium-mysql")
	schemas, err := testbed.StartRegistry(t.Context(), testbed.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { schemas.Stop() })
	from := b.backlog()
	b.debezium("Avro", from, schemas, b.avroEvents(schemas))
	for _, topic := range []string{"snapshot.shop.sb", "backlog.shop.sb"} { // all rows, and then changes over them
		b.jdbcSink(schemas, topic)
	}
}

func (b *bed) debezium(encoding string, from peer.Position, schemas *testbed.Registry, decode func(*kgo.Record) (event, bool)) {
	b.t.Helper()
	all := b.rows(0)
	for _, run := range []struct {
		prefix  string
		from    *peer.Position
		changes int
		ops     map[string]int
		rows    map[string]string
	}{
		{"snapshot", nil, len(all), map[string]int{"r": len(all)}, all},
		{"backlog", &from, inserts + updates + deletes, backlogOps, b.rows(rowsBefore + 1)},
	} {
		o := b.source(run.prefix, run.from)
		o.Registry = schemas
		d, err := peer.StartDebezium(b.t.Context(), o)
		if err != nil {
			b.t.Fatal(err)
		}
		defer d.Stop()
		b.own(d, "Debezium 3.6.1.Final, "+encoding, "source")
		b.check(b.read(d, o.Topic(), run.changes, decode), run.ops, run.rows, partitions)
		b.stop(d)
	}
}

// jdbcSink has a topic written into an empty table, and compares it with what the topic has.
func (b *bed) jdbcSink(schemas *testbed.Registry, topic string) {
	b.t.Helper()
	target, db := b.startMySQL()
	s, err := peer.StartJDBCSink(b.t.Context(), peer.SinkOptions{Kafka: b.kafka, Registry: schemas, Topic: topic, Target: target, Database: "shop",
		Tasks: 2, Progress: b.t.Logf})
	if err != nil {
		b.t.Fatal(err)
	}
	defer s.Stop()
	b.own(s, "Debezium JDBC sink 3.5.0.Final", "sink")
	if strings.HasPrefix(topic, "backlog") { // the rows before it, which it says nothing of
		b.exec(fmt.Sprintf("DELETE FROM shop.sb WHERE id <= %d", rowsBefore))
	}
	var last *rig.Comparison
	for began := time.Now(); ; time.Sleep(300 * time.Millisecond) {
		last, err = rig.Compare(b.t.Context(), rig.Place{Name: "source", DB: b.db, Database: "shop"}, []rig.Place{{Name: "target", DB: db, Database: "shop"}}, "sb")
		if err != nil {
			b.t.Fatal(err)
		}
		if last.Differences == 0 && last.Source > 0 {
			break
		}
		if err := s.Failed(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
		if time.Since(began) > 4*time.Minute {
			b.t.Fatalf("%s: %+v; the end of its log:\n%s", topic, last, tail(s.Log()))
		}
	}
	b.t.Logf("%s: %d rows, differences 0", topic, last.Source)
	b.stop(s)
}

// TestWrongOptions says what is missing.
func TestWrongOptions(t *testing.T) {
	source := peer.SourceOptions{MySQL: &testbed.MySQL{}, Kafka: &testbed.Kafka{}, Database: "shop", Table: "sb", Prefix: "p", Partitions: 1}
	with := func(change func(*peer.SourceOptions)) peer.SourceOptions {
		o := source
		change(&o)
		return o
	}
	for _, c := range []struct {
		options peer.SourceOptions
		want    string
	}{
		{with(func(o *peer.SourceOptions) { o.Kafka = nil }), "needs a MySQL and a Kafka"},
		{with(func(o *peer.SourceOptions) { o.Table = "" }), "needs a database and a table"},
		{with(func(o *peer.SourceOptions) { o.Prefix = "%{database}" }), `prefix "%{database}"`},
		{with(func(o *peer.SourceOptions) { o.Partitions = 0 }), "partitions: 0"},
		{source, "set From"},
		{with(func(o *peer.SourceOptions) { o.From, o.Registry = &peer.Position{}, &testbed.Registry{} }), "set no Registry"},
	} {
		if _, err := peer.StartMaxwell(t.Context(), c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
	if _, err := peer.StartJDBCSink(t.Context(), peer.SinkOptions{}); err == nil || !strings.Contains(err.Error(), "needs a Kafka, a registry and a target") {
		t.Errorf("a sink of nothing: %v", err)
	}
}
