package system

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/proxy"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// fanGroup is one consumer group of many.
type fanGroup struct {
	name    string
	program string
	config  string
	sink    *rig.Process
	// compare returns how many rows the target has and how many of them differ. Nothing is written meanwhile.
	compare func() (rows, differences int64)
	resend  string // the flag of replay that has the target filled anew
}

// fan is a source with its groups.
type fan struct {
	*verifyBed
	groups []*fanGroup
	paid   *payments
	told   *flakyReceiver
}

// TestFanout: one source and one log, and a group for each use: two layouts of MySQL shards, Elasticsearch, Redis, files, PostgreSQL and a webhook,
// added one after the other while rows are written. One of them is stopped for a while and one made slow, which the others must not feel.
// In the end each is equal; then each is emptied and filled anew from the log, with the source's server stopped.
func TestFanout(t *testing.T) {
	if !full() {
		t.Skip("many servers at once: SLUICE_FULL=1, or make fanout")
	}
	needs(t, "mysql-9.7", "kafka", "registry", "elasticsearch", "redis", "postgres")
	f := &fan{verifyBed: &verifyBed{bed: realBed(t), shop: rig.Shop{Database: "shop", Rows: 100_000}}}
	f.m, f.source = f.mysql(testbed.MySQLOptions{})
	if err := f.shop.Load(t.Context(), f.source); err != nil {
		t.Fatal(err)
	}
	f.paid = &payments{t: t, db: f.source, want: make(map[write]bool)}
	const payable = 20_000
	f.paid.load(payable)
	source := f.bed.source(f.m, "")
	f.settled(f.dir+"/source.yaml", 2*time.Minute) // from here on every payment is an event

	stop := f.writeAll(payable)
	slow := f.addSearch()
	for _, add := range []func(){f.addTwoShards, f.addThreeShards, f.addRedis, f.addFiles, f.addPostgres, f.addWebhook} {
		add()
		time.Sleep(10 * time.Second)
	}
	f.undisturbed(slow)
	stop()
	f.report("at rest")

	if err := source.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := f.m.Shutdown(); err != nil {
		t.Fatal(err)
	}
	f.rebuild()
	if err := f.m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := source.Start(); err != nil {
		t.Fatal(err)
	}
	f.report("emptied and filled anew from the log")
}

// writeAll writes to the shop and to the payments until stop is called.
func (f *fan) writeAll(payable int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	f.writer = &rig.Writer{DB: f.source, Shop: f.shop, Connections: 8, PerSecond: 500, Seed: seed(f.t)}
	var writing sync.WaitGroup
	run := func(write func() error) {
		writing.Go(func() {
			if err := write(); err != nil {
				f.t.Error(err)
			}
		})
	}
	run(func() error { return f.writer.Run(ctx) })
	run(func() error { return f.paid.writer(ctx, 0, 1, rand.New(rand.NewPCG(f.writer.Seed, 5))) })
	run(func() error { return f.paid.payAll(payable) })
	return func() {
		cancel()
		writing.Wait()
		f.t.Logf("%d changes of the shop, %d special payments", f.writer.Changes(), len(f.paid.want))
	}
}

// add starts a group of which the page is all but what verify needs.
func (f *fan) add(name, program, page string, compare func() (int64, int64)) *fanGroup {
	f.t.Helper()
	g := &fanGroup{name: name, program: "sluice-sink-" + program, compare: compare, resend: "--empty"}
	if g.compare == nil {
		g.compare = func() (int64, int64) { return f.byVerify(g) }
	}
	g.config = f.file(name+".yaml", fmt.Sprintf("group: %s\nkafka: {brokers: [%q], registry: %q}\ntopics: [\"shop.shop.*\"]\nsession_timeout: 6s\nsources: {shop: {address: %q, user: cdc, password: cdc}}\n%s",
		name, f.broker, f.registry, f.m.Address(), page))
	g.sink = f.start(name, g.program, "", []string{"--config", g.config})
	f.groups = append(f.groups, g)
	return g
}

// byVerify waits until the target has all of the log, and compares every row by the product's own command.
func (f *fan) byVerify(g *fanGroup) (rows, differences int64) {
	f.config = g.config
	f.applied()
	report, _ := f.verified(0, "verify")
	for i := range report.Tables {
		rows += report.Tables[i].TargetRows
	}
	return rows, report.Differences
}

func (f *fan) shards(n int) (list string) {
	for i := range n {
		m, db := f.mysql(testbed.MySQLOptions{})
		if err := f.shop.Empty(f.t.Context(), db); err != nil {
			f.t.Fatal(err)
		}
		list += fmt.Sprintf("    - {name: s%d, address: %q, user: app, password: app, database: shop}\n", i, m.Address())
	}
	return list
}

const fanUnique = "mysql:\n  create_tables: true\n  unique: {shop.customers: [email], shop.orders: [code], shop.products: [shelf]}\n  shards:\n"

func (f *fan) addTwoShards() {
	f.add("two-shards", "mysql", fanUnique+f.shards(2)+`routes:
  - {table: shop.customers,   by: id,       rule: modulus}
  - {table: shop.orders,      by: user_id,  rule: modulus}
  - {table: shop.order_items, by: order_id, rule: modulus}
  - {table: shop.products,    by: sku,      rule: hash}
  - {table: shop.payments,    by: id,       rule: consistent}
`, nil)
}

