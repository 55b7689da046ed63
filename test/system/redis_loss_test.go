package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// redisOnly starts a source of the server's shop and a Redis, and returns the bed with a page of the sink that has these lines of redis.
func redisOnly(b *bed, m *testbed.MySQL, nodes int, lines string) *redisBed {
	b.t.Helper()
	r := &redisBed{bed: b}
	var addresses []string
	if nodes > 1 {
		cluster, err := testbed.StartRedisCluster(b.t.Context(), nodes, testbed.RedisOptions{})
		if err != nil {
			b.t.Fatal(err)
		}
		for _, s := range cluster {
			b.t.Cleanup(func() { s.Stop() })
			addresses = append(addresses, fmt.Sprintf("%q", s.Address()))
		}
		lines += ", cluster: true"
	} else {
		s, err := testbed.StartRedis(b.t.Context(), testbed.RedisOptions{})
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { s.Stop() })
		r.server, addresses = s, []string{fmt.Sprintf("%q", s.Address())}
	}
	r.config = b.file("redis.yaml", fmt.Sprintf(`group: cache
kafka: {brokers: [%q], registry: %q}
topics: ["shop.shop.*"]
session_timeout: 6s
retry_stopped: 5s
redis: {addresses: [%s]%s}
sources: {shop: {address: %q, user: cdc, password: cdc}}
`, b.broker, b.registry, strings.Join(addresses, ", "), lines, m.Address()))
	return r
}

// TestRedisLoss: a server that is killed comes back as of its last snapshot, and its topic stops with the command that goes on; an emptied one is filled anew.
func TestRedisLoss(t *testing.T) {
	needs(t, "mysql-9.7", "redis")
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	exec1(t, db, "CREATE DATABASE shop", "CREATE TABLE shop.rows (id INT PRIMARY KEY, n INT NOT NULL)")
	write := func(from int) {
		for id := from; id < from+300; id += 10 {
			exec1(t, db, fmt.Sprintf("REPLACE INTO shop.rows VALUES (%d, %d), (%d, %[2]d), (1, %[2]d)", id, from, id+1))
		}
	}
	b.source(m, "")
	r := redisOnly(b, m, 1, "")
	write(0)
	sink := b.start("redis", "sluice-sink-redis", "", []string{"--config", r.config})
	applied := func() {
		t.Helper()
		r.sluice(0, "wait", "--now", "--timeout", "2m")
		eventually(t, time.Minute, "the group's offsets are committed", func() bool { return b.unread("cache") == 0 })
	}
	applied()
	if _, err := r.server.Do(t.Context(), "SAVE"); err != nil {
		t.Fatal(err)
	}
	write(1000)
	applied()
	if err := r.server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(2000)
	goOn := func(said string, args ...string) {
		t.Helper()
		eventually(t, time.Minute, "the loss is told: "+said, func() bool { return strings.Contains(sink.Log(), said) })
		if err := sink.Stop(20 * time.Second); err != nil {
			t.Fatal(err)
		}
		r.sluice(0, append([]string{"replay"}, args...)...)
		if err := sink.Start(); err != nil {
			t.Fatal(err)
		}
		applied()
		r.sluice(0, "verify")
	}
	goOn("is above the target's progress", "--to", "target")
	if _, err := r.server.Do(t.Context(), "FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	write(3000)
	goOn("the target knows nothing of the partition", "--to", "beginning", "--empty")
}

// TestRedisEveryType holds each column type at its edges against rows as hashes and, in a cluster over several slots, as JSON.
func TestRedisEveryType(t *testing.T) {
	needs(t, "mysql-9.7", "redis")
	b := newBed(t)
	m, _, fill, pairs := typedBed(b)
	config := b.sourceConfig(m, "")
	b.source(m, "")
	b.settled(config, 3*time.Minute)
	fill("_made")
	for _, how := range []struct {
		nodes int
		lines string
	}{{1, ""}, {3, `, tables: [{match: "*.*", as: json, slots: 3}]`}} {
		r := redisOnly(b, m, how.nodes, how.lines)
		sink := b.start(fmt.Sprint("redis", how.nodes), "sluice-sink-redis", "", []string{"--config", r.config})
		r.sluice(0, "wait", "--now", "--timeout", "2m")
		out := r.sluice(0, "verify")
		t.Logf("%d nodes, %d tables:\n%s", how.nodes, 2*len(pairs), out)
		r.sluice(0, "doctor")
		if err := sink.Stop(20 * time.Second); err != nil {
			t.Fatal(err)
		}
		b.deleteGroup("cache") // its offsets are those of the other server's rows
	}
}
