package memory

import (
	"fmt"
	"sync"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Config says how a Store is made.
type Config struct {
	// Shards names the shards; empty: one shard without a name.
	Shards []string

	// Route names the shard that a row belongs to. It must be pure. Nil: the first shard.
	Route func(t *change.Table, row []change.Value) (string, error)

	// Uniques are the secondary unique keys of each table, by column names.
	Uniques map[change.TableName][][]string

	// Fault, where it is not nil, is called before each shard's commit; an error leaves that shard and all after
	// it as they were, and is what Apply returns. It stands for a server that fails between two shards.
	Fault func(shard string) error
}

// Store holds what a database would: rows, versions, markers of deletes, and progress. It is safe for many
// goroutines.
type Store struct {
	config Config

	mu     sync.Mutex // guards all below
	shards []*shard
	stats  Stats
}

// Stats counts what the rules decided.
type Stats struct {
	Written, Deleted, Stale, Conflicts int64
}

// shard is one place: rows and progress that are committed together.
type shard struct {
	name     string
	tables   map[change.TableName]*table
	progress map[owner]*progress
}

type owner struct {
	group     string
	partition sink.Partition
}

type progress struct {
	next          int64
	epoch         int64
	throughMillis int64
}

// NewStore returns an empty store.
func NewStore(config Config) *Store {
	names := config.Shards
	if len(names) == 0 {
		names = []string{""}
	}
	s := &Store{config: config}
	for _, name := range names {
		s.shards = append(s.shards, &shard{
			name:     name,
			tables:   make(map[change.TableName]*table),
			progress: make(map[owner]*progress),
		})
	}
	return s
}

// Open returns a target that writes to the store and keeps progress there.
func (s *Store) Open() *Target { return &Target{store: s} }

// OpenPlain returns a target that writes to the same rows but keeps no progress: it is right by versions and
// markers of deletes alone, as a target without transactions is.
func (s *Store) OpenPlain() *Plain { return &Plain{store: s} }

// Stats returns the counts so far.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Rows returns how many rows the table has over all shards.
func (s *Store) Rows(name change.TableName) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, sh := range s.shards {
		if t := sh.tables[name]; t != nil {
			n += len(t.rows)
		}
	}
	return n
}

// Get returns the row of that key and where it stands; ok is false where no shard has it.
func (s *Store) Get(name change.TableName, key ...change.Value) (row sink.Row, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sh := range s.shards {
		if t := sh.tables[name]; t != nil {
			if r := t.rows[encode(key)]; r != nil {
				return r.public(sh.name, r.columns), true
			}
		}
	}
	return sink.Row{}, false
}

func (s *Store) table(sh *shard, name change.TableName) *table {
	t := sh.tables[name]
	if t == nil {
		t = newTable(s.config.Uniques[name])
		sh.tables[name] = t
	}
	return t
}

// place is a change with the shards that it concerns: where its row is written (-1: nowhere), and where
// its key is deleted.
type place struct {
	write   int
	deletes []int
}

// place routes a change (rule R7). The write goes to the row's shard; the delete to where the row stood, by
// the before image where it can be trusted, else to all other shards.
func (s *Store) place(c *sink.Change) (place, error) {
	p := place{write: -1}
	if c.Op != change.Delete {
		at, err := s.route(c.Table, c.After)
		if err != nil {
			return p, err
		}
		p.write = at
	}
	if c.TrustedBefore && (c.Before != nil || c.Op == change.Create || c.Op == change.Read) {
		if c.Before == nil {
			return p, nil
		}
		at, err := s.route(c.Table, c.Before)
		if err != nil {
			return p, err
		}
		if at != p.write {
			p.deletes = append(p.deletes, at)
		}
		return p, nil
	}
	for i := range s.shards {
		if i != p.write {
			p.deletes = append(p.deletes, i)
		}
	}
	return p, nil
}

func (s *Store) route(t *change.Table, row []change.Value) (int, error) {
	if s.config.Route == nil {
		return 0, nil
	}
	name, err := s.config.Route(t, row)
	if err != nil {
		return 0, &change.Problem{Kind: change.Poison, What: "a row has no shard", Where: t.String(), Table: t.TableName,
			Why: "a row that is written nowhere would be lost", Mend: "mend the route's rule, then start the sink again", Err: err}
	}
	for i, sh := range s.shards {
		if sh.name == name {
			return i, nil
		}
	}
	return 0, &change.Problem{Kind: change.Poison, What: fmt.Sprintf("the route names the shard %q, which is none", name),
		Where: t.String(), Table: t.TableName, Mend: "mend the route's rule, then start the sink again"}
}
