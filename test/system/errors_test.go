package system

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/testbed"
)

// These tests are what an operator sees when something is wrong: each text must say what, where, why and what mends it, and
// once that is done nothing is lost. The texts are golden files, so that a change of one is read before it is committed.

// TestSourceRefuses starts sources that cannot begin: they say why and end with exit 2, and begin once it is mended.
func TestSourceRefuses(t *testing.T) {
	b := newErrorBed(t)
	m, db := b.mysql(testbed.MySQLOptions{Durable: true})
	b.call(m.Address(), "db:3306")
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY, note TEXT)", "INSERT INTO shop.orders VALUES (1, 'one')")
	config := func(name, from, to string) string {
		return b.file(name+".yaml", strings.Replace(b.sourceText(m), from, to, 1))
	}
	b.golden("wrong-password", b.ends("sluice-source", "--config", config("wrong-password", "password: cdc", "password: guess")))
	b.golden("registry-no-url", b.ends("sluice-source", "--config", config("registry-no-url", `registry: "http://`, `registry: "`)))
	b.golden("unknown-key", b.ends("sluice-source", "--config", config("unknown-key", "tables:", "cascade: accept\ntabels:")))

	exec1(t, db, "CREATE USER poor IDENTIFIED BY 'poor'", "GRANT SELECT ON shop.* TO poor")
	poor := config("missing-grant", "user: cdc, password: cdc", "user: poor, password: poor")
	b.golden("missing-grant", b.ends("sluice-source", "--config", poor))

	exec1(t, db, "SET GLOBAL binlog_row_image = 'MINIMAL'")
	b.golden("row-image", b.ends("sluice-source", "--config", config("row-image", "", "")))
	exec1(t, db, "SET GLOBAL binlog_row_image = 'FULL'")

	b.golden("rule-unfit", b.ends("sluice-source", "--config", config("rule-unfit", "tables:", "tables:\n  - {match: shop.orders, columns: {nte: {drop: true}}}")))

	exec1(t, db, "CREATE TABLE shop.keyless (a INT, b INT NOT NULL)", "CREATE TABLE shop.floating (f FLOAT PRIMARY KEY, code CHAR(3) NOT NULL UNIQUE)")
	b.golden("no-key", b.ends("sluice-source", "--config", config("no-key", "", "")))
	b.golden("doctor-source-bad", b.ends("sluice-source", "doctor", "--config", poor))
	exec1(t, db, "DROP TABLE shop.keyless", "DROP TABLE shop.floating")

	exec1(t, db, "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO poor")
	address := b.http()
	b.start("mended", "sluice-source", "", []string{"--config", config("mended", "user: cdc, password: cdc}", "user: poor, password: poor}\nhttp: "+address)})
	b.becomesReady(address, 20*time.Second)
	eventually(t, 20*time.Second, "the row is in the topic", func() bool { return b.records("orders") == 1 })
	b.golden("doctor-source-good", b.ends("sluice-source", "doctor", "--config", config("doctor", "", "")))
}

// sourceText is the source's page.
func (b *errorBed) sourceText(m *testbed.MySQL) string {
	return fmt.Sprintf(`name: shop
mysql: {address: %q, user: cdc, password: cdc}
kafka: {brokers: [%q], registry: %q, partitions: 4, replication: 1}
tables:
  - {match: "shop.*"}
`, m.Address(), b.broker, b.registry)
}

// records counts the records of a table's topic.
func (b *bed) records(table string) (n int) {
	b.eachRecord(table, func(*kgo.Record) { n++ })
	return n
}

// TestSourceOutlasts takes the database, the broker and the registry away from a running source, one after the other: it says
// what is missing, goes on by itself, and loses nothing.
func TestSourceOutlasts(t *testing.T) {
	b := newErrorBed(t)
	m, db := b.mysql(testbed.MySQLOptions{Durable: true})
	b.call(m.Address(), "db:3306")
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY, note TEXT)", "INSERT INTO shop.orders VALUES (1, 'one')")
	address := b.http()
	config := b.file("source.yaml", b.sourceText(m)+"http: "+address+"\n")
	source := b.start("source", "sluice-source", "", []string{"--config", config})
	b.becomesReady(address, 20*time.Second)
	b.settled(config, 20*time.Second) // the first row by the crawl, so that the others come by the stream alone

	if err := m.Shutdown(); err != nil {
		t.Fatal(err)
	}
	b.golden("mysql-down", b.says(address, 10*time.Second, "cannot be reached")+b.firstLine(source, 5*time.Second, "level=WARN", "cannot be reached"))
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, "INSERT INTO shop.orders VALUES (2, 'after the database was away')")
	b.becomesReady(address, 20*time.Second)
	eventually(t, 20*time.Second, "the second row is in the topic", func() bool { return b.records("orders") == 2 })

	b.kafka.Close()
	exec1(t, db, "INSERT INTO shop.orders VALUES (3, 'while the broker was away')")
	b.golden("broker-down", b.says(address, 50*time.Second, "broker"))
	b.startBroker()
	b.becomesReady(address, 30*time.Second)
	eventually(t, 20*time.Second, "the third row is in the topic", func() bool { return b.records("orders") == 3 })

	b.schemas.Close()
	exec1(t, db, "ALTER TABLE shop.orders ADD COLUMN more INT", "INSERT INTO shop.orders VALUES (4, 'a new schema', 1)")
	b.golden("registry-down", b.says(address, 40*time.Second, "registry"))
	b.startRegistry()
	b.becomesReady(address, 30*time.Second)
	eventually(t, 20*time.Second, "the fourth row is in the topic", func() bool { return b.records("orders") == 4 })
}

