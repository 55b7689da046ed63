package mongodb

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// ledgerCollection has one document for each collection that Sluice fills, by its name.
const ledgerCollection = "sluice.collections"

// listed reports whether the collection was made before: the group's offsets stand where its rows ended.
func (t *Target) listed(ctx context.Context, db *mongo.Database, name string) (bool, error) {
	n, err := db.Collection(ledgerCollection).CountDocuments(ctx, bson.D{{Key: "_id", Value: name}}, options.Count().SetLimit(1))
	return n > 0, t.judge("the list of collections that Sluice made could not be read", err)
}

// enter writes down that the collection was made.
func (t *Target) enter(ctx context.Context, db *mongo.Database, name string, m *mark) error {
	entry := bson.D{{Key: "_id", Value: name}, {Key: "made", Value: m.Made}, {Key: "owner", Value: m.Owner}}
	_, err := db.Collection(ledgerCollection).ReplaceOne(ctx, entry[:1], entry, options.Replace().SetUpsert(true))
	if hasCode(err, codeDuplicate) {
		err = nil // another process was faster
	}
	return t.judge("the list of collections that Sluice made could not be written", err)
}

// strike takes a collection off the list.
func (t *Target) strike(ctx context.Context, db *mongo.Database, name string) error {
	_, err := db.Collection(ledgerCollection).DeleteOne(ctx, bson.D{{Key: "_id", Value: name}})
	return t.judge("the list of collections that Sluice made could not be written", err)
}
