package source

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/serve"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/shape"
)

// Config is source.yaml.
type Config struct {
	// Name is the topic prefix, the transactional ids' and the checkpoint's name: one name, one source. Changed, it
	// is a new source that crawls everything into new topics.
	Name string `yaml:"name"`

	MySQL  mysql.Config `yaml:"mysql"`
	Kafka  kafka.Config `yaml:"kafka"`
	Tables []TableRule  `yaml:"tables"`
	Crawl  CrawlConfig  `yaml:"crawl"`
	Limits LimitsConfig `yaml:"limits"`

	// Types says how values are represented, with Debezium's choices.
	Types schema.Options `yaml:"types"`
	// ServerID is the id under which the source reads the binlog; 0: made from the name. Two readers with the same
	// id on one server throw each other out.
	ServerID uint32 `yaml:"server_id"`

	Log serve.LogConfig `yaml:"log"`

	// HTTP is the address of /metrics, /livez, /readyz, /status and, on loopback, pprof. Empty: none.
	HTTP string `yaml:"http"`

	// Cascades says what happens to tables whose rows a foreign key changes without a binlog event (servers
	// before 9.6 and MariaDB): "refuse" or "accept".
	Cascades string `yaml:"cascades"`

	// Tombstones says whether a delete is followed by a tombstone (Debezium: tombstones.on.delete). Without them
	// compaction keeps deleted keys for ever and a new sink can't tell.
	Tombstones bool `yaml:"tombstones_on_delete"`

	// TransactionMetadata adds the transaction block and the topic <name>.transaction (Debezium:
	// provide.transaction.metadata).
	TransactionMetadata bool `yaml:"provide_transaction_metadata"`
}

// Accept is what an operator has decided about things that stop a source, for one start.
type Accept struct {
	LostTransactions bool               // a failover lost transactions that were published: crawl all tables, sweep what is gone
	Anew             bool               // the history since the checkpoint cannot be had: go on from now, crawl all tables, sweep what is gone
	Statements       bool               // rows were changed by logged statements: crawl the tables instead
	Forget           []change.TableName // begin these tables anew, with a topic of another incarnation
}

// TableRule says how the tables that match are captured. The first rule that matches a table counts.
type TableRule struct {
	Match      string     `yaml:"match"` // db.table with * and ?; /.../ is a regular expression
	Skip       bool       `yaml:"skip"`
	Key        []string   `yaml:"key"`        // a unique NOT NULL key, where there is no primary key
	Partitions int32      `yaml:"partitions"` // of a topic that is still to be created; 0: kafka.partitions
	Crawl      TableCrawl `yaml:"crawl"`

	// Where is an expression over the table's columns: only rows of which it is true are published. One that comes to be false of a row
	// is a delete.
	Where string `yaml:"where"`
	// Columns says which columns are not published, or hidden: dropped, masked, hashed.
	Columns map[string]shape.Column `yaml:"columns"`

	pattern *regexp.Regexp
}

// TableCrawl is a table's own crawl setting.
type TableCrawl struct {
	Where string `yaml:"where"` // only these rows are crawled at first; all changes are streamed
}

// CrawlConfig says how existing rows are read.
type CrawlConfig struct {
	Mode       string `yaml:"mode"`        // initial: every table once; never: only on demand
	Workers    int    `yaml:"workers"`     // chunks read at the same time, over all tables
	ChunkBytes int64  `yaml:"chunk_bytes"` // largest chunk; rows are held in memory until the stream has passed
}

// LimitsConfig bounds memory and transactions.
type LimitsConfig struct {
	QueueBytes       int64         `yaml:"queue_bytes"`       // binlog events read ahead of the loop
	WindowBytes      int64         `yaml:"window_bytes"`      // keys remembered for, and rows held by, chunks in flight
	TransactionBytes int64         `yaml:"transaction_bytes"` // of one Kafka transaction
	TransactionAge   time.Duration `yaml:"transaction_age"`   // of one Kafka transaction while more is at hand, or as long as the last commit took; longer: fewer commits and a longer delay
	XAMemoryBytes    int64         `yaml:"xa_memory_bytes"`   // prepared transactions in memory; more goes to temporary files
	CheckpointEvery  time.Duration `yaml:"checkpoint_every"`  // when only other tables' changes pass by
	ClockAhead       time.Duration `yaml:"clock_ahead"`       // a commit time further ahead of our clock is not believed

	// TransactionTimeout is how long a Kafka transaction may be open: by then the brokers give it up, and so does the
	// source, which then goes on from the checkpoint. Above transaction.max.timeout.ms the brokers refuse it; below what
	// a broker needs for its restart, each restart costs the transaction in progress.
	TransactionTimeout time.Duration `yaml:"transaction_timeout"`
	// HistoryWait is how long a server may lack transactions that were published before that counts as a loss: a replica
	// that was made the source may still be applying what it has received.
	HistoryWait time.Duration `yaml:"history_wait"`
}