// TestARowTooLarge stops its table alone, and the table goes on when the limit is raised and a crawl asked for.
func TestARowTooLarge(t *testing.T) {
	b := newErrorBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	b.call(m.Address(), "db:3306")
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY, note MEDIUMTEXT)", "CREATE TABLE shop.others (id INT PRIMARY KEY)",
		"INSERT INTO shop.orders VALUES (1, 'one')")
	address := b.http()
	page := func(max int) string {
		text := strings.Replace(b.sourceText(m), "partitions: 4", fmt.Sprintf("partitions: 1, max_message_bytes: %d", max), 1)
		return b.file("source.yaml", text+"http: "+address+"\n")
	}
	config := page(64 << 10)
	source := b.start("source", "sluice-source", "", []string{"--config", config})
	b.becomesReady(address, 20*time.Second)
	b.settled(config, time.Minute)
	exec1(t, db, "INSERT INTO shop.orders VALUES (2, REPEAT('large ', 20000))", "INSERT INTO shop.others VALUES (1)", "INSERT INTO shop.orders VALUES (3, 'after')")
	b.golden("row-too-large", b.says(address, 20*time.Second, "table shop.orders"))
	eventually(t, 20*time.Second, "the other table goes on", func() bool { return b.records("others") == 1 })
	if n := b.records("orders"); n != 1 {
		t.Errorf("%d records are in the topic of the stopped table", n)
	}
	page(128 << 10)
	if err := source.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"shop.shop.orders", "shop.checkpoint"} {
		b.raiseTopic(topic, 192<<10)
	}
	if err := source.Start(); err != nil {
		t.Fatal(err)
	}
	b.says(address, 20*time.Second, "table shop.orders") // it stays stopped until somebody says that it is mended
	b.ends("sluice", "crawl", "start", "shop.orders", "--config", config)
	b.becomesReady(address, 20*time.Second)
	b.settled(config, time.Minute)
	b.compareTopic(cdc(m), "orders")
}

