package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-cdc/sluice/test/bench/floor"
	"github.com/sluice-cdc/sluice/test/bench/peer"
)

// rivals are the peers and the bare programs. In a quick run are those that a goal names, and those that say whether the machine is quiet.
var rivals = []rival{
	{name: maxwell, works: []string{workBacklog}, quick: true, make: peerSourceOf(peerKind{start: startMaxwell})},
	{name: debeziumJSON, works: []string{workBacklog}, quick: true, make: peerSourceOf(peerKind{start: startDebezium, tombstones: true})},
	{name: debeziumAvro, works: []string{workBacklog}, quick: true, make: peerSourceOf(peerKind{start: startDebezium, tombstones: true, avro: true})},
	{name: producer, works: []string{workBacklog}, make: bare(producer, produceArgs)},
	{name: mysqlbinlog, works: []string{workBacklog}, quick: true, make: bare(mysqlbinlog, binlogArgs)},
	{name: debeziumJSON, works: []string{workCrawl}, quick: true, make: peerSourceOf(peerKind{start: startDebezium, snapshot: true})},
	{name: debeziumAvro, works: []string{workCrawl}, make: peerSourceOf(peerKind{start: startDebezium, snapshot: true, avro: true})},
	{name: mysqldump, works: []string{workCrawl}, quick: true, make: bare(mysqldump, dumpArgs)},
	{name: loader, works: []string{workMySQL, workUnique}, quick: true, make: bare(loader, loadArgs)},
	{name: debeziumJDBC, works: []string{workMySQL}, quick: true, make: jdbc},
	{name: bulkLoader, works: []string{workSearch}, quick: true, make: bare(bulkLoader, bulkArgs)},
}

// peerKind is what tells a peer that reads a MySQL from another.
type peerKind struct {
	start      func(context.Context, peer.SourceOptions) (peer.Peer, error)
	snapshot   bool // it reads the rows that are there, and no binlog
	avro       bool
	tombstones bool // it writes one for each delete
}

func startMaxwell(ctx context.Context, o peer.SourceOptions) (peer.Peer, error) {
	return peer.StartMaxwell(ctx, o)
}

func startDebezium(ctx context.Context, o peer.SourceOptions) (peer.Peer, error) {
	return peer.StartDebezium(ctx, o)
}

// failedEvery is how often a peer is asked whether it has failed: the answer costs a Java program more than a look at /proc.
const failedEvery = time.Second

// running is a peer that was started.
type running struct {
	peer  peer.Peer
	asked time.Time
}

func (r *running) Pids() map[string]int { return r.peer.Pids() }

// failed asks now and then.
func (r *running) failed(ctx context.Context) error {
	if time.Since(r.asked) < failedEvery {
		return nil
	}
	r.asked = time.Now()
	return r.peer.Failed(ctx)
}

// peerSource is a run of a peer that reads a MySQL. It is through when its topic has a record for each change: what it holds is not
// compared, which the peers' own tests do.
type peerSource struct {
	running
	bed     *bed
	kind    peerKind
	name    string
	options peer.SourceOptions
	records int64
}

func peerSourceOf(kind peerKind) func(b *bed, w *work, run string) Contender {
	return func(b *bed, w *work, run string) Contender {
		s := &peerSource{bed: b, kind: kind, name: run, records: w.rows, options: peer.SourceOptions{MySQL: b.source, Kafka: b.kafka,
			Database: database, Table: w.table, Prefix: run, Partitions: partitions, Dir: b.dir}}
		if kind.avro {
			s.options.Registry = b.registry
		}
		if kind.tombstones {
			s.records += w.deletes
		}
		return s
	}
}

func (s *peerSource) Name() string {
	if s.peer == nil {
		return s.name
	}
	return s.peer.Name()
}

func (s *peerSource) Prime(ctx context.Context) error {
	if s.kind.snapshot {
		return nil
	}
	at, err := peer.Now(ctx, s.bed.source)
	s.options.From = &at
	return err
}

func (s *peerSource) Start(ctx context.Context) (err error) {
	p, err := s.kind.start(ctx, s.options)
	if err == nil {
		s.peer = p
	}
	return err
}

func (s *peerSource) Progress(ctx context.Context) (p Progress, err error) {
	at, err := s.bed.appended(ctx, s.options.Topic())
	if err == nil {
		err = s.failed(ctx)
	}
	return Progress{Done: at.sum(), Through: at.sum() >= s.records}, err
}

// Stop ends it and removes what it wrote.
func (s *peerSource) Stop() error {
	if s.peer == nil {
		return nil
	}
	return errors.Join(s.peer.Stop(), s.bed.deleteTopics(context.Background(), s.options.Prefix))
}

// peerSink is a run of Debezium's JDBC sink, into the first shard alone: it knows no shards.
type peerSink struct {
	running
	bed     *bed
	w       *work
	name    string
	before  int64 // rows that the server had written when it began
	columns []string
	want    sum
	compare time.Time
}

func jdbc(b *bed, w *work, run string) Contender { return &peerSink{bed: b, w: w, name: run} }

func (s *peerSink) Name() string {
	if s.peer == nil {
		return s.name
	}
	return s.peer.Name()
}

func (s *peerSink) Prime(context.Context) error { return nil }

