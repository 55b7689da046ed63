package mysql

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-cdc/sluice/change"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/route"
)

// Config is the mysql block of a sink's configuration.
type Config struct {
	Shards []Shard `yaml:"shards"`

	// CreateTables has missing tables made, with the source's columns and key, and columns added that appear at the
	// source later. Without it both stop the table, and the statement that helps is named.
	CreateTables bool `yaml:"create_tables"`

	// Mode is versioned (the default: newest wins by a version in each row) or overwrite (tables without the
	// version columns, written by REPLACE; see docs for what that cannot do).
	Mode string `yaml:"mode"`

	// Triggers is refuse (the default) or accept: a trigger of the target fires again for what the source's
	// trigger has already done there.
	Triggers string `yaml:"triggers"`

	// Unique names, for each table (database.table of the source), the unique keys of the target, besides
	// the primary, that the source has too: same columns, same collation. "*" stands for all. A key that is not named
	// stops the table: one that is stricter than the source's would delete rows for good (R5).
	Unique map[string][]string `yaml:"unique"`

	// Adopt takes over tables that another group or another route has written.
	Adopt bool `yaml:"adopt"`

	// Connections is the most that are open to each shard at once; 0 means 16. More partitions than that wait.
	Connections int `yaml:"connections"`

	// SideTables are patterns of tables (database.table of the source) that get no columns: the version and the source of their rows stand
	// in a table beside each, in the same transactions.
	SideTables []string `yaml:"side_tables"`

	// Moves declare that keys may go over from one source to another; without one, a key that two sources hold stops the topic.
	Moves []Move `yaml:"moves"`

	// VersionColumn and SourceColumn are the two columns of the target's own, in the table or in its side table.
	VersionColumn string `yaml:"version_column"` // _sluice_version
	SourceColumn  string `yaml:"source_column"`  // _sluice_source

	// Routes say to which shard a row goes; they stand beside this block in the configuration.
	Routes []route.Spec `yaml:"-"`

	// Router places rows in place of Routes, in a program of one's own: see Router.
	Router *Router `yaml:"-"`
}

// Router places rows by a function. Name stands in the tables' fingerprint: one that places rows otherwise needs another.
type Router struct {
	Name string

	// Place names the shard of a row, or is EveryShard. It must be pure: the same row gives the same shard in every process and for
	// ever, because where a row stood is asked of its before image. An error refuses the row. The row's values are by column of the
	// table; it is never called with less than a whole row.
	Place func(t *change.Table, row []change.Value) (shard string, err error)
}

// EveryShard is what a Router returns for a row that is kept in each shard.
const EveryShard = "*"

// Shard is one server, or one database of it.
type Shard struct {
	Name          string `yaml:"name"`
	server.Config `yaml:",inline"`
	Database      string `yaml:"database"` // where the tables are
}

// The modes, and the answers to triggers.
const (
	ModeVersioned = "versioned"
	ModeOverwrite = "overwrite"

	TriggersRefuse = "refuse"
	TriggersAccept = "accept"
)

const defaultConnections = 16

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&c.Mode, ModeVersioned)
	set(&c.Triggers, TriggersRefuse)
	set(&c.VersionColumn, "_sluice_version")
	set(&c.SourceColumn, "_sluice_source")
	if c.Connections == 0 {
		c.Connections = defaultConnections
	}
	return c
}

// check returns all that is wrong with the configuration.
func (c Config) check() error {
	var found []error
	wrong := func(format string, args ...any) { found = append(found, fmt.Errorf(format, args...)) }
	if len(c.Shards) == 0 {
		wrong("mysql: no shards: name at least one server")
	}
	names := c.shardNames()
	for i, name := range names {
		switch {
		case name == "":
			wrong("mysql: shards[%d]: no name", i)
		case slices.Contains(names[:i], name):
			wrong("mysql: shards[%d]: name %q is taken", i, name)
		case c.Shards[i].Database == "":
			wrong("mysql: shards[%d] (%s): no database", i, name)
		}
	}
	if c.Mode != ModeVersioned && c.Mode != ModeOverwrite {
		wrong("mysql: mode %q: want %s or %s", c.Mode, ModeVersioned, ModeOverwrite)
	}
	if c.Triggers != TriggersRefuse && c.Triggers != TriggersAccept {
		wrong("mysql: triggers %q: want %s or %s", c.Triggers, TriggersRefuse, TriggersAccept)
	}
	if c.Connections < 0 {
		wrong("mysql: connections %d: want 1 or more", c.Connections)
	}
	if r := c.Router; r != nil && (r.Name == "" || r.Place == nil || len(c.Routes) > 0) {
		wrong("mysql: a Router needs a Name and a Place, and stands in place of routes")
	}
	c.checkSideTables(wrong)
	c.checkMoves(wrong)
	for i, spec := range c.Routes {
		if err := spec.Check(names); err != nil {
			wrong("routes[%d]: %w", i, err)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return &change.Problem{Kind: change.Configuration, What: "the MySQL target is not configured right", Err: errors.Join(found...)}
}

func (c Config) shardNames() []string {
	names := make([]string, len(c.Shards))
	for i, s := range c.Shards {
		names[i] = s.Name
	}
	return names
}

// ownColumn reports whether the name is one of the target's own columns.
func (c Config) ownColumn(name string) bool {
	return name == c.VersionColumn || name == c.SourceColumn
}
