package bench

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/source"
	"github.com/sluice-cdc/sluice/source/crawl"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// Times that our programs are given.
const (
	beginWithin = time.Minute
	stopWithin  = 30 * time.Second
)

// ownSource is a run of sluice-source over one table.
type ownSource struct {
	bed     *bed
	run     string // its name, and the topics' prefix
	table   string
	crawls  bool // it reads the rows that are there; else only the binlog, from where it was primed
	records int64
	end     change.Position // of what it has to publish; zero: of nothing but the crawl
	process *rig.Process
	http    string
	asked   time.Time // when /status was asked last: its answers cost the source time
}

// askEvery is the pause between two questions to a program of ours.
const askEvery = 50 * time.Millisecond

// newSource describes one. records is how many its topic must have before it is asked whether it is through, for that costs it time.
func (b *bed) newSource(table string, crawls bool) (*ownSource, error) {
	s := &ownSource{bed: b, run: b.next("source"), table: table, crawls: crawls, http: fmt.Sprintf("127.0.0.1:%d", testbed.FreePort())}
	mode := "never"
	if crawls {
		mode = "initial"
	}
	var err error
	s.process, err = b.program(s.run, "sluice-source", fmt.Sprintf(`name: %s
mysql: {address: %q, user: cdc, password: cdc}
kafka: {brokers: [%q], registry: %q, partitions: %d, replication: 1}
tables:
  - {match: "%s.%s"}
crawl: {mode: %s}
http: %q
`, s.run, b.source.Address(), b.kafka.Address(), b.registry.URL(), partitions, database, table, mode, s.http))
	return s, err
}

func (s *ownSource) Name() string { return ours }

// topic is where its rows go.
func (s *ownSource) topic() string {
	return kafka.TopicName(s.run, change.TableName{DB: database, Name: s.table})
}

