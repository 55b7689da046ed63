package system

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// full reports whether the tests run at full size (make system).
func full() bool { return os.Getenv("SLUICE_FULL") != "" && os.Getenv("SLUICE_FULL") != "0" }

// size returns the small or the full size.
func size[T any](small, large T) T {
	if full() {
		return large
	}
	return small
}

// seed returns the seed of this run, $SLUICE_SEED or a fixed one, and says which.
func seed(t testing.TB) uint64 {
	t.Helper()
	s := uint64(20261122)
	if text := os.Getenv("SLUICE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SLUICE_SEED=%q: %v", text, err)
		}
		s = n
	}
	t.Logf("SLUICE_SEED=%d", s)
	return s
}

// realBed is a bed with real Kafka and a real registry.
func realBed(t testing.TB) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir()}
	kafka, err := testbed.StartKafka(t.Context(), testbed.KafkaOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kafka.Stop() })
	registry, err := testbed.StartRegistry(t.Context(), testbed.RegistryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Stop() })
	b.broker, b.registry = kafka.Address(), registry.URL()
	return b
}

// needs skips the test where a server cannot be had, and says why: the run's last lines name it too.
func needs(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := testbed.Available(t.Context(), name); err != nil {
			t.Skipf("%s: %v", name, err)
		}
	}
}

// searchConfig writes search.yaml for an index server.
func (b *bed) searchConfig(group, url string) string {
	return b.file(group+".yaml", fmt.Sprintf(`group: %s
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
elasticsearch: {url: %q, create_indexes: true}
`, group, b.broker, b.registry, url))
}

// TestWalk goes the whole way on real servers: MySQL 9.7, real Kafka and a real registry, two shards, Elasticsearch and
// OpenSearch; source and sinks are killed on the way, and every row is compared by content. At full size it goes that way
// from each kind of server, into one index.
func TestWalk(t *testing.T) {
	if !full() { // TestOlderServers takes the other sources to the shards
		t.Run("9.7", func(t *testing.T) { walk(t, testbed.MySQL97, testbed.Elasticsearch, testbed.OpenSearch) })
		return
	}
	for _, version := range []testbed.MySQLVersion{testbed.MySQL97, testbed.MySQL80, testbed.MariaDB1011} {
		t.Run(string(version), func(t *testing.T) { walk(t, version, testbed.Elasticsearch) })
	}
}

func walk(t *testing.T, version testbed.MySQLVersion, kinds ...testbed.SearchKind) {
	needs(t, "mysql-9.7", "kafka", "registry")
	b := realBed(t)
	m, db := b.mysql(testbed.MySQLOptions{Version: version})
	m0, db0 := b.mysql(testbed.MySQLOptions{})
	m1, db1 := b.mysql(testbed.MySQLOptions{})
	shop := rig.Shop{Database: "shop", Rows: size(50_000, 1_000_000)}
	if err := shop.Load(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	b.emptyShop(version, db0, db1)
	indexes := map[string]string{}
	procs := []*rig.Process{b.source(m, ""), b.start("shards", "sluice-sink-mysql", "", []string{"--config", b.shardsConfig("shards", m0, m1)})}
	for _, kind := range kinds {
		needs(t, string(kind))
		s, err := testbed.StartSearch(t.Context(), testbed.SearchOptions{Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Stop() })
		indexes[string(kind)] = s.URL()
		procs = append(procs, b.start(string(kind), "sluice-sink-elasticsearch", "", []string{"--config", b.searchConfig(string(kind), s.URL())}))
	}
	w := &rig.Writer{DB: db, Shop: shop, Connections: size(16, 50), PerSecond: size(1000, 0), Seed: seed(t)}
	b.underFire(w, size(15*time.Second, 5*time.Minute), size(1, 10), procs...)
	t.Logf("%s: %d rows, %d changes, %d kills of each of %d processes", m.Version, shop.Rows, w.Changes(), size(1, 10), len(procs))
	targets := []rig.Place{{Name: "s0", DB: db0, Database: "shop"}, {Name: "s1", DB: db1, Database: "shop"}}
	b.shopEqual(db, targets, indexes, size(3*time.Minute, 20*time.Minute))

	// An index's sink whose group is deleted reads the whole log again: every write in it is older than the document, or the same.
	search := string(kinds[0])
	if err := procs[2].Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	b.deleteGroup(search)
	if err := procs[2].Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, size(time.Minute, 20*time.Minute), "the log was read again", func() bool { return b.unread(search) == 0 })
	b.shopEqual(db, nil, map[string]string{search: indexes[search]}, size(time.Minute, 20*time.Minute))
}

