package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
	b.golden("unknown-key", b.ends("sluice-source", "--config", config("unknown-key", "tables:", "cascade: accept\ntabels:")))

	exec1(t, db, "CREATE USER poor IDENTIFIED BY 'poor'", "GRANT SELECT ON shop.* TO poor")
	poor := config("missing-grant", "user: cdc, password: cdc", "user: poor, password: poor")
	b.golden("missing-grant", b.ends("sluice-source", "--config", poor))

	exec1(t, db, "SET GLOBAL binlog_row_image = 'MINIMAL'")
	b.golden("row-image", b.ends("sluice-source", "--config", config("row-image", "", "")))
	exec1(t, db, "SET GLOBAL binlog_row_image = 'FULL'")

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
	b.settled(config, time.Minute)
	b.compareTopic(cdc(m), "orders")
}
