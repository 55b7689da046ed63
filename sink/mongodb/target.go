package mongodb

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Target writes to one server or cluster.
type Target struct {
	config     Config
	log        *slog.Logger
	now        func() time.Time
	purgeEvery time.Duration

	mu          sync.Mutex // guards the following
	client      *mongo.Client
	closed      bool
	shapes      map[*change.Table]*shaped
	collections map[string]string        // by topic
	marks       map[string]bson.ObjectID // by collection: what its marker said when it was prepared
	purged      map[string]time.Time     // by collection: when its tombstones were last looked through
}

var (
	_ sink.Target   = (*Target)(nil)
	_ sink.Preparer = (*Target)(nil)
	_ sink.Checker  = (*Target)(nil)
	_ sink.Scanner  = (*Target)(nil)
	_ sink.Floor    = (*Target)(nil)
	_ sink.Emptier  = (*Target)(nil)
)

// New returns the target of a config that has been checked. It connects to nothing.
func New(config Config, setup sink.Setup) (*Target, error) {
	if _, err := config.password(); err != nil {
		return nil, err
	}
	return &Target{config: config, log: setup.Log, now: time.Now, purgeEvery: purgeEvery, shapes: make(map[*change.Table]*shaped),
		collections: make(map[string]string), marks: make(map[string]bson.ObjectID), purged: make(map[string]time.Time)}, nil
}

// Floor bounds how far behind the sink may fall: what could still come must meet the tombstone that it is older than. With
// deletes: delete there are no tombstones to outlive, and records that come again end with the delete again.
func (t *Target) Floor(s sink.LogSettings) time.Duration {
	var bounds []time.Duration
	if s.Compacted {
		bounds = append(bounds, s.MinCompactionLag+s.DeleteRetention)
	}
	if t.config.Deletes == Tombstone {
		bounds = append(bounds, t.config.KeepTombstones)
	}
	limit := time.Duration(0) // no bound
	for _, b := range bounds {
		if limit == 0 || b < limit {
			limit = b
		}
	}
	return limit
}

// Apply writes the batch: the newest change of each key, guarded by its version.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	var table *change.Table
	if len(b.Changes) > 0 {
		table = b.Changes[0].Table
	}
	name := t.collectionOf(b.Topic, b.Source, table)
	if name == "" {
		return nil // a topic that has had no change yet
	}
	db, err := t.database()
	if err != nil {
		return err
	}
	writes, err := t.writes(b.Changes)
	if err != nil {
		return err
	}
	if err := t.send(ctx, db.Collection(name), writes); err != nil {
		return err
	}
	if err := t.stillOurs(ctx, db, name); err != nil {
		return err
	}
	t.purge(ctx, db.Collection(name))
	return nil
}

// write is one change as the driver takes it.
type write struct {
	offset  int64
	guard   bson.Raw
	replace bson.Raw // nil: the document is deleted
}

// writes makes the batch's documents.
func (t *Target) writes(changes []sink.Change) ([]write, error) {
	newest := sink.NewestPerKey(changes)
	writes := make([]write, 0, len(newest))
	for _, i := range newest {
		c := &changes[i]
		w := write{offset: c.Offset}
		var err error
		if w.guard, err = guard(c); err == nil {
			switch {
			case c.Op != change.Delete:
				w.replace, err = t.shapeOf(c.Table).document(c)
			case t.config.Deletes == Tombstone:
				w.replace, err = tombstone(c, t.now())
			}
		}
		if err != nil {
			return nil, &sink.Refused{Offset: c.Offset, Err: &change.Problem{Kind: change.Poison, Table: c.Table.TableName,
				What: "a row cannot be written as a document", Why: "the row would be missing in the collection, or bent",
				Mend: "mend the value at the source, or set the record aside (on_error: dead_letter)", Err: err}}
		}
		if len(w.replace) > documentMax {
			return nil, &sink.Refused{Offset: c.Offset, Err: tooLarge(c, len(w.replace))}
		}
		writes = append(writes, w)
	}
	return writes, nil
}

// shapesMax bounds what is remembered of schemas that were replaced long ago.
const shapesMax = 1024

func (t *Target) shapeOf(table *change.Table) *shaped {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.shapes[table]
	if s == nil {
		if len(t.shapes) >= shapesMax {
			clear(t.shapes)
		}
		s = t.config.shaped(table)
		t.shapes[table] = s
	}
	return s
}

// collectionOf notes which collection a topic's batches go to, so that those without changes look after it too.
func (t *Target) collectionOf(topic, source string, table *change.Table) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if table != nil {
		t.collections[topic] = t.config.collection(source, table.TableName)
	}
	return t.collections[topic]
}