func (s *peerSink) Start(ctx context.Context) (err error) {
	if s.columns, err = columnNames(ctx, s.bed.db, s.w.table); err != nil {
		return err
	}
	if s.want, err = serverSum(ctx, s.bed.db, s.w.table, s.columns); err != nil {
		return err
	}
	if s.before, err = s.written(ctx); err != nil {
		return err
	}
	p, err := peer.StartJDBCSink(ctx, peer.SinkOptions{Kafka: s.bed.kafka, Registry: s.bed.registry, Topic: s.w.topic, Target: s.bed.shards[0],
		Database: database, Tasks: partitions, Dir: s.bed.dir})
	if err == nil {
		s.peer = p
	}
	return err
}

// written is how many rows the server has inserted and updated since its start, which it knows without counting them.
func (s *peerSink) written(ctx context.Context) (sum int64, err error) {
	rows, err := s.bed.targets[0].QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Innodb_rows_inserted', 'Innodb_rows_updated')")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, rows.Err()
}

// Progress is through when the table is equal to the source's, which is looked at once a second: the end is when the last row was written.
func (s *peerSink) Progress(ctx context.Context) (p Progress, err error) {
	now, err := s.written(ctx)
	if err == nil {
		err = s.failed(ctx)
	}
	p.Done = now - s.before
	if err != nil || p.Done < s.want.rows || time.Since(s.compare) < time.Second {
		return p, err
	}
	s.compare = time.Now()
	got, err := serverSum(ctx, s.bed.targets[0], s.w.table, s.columns)
	p.Through = got == s.want
	return p, err
}

func (s *peerSink) Stop() error {
	if s.peer == nil {
		return nil
	}
	return s.peer.Stop()
}

// bareRun is a run of one of the floor's programs, which says itself what it came to.
type bareRun struct {
	bed     *bed
	w       *work
	name    string
	run     string
	file    string // of the binlog, where the work's data begins
	index   string
	args    func(context.Context, *bareRun) ([]string, error)
	process *floor.Process
	result  floor.Result
}

func bare(name string, args func(context.Context, *bareRun) ([]string, error)) func(b *bed, w *work, run string) Contender {
	return func(b *bed, w *work, run string) Contender {
		return &bareRun{bed: b, w: w, name: name, run: run, args: args, index: w.index}
	}
}

func (f *bareRun) Name() string { return f.name }

// Prime begins a new file of the binlog: mysqlbinlog copies whole files.
func (f *bareRun) Prime(ctx context.Context) error {
	if f.name != mysqlbinlog {
		return nil
	}
	if err := execute(ctx, f.bed.db, "FLUSH BINARY LOGS"); err != nil {
		return err
	}
	at, err := peer.Now(ctx, f.bed.source)
	f.file = at.File
	return err
}

func (f *bareRun) Start(ctx context.Context) error {
	args, err := f.args(ctx, f)
	if err == nil {
		f.process, err = floor.Start(filepath.Join(f.bed.programs, "floor"), args...)
	}
	return err
}

func (f *bareRun) Pids() map[string]int { return f.process.Pids() }

func (f *bareRun) Progress(context.Context) (p Progress, err error) {
	if !f.process.Done() {
		return p, nil
	}
	f.result, err = f.process.Wait(time.Second)
	return Progress{Done: f.result.Rows, Through: true}, err
}

func (f *bareRun) Rated() (Rate, error) {
	return Rate{Rows: f.result.Rows, Bytes: f.result.Bytes, Seconds: f.result.Seconds, CPUSeconds: f.result.CPUSeconds}, nil
}

func (f *bareRun) Stop() error {
	if f.process == nil {
		return nil
	}
	return f.process.Stop()
}

// dsn is a server as the floor's programs are told it.
func dsn(address string) string { return "app:app@tcp(" + address + ")/" }

func (f *bareRun) table() string { return database + "." + f.w.table }

func produceArgs(ctx context.Context, f *bareRun) ([]string, error) {
	topic := f.run + ".records"
	if _, err := f.bed.admin.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return nil, fmt.Errorf("make the topic %s: %w", topic, err)
	}
	return []string{"produce", "-brokers", f.bed.kafka.Address(), "-topic", topic, "-rows", fmt.Sprint(f.w.rows),
		"-bytes", fmt.Sprint(f.w.bytes / f.w.rows)}, nil
}

func binlogArgs(_ context.Context, f *bareRun) ([]string, error) {
	dir, err := os.MkdirTemp(f.bed.dir, "binlog-")
	if err != nil {
		return nil, err
	}
	f.bed.closer(func() error { return os.RemoveAll(dir) })
	command, err := floor.BinlogCommand(f.bed.source, f.file, dir)
	return append([]string{"binlog", "-rows", fmt.Sprint(f.w.rows), "-dir", dir, "--"}, command...), err
}

func dumpArgs(_ context.Context, f *bareRun) ([]string, error) {
	command, err := floor.DumpCommand(f.bed.source, database, f.w.table)
	return append([]string{"dump", "-rows", fmt.Sprint(f.w.rows), "-bytes", fmt.Sprint(f.w.bytes), "--"}, command...), err
}

// loadArgs write the rows as they are in the end, which have no conflicts, into the first shard: as many connections as ours has partitions.
func loadArgs(_ context.Context, f *bareRun) ([]string, error) {
	return []string{"load", "-from", dsn(f.bed.source.Address()), "-table", f.table(),
		"-to", dsn(f.bed.shards[0].Address()), "-connections", fmt.Sprint(partitions)}, nil
}

func bulkArgs(_ context.Context, f *bareRun) ([]string, error) {
	return []string{"bulk", "-from", dsn(f.bed.source.Address()), "-table", f.table(), "-url", f.bed.search.URL(), "-index", f.run, "-like", f.index,
		"-connections", fmt.Sprint(partitions)}, nil
}