func (f *fan) addThreeShards() {
	f.add("three-shards", "mysql", fanUnique+f.shards(3)+fmt.Sprintf(`routes:
  - {table: shop.customers, by: id, rule: {range: {s2: "..%[1]d", s0: "%[2]d.."}}}
  - {table: shop.orders, by: status, rule: consistent}
  - {table: shop.order_items, by: order_id, rule: consistent}
  - {table: "shop.*", rule: s1}
`, f.shop.Rows/8, f.shop.Rows/8+1), nil)
}

// addSearch puts a proxy before the index, which can be slow.
func (f *fan) addSearch() *proxy.Proxy {
	s, err := testbed.StartSearch(f.t.Context(), testbed.SearchOptions{Kind: testbed.Elasticsearch})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Stop() })
	between, err := proxy.Start(f.t.Context(), strings.TrimPrefix(s.URL(), "http://"), 0)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(between.Close)
	f.add("search", "elasticsearch", fmt.Sprintf("elasticsearch: {url: \"http://%s\", create_indexes: true}\n", between.Address()), nil)
	return between
}

func (f *fan) addRedis() {
	s, err := testbed.StartRedis(f.t.Context(), testbed.RedisOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { s.Stop() })
	f.add("cache", "redis", fmt.Sprintf(`redis:
  addresses: [%q]
  tables:
    - {match: shop.orders, indexes: [{name: by_status, kind: set, by: status}, {name: recent, kind: sorted, score: updated_at, by: user_id}]}
    - {match: shop.products, as: json}
`, s.Address()), nil)
}

func (f *fan) addFiles() {
	f.add("files", "files", fmt.Sprintf("files: {path: %q, roll_time: 20s}\n", f.t.TempDir()), nil)
}

func (f *fan) addPostgres() {
	s, _ := f.postgres()
	if err := s.Exec(f.t.Context(), postgresShop...); err != nil {
		f.t.Fatal(err)
	}
	f.add("postgres", "postgres", fmt.Sprintf(`postgres:
  address: %q
  database: app
  user: app
  create_tables: true
  unique: {shop.customers: [customers_email_key], shop.orders: [orders_code_key], shop.products: [products_shelf_key]}
`, s.Address()), nil)
}

// addWebhook tells of each payment a receiver that fails now and then. What differs is what was not told, or told wrongly.
func (f *fan) addWebhook() {
	f.told = newFlakyReceiver(f.t)
	g := f.add("paid", "webhook", fmt.Sprintf(`webhook:
  hooks:
    - {name: paid, tables: ["shop.payments"], condition: "before.status != 'PAID' && after.status == 'PAID'",
       url: "%s/paid", secret: %q, timeout: 500ms, concurrency: 16, retry_first: 5ms, retry_max: 200ms, circuit_pause: 20ms, circuit_max: 100ms}
`, f.told.server.URL, webhookSecret), func() (int64, int64) {
		f.read("paid")
		f.told.check(f.paid)
		return int64(len(f.paid.want)), int64(f.told.missing(f.paid))
	})
	g.resend = "--resend"
}

// read waits until a group has read the whole log.
func (f *fan) read(group string) {
	f.t.Helper()
	eventually(f.t, 20*time.Minute, group+" has read the log", func() bool { return f.unread(group) == 0 })
}

// undisturbed stops one group and makes another slow: the others still apply what is written, at once.
func (f *fan) undisturbed(slow *proxy.Proxy) {
	for _, g := range f.groups { // what is written meanwhile does not count: while anybody writes a group is never at the log's end
		f.config = g.config
		f.applied()
	}
	stopped := f.groups[len(f.groups)-2]
	if err := stopped.sink.Stop(20 * time.Second); err != nil {
		f.t.Fatal(err)
	}
	slow.Delay(2 * time.Second)
	time.Sleep(20 * time.Second)
	for _, g := range f.groups {
		if g == stopped || g.name == "search" {
			continue
		}
		began := time.Now()
		if code, out, errs := f.run("wait", "--config", g.config, "--now", "--timeout", "1m"); code != 0 {
			f.t.Errorf("%s is disturbed by others: wait: exit %d\n%s%s", g.name, code, out, errs)
		}
		f.t.Logf("%s is stopped, search is slow: %s has all after %.1f s", stopped.name, g.name, time.Since(began).Seconds())
	}
	f.t.Logf("unread: %s %d, search %d records", stopped.name, f.unread(stopped.name), f.unread("search"))
	slow.Restore()
	if err := stopped.sink.Start(); err != nil {
		f.t.Fatal(err)
	}
}

// report compares each group's target and prints a line a group.
func (f *fan) report(when string) {
	f.t.Helper()
	for _, g := range f.groups {
		rows, differences := g.compare()
		fmt.Printf("fanout: %-12s  rows %7d  differences %d  (%s)\n", g.name, rows, differences, when)
		if rows == 0 || differences != 0 {
			f.t.Errorf("%s, %s: %d rows, %d differences", g.name, when, rows, differences)
		}
	}
}

// rebuild empties each target and has it filled from the log alone; the webhook tells all again.
func (f *fan) rebuild() {
	f.t.Helper()
	for _, g := range f.groups {
		if err := g.sink.Stop(20 * time.Second); err != nil {
			f.t.Fatal(err)
		}
		if code, out, errs := f.run("replay", "--config", g.config, "--to", "beginning", g.resend); code != 0 {
			f.t.Fatalf("%s: replay: exit %d\n%s%s", g.name, code, out, errs)
		}
		if err := g.sink.Start(); err != nil {
			f.t.Fatal(err)
		}
		f.read(g.name)
	}
}
