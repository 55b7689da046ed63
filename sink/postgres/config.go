package postgres

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// Config is the postgres block of a sink's page.
type Config struct {
	Address      string       `yaml:"address"` // host:port, [ipv6]:port or the folder of a socket; the port is 5432 when left out
	Database     string       `yaml:"database"`
	User         string       `yaml:"user"`
	Password     kafka.Secret `yaml:"password"`
	PasswordFile string       `yaml:"password_file"` // read at each connection, so that a new password needs no restart
	TLS          string       `yaml:"tls"`           // off, prefer (default), require or verify, as at the source
	TLSCA        string       `yaml:"tls_ca"`        // PEM file; the system's authorities when empty

	// Table names a table's place, schema.table: {source}, {db} and {table} stand for the parts. The case stays as it is.
	Table string `yaml:"table"`

	// CreateTables has missing schemas and tables made, with the source's columns and key, and columns added that appear at the
	// source later. Without it both stop the table, and the statement that helps is named.
	CreateTables bool `yaml:"create_tables"`

	// Unique names, for each table (database.table of the source), the unique indexes of the target, besides that of the
	// key, that the source has too. "*" stands for all. One that is not named stops the table: one that is stricter than the
	// source's would delete rows for good (R5).
	Unique map[string][]string `yaml:"unique"`

	// Triggers is refuse (the default) or accept: a trigger of the target fires again for what the source's has already done.
	Triggers string `yaml:"triggers"`

	// ZeroDates is refuse (the default) or to_null: what becomes of a date that PostgreSQL has not, 0000-00-00 or 2026-02-31.
	ZeroDates string `yaml:"zero_dates"`

	// TextNUL is refuse (the default) or remove: what becomes of the character NUL in text, which PostgreSQL cannot hold.
	TextNUL string `yaml:"text_nul"`

	// JSON is json (the default: the text as MySQL prints it) or jsonb, which has its own spelling of numbers.
	JSON string `yaml:"json"`

	// Adopt takes over tables that another group has written.
	Adopt bool `yaml:"adopt"`

	// Connections is the most that are open at once. More partitions than that wait.
	Connections int `yaml:"connections"`

	// LockTimeout is how long a statement waits for a lock that somebody else holds before the batch is tried again.
	LockTimeout time.Duration `yaml:"lock_timeout"`

	VersionColumn string `yaml:"version_column"`
	SourceColumn  string `yaml:"source_column"`
	Schema        string `yaml:"schema"` // where the tables of the target's own are
}

// The words of the settings.
const (
	Refuse = "refuse"
	Accept = "accept"
	ToNull = "to_null"
	Remove = "remove"
	JSON   = "json"
	JSONB  = "jsonb"
)

const defaultPort = "5432"

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{
		TLS: "prefer", Table: "{db}.{table}", Triggers: Refuse, ZeroDates: Refuse, TextNUL: Refuse, JSON: JSON, Connections: 16,
		LockTimeout: 5 * time.Second, VersionColumn: "_sluice_version", SourceColumn: "_sluice_source", Schema: "_sluice",
	}
}

// sslModes are libpq's words for TLS.
var sslModes = map[string]string{"off": "disable", "prefer": "prefer", "require": "require", "verify": "verify-full"}

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	need := func(path, value, example string) {
		if value == "" {
			report(path, "missing: "+example)
		}
	}
	need("address", c.Address, "host:5432, or the folder of a socket")
	need("database", c.Database, "the name of a database that exists")
	need("user", c.User, "who writes, and may make tables where create_tables is true")
	if sslModes[c.TLS] == "" {
		report("tls", fmt.Sprintf("%q: want off, prefer, require or verify", c.TLS))
	}
	if c.Password != "" && c.PasswordFile != "" {
		report("password_file", "password and password_file exclude each other")
	}
	if schema, table, ok := strings.Cut(c.Table, "."); !ok || schema == "" || !strings.Contains(table, "{table}") || strings.Contains(table, ".") {
		report("table", fmt.Sprintf("%q: want schema.table with {table} in its second part, or all tables would share one", c.Table))
	}
	c.checkWords(report)
	if c.Connections < 1 {
		report("connections", fmt.Sprintf("%d: want 1 or more", c.Connections))
	}
	if c.LockTimeout < time.Second {
		report("lock_timeout", fmt.Sprintf("%v: want a second or more", c.LockTimeout))
	}
	for path, name := range map[string]string{"version_column": c.VersionColumn, "source_column": c.SourceColumn, "schema": c.Schema} {
		if name == "" || len(name) > nameBytesMax {
			report(path, fmt.Sprintf("%q: want a name of 1 to %d bytes", name, nameBytesMax))
		}
	}
	if c.VersionColumn == c.SourceColumn {
		report("source_column", fmt.Sprintf("%q: want another name than version_column", c.SourceColumn))
	}
}

func (c *Config) checkWords(report func(path, problem string)) {
	for _, w := range []struct {
		path, value string
		words       []string
	}{
		{"triggers", c.Triggers, []string{Refuse, Accept}},
		{"zero_dates", c.ZeroDates, []string{Refuse, ToNull}},
		{"text_nul", c.TextNUL, []string{Refuse, Remove}},
		{"json", c.JSON, []string{JSON, JSONB}},
	} {
		if !slices.Contains(w.words, w.value) {
			report(w.path, fmt.Sprintf("%q: want %s", w.value, strings.Join(w.words, " or ")))
		}
	}
}

// endpoint returns the host, or a socket's folder, and the port.
func (c *Config) endpoint() (host, port string) {
	if strings.HasPrefix(c.Address, "/") {
		return c.Address, defaultPort
	}
	if host, port, err := net.SplitHostPort(c.Address); err == nil {
		return host, port
	}
	return strings.Trim(c.Address, "[]"), defaultPort
}

func (c *Config) password() (string, error) {
	if c.PasswordFile == "" {
		return string(c.Password), nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: "the password file cannot be read", Err: err,
			Mend: "name a file in postgres.password_file that this user may read"}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// ownColumn reports whether the name is one of the target's own columns.
func (c *Config) ownColumn(name string) bool {
	return name == c.VersionColumn || name == c.SourceColumn
}

// nameBytesMax is what a name of PostgreSQL holds; longer ones are cut, and two could become one.
const nameBytesMax = 63

// place is a table's schema and name at the target.
type place struct {
	schema, table string
}

// String returns "schema.table".
func (p place) String() string { return p.schema + "." + p.table }

// quoted returns the name as it stands in a statement.
func (p place) quoted() string { return quoteName(p.schema) + "." + quoteName(p.table) }

// place returns where the source's table is kept.
func (c *Config) place(source string, t change.TableName) (place, error) {
	fill := strings.NewReplacer("{source}", source, "{db}", t.DB, "{table}", t.Name).Replace
	schema, table, _ := strings.Cut(c.Table, ".")
	p := place{schema: fill(schema), table: fill(table)}
	for _, name := range []string{p.schema, p.table} {
		if len(name) > nameBytesMax {
			return p, &change.Problem{Kind: change.Configuration, Table: t, Where: t.String(),
				What: fmt.Sprintf("the name %q is longer than the %d bytes that PostgreSQL keeps", name, nameBytesMax),
				Why:  "it would be cut, and two tables could become one", Mend: "name a shorter pattern in postgres.table"}
		}
	}
	return p, nil
}

// quoteName quotes a name, so that its case stays.
func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteNames(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quoteName(name)
	}
	return strings.Join(quoted, ",")
}
