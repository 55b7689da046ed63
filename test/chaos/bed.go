package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
	"github.com/sluice-cdc/sluice/testbed/proxy"
)

// The places where faults strike; shards are shard0, shard1, ...
const (
	atSource   = "source" // whichever server is the primary
	atReplica  = "replica"
	atBroker   = "broker"
	atRegistry = "registry"
)

func atShard(i int) string { return fmt.Sprintf("shard%d", i) }

// brokerDisk is how large the broker's disk must be, which is in memory: so much a change, with what crawls add, and what Kafka
// makes for a topic beforehand.
func (s Settings) brokerDisk() int64 {
	return 1<<30 + int64(float64(s.Rate)*s.Duration.Seconds())*500
}

// bed is everything that a run is played on: servers, their hosts, and a proxy before each server, through which our own
// programs reach it.
type bed struct {
	settings Settings
	out      *output
	dir      string // configs and logs of our programs
	net      *testbed.Net
	lacks    map[string]string // what the machine does not let us have, and why: "hosts", "disk", "clock"

	hosts    map[string]*testbed.Host // of the servers that faults pull the cable of
	shards   []*testbed.MySQL
	kafka    *testbed.Kafka
	disk     *testbed.Disk
	registry *testbed.Registry
	local    *localregistry.Registry
	proxies  map[string]*proxy.Proxy // by place

	mu      sync.Mutex // guards the following
	primary *testbed.MySQL
	replica *testbed.MySQL
	hostOf  map[*testbed.MySQL]string // the host's name, which stays when a server changes its part
	closers []func() error
}

