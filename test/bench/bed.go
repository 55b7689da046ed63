package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// partitions are those of every topic, ours and theirs.
const partitions = 4

// sessionTimeout is that of our sinks' groups. A sink that was killed holds its partitions for so long.
const sessionTimeout = 6 * time.Second

// mysqlFlags are those of a server that has something to do: data and logs in memory or near it, as the goals' servers had.
var mysqlFlags = []string{"innodb-buffer-pool-size=1G", "innodb-redo-log-capacity=1G", "max-binlog-size=1G", "max-connections=300"}

// bed is the servers that a run is made on.
type bed struct {
	dir      string
	programs string
	note     func(format string, args ...any)

	source   *testbed.MySQL
	db       *sql.DB // of the source
	shards   []*testbed.MySQL
	targets  []*sql.DB // of the shards
	kafka    *testbed.Kafka
	registry *testbed.Registry
	search   *testbed.Search
	client   *kgo.Client
	admin    *kadm.Client

	servers map[string]func() int // pids, by what they are
	runs    int                   // contenders so far: each has a name of its own
	closers []func() error
}

// newBed starts what all works need. Shards and index are started by the first work that asks for them.
func newBed(ctx context.Context, s *Settings, note func(string, ...any)) (b *bed, err error) {
	b = &bed{dir: s.Dir, programs: s.Programs, note: note, servers: map[string]func() int{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.source, b.db, err = b.mysql(ctx); err != nil {
		return b, err
	}
	b.servers["mysqld"] = b.source.Pid
	if b.kafka, err = testbed.StartKafka(ctx, testbed.KafkaOptions{HeapMB: 1024, Measured: true, Dir: s.Dir, Log: note}); err != nil {
		return b, err
	}
	b.closer(b.kafka.Stop)
	b.servers["kafka"] = b.kafka.Pid
	if b.registry, err = testbed.StartRegistry(ctx, testbed.RegistryOptions{Dir: s.Dir, Log: note}); err != nil {
		return b, err
	}
	b.closer(b.registry.Stop)
	b.servers["registry"] = b.registry.Pid
	if b.client, err = kgo.NewClient(kgo.SeedBrokers(b.kafka.Address()), kgo.MetadataMinAge(50*time.Millisecond)); err != nil {
		return b, err
	}
	b.closer(func() error { b.client.Close(); return nil })
	b.admin = kadm.NewClient(b.client)
	return b, prepareKit(ctx, b.db)
}

// mysql starts a server and opens it.
func (b *bed) mysql(ctx context.Context, flags ...string) (*testbed.MySQL, *sql.DB, error) {
	m, err := testbed.StartMySQL(ctx, testbed.MySQLOptions{Dir: b.dir, Log: b.note, Flags: append(flags, mysqlFlags...)})
	if err != nil {
		return nil, nil, err
	}
	b.closer(m.Stop)
	db, err := m.Open("app", "")
	if err != nil {
		return nil, nil, err
	}
	b.closer(db.Close)
	return m, db, nil
}

// needShards starts two targets, once.
func (b *bed) needShards(ctx context.Context) error {
	for len(b.shards) < 2 {
		m, db, err := b.mysql(ctx, "skip-log-bin")
		if err != nil {
			return err
		}
		b.servers[fmt.Sprintf("shard%d", len(b.shards))] = m.Pid
		b.shards, b.targets = append(b.shards, m), append(b.targets, db)
	}
	return nil
}

// needSearch starts the index, once.
func (b *bed) needSearch(ctx context.Context) (err error) {
	if b.search != nil {
		return nil
	}
	if b.search, err = testbed.StartSearch(ctx, testbed.SearchOptions{Kind: testbed.Elasticsearch, HeapMB: 1024, Measured: true, Dir: b.dir, Log: b.note}); err != nil {
		return err
	}
	b.closer(b.search.Stop)
	b.servers["search"] = b.search.Pid
	return nil
}

func (b *bed) closer(f func() error) { b.closers = append(b.closers, f) }

// close ends everything, the last first.
func (b *bed) close() error {
	var errs []error
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	b.closers = nil
	return errors.Join(errs...)
}

// usage is what servers and a contender have used.
func (r *run) usage(c Contender) usage {
	u := usage{cpu: map[string]float64{}, peak: map[string]int64{}}
	own := c.Pids()
	all := map[string]int{}
	maps.Copy(all, own)
	for name, pid := range r.bed.servers {
		all[name] = pid()
	}
	for name, pid := range all {
		if seconds, ok := processCPU(pid); ok {
			u.cpu[name] = seconds
		}
	}
	for name, pid := range own {
		if peak, ok := processPeak(pid); ok {
			u.peak[name] = peak
		}
	}
	return u
}

// next is the name of the next run: of topics, groups and files.
func (b *bed) next(kind string) string {
	b.runs++
	return fmt.Sprintf("%s%d", kind, b.runs)
}

// program describes one of our programs with its page; nothing is started.
func (b *bed) program(name, binary, page string) (*rig.Process, error) {
	config := filepath.Join(b.dir, name+".yaml")
	if err := os.WriteFile(config, []byte(page), 0o644); err != nil {
		return nil, err
	}
	return rig.New(name, filepath.Join(b.dir, name+".log"), filepath.Join(b.programs, binary), []string{"--config", config}), nil
}

// emptyTargets gives the shards an empty database, with the table where a shape is named.
func (b *bed) emptyTargets(ctx context.Context, s *shape, table string) error {
	for _, db := range b.targets {
		statements := []string{"DROP DATABASE IF EXISTS " + database, "CREATE DATABASE " + database}
		if s != nil {
			statements = append(statements, s.create(table))
		}
		if err := execute(ctx, db, statements...); err != nil {
			return err
		}
	}
	return nil
}

// makeTable makes a table at the source.
func (b *bed) makeTable(ctx context.Context, s *shape, table string) error {
	return execute(ctx, b.db, "DROP TABLE IF EXISTS "+database+"."+table, s.create(table))
}

// forget drops a work's table and the binlog up to here, so that a long run does not fill the disk.
func (b *bed) forget(ctx context.Context, table string) error {
	return execute(ctx, b.db, "DROP TABLE "+database+"."+table, "FLUSH BINARY LOGS", "PURGE BINARY LOGS BEFORE NOW()")
}

// binlogBytes is how long the source's binlog is, over all files. The difference between two moments is what was written.
func (b *bed) binlogBytes(ctx context.Context) (sum int64, err error) {
	rows, err := b.db.QueryContext(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, encrypted string
		var size int64
		if err := rows.Scan(&name, &size, &encrypted); err != nil {
			return 0, err
		}
		sum += size
	}
	return sum, rows.Err()
}

// written runs what writes, and returns how many bytes of binlog that was.
func (b *bed) written(ctx context.Context, write func() error) (int64, error) {
	before, err := b.binlogBytes(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := write(); err != nil {
		return 0, err
	}
	after, err := b.binlogBytes(ctx)
	b.note("written: %d MB of binlog in %.1fs", (after-before)>>20, time.Since(began).Seconds())
	return after - before, err
}