// emptyShop makes the shop's tables, without rows and with all their UNIQUE keys, at targets of a source of that version. MariaDB's
// JSON is text, which MySQL's would write in another order, and its keys must be equal as they are there.
func (b *bed) emptyShop(version testbed.MySQLVersion, targets ...*sql.DB) {
	b.t.Helper()
	for _, d := range targets {
		if err := (rig.Shop{Database: "shop"}).Empty(b.t.Context(), d); err != nil {
			b.t.Fatal(err)
		}
		if version.IsMariaDB() {
			const collated = " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"
			exec1(b.t, d, "ALTER TABLE shop.orders MODIFY detail LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, MODIFY code VARCHAR(24)"+collated,
				"ALTER TABLE shop.products MODIFY sku VARCHAR(20)"+collated, "ALTER TABLE shop.customers MODIFY email VARCHAR(80)"+collated)
		}
	}
}

// unread is the group's lag, -1 where a partition of the tables has no offset yet.
func (b *bed) unread(group string) int64 {
	b.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	lags, err := kafka.Lags(b.t.Context(), kadm.NewClient(client), []string{group})
	sum := int64(0)
	for _, l := range lags {
		if l.Committed < 0 {
			return -1
		}
		sum += l.Records
	}
	if err != nil || len(lags) == 0 {
		return -1
	}
	return sum
}

// underFire runs the writer and kills each process so many times meanwhile, spread over the time. Kills of sinks want some seconds between them:
// the local broker (kfake) keeps a member for ever that dies while it waits to join its group, and what that one had, nobody gets.
func (b *bed) underFire(w *rig.Writer, length time.Duration, kills int, procs ...*rig.Process) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), length)
	defer cancel()
	written := make(chan error, 1)
	go func() { written <- w.Run(ctx) }()
	pause := length / time.Duration(kills*len(procs)+1)
	for range kills {
		for _, p := range procs {
			time.Sleep(pause)
			if err := p.Kill(); err != nil {
				b.t.Error(err)
			}
			if err := p.Start(); err != nil {
				b.t.Error(err)
			}
		}
	}
	if err := <-written; err != nil {
		b.t.Fatal(err)
	}
}

// shopEqual compares every table of the shop with all shards together and with each index, again and again until nothing differs
// or the time is over.
func (b *bed) shopEqual(source *sql.DB, shards []rig.Place, indexes map[string]string, within time.Duration) {
	b.t.Helper()
	deadline := time.Now().Add(within)
	from := rig.Place{Name: "source", DB: source, Database: "shop"}
	until := func(what string, compare func() (*rig.Comparison, error)) {
		b.t.Helper()
		for {
			c, err := compare()
			if err == nil && c.Differences == 0 {
				b.t.Logf("%s: source %d, target %v, differences 0", what, c.Source, c.Targets)
				return
			}
			if time.Now().After(deadline) {
				b.t.Errorf("%s: %v %+v", what, err, c)
				return
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	for _, table := range rig.ShopTables {
		if len(shards) > 0 {
			until("shards "+table, func() (*rig.Comparison, error) { return rig.Compare(b.t.Context(), from, shards, table) })
		}
		for kind, url := range indexes {
			until(kind+" "+table, func() (*rig.Comparison, error) {
				return rig.CompareSearch(b.t.Context(), from, url, "shop.shop."+table, table)
			})
		}
	}
}
