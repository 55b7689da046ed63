package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/change"
)

// Occupied returns the names of those tables' collections that hold rows.
func (t *Target) Occupied(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	db, err := t.database()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, table := range tables {
		name := t.config.collection(source, table.TableName)
		n, err := db.Collection(name).CountDocuments(ctx, bson.D{rowsOnly}, options.Count().SetLimit(1))
		if err != nil {
			return nil, t.judgeTable("the documents could not be counted", table, err)
		}
		if n > 0 {
			names = append(names, name)
		}
	}
	return names, nil
}

// Empty removes the documents of the tables' collections, tombstones and all. The collections stay, with the indexes and options that
// somebody gave them. One that is gone already is made at the next start.
func (t *Target) Empty(ctx context.Context, source string, tables []*change.Table) error {
	db, err := t.database()
	if err != nil {
		return err
	}
	for _, table := range tables {
		if err := t.empty(ctx, db, t.config.collection(source, table.TableName), t.config.owner(source, table), table); err != nil {
			return err
		}
	}
	return nil
}

// empty removes the marker first and the entry in the list last: when it ends in between, the collection counts as lost, so that it is
// refused at the start, or emptied again, and never filled on.
func (t *Target) empty(ctx context.Context, db *mongo.Database, name string, want owner, table *change.Table) error {
	have, err := t.look(ctx, db, name)
	if err != nil {
		return err
	}
	if have != nil && !have.Owner.sameTable(want) {
		return have.check(name, want) // another table's
	}
	listed, err := t.listed(ctx, db, name)
	if err != nil {
		return err
	}
	if have == nil && !listed {
		return nil // not ours: Prepare says what it thinks of it
	}
	c := db.Collection(name)
	if _, err := c.DeleteOne(ctx, bson.D{{Key: "_id", Value: theMarker}}); err != nil {
		return t.judgeTable("the collection could not be emptied", table, err)
	}
	if _, err := c.DeleteMany(ctx, bson.D{}); err != nil {
		return t.judgeTable("the collection could not be emptied", table, err)
	}
	t.mu.Lock()
	delete(t.marks, name)
	t.mu.Unlock()
	return t.strike(ctx, db, name)
}
