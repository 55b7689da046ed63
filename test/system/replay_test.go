package system

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// TestReplay empties a shard and builds it again from the log alone, with the source's server stopped; and shows that moving the
// group's offsets by hand moves nothing: the target's own progress decides (R6).
func TestReplay(t *testing.T) {
	b := newErrorBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	shard, target := b.mysql(testbed.MySQLOptions{})
	b.call(m.Address(), "db:3306")
	b.call(shard.Address(), "shard:3306")
	shop := rig.Shop{Database: "shop", Rows: 4000}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	exec1(t, target, "CREATE DATABASE shop")
	sourceConfig := b.sourceConfig(m, "")
	source := b.source(m, "")
	address := b.http()
	config := b.oneShardConfig("copy", shard, "http: "+address+"\n")
	sink := b.start("sink", "sluice-sink-mysql", "", []string{"--config", config})
	exec1(t, db, "DELETE FROM shop.orders WHERE id % 7 = 0", "UPDATE shop.customers SET credit = credit + 1 WHERE id % 3 = 0",
		"UPDATE shop.order_items SET line_no = line_no + 50 WHERE order_id % 11 = 0", "DELETE FROM shop.products WHERE stock % 9 = 0")
	b.settled(sourceConfig, time.Minute)
	wanted := map[string]string{}
	for _, table := range rig.ShopTables {
		b.equal(db, target, table)
		wanted[table] = b.checksum(target, table)
	}
	if err := source.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := m.Shutdown(); err != nil {
		t.Fatal(err)
	}

	running := b.ends("sluice-sink-mysql", "replay", "--config", config, "--to", "beginning", "--empty")
	if !strings.Contains(running, "the group copy is running") || !strings.Contains(running, "exit 2") {
		t.Errorf("a replay beside a running sink was not refused:\n%s", running)
	}
	b.offsetsByHand(config, address, sink, target)

	b.golden("replay-not-empty", sortedPlan(b.ends("sluice-sink-mysql", "replay", "--config", config, "--to", "beginning")))
	b.golden("replay-dry-run", sortedPlan(b.ends("sluice-sink-mysql", "replay", "--config", config, "--to", "beginning", "--empty", "--dry-run")))
	if n := b.number(target, "SELECT COUNT(*) FROM shop.customers"); n == 0 {
		t.Error("a dry run has emptied the tables")
	}
	done := b.ends("sluice-sink-mysql", "replay", "--config", config, "--to", "beginning", "--empty")
	if !strings.Contains(done, "exit 0") || b.number(target, "SELECT COUNT(*) FROM shop.customers") != 0 {
		t.Fatalf("the tables are not emptied:\n%s", done)
	}
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	for _, table := range rig.ShopTables {
		eventually(t, time.Minute, table+" is built again from the log", func() bool { return b.checksum(target, table) == wanted[table] })
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, table := range rig.ShopTables {
		b.equal(db, target, table)
	}
}

// offsetsByHand moves the group's offsets as kafka-consumer-groups --reset-offsets does, and deletes the group. Back, and gone: nothing is applied again, and the
// offsets return to where the target stands. On: the topic is refused, with the command that helps.
func (b *errorBed) offsetsByHand(config, address string, sink *rig.Process, target *sql.DB) {
	b.t.Helper()
	again := func(move func()) {
		b.t.Helper()
		if err := sink.Stop(20 * time.Second); err != nil {
			b.t.Fatal(err)
		}
		move()
		if err := sink.Start(); err != nil {
			b.t.Fatal(err)
		}
	}
	stood, rows := b.number(target, "SELECT SUM(_sluice_next) FROM shop._sluice_progress"), b.number(target, "SELECT COUNT(*) FROM shop.products")
	for _, by := range []struct {
		what string
		hand func()
	}{
		{"moved back", func() { b.setOffsets("copy", func(string, int32, int64) int64 { return 0 }) }},
		{"deleted", func() { b.deleteGroup("copy") }},
	} {
		rows -= 10
		again(func() {
			by.hand()
			exec1(b.t, target, "DELETE FROM shop.products LIMIT 10") // which would come back, were anything read again
		})
		eventually(b.t, 30*time.Second, "the group's offsets, "+by.what+", are the target's progress again", func() bool {
			sum := int64(0)
			b.setOffsets("copy", func(_ string, _ int32, at int64) int64 { sum += at; return -1 })
			return sum == stood
		})
		if n := b.number(target, "SELECT COUNT(*) FROM shop.products"); n != rows {
			b.t.Errorf("offsets %s by hand brought rows back: %d of %d", by.what, n, rows)
		}
		if now := b.number(target, "SELECT SUM(_sluice_next) FROM shop._sluice_progress"); now != stood {
			b.t.Errorf("offsets %s: the target's progress was %d, now %d", by.what, stood, now)
		}
	}

	again(func() {
		b.setOffsets("copy", func(topic string, partition int32, at int64) int64 {
			if topic == "shop.shop.customers" && partition == 0 {
				return at + 7
			}
			return -1
		})
	})
	b.golden("offset-ahead", b.says(address, 20*time.Second, "above the target's progress"))
	again(func() {
		said := b.ends("sluice-sink-mysql", "replay", "--config", config, "--topics", "shop.shop.customers", "--to", "target")
		if !strings.Contains(said, "exit 0") {
			b.t.Errorf("the command that the error named does not do:\n%s", said)
		}
	})
	b.becomesReady(address, 20*time.Second)
	if err := sink.Stop(20 * time.Second); err != nil {
		b.t.Fatal(err)
	}
}

// setOffsets sets the group's offsets to what move says of each; below 0: it stays.
func (b *bed) setOffsets(group string, move func(topic string, partition int32, at int64) int64) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	fetched, err := admin.FetchOffsets(b.t.Context(), group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return
	}
	if err != nil {
		b.t.Fatal(err)
	}
	set := kadm.Offsets{}
	fetched.Each(func(o kadm.OffsetResponse) {
		if to := move(o.Topic, o.Partition, o.At); to >= 0 {
			set.Add(kadm.Offset{Topic: o.Topic, Partition: o.Partition, At: to, LeaderEpoch: -1})
		}
	})
	if len(set) == 0 {
		return
	}
	if answers, err := admin.CommitOffsets(b.t.Context(), group, set); err != nil || answers.Error() != nil {
		b.t.Fatal(err, answers.Error())
	}
}

