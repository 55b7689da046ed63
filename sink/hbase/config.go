package hbase

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/config"
	"github.com/sluice-cdc/sluice/kafka"
)

// Config is the hbase block of a sink's page.
type Config struct {
	URL          string       `yaml:"url"` // of the REST gateway, with a base path if there is one
	User         string       `yaml:"user"`
	Password     kafka.Secret `yaml:"password"`
	PasswordFile string       `yaml:"password_file"`
	TLSCA        string       `yaml:"tls_ca"` // PEM file; the system's authorities when empty

	// Table names a table's table in HBase: {source}, {db} and {table} stand for the parts. One ":" in it ends a namespace.
	Table string `yaml:"table"`

	// Family is the column family that has all columns.
	Family string `yaml:"family"`

	// CreateTables has missing tables made, with one region: the gateway makes no others. Without it they stop the topic with
	// the shell's statement named, which splits them by their salt.
	CreateTables bool `yaml:"create_tables"`

	// Tables says how the row keys of tables are made. The first entry that matches counts.
	Tables []Table `yaml:"tables"`

	// KeepTombstones is how long a tombstone stays. The sink stops at a lag above it; where it is shorter than the topic's
	// min.compaction.lag and delete.retention together, it stops earlier than the log would ask for.
	KeepTombstones time.Duration `yaml:"keep_tombstones"`

	// PutBytes is about how large one request is; a batch that is larger goes in several at once. A row that is larger goes alone.
	PutBytes config.Size `yaml:"put_bytes"`

	// Requests is how many requests are under way at most, of all partitions.
	Requests int `yaml:"requests"`

	// Timeout bounds one request. What was sent may still be done after it; versions make that harmless.
	Timeout time.Duration `yaml:"timeout"`
}

// Table says how the row keys of tables are made.
type Table struct {
	Match  string `yaml:"match"`   // db.table with * and ?
	RowKey string `yaml:"row_key"` // a template over the key's columns; {key} when empty
	Salt   int    `yaml:"salt"`    // how many buckets the rows are spread over by a hash in front of their keys; 0: none
}

// Bounds of settings.
const (
	saltMax     = 256 // two hexadecimal digits
	requestsMax = 256
	// putBytesMin is the least PutBytes: with less, each request costs more than its rows.
	putBytesMin = 16 << 10
)

const wholeKey = "{key}"

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{Table: "{db}.{table}", Family: "d", KeepTombstones: 15 * 24 * time.Hour, PutBytes: 512 << 10, Requests: 8, Timeout: time.Minute}
}

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		report("url", fmt.Sprintf("%q: want the REST gateway's address, http://host:8080 or https://...", c.URL))
	} else if u.User != nil {
		report("url", "a password has no place in an address: use user and password")
	}
	if !strings.Contains(c.Table, "{table}") {
		report("table", fmt.Sprintf("%q: want {table} in it, or all tables would share one", c.Table))
	} else if !plainName(strings.NewReplacer("{source}", "", "{db}", "", "{table}", "", ":", "").Replace(c.Table)) || strings.Count(c.Table, ":") > 1 {
		report("table", fmt.Sprintf("%q: want letters, digits, _ . and - around {source}, {db} and {table}, and at most one : behind a namespace", c.Table))
	}
	if c.Family == "" || !plainName(c.Family) {
		report("family", fmt.Sprintf("%q: want letters, digits, _ . and -", c.Family))
	}
	if c.KeepTombstones < time.Minute {
		report("keep_tombstones", fmt.Sprintf("%v: want a minute or more", c.KeepTombstones))
	}
	if c.PutBytes < putBytesMin {
		report("put_bytes", fmt.Sprintf("%d: want 16KiB or more", c.PutBytes))
	}
	if c.Requests < 1 || c.Requests > requestsMax {
		report("requests", fmt.Sprintf("%d: want 1 to %d", c.Requests, requestsMax))
	}
	if c.Timeout < time.Second {
		report("timeout", fmt.Sprintf("%v: want a second or more", c.Timeout))
	}
	if c.Password != "" && c.PasswordFile != "" {
		report("password_file", "password and password_file exclude each other")
	}
	if (c.Password != "" || c.PasswordFile != "") && c.User == "" {
		report("user", "missing: there is a password")
	}
	for i := range c.Tables {
		c.Tables[i].check(func(path, problem string) { report(fmt.Sprintf("tables[%d].%s", i, path), problem) })
	}
}

func (t *Table) check(report func(path, problem string)) {
	if !strings.Contains(t.Match, ".") {
		report("match", fmt.Sprintf("%q: want database.table, * and ? stand for letters", t.Match))
	}
	if _, err := parseTemplate(t.rowKey()); err != nil {
		report("row_key", err.Error())
	}
	if t.Salt < 0 || t.Salt == 1 || t.Salt > saltMax {
		report("salt", fmt.Sprintf("%d: want 2 to %d buckets, or 0 for none", t.Salt, saltMax))
	}
}

func (t *Table) rowKey() string {
	if t.RowKey == "" {
		return wholeKey
	}
	return t.RowKey
}

// tableOf returns how a table's row keys are made.
func (c *Config) tableOf(name change.TableName) *Table {
	for i := range c.Tables {
		if globMatches(c.Tables[i].Match, name.String()) {
			return &c.Tables[i]
		}
	}
	return &Table{Match: name.String()}
}

// globMatches matches * with any letters and ? with one.
func globMatches(pattern, text string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := range len(text) + 1 {
				if globMatches(pattern[1:], text[i:]) {
					return true
				}
			}
			return false
		case text == "" || pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}

func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return string(c.Password), nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: "the password file cannot be read", Err: err, Mend: "mend hbase.password_file"}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