// Prime starts it without anything to read, until its checkpoint says where it stands.
func (s *ownSource) Prime(ctx context.Context) error {
	if s.crawls {
		return nil
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	return s.process.Stop(stopWithin)
}

// begin starts it and waits until it reads the binlog and its checkpoint says from where.
func (s *ownSource) begin(ctx context.Context) error {
	if err := s.process.Start(); err != nil {
		return err
	}
	return within(ctx, beginWithin, func() (bool, error) {
		if err := s.alive(); err != nil {
			return false, err
		}
		at, err := s.bed.committed(ctx, kafka.CheckpointTopic(s.run))
		return at.sum() > 0 && strings.Contains(s.process.Log(), "reading the binlog"), err
	})
}

// alive is an error when the process has ended.
func (s *ownSource) alive() error { return stillRuns(s.process) }

func stillRuns(p *rig.Process) error {
	if p.Running() {
		return nil
	}
	return fmt.Errorf("%s has ended:\n%s", p.Name, p.LogTail(15))
}

// within asks until the answer is true.
func within(ctx context.Context, limit time.Duration, ok func() (bool, error)) error {
	for began := time.Now(); ; {
		done, err := ok()
		switch {
		case err != nil:
			return err
		case done:
			return nil
		case time.Since(began) > limit:
			return fmt.Errorf("not within %s", limit)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *ownSource) Start(context.Context) error { return s.process.Start() }

func (s *ownSource) Pids() map[string]int { return map[string]int{"source": s.process.Pid()} }

func (s *ownSource) Progress(ctx context.Context) (p Progress, err error) {
	at, err := s.bed.committed(ctx, s.topic())
	if err != nil {
		return p, errors.Join(err, s.alive())
	}
	p.Done = at.sum()
	if p.Done < s.records {
		return p, s.alive()
	}
	p.Through, err = s.through(ctx)
	return p, err
}

// through reports whether it has published all that it has to.
func (s *ownSource) through(ctx context.Context) (bool, error) {
	if err := s.alive(); err != nil || time.Since(s.asked) < askEvery {
		return false, err
	}
	s.asked = time.Now()
	var status source.Report
	if err := askStatus(ctx, s.http, &status); err != nil || status.Doing != "" {
		return false, nil // it may still be starting
	}
	for _, one := range status.Stopped {
		return false, fmt.Errorf("%s has stopped the table %s: %s; %s", s.run, one.Table, one.Reason, one.Why)
	}
	for _, one := range status.Crawls {
		if !crawl.Ended(one.State) {
			return false, nil
		}
		if one.State != crawl.Done {
			return false, fmt.Errorf("the crawl of %s is %s: %s", one.Table, one.State, one.Reason)
		}
	}
	return (!s.crawls || len(status.Crawls) > 0) && status.Position.Compare(s.end) >= 0, nil
}

func (s *ownSource) Stop() error { return s.process.Stop(stopWithin) }

// finish takes it to the end of the binlog as it is now.
func (s *ownSource) finish(ctx context.Context, limit time.Duration) (err error) {
	if s.end, err = s.bed.binlogEnd(ctx); err != nil {
		return err
	}
	if err := within(ctx, limit, func() (bool, error) { return s.through(ctx) }); err != nil {
		return fmt.Errorf("wait for %s: %w", s.run, err)
	}
	return nil
}

// binlogEnd is where the source's binlog ends.
func (b *bed) binlogEnd(ctx context.Context) (change.Position, error) {
	facts, err := mysql.ReadFacts(ctx, b.db)
	if err != nil {
		return change.Position{}, err
	}
	file, offset, _, err := facts.BinlogStatus(ctx, b.db)
	return change.Position{File: file, Offset: offset}, err
}

// askStatus reads a program's /status.
func askStatus(ctx context.Context, address string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/status", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// ownMySQLSink is a run of sluice-sink-mysql over one topic.
type ownMySQLSink struct {
	bed     *bed
	group   string
	targets []*sql.DB
	end     offsets // of the topic
	process *rig.Process
}

// newMySQLSink describes one that reads a topic up to end, into the first shards. unique names a second UNIQUE key; empty: there is none.
func (b *bed) newMySQLSink(topic, table, unique string, shards int, end offsets) (*ownMySQLSink, error) {
	s := &ownMySQLSink{bed: b, group: b.next("shards"), targets: b.targets[:shards], end: end}
	var list, keys strings.Builder
	for i, m := range b.shards[:shards] {
		fmt.Fprintf(&list, "    - {name: s%d, address: %q, user: app, password: app, database: %s}\n", i, m.Address(), database)
	}
	if unique != "" {
		fmt.Fprintf(&keys, "  unique: {%s.%s: [%s]}\n", database, table, unique)
	}
	var err error
	s.process, err = b.program(s.group, "sluice-sink-mysql", fmt.Sprintf(`group: %s
kafka: {brokers: [%q], registry: %q}
topics: [%q]
session_timeout: %s
mysql:
  create_tables: true
%s  shards:
%sroutes:
  - {table: %s.%s, by: id, rule: modulus}
http: "127.0.0.1:%d"
`, s.group, b.kafka.Address(), b.registry.URL(), topic, sessionTimeout, keys.String(), list.String(), database, table, testbed.FreePort()))
	return s, err
}

func (s *ownMySQLSink) Name() string                { return ours }
func (s *ownMySQLSink) Prime(context.Context) error { return nil }
func (s *ownMySQLSink) Start(context.Context) error { return s.process.Start() }
func (s *ownMySQLSink) Pids() map[string]int        { return map[string]int{"sink mysql": s.process.Pid()} }
func (s *ownMySQLSink) Stop() error                 { return s.process.Stop(stopWithin) }

func (s *ownMySQLSink) Progress(ctx context.Context) (p Progress, err error) {
	p.Through = true
	for _, db := range s.targets {
		at, err := applied(ctx, db, s.group)
		if err != nil {
			return p, err
		}
		p.Done += at.sum()
		p.Through = p.Through && at.reached(s.end)
	}
	return p, stillRuns(s.process)
}

// ownSearchSink is a run of sluice-sink-elasticsearch over one topic.
type ownSearchSink struct {
	bed     *bed
	group   string
	topic   string
	end     offsets
	process *rig.Process
	http    string
	asked   time.Time
	last    Progress
}

func (b *bed) newSearchSink(topic string, end offsets) (*ownSearchSink, error) {
	s := &ownSearchSink{bed: b, group: b.next("search"), topic: topic, end: end, http: fmt.Sprintf("127.0.0.1:%d", testbed.FreePort())}
	var err error
	s.process, err = b.program(s.group, "sluice-sink-elasticsearch", fmt.Sprintf(`group: %s
kafka: {brokers: [%q], registry: %q}
topics: [%q]
session_timeout: %s
elasticsearch: {url: %q, create_indexes: true, index: "%s-{table}"}
http: %q
`, s.group, b.kafka.Address(), b.registry.URL(), topic, sessionTimeout, b.search.URL(), s.group, s.http))
	return s, err
}

// index is the alias of the table's index: each run has one of its own.
func (s *ownSearchSink) index(table string) string { return s.group + "-" + table }

func (s *ownSearchSink) Name() string                { return ours }
func (s *ownSearchSink) Prime(context.Context) error { return nil }
func (s *ownSearchSink) Start(context.Context) error { return s.process.Start() }
func (s *ownSearchSink) Pids() map[string]int {
	return map[string]int{"sink elasticsearch": s.process.Pid()}
}
func (s *ownSearchSink) Stop() error { return s.process.Stop(stopWithin) }

// sinkStatus is what is looked at of a sink's /status.
type sinkStatus struct {
	Topics []struct {
		Topic      string
		Stopped    *struct{ What, Why string }
		Partitions []struct {
			Partition int32
			Next      int64
		}
	}
}

// Progress is asked of the sink itself: the server takes as done only what it has answered.
func (s *ownSearchSink) Progress(ctx context.Context) (p Progress, err error) {
	if err := stillRuns(s.process); err != nil || time.Since(s.asked) < askEvery {
		return s.last, err
	}
	s.asked = time.Now()
	var status sinkStatus
	if err := askStatus(ctx, s.http, &status); err != nil {
		return s.last, nil // it may still be starting
	}
	at := offsets{}
	for _, t := range status.Topics {
		if t.Stopped != nil {
			return p, fmt.Errorf("%s has stopped the topic %s: %s; %s", s.group, t.Topic, t.Stopped.What, t.Stopped.Why)
		}
		for _, one := range t.Partitions {
			at[one.Partition] = max(one.Next, 0)
		}
	}
	s.last = Progress{Done: at.sum(), Through: at.reached(s.end)}
	return s.last, nil
}