// deleteGroup deletes a group that nobody is in, once the broker has seen the last one leave.
func (b *bed) deleteGroup(group string) {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	eventually(b.t, 20*time.Second, "the group "+group+" can be deleted", func() bool {
		answer, err := kadm.NewClient(client).DeleteGroup(b.t.Context(), group)
		return err == nil && answer.Err == nil
	})
}

func (b *bed) number(db *sql.DB, query string) (n int64) {
	b.t.Helper()
	if err := db.QueryRowContext(b.t.Context(), query).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// sortedPlan leaves out of a plan what differs from run to run: where the partitions end.
func sortedPlan(text string) string {
	var lines []string
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasPrefix(fields[0], "shop.shop.") {
			for i := 2; i < len(fields); i++ {
				if fields[i] != "0" {
					fields[i] = "…"
				}
			}
			line = strings.Join(fields, " ")
		} else if len(fields) > 3 && fields[0] == "topic" {
			line = strings.Join(fields, " ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// checksum is the server's own of a table, its hidden columns among them: a replay gives each row the version that it had.
func (b *bed) checksum(db *sql.DB, table string) string {
	b.t.Helper()
	var name, sum string
	if err := db.QueryRowContext(b.t.Context(), "CHECKSUM TABLE shop."+table).Scan(&name, &sum); err != nil {
		b.t.Fatal(err)
	}
	return sum
}
