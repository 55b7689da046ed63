package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	// purgeEvery is how often each collection is looked through for old tombstones.
	purgeEvery = time.Hour
	// purgePage is how many of them are removed at once, after a batch; when there are more, the next batch goes on.
	purgePage = 1000
)

// purge removes some of the tombstones that are older than any record that could still come. A TTL index would take the server's
// clock against ours. What goes wrong is logged and tried again later: a tombstone that stays too long does no harm.
func (t *Target) purge(ctx context.Context, c *mongo.Collection) {
	if t.config.Deletes != Tombstone || !t.purgeDue(c.Name()) {
		return
	}
	removed, err := t.purgeOnce(ctx, c)
	switch {
	case err != nil && ctx.Err() == nil:
		t.log.Warn("old tombstones could not be removed", "collection", c.Name(), "error", err)
	case removed == purgePage:
		t.mu.Lock()
		t.purged[c.Name()] = time.Time{} // there are more
		t.mu.Unlock()
	case removed > 0:
		t.log.Debug("old tombstones removed", "collection", c.Name(), "documents", removed)
	}
}

// purgeDue reports whether it is time, and takes the turn. The first look is purgeEvery after the start.
func (t *Target) purgeDue(collection string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.purged[collection]
	if known && t.now().Sub(last) < t.purgeEvery {
		return false
	}
	t.purged[collection] = t.now()
	return known
}

func (t *Target) purgeOnce(ctx context.Context, c *mongo.Collection) (int, error) {
	old := bson.E{Key: fieldDeletedAt, Value: bson.D{{Key: "$lt", Value: t.now().Add(-t.config.KeepTombstones)}}}
	cursor, err := c.Find(ctx, bson.D{old}, options.Find().SetLimit(purgePage).SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return 0, err
	}
	var found []struct {
		ID bson.RawValue `bson:"_id"`
	}
	if err := cursor.All(ctx, &found); err != nil || len(found) == 0 {
		return 0, err
	}
	ids := make(bson.A, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	// A row that came back meanwhile has no deleted_at any more.
	_, err = c.DeleteMany(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, old})
	return len(found), err
}
