package mongodb

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/change"
)

// Prepare makes missing collections and refuses those that cannot hold their table.
func (t *Target) Prepare(ctx context.Context, _, source string, tables []*change.Table) error {
	db, err := t.database()
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := t.prepare(ctx, db, source, table); err != nil {
			var p *change.Problem
			if errors.As(err, &p) && p.Kind == change.Poison {
				p.Table = table.TableName
			}
			return err
		}
	}
	return nil
}

func (t *Target) prepare(ctx context.Context, db *mongo.Database, source string, table *change.Table) error {
	name, want := t.config.collection(source, table.TableName), t.config.owner(source, table)
	if err := t.fit(ctx, db, name); err != nil {
		return err
	}
	m, err := t.look(ctx, db, name)
	if err != nil {
		return err
	}
	if m == nil {
		if m, err = t.make(ctx, db, name, want, table); err != nil {
			return err
		}
	}
	if err := m.check(name, want); err != nil {
		return err
	}
	if err := t.enter(ctx, db, name, m); err != nil {
		return err
	}
	if err := t.indexTombstones(ctx, db, name); err != nil {
		return err
	}
	t.mu.Lock()
	t.marks[name] = m.Made
	t.mu.Unlock()
	return nil
}

// fit refuses a collection that could not hold a table's rows.
func (t *Target) fit(ctx context.Context, db *mongo.Database, name string) error {
	f, err := t.facts(ctx, db, name)
	if err != nil || f == nil {
		return err
	}
	if p := f.problem(name); p != nil {
		return p
	}
	uniques, err := t.uniques(ctx, db, name)
	if err != nil || len(uniques) == 0 {
		return err
	}
	return uniqueIndex(name, uniques[0])
}

// make writes the marker of a collection that was not there or is empty. An operator may have made it, with indexes of his own.
func (t *Target) make(ctx context.Context, db *mongo.Database, name string, want owner, table *change.Table) (*mark, error) {
	was, err := t.listed(ctx, db, name)
	if err != nil {
		return nil, err
	}
	if was {
		return nil, t.lost(name, table)
	}
	n, err := db.Collection(name).CountDocuments(ctx, bson.D{}, options.Count().SetLimit(1))
	if err != nil {
		return nil, t.judge("the collection "+name+" could not be looked at", err)
	}
	if m, err := t.look(ctx, db, name); m != nil || err != nil {
		return m, err // another process was faster
	}
	if n > 0 {
		return nil, &change.Problem{Kind: change.Poison, What: "the collection " + name + " holds documents that are not Sluice's", Where: t.where(),
			Why:  "those with a row's _id would keep the row out, and the others would stay beside the rows",
			Mend: "rename or empty the collection, or set another mongodb.collection"}
	}
	_, err = db.Collection(name).InsertOne(ctx, marker{theMarker, mark{Deleted: true, Made: bson.NewObjectID(), Owner: want}})
	if err != nil && !hasCode(err, codeDuplicate) {
		return nil, t.judge("the collection "+name+" could not be made", err)
	}
	t.log.Info("made a collection", "target", t.where(), "collection", name, "table", table.String())
	m, err := t.look(ctx, db, name)
	if err == nil && m == nil {
		err = t.lost(name, table)
	}
	return m, err
}

// indexTombstones makes the index by which old tombstones are found. Rows are not in it.
func (t *Target) indexTombstones(ctx context.Context, db *mongo.Database, name string) error {
	if t.config.Deletes != Tombstone {
		return nil
	}
	_, err := db.Collection(name).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: fieldDeletedAt, Value: 1}}, Options: options.Index().SetSparse(true)})
	return t.judge("the index of tombstones could not be made", err)
}
