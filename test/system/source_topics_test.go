package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/testbed"
)

// admin returns a client for the broker's topics.
func (b *bed) admin() *kadm.Client {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func (b *bed) deleteTopic(name string) {
	b.t.Helper()
	if _, err := b.admin().DeleteTopic(b.t.Context(), name); err != nil {
		b.t.Fatal(err)
	}
}

// TestSourceTopicsChanged deletes, makes again and widens topics behind the source's back, while it is away and while it runs:
// each table stops alone and names its remedy, and is right after that.
func TestSourceTopicsChanged(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, "CREATE DATABASE shop")
	tables := []string{"gone", "remade", "widened", "live_remade", "fine"}
	write := func(v string) {
		for i, name := range tables {
			exec1(t, db, fmt.Sprintf("REPLACE INTO shop.%s VALUES (1, '%s'), (%d, '%s')", name, v, 10+i+len(v), v))
		}
	}
	for _, name := range tables {
		exec1(t, db, fmt.Sprintf("CREATE TABLE shop.%s (id INT NOT NULL PRIMARY KEY, v VARCHAR(40) NOT NULL)", name))
	}
	write("first")
	config := b.sourceConfig(m, "")
	p := b.begin("source", "", config, nil)
	b.caughtUp(m, config, 20*time.Second)
	p.Kill()

	settings := kafka.Default()
	settings.Partitions, settings.Replication = 4, 1
	remake := func(topic string) {
		b.deleteTopic(topic)
		if _, err := kafka.EnsureTopic(t.Context(), b.admin(), topic, settings.TableSettings()); err != nil {
			t.Fatal(err)
		}
	}
	b.deleteTopic("shop.shop.gone")
	remake("shop.shop.remade")
	if _, err := b.admin().CreatePartitions(t.Context(), 2, "shop.shop.widened"); err != nil {
		t.Fatal(err)
	}
	write("while it was away")
	p.Start()
	b.caughtUp(m, config, 20*time.Second)
	stopped := func(want string) {
		t.Helper()
		var got []string
		out := b.cli("status", "--config", config)
		for _, name := range tables {
			if strings.Contains(out, "shop."+name+" is stopped") {
				got = append(got, name)
				if !strings.Contains(out, "--forget shop."+name) {
					t.Errorf("no remedy for %s:\n%s", name, out)
				}
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("stopped are %q, want %q\n%s", text, want, out)
		}
	}
	stopped("gone remade widened")
	// A crawl does not take up a table whose topic is another one: sinks would ignore it below their old offsets.
	b.cli("crawl", "start", "shop.remade", "--config", config)
	b.says(p, 5*time.Second, "a signal cannot be carried out")
	stopped("gone remade widened")
	if h := b.readTopic("remade"); h.records > 0 {
		t.Errorf("%d records went to the topic that was made again", h.records)
	}
	remake("shop.shop.live_remade")
	eventually(t, 20*time.Second, "the running source notices", func() bool {
		return strings.Contains(p.Log(), "table=shop.live_remade position=")
	})
	write("after that")
	b.caughtUp(m, config, 20*time.Second)
	stopped("gone remade widened live_remade")
	b.compareTopic(cdc(m), "fine")

	p.Kill()
	refused := b.begin("refused", "", config, []string{"--forget", "shop.widened"})
	if code := b.ends(refused, 10*time.Second); code != 2 || !strings.Contains(refused.Log(), "kafka-topics --delete --topic shop.shop.widened") {
		t.Errorf("--forget with the same topic: exit code %d\n%s", code, refused.LogTail(5))
	}
	b.deleteTopic("shop.shop.widened")
	p = b.begin("forgetting", "", config, []string{"--forget", "shop.gone", "--forget", "shop.remade", "--forget", "shop.widened", "--forget", "shop.live_remade"})
	write("in the end")
	b.caughtUp(m, config, 30*time.Second)
	stopped("")
	for _, name := range tables {
		b.compareTopic(cdc(m), name)
	}

	// Without its checkpoint the source begins at the present, above all versions, and takes out what was deleted meanwhile.
	p.Kill()
	b.deleteTopic(kafka.CheckpointTopic("shop"))
	exec1(t, db, "DELETE FROM shop.fine WHERE id = 1", "UPDATE shop.gone SET v = 'unseen'")
	p.Start() // with --forget of tables that are not known: nothing happens
	b.caughtUp(m, config, 30*time.Second)
	for _, name := range tables {
		b.compareTopic(cdc(m), name)
	}
}

// TestSourcePurged purges the binlog that a source has not read: it names what is missing and how to go on.
func TestSourcePurged(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	l := newLedger(t, db, 300)
	config := b.sourceConfig(m, "")
	p := b.begin("source", "", config, nil)
	b.says(p, 20*time.Second, "crawl is over")
	if err := l.write(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	b.caughtUp(m, config, 20*time.Second)
	p.Kill()
	if err := l.write(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	exec1(t, db, "DELETE FROM shop.ledger WHERE id <= 20", "FLUSH BINARY LOGS")
	var file, uuid string
	var size, encrypted any
	rows, err := db.Query("SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		if err := rows.Scan(&file, &size, &encrypted); err != nil {
			t.Fatal(err)
		}
	}
	rows.Close()
	exec1(t, db, "PURGE BINARY LOGS TO '"+file+"'")
	if err := db.QueryRow("SELECT @@server_uuid").Scan(&uuid); err != nil {
		t.Fatal(err)
	}
	purged := b.begin("purged", "", config, nil)
	if code := b.ends(purged, 15*time.Second); code != 2 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"purged binlog files that were not read yet: " + uuid, "--start-anew"} {
		if !strings.Contains(purged.Log(), want) {
			t.Errorf("it does not say %q:\n%s", want, purged.LogTail(10))
		}
	}
	anew := b.begin("anew", "", config, []string{"--start-anew"})
	b.caughtUp(m, config, 20*time.Second)
	if err := l.write(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	b.caughtUp(m, config, 20*time.Second)
	b.compareTopic(cdc(m), "ledger")
	anew.Kill()
	again := b.begin("again", "", config, nil)
	b.caughtUp(m, config, 20*time.Second)
	if strings.Contains(again.Log(), "crawl wanted") {
		t.Error("it crawls again")
	}
}
