package clickhouse

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/kafka"
)

// Config is the clickhouse block of a sink's page.
type Config struct {
	URL          string       `yaml:"url"` // of the server's HTTP interface
	User         string       `yaml:"user"`
	Password     kafka.Secret `yaml:"password"`
	PasswordFile string       `yaml:"password_file"`
	TLSCA        string       `yaml:"tls_ca"` // PEM file; the system's authorities when empty

	// Database holds all the tables, and Sluice's list of them.
	Database string `yaml:"database"`

	// Table names a table's copy: {source}, {db} and {table} stand for the parts. Empty: {db}_{table}, and {db}_{table}_history
	// where the mode is history.
	Table string `yaml:"table"`

	// Mode is state (a row for each row of the source, as it is now) or history (a row for each change).
	Mode string `yaml:"mode"`

	// CreateTables has missing tables made, columns added that appear at the source later, and columns' types widened. Without
	// it these stop the topic with the statement named.
	CreateTables bool `yaml:"create_tables"`

	// HashPartitions divides the tables of mode state that are made into so many partitions by a hash of the key; 0: into none.
	// Each block that is inserted becomes a part in each: more than a few cost more than they give.
	HashPartitions int `yaml:"hash_partitions"`

	// HistoryPartition divides the tables of mode history that are made by commit time: none, day or month. Old ones can then be dropped.
	HistoryPartition string `yaml:"history_partition"`

	// A block is inserted when it has InsertRows rows or InsertBytes bytes of records, or is InsertWait old: what the partitions of one topic
	// have meanwhile goes in together. The server writes a part for each block, and refuses them when it cannot merge as fast.
	InsertRows  int           `yaml:"insert_rows"`
	InsertBytes config.Size   `yaml:"insert_bytes"`
	InsertWait  time.Duration `yaml:"insert_wait"`

	// InsertSettings are the server's settings for each INSERT: {insert_quorum: "2"}.
	InsertSettings map[string]string `yaml:"insert_settings"`

	// Timeout bounds one statement. What was sent may still be done after it; versions and offsets make that harmless.
	Timeout time.Duration `yaml:"timeout"`
}

// The words of Mode and HistoryPartition.
const (
	State   = "state"
	History = "history"

	None  = "none"
	Day   = "day"
	Month = "month"
)

const (
	// hashPartitionsMax is where the server stops taking a block that goes into more partitions (max_partitions_per_insert_block).
	hashPartitionsMax = 100
	insertRowsMax     = 1 << 20 // the server would make two parts of more
	insertWaitMax     = 30 * time.Second
)

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{User: "default", Mode: State, HistoryPartition: None, InsertRows: 100_000, InsertBytes: 16 << 20, InsertWait: time.Second,
		Timeout: time.Minute}
}

var settingName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		report("url", fmt.Sprintf("%q: want http://host:8123 or https://host:8443", redact(c.URL)))
	} else if u.User != nil || u.RawQuery != "" {
		report("url", "an account or settings have no place in the address: use user, password and insert_settings")
	}
	if c.Password != "" && c.PasswordFile != "" {
		report("password_file", "password and password_file exclude each other")
	}
	switch strings.ToLower(c.Database) {
	case "":
		report("database", "missing: the database that holds the tables")
	case "system", "information_schema":
		report("database", fmt.Sprintf("%q belongs to the server: want another", c.Database))
	}
	if c.Table != "" && !strings.Contains(c.Table, "{table}") {
		report("table", fmt.Sprintf("%q: want {table} in it, or all tables would share one", c.Table))
	}
	if c.Mode != State && c.Mode != History {
		report("mode", fmt.Sprintf("%q: want %s or %s", c.Mode, State, History))
	}
	if c.HashPartitions < 0 || c.HashPartitions > hashPartitionsMax {
		report("hash_partitions", fmt.Sprintf("%d: want 0 (none) to %d", c.HashPartitions, hashPartitionsMax))
	}
	if c.HistoryPartition != None && c.HistoryPartition != Day && c.HistoryPartition != Month {
		report("history_partition", fmt.Sprintf("%q: want %s, %s or %s", c.HistoryPartition, None, Day, Month))
	}
	c.checkInserts(report)
}

func (c *Config) checkInserts(report func(path, problem string)) {
	if c.InsertRows < 1 || c.InsertRows > insertRowsMax {
		report("insert_rows", fmt.Sprintf("%d: want 1 to %d", c.InsertRows, insertRowsMax))
	}
	if c.InsertBytes < 1<<10 || c.InsertBytes > 256<<20 {
		report("insert_bytes", fmt.Sprintf("%d: want 1KiB to 256MiB", c.InsertBytes))
	}
	if c.InsertWait < 0 || c.InsertWait > insertWaitMax {
		report("insert_wait", fmt.Sprintf("%v: want 0s to %v", c.InsertWait, insertWaitMax))
	}
	for name := range c.InsertSettings {
		if !settingName.MatchString(name) || reservedParameters[name] {
			report("insert_settings."+name, "want a setting of the server")
		}
	}
	if c.Timeout < time.Second {
		report("timeout", fmt.Sprintf("%v: want a second or more", c.Timeout))
	}
}

// reservedParameters are parameters of a request that are no settings.
var reservedParameters = map[string]bool{"query": true, "database": true, "user": true, "password": true, "default_format": true, "session_id": true}

func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return string(c.Password), nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: "the password file cannot be read", Err: err, Mend: "mend clickhouse.password_file"}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// tableName returns the name of a table's copy.
func (c *Config) tableName(source string, t change.TableName) string {
	pattern := c.Table
	if pattern == "" {
		pattern = "{db}_{table}"
		if c.Mode == History {
			pattern += "_history"
		}
	}
	return strings.NewReplacer("{source}", source, "{db}", t.DB, "{table}", t.Name).Replace(pattern)
}

// redact leaves out what stands before an @: it may be an account.
func redact(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "***" + address[i:]
	}
	return address
}
