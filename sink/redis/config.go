package redis

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
)

// Config is the redis block of a sink's page.
type Config struct {
	Addresses    []string     `yaml:"addresses"` // host:port; of a cluster any of its nodes, else one
	User         string       `yaml:"user"`      // of an ACL; the default user when empty
	Password     kafka.Secret `yaml:"password"`
	PasswordFile string       `yaml:"password_file"`
	TLS          bool         `yaml:"tls"`
	TLSCA        string       `yaml:"tls_ca"` // PEM file, turns TLS on; the system's authorities when empty
	Database     int          `yaml:"database"`

	// Cluster says that the server is a Redis Cluster. Keys of a table then begin with a hash tag, {topic} or {topic:n}, and
	// Name has no meaning: what one script writes has to lie in one slot.
	Cluster bool `yaml:"cluster"`

	// Name is what the keys of a table begin with: {source}, {db} and {table} stand for the parts.
	Name string `yaml:"name"`

	// Tables says how each table is kept. The first entry that matches counts; without one it is a hash without indexes.
	Tables []Table `yaml:"tables"`

	// KeepTombstones is how long the version of a deleted row stays. The sink stops at a lag above it.
	KeepTombstones time.Duration `yaml:"keep_tombstones"`

	// Timeout bounds one round trip. What was sent may still be done after it; the progress beside the rows tells.
	Timeout time.Duration `yaml:"timeout"`
}

// Table says how tables are kept.
type Table struct {
	Match string `yaml:"match"` // db.table with * and ?
	As    string `yaml:"as"`    // Hash, JSON or String; Hash when empty
	Value string `yaml:"value"` // of String: the column that is the string
	Key   string `yaml:"key"`   // what stands behind the name in a row's key: a template over the key's columns

	Indexes []Index `yaml:"indexes"`
	Stream  *Stream `yaml:"stream"`

	// Slots spreads the rows of a table over so many hash tags, and with that over slots of a cluster; 0 is 1. Each has indexes,
	// a stream and progress of its own.
	Slots int `yaml:"slots"`
}

// Index is a secondary structure whose members are keys of rows.
type Index struct {
	Name string `yaml:"name"`
	Kind string `yaml:"kind"` // Set, Sorted or Geo

	By        string `yaml:"by"`        // a column: one structure for each of its values. A set needs it
	Score     string `yaml:"score"`     // of Sorted: a column with numbers or times
	Longitude string `yaml:"longitude"` // of Geo
	Latitude  string `yaml:"latitude"`  // of Geo
}

// Stream asks for an entry of each change in a Redis stream.
type Stream struct {
	Name      string `yaml:"name"`       // "changes" when empty
	MaxLength int64  `yaml:"max_length"` // about how many entries are kept
}

// The words of As and Kind.
const (
	Hash   = "hash"
	JSON   = "json"
	String = "string"

	Set    = "set"
	Sorted = "sorted"
	Geo    = "geo"
)

// Bounds of settings.
const (
	slotsMax        = 256  // each batch is one command to each, and so is the move of an idle partition's progress
	indexesMax      = 32   // of a table
	streamLengthMax = 1e12 // larger ones are a slip
)

const streamName = "changes"

// Default returns the settings that hold where the page says nothing.
func Default() Config {
	return Config{Name: "{db}:{table}", KeepTombstones: 15 * 24 * time.Hour, Timeout: 30 * time.Second}
}

// Check reports everything that is wrong.
func (c *Config) Check(report func(path, problem string)) {
	if len(c.Addresses) == 0 {
		report("addresses", `missing: want ["host:6379"]`)
	}
	for i, a := range c.Addresses {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			report(fmt.Sprintf("addresses[%d]", i), fmt.Sprintf("%q: want host:port", a))
		}
	}
	if len(c.Addresses) > 1 && !c.Cluster {
		report("addresses", "several: want one, or cluster: true")
	}
	if c.Password != "" && c.PasswordFile != "" {
		report("password_file", "password and password_file exclude each other")
	}
	if c.Database < 0 || c.Cluster && c.Database != 0 {
		report("database", fmt.Sprintf("%d: want 0 or more, and 0 in a cluster", c.Database))
	}
	if c.Cluster && c.Name != Default().Name {
		report("name", "in a cluster a table's keys begin with the hash tag {topic}: leave name out")
	}
	if _, err := parseTemplate(c.Name, nameParts); err != nil {
		report("name", err.Error())
	} else if !strings.Contains(c.Name, "{table}") {
		report("name", fmt.Sprintf("%q: want {table} in it, or all tables would share their keys", c.Name))
	} else if strings.HasPrefix(c.Name, reserved) {
		report("name", fmt.Sprintf("%q: keys that begin with %s are Sluice's own", c.Name, reserved))
	}
	if c.KeepTombstones < time.Minute {
		report("keep_tombstones", fmt.Sprintf("%v: want a minute or more", c.KeepTombstones))
	}
	if c.Timeout < time.Second {
		report("timeout", fmt.Sprintf("%v: want a second or more", c.Timeout))
	}
	for i := range c.Tables {
		c.Tables[i].check(c.Cluster, func(path, problem string) { report(fmt.Sprintf("tables[%d].%s", i, path), problem) })
	}
}

