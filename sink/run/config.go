package run

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/internal/serve"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/shape"
)

// Config is what the page of every sink holds besides the target's own keys.
type Config struct {
	// Group is the consumer group. A new name is a new copy, from the beginning of the log; processes that share a name
	// share the partitions.
	Group string `yaml:"group"`

	Kafka kafka.Config `yaml:"kafka"`

	// Topics are patterns of topic names, <source>.<database>.<table>: * stands for any letters, ? for one, and /.../ is
	// a regular expression. Topics that come to match later are taken in.
	Topics []string `yaml:"topics"`

	// Shape says how rows are at the target, table by table; the first entry that matches counts. A table that none matches stays as it
	// is. Routes, and all else that names tables and columns, see the shape.
	Shape []shape.Spec `yaml:"shape"`

	Batch BatchConfig `yaml:"batch"`

	// OnError says, by topic, what happens to a record that cannot be decoded, routed or applied. The first rule
	// that matches counts; without one the topic stops, and others go on.
	OnError []ErrorRule `yaml:"on_error"`

	// QueueBytes bounds the records that wait, over all partitions. Less costs speed with many partitions; the lag
	// grows instead of the memory. The process has a soft limit of this and 112 MiB more, unless GOMEMLIMIT says otherwise.
	QueueBytes config.Size `yaml:"queue_bytes"`

	// Parallel is how many batches are decoded and applied at the same time. With less than the target can take, it
	// idles; with more, batches of memory wait for it.
	Parallel int `yaml:"parallel"`

	// SessionTimeout is how long the group waits for a member that does not answer before it gives its partitions away.
	SessionTimeout time.Duration `yaml:"session_timeout"`

	// DrainTimeout is how long a batch that is being applied may take to end when the process is told to stop or a
	// partition is taken away. Longer than the group's rebalance time-out of a minute, the member is thrown out.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	// RetryStopped is how often a topic that stopped on an error is tried again, so that one mended at the target goes
	// on without a restart.
	RetryStopped time.Duration `yaml:"retry_stopped"`

	// Progress is how often a line of the log says how far the sink is; 0: never.
	Progress time.Duration `yaml:"progress"`

	// Sources are the database servers behind the topics, by the source's name. Only verify and wait --now ask them; run does
	// not connect to them.
	Sources map[string]SourceServer `yaml:"sources"`

	// HTTP is the address of /metrics, /livez, /readyz, /status and, on loopback, pprof. Empty: none.
	HTTP string `yaml:"http"`

	Log serve.LogConfig `yaml:"log"`
}

// BatchConfig bounds what is applied at once.
type BatchConfig struct {
	MaxBytes config.Size `yaml:"max_bytes"` // of records, before decoding
	MaxRows  int         `yaml:"max_rows"`
	// MaxWait is how long a batch that is not full waits for more. At 0 whatever has come is applied at once, and
	// batches grow by themselves under load.
	MaxWait time.Duration `yaml:"max_wait"`
}

// SourceServer is the database server behind a source's topics.
type SourceServer struct {
	mysql.Config `yaml:",inline"`

	// Hash has, by database.table.column, the salts and keys of the source's page for columns that it hashes: verify does the same.
	Hash map[string]shape.Hash `yaml:"hash"`
}

// Action is what happens to a record that cannot be applied.
type Action string

// The actions.
const (
	Stop       Action = "stop"        // the topic stops at the record
	DeadLetter Action = "dead_letter" // the record goes to the topic <group>.dead, and the topic goes on
)

// UnmarshalText accepts the actions that there are.
func (a *Action) UnmarshalText(text []byte) error {
	if *a = Action(text); *a != Stop && *a != DeadLetter {
		return fmt.Errorf("%q: want stop or dead_letter", text)
	}
	return nil
}

// ErrorRule is one rule of OnError.
type ErrorRule struct {
	Topics string `yaml:"topics"`
	Do     Action `yaml:"do"`
}

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{
		Kafka:          kafka.Default(),
		Batch:          BatchConfig{MaxBytes: 4 << 20, MaxRows: 2000},
		QueueBytes:     64 << 20,
		Parallel:       16,
		SessionTimeout: 45 * time.Second,
		DrainTimeout:   20 * time.Second,
		RetryStopped:   time.Minute,
		Progress:       10 * time.Second,
	}
}

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	if c.Group == "" {
		report("group", "missing: the name of the consumer group; a new name is a new copy")
	}
	for _, err := range c.Kafka.Validate() {
		path, problem, _ := strings.Cut(err.Error(), ": ")
		report(path, problem)
	}
	if err := registry.Check(c.Kafka.Registry); err != nil {
		report("kafka.registry", err.Error())
	}
	if len(c.Topics) == 0 {
		report("topics", `missing: at least one pattern such as "shop.shop.*"`)
	}
	for i, text := range c.Topics {
		if _, err := parsePattern(text); err != nil {
			report(fmt.Sprintf("topics[%d]", i), err.Error())
		}
	}
	shape.CheckTogether(c.Shape, report)
	for name, server := range c.Sources {
		if server.Address == "" {
			report("sources."+name+".address", "missing: host:port of the database server that the source reads")
		}
	}
	for i, rule := range c.OnError {
		if _, err := parsePattern(rule.Topics); err != nil {
			report(fmt.Sprintf("on_error[%d].topics", i), err.Error())
		}
		if rule.Do == "" {
			report(fmt.Sprintf("on_error[%d].do", i), "missing: stop or dead_letter")
		}
	}
	c.checkBounds(report)
}

func (c *Config) checkBounds(report func(path, problem string)) {
	bound := func(ok bool, path, problem string) {
		if !ok {
			report(path, problem)
		}
	}
	bound(c.Batch.MaxBytes >= 1<<10 && c.Batch.MaxBytes <= 256<<20, "batch.max_bytes", "want 1KiB to 256MiB")
	bound(c.Batch.MaxRows >= 1 && c.Batch.MaxRows <= 1_000_000, "batch.max_rows", "want 1 to 1000000")
	bound(c.Batch.MaxWait >= 0 && c.Batch.MaxWait <= time.Minute, "batch.max_wait", "want 0s to 1m")
	bound(c.QueueBytes >= 1<<20, "queue_bytes", "want 1MiB or more")
	bound(c.Parallel >= 1 && c.Parallel <= 1024, "parallel", "want 1 to 1024")
	bound(c.SessionTimeout >= time.Second, "session_timeout", "want 1s or more (the broker has bounds of its own)")
	bound(c.DrainTimeout > 0 && c.DrainTimeout < rebalanceTimeout, "drain_timeout", "want more than 0s and less than 1m")
	bound(c.RetryStopped >= time.Second, "retry_stopped", "want 1s or more")
	bound(c.Progress >= 0, "progress", "want 0s or more")
}

// action returns what happens to a record of the topic that cannot be applied.
func (c *Config) action(topic string) Action {
	for _, rule := range c.OnError {
		if p, err := parsePattern(rule.Topics); err == nil && p.MatchString(topic) {
			return rule.Do
		}
	}
	return Stop
}
