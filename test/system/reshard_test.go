package system

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// driversTable has points that move; a row's shard follows from the point, not from the key.
const driversTable = `CREATE TABLE shop.drivers (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(40) NOT NULL, lat DOUBLE NOT NULL, lng DECIMAL(9,6) NOT NULL, trips INT NOT NULL)`

// newDrivers makes drivers with ids from first on, all over a country.
func newDrivers(t *testing.T, db *sql.DB, first, count int) {
	t.Helper()
	exec1(t, db, driversTable, "SET SESSION cte_max_recursion_depth = 100000000", fmt.Sprintf(
		`INSERT INTO shop.drivers SELECT n, CONCAT('driver ', n), 33 + RAND(n) * 5, 126 + RAND(n + 1) * 3, 0
		FROM (WITH RECURSIVE seq(n) AS (SELECT %d UNION ALL SELECT n + 1 FROM seq WHERE n < %d) SELECT n FROM seq) AS s`, first, first+count-1))
}

// drive moves drivers, some hundred a second, each by up to ten kilometres, until ctx ends. Some leave, and some of them come back. Its
// last statement comes to its end: a server goes on with one whose connection is closed.
func drive(ctx context.Context, db *sql.DB, r *rand.Rand, first, count int) error {
	for ctx.Err() == nil {
		id := first + r.IntN(count)
		statement := fmt.Sprintf("UPDATE shop.drivers SET lat = lat + %f, lng = lng + %f, trips = trips + 1 WHERE id BETWEEN %d AND %d",
			(r.Float64()-0.5)/5, (r.Float64()-0.5)/5, id, id+r.IntN(8))
		switch r.IntN(20) {
		case 0:
			statement = fmt.Sprintf("DELETE FROM shop.drivers WHERE id = %d", id)
		case 1:
			statement = fmt.Sprintf("REPLACE INTO shop.drivers VALUES (%d, 'again', 35, 127, 0)", id)
		}
		if _, err := db.Exec(statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
		time.Sleep(15 * time.Millisecond)
	}
	return nil
}

// layout is a group with shards of its own: databases on one server.
type layout struct {
	name   string
	shards int
	topics string
	routes string
	sink   *rig.Process
	config string
}

// open makes the layout's shards, starts its sink, and returns once every row is there and verified while writes go on.
func (b *verifyBed) open(server *testbed.MySQL, db *sql.DB, l *layout, sources string) {
	b.t.Helper()
	var shards strings.Builder
	for i := range l.shards {
		name := fmt.Sprintf("%s_%d", l.name, i)
		exec1(b.t, db, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4")
		fmt.Fprintf(&shards, "    - {name: s%d, address: %q, user: app, password: app, database: %s}\n", i, server.Address(), name)
	}
	l.config = b.file(l.name+".yaml", fmt.Sprintf("group: %s\nkafka: {brokers: [%q], registry: %q}\ntopics: [%s]\nsession_timeout: 6s\nmysql:\n  create_tables: true\n  shards:\n%sroutes:\n%ssources: {%s}\n",
		l.name, b.broker, b.registry, l.topics, shards.String(), l.routes, sources))
	l.sink = b.start(l.name, "sluice-sink-mysql", "", []string{"--config", l.config})
	b.equal(l, "while writes go on")
}

// equal holds the layout's shards against the source: every row, and where it is.
func (b *verifyBed) equal(l *layout, when string) {
	b.t.Helper()
	b.config = l.config
	b.applied()
	report, _ := b.verified(0, "verify")
	rows, target := int64(0), int64(0)
	for i := range report.Tables {
		rows, target = rows+report.Tables[i].SourceRows, target+report.Tables[i].TargetRows
	}
	b.t.Logf("%s, %d shards, %s: %d rows, differences %d", l.name, l.shards, when, rows, report.Differences)
	if rows == 0 || target == 0 {
		b.t.Errorf("%s: nothing was compared", l.name)
	}
}

// TestReshard changes the shard rule again and again while writes go on, each time as a new group beside the old one: two shards become three
// and two again, ranges become a modulus and ranges again, and points on the map are spread by cell. Each layout is verified under writes;
// no row is on a wrong shard.
func TestReshard(t *testing.T) {
	rows, drivers := size(3000, 200_000), size(500, 20_000)
	b := &verifyBed{bed: newBed(t), shop: rig.Shop{Database: "shop", Rows: rows}}
	b.m, b.source = b.mysql(testbed.MySQLOptions{})
	if err := b.shop.Load(t.Context(), b.source); err != nil {
		t.Fatal(err)
	}
	newDrivers(t, b.source, 1, drivers)
	b.bed.source(b.m, "")
	server, db := b.mysql(testbed.MySQLOptions{})
	sources := fmt.Sprintf("shop: {address: %q, user: cdc, password: cdc}", b.m.Address())
	b.writer = &rig.Writer{DB: b.source, Shop: b.shop, Connections: 4, PerSecond: size(300, 1000), Seed: seed(t)}
	writing, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	writers.Go(func() {
		if err := b.writer.Run(writing); err != nil {
			t.Error(err)
		}
	})
	writers.Go(func() {
		if err := drive(writing, b.source, rand.New(rand.NewPCG(seed(t), 1)), 1, drivers); err != nil {
			t.Error(err)
		}
	})
	defer writers.Wait()
	defer stop()

	modulus := "  - {table: shop.customers, by: id, rule: modulus}\n  - {table: shop.orders, by: user_id, rule: modulus}\n" +
		"  - {table: shop.order_items, by: order_id, rule: modulus}\n  - {table: shop.products, by: sku, rule: hash}\n  - {table: shop.drivers, by: trips, rule: modulus}\n"
	half := rows / 8 // of the customers
	ranges := fmt.Sprintf("  - {table: shop.customers, by: id, rule: {range: {s0: \"..%[1]d\", s1: \"%[2]d..\"}}}\n  - {table: shop.orders, by: user_id, rule: {range: {s1: \"..%[1]d\", s0: \"%[2]d..\"}}}\n"+
		"  - {table: \"shop.*\", rule: s1}\n", half, half+1)
	cells := "  - {table: shop.drivers, by: \"s2cell(lat, lng, 8)\", rule: consistent}\n  - {table: \"shop.*\", rule: all}\n"
	layouts := []*layout{{name: "two", shards: 2, routes: modulus}, {name: "three", shards: 3, routes: modulus}}
	if full() {
		layouts = append(layouts, &layout{name: "two_again", shards: 2, routes: modulus}, &layout{name: "ranges", shards: 2, routes: ranges},
			&layout{name: "modulus", shards: 2, routes: modulus})
	}
	layouts = append(layouts, &layout{name: "ranges_again", shards: 2, routes: ranges}, &layout{name: "cells", shards: 3, routes: cells})
	for i, l := range layouts {
		l.topics = `"shop.shop.*"`
		b.open(server, db, l, sources)
		if i > 0 { // the old one goes once the new one is verified
			b.equal(layouts[i-1], "beside "+l.name)
			if err := layouts[i-1].sink.Stop(20 * time.Second); err != nil {
				t.Error(err)
			}
		}
	}
	stop()
	writers.Wait()
	t.Logf("%d changes of the shop meanwhile", b.writer.Changes())
	last := layouts[len(layouts)-1]
	b.equal(last, "at rest")
	b.compareDrivers(db, last)
}

// compareDrivers compares by another way than verify's, and finds each cell in one shard only.
func (b *verifyBed) compareDrivers(db *sql.DB, l *layout) {
	b.t.Helper()
	var places []rig.Place
	for i := range l.shards {
		places = append(places, rig.Place{Name: fmt.Sprintf("s%d", i), DB: db, Database: fmt.Sprintf("%s_%d", l.name, i)})
	}
	c, err := rig.Compare(b.t.Context(), rig.Place{Name: "source", DB: b.source, Database: "shop"}, places, "drivers")
	if err != nil || c.Differences > 0 || c.Source == 0 {
		b.t.Errorf("drivers: %v %+v", err, c)
	}
	for i, n := range c.Targets {
		if n == 0 {
			b.t.Errorf("no driver is in shard %v", i)
		}
	}
}

// TestTwoSourcesThreeShards merges two servers' tables into one that is spread over three shards. Keys are apart; one that is not is refused with
// both sources named, and nothing is written over.
func TestTwoSourcesThreeShards(t *testing.T) {
	drivers := size(400, 20_000)
	b := &verifyBed{bed: newBed(t)}
	b.m, b.source = b.mysql(testbed.MySQLOptions{})
	m2, db2 := b.mysql(testbed.MySQLOptions{})
	const apart = 1_000_000
	for i, d := range []*sql.DB{b.source, db2} {
		exec1(t, d, "CREATE DATABASE shop CHARACTER SET utf8mb4")
		newDrivers(t, d, 1+i*apart, drivers)
	}
	second := b.file("second.yaml", strings.Replace(readFile(t, b.sourceConfig(m2, "")), "name: shop\n", "name: south\n", 1))
	b.bed.source(b.m, "") // whose file it is from here on
	b.begin("south", "", second, nil)
	server, db := b.mysql(testbed.MySQLOptions{})
	writing, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i, d := range []*sql.DB{b.source, db2} {
		writers.Go(func() {
			if err := drive(writing, d, rand.New(rand.NewPCG(seed(t), uint64(i))), 1+i*apart, drivers); err != nil {
				t.Error(err)
			}
		})
	}
	defer writers.Wait()
	defer stop()
	l := &layout{name: "merged", shards: 3, topics: `"*.shop.*"`, routes: "  - {table: shop.drivers, by: \"s2cell(lat, lng, 8)\", rule: hash}\n"}
	b.open(server, db, l, fmt.Sprintf("shop: {address: %q, user: cdc, password: cdc}, south: {address: %q, user: cdc, password: cdc}", b.m.Address(), m2.Address()))
	if err := l.sink.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := l.sink.Start(); err != nil {
		t.Fatal(err)
	}
	b.equal(l, "after a kill")
	stop()
	writers.Wait()
	b.equal(l, "at rest")
	for i := range l.shards {
		var sources int
		if err := db.QueryRow(fmt.Sprintf("SELECT COUNT(DISTINCT _sluice_source) FROM merged_%d.drivers", i)).Scan(&sources); err != nil || sources != 2 {
			t.Errorf("shard %d has rows of %d sources (%v), want 2", i, sources, err)
		}
	}

	var taken int64
	if err := b.source.QueryRow("SELECT MIN(id) FROM shop.drivers").Scan(&taken); err != nil {
		t.Fatal(err)
	}
	exec1(t, b.source, fmt.Sprintf("UPDATE shop.drivers SET lat = 35, lng = 127 WHERE id = %d", taken))
	b.applied() // the row stands in the shard into which the intruder will come
	exec1(t, db2, fmt.Sprintf("INSERT INTO shop.drivers VALUES (%d, 'intruder', 35, 127, 0)", taken))
	b.says(l.sink, 30*time.Second, "was written from source shop")
	for i := range l.shards {
		var intruders int
		if err := db.QueryRow(fmt.Sprintf("SELECT COUNT(*) FROM merged_%d.drivers WHERE id = %d AND name = 'intruder' AND lat = 35", i, taken)).Scan(&intruders); err != nil || intruders > 0 {
			t.Errorf("shard %d: %d rows of the other source, %v", i, intruders, err)
		}
	}
}
