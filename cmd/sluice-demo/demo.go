package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localbroker"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// The size of the demo: it ends within three minutes on two cores.
const (
	shopRows      = 200_000
	writerRate    = 2_000 // changes a second
	writerLanes   = 16
	writerTime    = 45 * time.Second
	catchUp       = 75 * time.Second
	killSourceAt  = 12 * time.Second // after the start of the writer
	killSinkAt    = 20 * time.Second
	addSearchAt   = 26 * time.Second
	databaseName  = "shop"
	partitionsAll = 6
)

// demo is one run.
type demo struct {
	out  io.Writer
	dir  string // configs and logs
	keep bool

	source, shard0, shard1 *testbed.MySQL
	sourceDB               *sql.DB
	shardDBs               [2]*sql.DB
	broker                 *localbroker.Broker
	registry               *localregistry.Registry
	search                 *testbed.Search
	noSearch               string // why there is no search index

	sourceProc, sinkProc, searchProc *rig.Process
	sourceHTTP, sinkHTTP             string
	writer                           *rig.Writer

	kills       int
	rows        int
	differences int

	closers []func()
}

func newDemo(out io.Writer) *demo {
	return &demo{out: out, keep: os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0"}
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

func (d *demo) closer(f func()) { d.closers = append(d.closers, f) }

// end stops everything, in the order opposite to its start.
func (d *demo) end() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		d.closers[i]()
	}
}

func (d *demo) verdict() string {
	changes := int64(0)
	if d.writer != nil {
		changes = d.writer.Changes()
	}
	return fmt.Sprintf("differences: %d  rows: %d  changes: %d  kills: %d", d.differences, d.rows, changes, d.kills)
}

// run plays the whole demo.
func (d *demo) run(ctx context.Context) error {
	cache, err := testbed.CacheDir()
	if err != nil {
		return err
	}
	d.say("sluice demo: one MySQL, two shards, a broker in this process; nothing is installed, all of it under %s", cache)
	if err := testbed.Available(ctx, "mysql-9.7"); err != nil {
		return &change.Problem{Kind: change.Configuration, What: "no MySQL server can be had", Err: err,
			Mend: "put mysqld (8.0 or newer) on PATH, or run on a machine with apt, or use: docker compose -f deploy/docker-compose.yml up"}
	}
	for _, step := range []func(context.Context) error{d.startServers, d.loadShop, d.startPipeline, d.underFire, d.compare} {
		if err := step(ctx); err != nil {
			return d.explain(err)
		}
	}
	d.next(ctx)
	return nil
}

// explain adds the ends of the logs to an error: the processes that it is about end with the demo.
func (d *demo) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("stopped before the end")
	}
	for _, p := range []*rig.Process{d.sourceProc, d.sinkProc, d.searchProc} {
		if p != nil {
			d.say("--- %s\n%s", p.LogFile(), p.LogTail(8))
		}
	}
	return err
}

