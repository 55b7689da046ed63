package elasticsearch

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

// Config is the elasticsearch block of a sink's page.
type Config struct {
	URL          string       `yaml:"url"` // of the server, with a base path if there is one
	User         string       `yaml:"user"`
	Password     kafka.Secret `yaml:"password"`
	PasswordFile string       `yaml:"password_file"`
	APIKey       kafka.Secret `yaml:"api_key"` // Elasticsearch's encoded form
	TLSCA        string       `yaml:"tls_ca"`  // PEM file; the system's authorities when empty

	// Index names a table's index: {source}, {db} and {table} stand for the parts, and the whole is made lower case.
	Index string `yaml:"index"`

	// CreateIndexes has missing indexes made with mappings from the table's columns, and fields added that appear at the
	// source later. Without it both stop the topic with the request named.
	CreateIndexes bool `yaml:"create_indexes"`

	// Documents is flat (a field a column: what people search) or envelope (op, before, after and source as in Kafka).
	Documents string `yaml:"documents"`

	// Deletes is tombstone (the default) or delete. With delete a row that is deleted is gone at once, and a stale write that
	// comes later than index.gc_deletes brings it back: for indexes whose lag is always below that.
	Deletes string `yaml:"deletes"`

	// KeepTombstones is how long a tombstone stays. The sink stops at a lag above it; where it is shorter than the topic's
	// min.compaction.lag and delete.retention together, it stops earlier than the log would ask for.
	KeepTombstones time.Duration `yaml:"keep_tombstones"`

	// BulkBytes is the largest _bulk request; a single document that is larger goes alone. The server refuses requests
	// above http.max_content_length: those are halved and sent again, and later ones are smaller.
	BulkBytes config.Size `yaml:"bulk_bytes"`

	// Timeout bounds one request. What was sent may still be done after it; versions make that harmless.
	Timeout time.Duration `yaml:"timeout"`
}

// The words of Documents and Deletes.
const (
	Flat     = "flat"
	Envelope = "envelope"

	Tombstone = "tombstone"
	Delete    = "delete"
)

// bulkBytesMin is the least BulkBytes: with less, each request costs more than its documents.
const bulkBytesMin = 64 << 10

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{
		Index: "{source}.{db}.{table}", Documents: Flat, Deletes: Tombstone, KeepTombstones: 15 * 24 * time.Hour,
		BulkBytes: 8 << 20, Timeout: time.Minute,
	}
}

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		report("url", fmt.Sprintf("%q: want http://host:9200 or https://...", c.URL))
	} else if u.User != nil {
		report("url", "a password has no place in an address: use user and password")
	}
	if !strings.Contains(c.Index, "{table}") {
		report("index", fmt.Sprintf("%q: want {table} in it, or all tables would share one index", c.Index))
	}
	if c.Documents != Flat && c.Documents != Envelope {
		report("documents", fmt.Sprintf("%q: want %s or %s", c.Documents, Flat, Envelope))
	}
	if c.Deletes != Tombstone && c.Deletes != Delete {
		report("deletes", fmt.Sprintf("%q: want %s or %s", c.Deletes, Tombstone, Delete))
	}
	if c.BulkBytes < bulkBytesMin {
		report("bulk_bytes", fmt.Sprintf("%d: want 64KiB or more", c.BulkBytes))
	}
	if c.KeepTombstones < time.Minute {
		report("keep_tombstones", fmt.Sprintf("%v: want a minute or more", c.KeepTombstones))
	}
	if c.Timeout < time.Second {
		report("timeout", fmt.Sprintf("%v: want a second or more", c.Timeout))
	}
	c.checkAccount(report)
}

func (c *Config) checkAccount(report func(path, problem string)) {
	hasPassword := c.Password != "" || c.PasswordFile != ""
	if c.Password != "" && c.PasswordFile != "" {
		report("password_file", "password and password_file exclude each other")
	}
	if hasPassword && c.User == "" {
		report("user", "missing: there is a password")
	}
	if c.APIKey != "" && (c.User != "" || hasPassword) {
		report("api_key", "api_key and user exclude each other")
	}
}

func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return string(c.Password), nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: "the password file cannot be read", Err: err}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