func (t *Table) check(cluster bool, report func(path, problem string)) {
	if !strings.Contains(t.Match, ".") {
		report("match", fmt.Sprintf("%q: want database.table, * and ? stand for letters", t.Match))
	}
	switch t.As {
	case "", Hash, JSON, String:
	default:
		report("as", fmt.Sprintf("%q: want %s, %s or %s", t.As, Hash, JSON, String))
	}
	if (t.As == String) != (t.Value != "") {
		report("value", "the column that is the string: goes with as: string, and only with it")
	}
	if _, err := parseTemplate(t.key(), nil); err != nil {
		report("key", err.Error())
	}
	if t.Slots < 0 || t.Slots > slotsMax || t.Slots > 1 && !cluster {
		report("slots", fmt.Sprintf("%d: want 1 to %d, and more than 1 only in a cluster", t.Slots, slotsMax))
	}
	if len(t.Indexes) > indexesMax {
		report("indexes", fmt.Sprintf("%d: want %d or less", len(t.Indexes), indexesMax))
	}
	names := map[string]bool{}
	if t.Stream != nil {
		names[t.Stream.name()] = true
		if !plainName(t.Stream.name()) {
			report("stream.name", fmt.Sprintf("%q: want letters, digits, _ and -", t.Stream.Name))
		}
		if t.Stream.MaxLength < 1 || t.Stream.MaxLength > streamLengthMax {
			report("stream.max_length", fmt.Sprintf("%d: want 1 or more: a stream without a bound fills the memory", t.Stream.MaxLength))
		}
	}
	for i := range t.Indexes {
		x := &t.Indexes[i]
		if names[x.Name] {
			report(fmt.Sprintf("indexes[%d].name", i), fmt.Sprintf("%q is there twice", x.Name))
		}
		names[x.Name] = true
		x.check(func(path, problem string) { report(fmt.Sprintf("indexes[%d].%s", i, path), problem) })
	}
}

func (x *Index) check(report func(path, problem string)) {
	if !plainName(x.Name) {
		report("name", fmt.Sprintf("%q: want letters, digits, _ and -", x.Name))
	}
	want := map[string]bool{"by": x.Kind == Set, "score": x.Kind == Sorted, "longitude": x.Kind == Geo, "latitude": x.Kind == Geo}
	switch x.Kind {
	case Set, Sorted, Geo:
	default:
		report("kind", fmt.Sprintf("%q: want %s, %s or %s", x.Kind, Set, Sorted, Geo))
		return
	}
	for _, has := range [][2]string{{"by", x.By}, {"score", x.Score}, {"longitude", x.Longitude}, {"latitude", x.Latitude}} {
		switch name, column := has[0], has[1]; {
		case want[name] && column == "":
			report(name, "missing: want a column")
		case !want[name] && column != "" && name != "by":
			report(name, "does not go with kind: "+x.Kind)
		}
	}
}

func plainName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != ""
}

func (t *Table) as() string {
	if t.As == "" {
		return Hash
	}
	return t.As
}

func (t *Table) key() string {
	if t.Key == "" {
		return "{key}"
	}
	return t.Key
}

func (t *Table) slots() int { return max(t.Slots, 1) }

func (s *Stream) name() string {
	if s.Name == "" {
		return streamName
	}
	return s.Name
}

// table returns how a table is kept.
func (c *Config) table(name change.TableName) *Table {
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
		return "", &change.Problem{Kind: change.Configuration, What: "the password file cannot be read", Err: err,
			Mend: "mend redis.password_file"}
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