// raiseTopic sets max.message.bytes, as kafka-configs does.
func (b *bed) raiseTopic(topic string, bytes int) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	value := strconv.Itoa(bytes)
	answers, err := kadm.NewClient(client).AlterTopicConfigs(b.t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &value}}, topic)
	if err == nil {
		_, err = answers.On(topic, func(a *kadm.AlterConfigsResponse) error { return a.Err })
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// sinkText is the page of a sink with one shard.
func (b *errorBed) sinkText(shard *testbed.MySQL) string {
	return fmt.Sprintf(`group: copy
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
retry_stopped: 1s
mysql:
  create_tables: true
  shards:
    - {name: s0, address: %q, user: app, password: app, database: shop}
`, b.broker, b.registry, shard.Address())
}

// TestTopicsStop gives a sink what it cannot apply: a record that is none of ours, and a column that the target lacks. Each stops
// its topic alone, and the topic goes on by itself once the target is mended.
func TestTopicsStop(t *testing.T) {
	b := newErrorBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	shard, target := b.mysql(testbed.MySQLOptions{})
	b.call(m.Address(), "db:3306")
	b.call(shard.Address(), "shard:3306")
	exec1(t, target, "CREATE DATABASE shop", "CREATE TABLE shop.narrow (id INT PRIMARY KEY, note VARCHAR(20), "+
		"_sluice_version BIGINT NOT NULL DEFAULT 0 INVISIBLE, _sluice_source SMALLINT UNSIGNED NOT NULL DEFAULT 0 INVISIBLE)")
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(20))",
		"CREATE TABLE shop.foreign_content (id INT PRIMARY KEY)", "CREATE TABLE shop.narrow (id INT PRIMARY KEY, note VARCHAR(20), price DECIMAL(8,2))",
		"INSERT INTO shop.orders VALUES (1, 'one')", "INSERT INTO shop.narrow VALUES (1, 'one', 1.50)", "INSERT INTO shop.foreign_content VALUES (1)")
	b.file("source.yaml", strings.Replace(b.sourceText(m), "partitions: 4", "partitions: 1", 1))
	b.start("source", "sluice-source", "", []string{"--config", b.dir + "/source.yaml"})
	b.settled(b.dir+"/source.yaml", time.Minute)
	b.foreignRecord("foreign_content")
	address := b.http()
	config := b.file("sink.yaml", strings.Replace(b.sinkText(shard), "create_tables: true", "create_tables: false", 1)+"http: "+address+"\n")

	b.golden("doctor-sink-bad", b.ends("sluice-sink-mysql", "doctor", "--config", config))
	b.golden("sink-wrong-password", b.ends("sluice-sink-mysql", "--config",
		b.file("guess.yaml", strings.Replace(b.sinkText(shard), "password: app", "password: guess", 1))))
	exec1(t, target, "CREATE TABLE shop.orders LIKE shop.narrow", "CREATE TABLE shop.foreign_content (id INT PRIMARY KEY, "+
		"_sluice_version BIGINT NOT NULL DEFAULT 0 INVISIBLE, _sluice_source SMALLINT UNSIGNED NOT NULL DEFAULT 0 INVISIBLE)")
	b.start("sink", "sluice-sink-mysql", "", []string{"--config", config})
	b.says(address, 20*time.Second, "topic shop.shop.foreign_content")
	b.golden("topics-stopped", b.says(address, 20*time.Second, "topic shop.shop.narrow"))
	b.equal(db, target, "orders") // the others go on
	exec1(t, db, "INSERT INTO shop.orders VALUES (2, 'two')")
	b.equal(db, target, "orders")
	b.equal(db, target, "foreign_content") // up to the record in question

	if err := shard.Shutdown(); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, "INSERT INTO shop.orders VALUES (3, 'shard away')")
	down := b.says(address, 30*time.Second, "partition shop.shop.orders[0]: the server cannot be reached")
	b.golden("shard-down", "GET /readyz\n"+section(down, "partition shop.shop.orders[0]"))
	if err := shard.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.equal(db, target, "orders")

	exec1(t, target, "ALTER TABLE shop.narrow ADD COLUMN price DECIMAL(8,2) NULL")
	b.equal(db, target, "narrow")
	b.golden("topics-stopped-one", b.says(address, 10*time.Second, "topic shop.shop.foreign_content"))
	eventually(t, 20*time.Second, "sluice status shows the stopped topic with its remedy", func() bool {
		_, from, found := strings.Cut(b.cli("status", "--config", b.dir+"/source.yaml"), "✗ copy, topic shop.shop.foreign_content: ")
		return found && strings.Contains(from, "\n  mend   ")
	})
	b.file("sink.yaml", strings.Replace(b.sinkText(shard), `["shop.shop.*"]`, `["shop.shop.orders", "shop.shop.narrow"]`, 1))
	b.golden("doctor-sink-good", b.ends("sluice-sink-mysql", "doctor", "--config", config))
}

// section returns the one reason of those that /readyz gives.
func section(said, reason string) string {
	_, from, _ := strings.Cut(said, "\n"+reason)
	lines := strings.SplitAfter(reason+from, "\n")
	n := 1
	for n < len(lines) && strings.HasPrefix(lines[n], "  ") {
		n++
	}
	return strings.Join(lines[:n], "")
}

// foreignRecord writes a record that sluice-source never would.
func (b *bed) foreignRecord(table string) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	record := &kgo.Record{Topic: "shop.shop." + table, Key: []byte("k"), Value: []byte(`{"hello": "world"}`)}
	if err := client.ProduceSync(b.t.Context(), record).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

// TestSinkRefuses starts sinks that cannot begin.
func TestSinkRefuses(t *testing.T) {
	b := newErrorBed(t)
	shard, target := b.mysql(testbed.MySQLOptions{})
	b.call(shard.Address(), "shard:3306")
	exec1(t, target, "CREATE DATABASE shop", "CREATE USER reader IDENTIFIED BY 'reader'", "GRANT SELECT ON shop.* TO reader")
	run := func(name, from, to string) {
		t.Helper()
		b.golden(name, b.ends("sluice-sink-mysql", "--config", b.file(name+".yaml", strings.Replace(b.sinkText(shard), from, to, 1))))
	}
	run("sink-unknown-key", "create_tables", "creat_tables")
	run("sink-registry-no-url", `registry: "http://`, `registry: "`)
	run("sink-no-topics", `topics: ["shop.shop.*"]`, "")
	run("sink-shape", "mysql:", "shape:\n  - {table: shop.orders, to: bills, columns: {note: {}}}\n  - {table: shop.bills, key: [id]}\nmysql:")
	b.golden("sink-no-config", b.ends("sluice-sink-mysql"))
	doctor := func(name, from, to string) {
		t.Helper()
		b.golden(name, b.ends("sluice-sink-mysql", "doctor", "--config", b.file(name+".yaml", strings.Replace(b.sinkText(shard), from, to, 1))))
	}
	doctor("doctor-sink-password", "password: app", "password: guess")
	doctor("doctor-sink-away", b.registry, "http://127.0.0.1:1")
}