// Default returns the settings that hold where the file says nothing.
func Default() Config {
	return Config{
		Kafka:      kafka.Default(),
		Crawl:      CrawlConfig{Mode: "initial", Workers: 4, ChunkBytes: 2 << 20},
		Cascades:   "refuse",
		Tombstones: true,
		Limits: LimitsConfig{
			QueueBytes: 16 << 20, WindowBytes: 64 << 20, TransactionBytes: 64 << 20, TransactionAge: 50 * time.Millisecond, XAMemoryBytes: 16 << 20,
			CheckpointEvery: 2 * time.Second, ClockAhead: time.Minute,
			TransactionTimeout: time.Minute, HistoryWait: time.Minute,
		},
	}
}

// Check completes the config and reports everything that is wrong with it.
func (c *Config) Check(report func(path, problem string)) {
	if err := kafka.ValidatePrefix(c.Name); err != nil {
		report("name", err.Error()+" (it is the topics' prefix)")
	}
	if c.MySQL.Address == "" {
		report("mysql.address", "missing: host:port of the database server")
	}
	if c.MySQL.User == "" {
		report("mysql.user", "missing")
	}
	for _, err := range c.Kafka.Validate() {
		path, problem, _ := strings.Cut(err.Error(), ": ")
		report(path, problem)
	}
	if err := registry.Check(c.Kafka.Registry); err != nil {
		report("kafka.registry", err.Error())
	}
	if len(c.Tables) == 0 {
		report("tables", "missing: at least one rule such as - {match: \"shop.*\"}")
	}
	for i := range c.Tables {
		if err := c.Tables[i].compile(); err != nil {
			report(fmt.Sprintf("tables[%d]", i), err.Error())
		}
		shape.CheckPublished(c.Tables[i].Columns, func(path, problem string) { report(fmt.Sprintf("tables[%d].%s", i, path), problem) })
	}
	if c.Crawl.Mode != "initial" && c.Crawl.Mode != "never" {
		report("crawl.mode", fmt.Sprintf("%q: want initial or never", c.Crawl.Mode))
	}
	if c.Crawl.Workers < 1 || c.Crawl.Workers > 64 {
		report("crawl.workers", fmt.Sprintf("%d: want 1 to 64", c.Crawl.Workers))
	}
	if c.Cascades != "refuse" && c.Cascades != "accept" {
		report("cascades", fmt.Sprintf("%q: want refuse or accept", c.Cascades))
	}
	if c.Limits.TransactionTimeout < time.Second {
		report("limits.transaction_timeout", fmt.Sprintf("%v: want 1s or more", c.Limits.TransactionTimeout))
	}
	if err := c.Types.Check(); err != nil {
		report("types", err.Error())
	}
	if c.ServerID == 0 {
		c.ServerID = mysql.ServerID(c.Name)
	}
}

func (r *TableRule) compile() error {
	if r.Match == "" {
		return fmt.Errorf("match is missing: a pattern such as \"shop.*\"")
	}
	if len(r.Match) > 1 && strings.HasPrefix(r.Match, "/") && strings.HasSuffix(r.Match, "/") {
		p, err := regexp.Compile("^(?:" + r.Match[1:len(r.Match)-1] + ")$")
		if err != nil {
			return fmt.Errorf("match %s: %w", r.Match, err)
		}
		r.pattern = p
		return nil
	}
	if _, err := path.Match(r.Match, "db.table"); err != nil {
		return fmt.Errorf("match %q: %w", r.Match, err)
	}
	if !strings.Contains(r.Match, ".") {
		return fmt.Errorf("match %q: want database.table, as in %q", r.Match, r.Match+".*")
	}
	return nil
}

func (r *TableRule) matches(t change.TableName) bool {
	if r.pattern != nil {
		return r.pattern.MatchString(t.String())
	}
	ok, _ := path.Match(r.Match, t.String())
	return ok
}

// Rule returns the rule of the table, or nil if it is not captured.
func (c *Config) Rule(t change.TableName) *TableRule {
	for i := range c.Tables {
		if c.Tables[i].matches(t) {
			if c.Tables[i].Skip {
				return nil
			}
			return &c.Tables[i]
		}
	}
	return nil
}
