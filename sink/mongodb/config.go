package mongodb

import (
	"fmt"
	"os"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// Config is the mongodb block of a sink's page.
type Config struct {
	URI          string       `yaml:"uri"` // of the servers, with the driver's options (tls=true&tlsCAFile=...), without an account
	User         string       `yaml:"user"`
	Password     kafka.Secret `yaml:"password"`
	PasswordFile string       `yaml:"password_file"`
	AuthSource   string       `yaml:"auth_source"` // the database that knows the user

	// Database holds all the collections, and Sluice's list of them.
	Database string `yaml:"database"`

	// Collection names a table's collection: {source}, {db} and {table} stand for the parts.
	Collection string `yaml:"collection"`

	// Dates is date (BSON dates, which hold milliseconds; what they would lose stands beside, in _sluice.exact) or text.
	Dates string `yaml:"dates"`

	// JSON is document (embedded documents and arrays; what they would bend stands beside, in _sluice.exact) or text.
	JSON string `yaml:"json"`

	// Deletes is tombstone (the default) or delete. With delete a row that is deleted is gone at once, and a stale write that
	// comes later brings it back.
	Deletes string `yaml:"deletes"`

	// KeepTombstones is how long a tombstone stays. The sink stops at a lag above it; where it is shorter than the topic's
	// min.compaction.lag and delete.retention together, it stops earlier than the log would ask for.
	KeepTombstones time.Duration `yaml:"keep_tombstones"`

	// Timeout bounds one operation. What was sent may still be done after it; versions make that harmless.
	Timeout time.Duration `yaml:"timeout"`
}

// The words of Dates, JSON and Deletes.
const (
	Date     = "date"
	Document = "document"
	Text     = "text"

	Tombstone = "tombstone"
	Delete    = "delete"
)

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{Collection: "{db}.{table}", Dates: Date, JSON: Document, Deletes: Tombstone, KeepTombstones: 15 * 24 * time.Hour,
		AuthSource: "admin", Timeout: time.Minute}
}

// databaseMax is the longest name of a database, in bytes.
const databaseMax = 63

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	c.checkURI(report)
	switch {
	case c.Database == "":
		report("database", "missing: want the name of the database that holds the collections")
	case strings.ContainsAny(c.Database, "/\\. \"$*<>:|?\x00") || len(c.Database) > databaseMax:
		report("database", fmt.Sprintf("%q: want a name of at most %d bytes without / \\ . \" $ * < > : | ? and spaces", c.Database, databaseMax))
	case c.Database == "admin" || c.Database == "local" || c.Database == "config":
		report("database", fmt.Sprintf("%q belongs to the server: want another", c.Database))
	}
	if !strings.Contains(c.Collection, "{table}") {
		report("collection", fmt.Sprintf("%q: want {table} in it, or all tables would share one collection", c.Collection))
	}
	if c.Dates != Date && c.Dates != Text {
		report("dates", fmt.Sprintf("%q: want %s or %s", c.Dates, Date, Text))
	}
	if c.JSON != Document && c.JSON != Text {
		report("json", fmt.Sprintf("%q: want %s or %s", c.JSON, Document, Text))
	}
	if c.Deletes != Tombstone && c.Deletes != Delete {
		report("deletes", fmt.Sprintf("%q: want %s or %s", c.Deletes, Tombstone, Delete))
	}
	if c.KeepTombstones < time.Minute {
		report("keep_tombstones", fmt.Sprintf("%v: want a minute or more", c.KeepTombstones))
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
}

const srvScheme = "mongodb+srv://"

func (c *Config) checkURI(report func(path, problem string)) {
	rest, plain := strings.CutPrefix(c.URI, "mongodb://")
	if !plain {
		var srv bool
		if rest, srv = strings.CutPrefix(c.URI, srvScheme); !srv {
			report("uri", fmt.Sprintf("%q: want mongodb://host:27017,host2:27017/?replicaSet=name or mongodb+srv://...", redact(c.URI)))
			return
		}
	}
	hosts, _, _ := strings.Cut(rest, "/")
	if strings.Contains(hosts, "@") {
		report("uri", "an account has no place in an address: use user and password")
		return
	}
	if !plain {
		return // the driver would ask the name service
	}
	if err := options.Client().ApplyURI(c.URI).Validate(); err != nil {
		report("uri", fmt.Sprintf("%q: %v", c.URI, err))
	}
}

// redact leaves out what stands before an @: it may be an account.
func redact(uri string) string {
	if i := strings.LastIndexByte(uri, '@'); i >= 0 {
		return "***" + uri[i:]
	}
	return uri
}

func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return string(c.Password), nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: "the password file cannot be read", Err: err, Mend: "mend mongodb.password_file"}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