// newBed starts all servers.
func newBed(ctx context.Context, s Settings, dir string, out *output) (*bed, error) {
	b := &bed{settings: s, out: out, dir: dir, lacks: map[string]string{}, hosts: map[string]*testbed.Host{},
		proxies: map[string]*proxy.Proxy{}, hostOf: map[*testbed.MySQL]string{}}
	if s.Source != testbed.MySQL97 {
		b.lacks["failover"] = "its statements are those of 9.7"
	}
	err := b.makeHosts(ctx)
	if err == nil {
		err = both(ctx, b.startDatabases, func(ctx context.Context) error {
			if err := b.startBroker(ctx); err != nil {
				return err
			}
			return b.startRegistry(ctx)
		})
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// both runs the two side by side.
func both(ctx context.Context, one, other func(context.Context) error) error {
	result := make(chan error, 1)
	go func() { result <- one(ctx) }()
	return errors.Join(other(ctx), <-result)
}

// discard ends a server of which nothing is wanted any more.
func discard(s interface {
	Kill() error
	Stop() error
}) error {
	return errors.Join(s.Kill(), s.Stop())
}

func (b *bed) closer(f func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closers = append(b.closers, f)
}

// close ends everything, the last first.
func (b *bed) close() error {
	b.mu.Lock()
	closers := b.closers
	b.closers = nil
	b.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

// log notes what the servers say of their start.
func (b *bed) log(format string, args ...any) { b.out.note(format, args...) }

// makeHosts gives each server a host, where the machine lets us.
func (b *bed) makeHosts(ctx context.Context) error {
	n, err := testbed.NewNet(ctx, nil)
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		b.lacks["hosts"] = err.Error()
		return nil
	}
	b.net = n
	b.closer(n.Close)
	names := []string{"db1", "db2", atBroker}
	for i := range b.settings.Shards {
		names = append(names, atShard(i))
	}
	for _, name := range names {
		if b.hosts[name], err = n.Host(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// startDatabases starts the pair and the shards side by side.
func (b *bed) startDatabases(ctx context.Context) error {
	started := make([]*testbed.MySQL, 2+len(b.settings.Shards))
	errs := make([]error, len(started))
	var wg sync.WaitGroup
	for i := range started {
		host, version, flags := fmt.Sprintf("db%d", i+1), b.settings.Source, b.sourceFlags()
		if i >= 2 {
			host, version = atShard(i-2), b.settings.Shards[i-2]
			flags = shardFlags(version)
		}
		o := testbed.MySQLOptions{Version: version, Durable: true, Flags: flags, Host: b.hosts[host],
			MovableClock: i < 2}
		wg.Go(func() { started[i], errs[i] = b.startDatabase(ctx, o) })
	}
	wg.Wait()
	for i, m := range started {
		if m != nil {
			b.closer(func() error { return discard(m) })
			b.out.note("%s is %s, on %s", []string{"primary", "replica", "shard0", "shard1"}[min(i, 3)], m.Version, m.Address())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	b.primary, b.replica, b.shards = started[0], started[1], started[2:]
	b.hostOf[b.primary], b.hostOf[b.replica] = "db1", "db2"
	if err := follow(ctx, b.primary, b.replica); err != nil {
		return err
	}
	for i, m := range b.shards {
		if err := b.proxy(ctx, atShard(i), m.Address()); err != nil {
			return err
		}
	}
	return b.proxy(ctx, atSource, b.primary.Address())
}

// startDatabase starts one, with a clock that can be moved where that can be had.
func (b *bed) startDatabase(ctx context.Context, o testbed.MySQLOptions) (*testbed.MySQL, error) {
	m, err := testbed.StartMySQL(ctx, o)
	if !o.MovableClock || !errors.Is(err, errors.ErrUnsupported) {
		return m, err
	}
	b.mu.Lock()
	b.lacks["clock"] = err.Error()
	b.mu.Unlock()
	o.MovableClock = false
	return testbed.StartMySQL(ctx, o)
}

// sourceFlags are for servers that hold a thousand sessions and are killed.
func (b *bed) sourceFlags() []string {
	flags := append(redo(b.settings.Source), fmt.Sprintf("max_connections=%d", 2*b.settings.Sessions+200), "innodb_buffer_pool_size=384M",
		"innodb_lock_wait_timeout=3", "wait_timeout=120", "net_write_timeout=20", "net_read_timeout=20", "table_open_cache=4000",
		"max_connect_errors=100000000", "innodb_flush_neighbors=0")
	if !b.settings.Source.IsMariaDB() {
		// A clock that is a year ahead would have everything purged at the next start.
		flags = append(flags, "binlog_expire_logs_seconds=0")
	}
	if b.settings.Source == testbed.MySQL97 {
		// Commits reach the binlog in groups; the replica applies them by several threads, in the primary's order.
		flags = append(flags, "replica_parallel_workers=8", "replica_preserve_commit_order=ON", "replica_net_timeout=6")
	}
	return flags
}

func shardFlags(v testbed.MySQLVersion) []string {
	return append(redo(v), "skip-log-bin", "innodb_buffer_pool_size=128M", "innodb_lock_wait_timeout=5", "net_write_timeout=20",
		"net_read_timeout=20", "max_connect_errors=100000000", "innodb_flush_neighbors=0")
}

// redo is large enough that writers do not wait for checkpoints.
func redo(v testbed.MySQLVersion) []string {
	if v == testbed.MySQL97 {
		return []string{"innodb_redo_log_capacity=256M"}
	}
	return []string{"innodb_log_file_size=128M"}
}

// startBroker starts Kafka on a disk of its own, which can be filled.
func (b *bed) startBroker(ctx context.Context) error {
	disk, err := testbed.NewDisk(ctx, b.settings.brokerDisk(), nil)
	dir := ""
	switch {
	case err == nil:
		b.disk, dir = disk, disk.Dir
		b.closer(disk.Close)
	case errors.Is(err, errors.ErrUnsupported):
		b.mu.Lock()
		b.lacks["disk"] = err.Error()
		b.mu.Unlock()
	default:
		return err
	}
	port := testbed.FreePort() // clients are told the proxy's address before there is a proxy
	testbed.ReleasePort(port)
	b.kafka, err = testbed.StartKafka(ctx, testbed.KafkaOptions{HeapMB: 768, Host: b.hosts[atBroker], Dir: dir, Log: b.log,
		Advertised: fmt.Sprintf("127.0.0.1:%d", port),
		Properties: map[string]string{"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}})
	if err != nil {
		return err
	}
	b.closer(func() error { return discard(b.kafka) })
	p, err := proxy.Start(ctx, b.kafka.Address(), port)
	if err != nil {
		return err
	}
	b.addProxy(atBroker, p)
	return nil
}

func (b *bed) startRegistry(ctx context.Context) (err error) {
	if b.settings.Registry == "local" {
		if b.local, err = localregistry.Start(ctx, localregistry.Options{}); err != nil {
			return err
		}
		b.closer(func() error { b.local.Close(); return nil })
		b.mu.Lock()
		b.lacks["registry"] = "it is a stand-in within the test"
		b.mu.Unlock()
		return b.proxy(ctx, atRegistry, hostOf(b.local.URL()))
	}
	b.registry, err = testbed.StartRegistry(ctx, testbed.RegistryOptions{Kafka: b.proxies[atBroker].Address(), Log: b.log})
	if err != nil {
		return err
	}
	b.closer(func() error { return discard(b.registry) })
	return b.proxy(ctx, atRegistry, b.registry.Address())
}

// registryURL is what our programs are told: the proxy's address.
func (b *bed) registryURL() string {
	address := "http://" + b.proxies[atRegistry].Address()
	if b.local != nil {
		return address
	}
	u, _ := url.Parse(b.registry.URL()) // made of an address by the test bed
	return address + u.Path
}

// registryDirect is for what looks on without taking part.
func (b *bed) registryDirect() string {
	if b.local != nil {
		return b.local.URL()
	}
	return b.registry.URL()
}

func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	return u.Host
}

func (b *bed) proxy(ctx context.Context, place, target string) error {
	p, err := proxy.Start(ctx, target, 0)
	if err != nil {
		return err
	}
	b.addProxy(place, p)
	return nil
}

func (b *bed) addProxy(place string, p *proxy.Proxy) {
	b.mu.Lock()
	b.proxies[place] = p
	b.mu.Unlock()
	b.closer(func() error { p.Close(); return nil })
}

// pair returns the servers as they are now.
func (b *bed) pair() (primary, replica *testbed.MySQL) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.primary, b.replica
}

// server is the database at a place.
func (b *bed) server(place string) *testbed.MySQL {
	primary, replica := b.pair()
	switch place {
	case atSource:
		return primary
	case atReplica:
		return replica
	}
	for i, m := range b.shards {
		if place == atShard(i) {
			return m
		}
	}
	return nil
}

// host is the host of what is at a place now; nil on loopback.
func (b *bed) host(place string) *testbed.Host {
	if m := b.server(place); m != nil && !strings.HasPrefix(place, "shard") {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.hosts[b.hostOf[m]]
	}
	return b.hosts[place]
}

// shardPlaces are the places of the shards.
func (b *bed) shardPlaces() []string {
	places := make([]string, len(b.settings.Shards))
	for i := range places {
		places[i] = atShard(i)
	}
	return places
}

// logs are the files that evidence is made of, by name.
func (b *bed) logs() map[string]string {
	files := map[string]string{}
	add := func(name string, s interface{ ErrorLog() string }) { files[name] = s.ErrorLog() }
	for _, m := range []*testbed.MySQL{b.primary, b.replica} {
		if m != nil {
			add("mysql-"+b.hostOf[m], m)
		}
	}
	for i, m := range b.shards {
		add("mysql-"+atShard(i), m)
	}
	if b.kafka != nil {
		add("kafka", b.kafka)
	}
	if b.registry != nil {
		add("registry", b.registry)
	}
	found, _ := filepath.Glob(filepath.Join(b.dir, "*.log")) // the pattern is well formed
	more, _ := filepath.Glob(filepath.Join(b.dir, "*.yaml"))
	for _, path := range append(found, more...) {
		files[filepath.Base(path)] = path
	}
	return files
}

// file writes a config file.
func (b *bed) file(name, text string) (string, error) {
	path := filepath.Join(b.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// tend starts broker and registry again where they have ended by themselves, as a supervisor would: on a full disk, or without their
// broker.
func (b *bed) tend(ctx context.Context) error {
	if !b.kafka.Running() {
		b.out.note("the broker has ended by itself and is started again")
		if err := restart(ctx, b.kafka); err != nil {
			return err
		}
	}
	if b.registry != nil && !b.registry.Running() {
		b.out.note("the registry has ended by itself and is started again")
		return restart(ctx, b.registry)
	}
	return nil
}

// restart starts a server again that was killed, and tries again: its port or its lock may be free a moment later only.
func restart(ctx context.Context, s interface{ Start(context.Context) error }) error {
	var err error
	for range 3 {
		if err = s.Start(ctx); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	return err
}