// startServers starts three MySQL servers at once, the broker and the registry.
func (d *demo) startServers(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "sluice-demo-"); err != nil {
		return err
	}
	if !d.keep {
		d.closer(func() { os.RemoveAll(d.dir) })
	}
	began := time.Now()
	servers := []**testbed.MySQL{&d.source, &d.shard0, &d.shard1}
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			*s, errs[i] = testbed.StartMySQL(ctx, testbed.MySQLOptions{Flags: []string{"innodb_buffer_pool_size=128M"}})
		}()
	}
	wg.Wait()
	for _, s := range servers {
		if *s != nil {
			d.closer(func() { (*s).Stop() })
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.say("  ✓ %-23s ready in %.1f s      source :%d   shard0 :%d   shard1 :%d", "mysql "+d.source.Version+" ×3",
		time.Since(began).Seconds(), d.source.Port, d.shard0.Port, d.shard1.Port)
	if d.broker, err = localbroker.Start(ctx, localbroker.Options{}); err != nil {
		return err
	}
	d.closer(func() { d.broker.Close() })
	if d.registry, err = localregistry.Start(ctx, localregistry.Options{}); err != nil {
		return err
	}
	d.closer(func() { d.registry.Close() })
	d.say("  ✓ %-23s local, in process   %s   %s", "broker + registry", d.broker.Address(), d.registry.URL())
	return d.openDatabases()
}

func (d *demo) openDatabases() (err error) {
	if d.sourceDB, err = d.source.Open("app", ""); err != nil {
		return err
	}
	for i, s := range []*testbed.MySQL{d.shard0, d.shard1} {
		if d.shardDBs[i], err = s.Open("app", ""); err != nil {
			return err
		}
	}
	return nil
}

// loadShop fills the source and gives the shards empty tables with the same UNIQUE keys.
func (d *demo) loadShop(ctx context.Context) error {
	began := time.Now()
	shop := rig.Shop{Database: databaseName, Rows: shopRows}
	if err := shop.Load(ctx, d.sourceDB); err != nil {
		return err
	}
	for _, db := range d.shardDBs {
		if err := shop.Empty(ctx, db); err != nil {
			return err
		}
	}
	d.say("  ✓ %-23s %s rows in %d tables, 3 with secondary UNIQUE keys (%.1f s)", "shop loaded", grouped(shopRows), len(rig.ShopTables), time.Since(began).Seconds())
	d.writer = &rig.Writer{DB: d.sourceDB, Shop: shop, Connections: writerLanes, PerSecond: writerRate, Seed: uint64(time.Now().UnixNano())}
	return nil
}

// startPipeline writes the configs and starts source and sink.
func (d *demo) startPipeline(context.Context) error {
	sourceAddress, sinkAddress := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort()), fmt.Sprintf("127.0.0.1:%d", testbed.FreePort())
	d.sourceHTTP, d.sinkHTTP = "http://"+sourceAddress, "http://"+sinkAddress
	sourceFile, err := d.config("source.yaml", sourceConfig, d.source.Address(), d.broker.Address(), d.registry.URL(), partitionsAll, sourceAddress)
	if err != nil {
		return err
	}
	sinkFile, err := d.config("shards.yaml", shardsConfig, d.broker.Address(), d.registry.URL(), sinkAddress, d.shard0.Address(), d.shard1.Address())
	if err != nil {
		return err
	}
	if d.sourceProc, err = d.start("sluice-source", sourceFile); err != nil {
		return err
	}
	d.sinkProc, err = d.start("sluice-sink-mysql", sinkFile)
	return err
}

func (d *demo) config(name, format string, args ...any) (string, error) {
	file := filepath.Join(d.dir, name)
	return file, os.WriteFile(file, []byte(fmt.Sprintf(format, args...)), 0o644)
}

// start starts one of the programs that stand beside this one.
func (d *demo) start(program, config string) (*rig.Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(self), program)
	if _, err := os.Stat(path); err != nil {
		return nil, &change.Problem{Kind: change.Configuration, What: program + " is not beside sluice-demo", Err: err, Mend: "make build"}
	}
	p := rig.New(program, filepath.Join(d.dir, program+".log"), path, []string{"--config", config})
	if err := p.Start(); err != nil {
		return nil, err
	}
	d.closer(func() { p.Stop(20 * time.Second) })
	return p, nil
}

// next says what to try, and with KEEP=1 waits.
func (d *demo) next(ctx context.Context) {
	bin := "bin"
	if self, err := os.Executable(); err == nil {
		bin = filepath.Dir(self)
	}
	if !d.keep {
		d.say("\nto play with it: KEEP=1 make demo leaves everything running and says what to try")
		return
	}
	d.say("\nconfigs and logs: %s; try", d.dir)
	d.say("  %s/sluice status      --config %s", bin, filepath.Join(d.dir, "source.yaml"))
	d.say("  %s/sluice tail        --config %s shop.orders --key 42", bin, filepath.Join(d.dir, "source.yaml"))
	d.say("  %s/sluice crawl start --config %s shop.orders", bin, filepath.Join(d.dir, "source.yaml"))
	d.say("mysql: user app, password app; ^C ends everything\n%s", d.verdict())
	<-ctx.Done()
}

// grouped writes 200000 as 200,000.
func grouped(n int) string {
	text := fmt.Sprint(n)
	var b strings.Builder
	for i, c := range text {
		if i > 0 && (len(text)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
