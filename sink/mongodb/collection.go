package mongodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/sluice-cdc/sluice/change"
)

// owner says what a collection holds.
type owner struct {
	Source   string   `bson:"source"`
	Database string   `bson:"database"`
	Table    string   `bson:"table"`
	Key      []string `bson:"key"`
	Dates    string   `bson:"dates"`
	JSON     string   `bson:"json"`
	Shape    string   `bson:"shape,omitempty"` // see change.Table
}

func (c *Config) owner(source string, t *change.Table) owner {
	return owner{Source: source, Database: t.DB, Table: t.Name, Key: t.KeyNames(), Dates: c.Dates, JSON: c.JSON, Shape: t.Shape}
}

// sameTable reports whether both are of one table of one source, in whatever form.
func (o owner) sameTable(p owner) bool {
	return o.Source == p.Source && o.Database == p.Database && o.Table == p.Table
}

// marker is the document of a collection that says whose it is. It counts as deleted, so what hides tombstones hides it too. No
// row has its _id: no key is an ObjectId.
type marker struct {
	ID     bson.ObjectID `bson:"_id"`
	Sluice mark          `bson:"_sluice"`
}

type mark struct {
	Deleted bool          `bson:"deleted"`
	Made    bson.ObjectID `bson:"made"` // tells a collection from one that was made after it was lost
	Owner   owner         `bson:"owner"`
}

var theMarker = bson.ObjectID([]byte("sluice-table"))

// look returns a collection's marker, nil where there is none.
func (t *Target) look(ctx context.Context, db *mongo.Database, name string) (*mark, error) {
	var m marker
	err := db.Collection(name).FindOne(ctx, bson.D{{Key: "_id", Value: theMarker}}).Decode(&m)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, t.judge("the collection "+name+" could not be looked at", err)
	}
	return &m.Sluice, nil
}

// stillOurs looks, after a batch, whether the collection is the one that was prepared. A server that has lost it makes another by
// itself at the first write, which would show only the rows that changed since.
func (t *Target) stillOurs(ctx context.Context, db *mongo.Database, name string) error {
	t.mu.Lock()
	made, prepared := t.marks[name]
	t.mu.Unlock()
	if !prepared {
		return nil
	}
	m, err := t.look(ctx, db, name)
	if err != nil {
		return err
	}
	if m == nil || m.Made != made {
		return t.lost(name, nil)
	}
	return nil
}

// lost tells of a collection that was there before.
func (t *Target) lost(name string, table *change.Table) error {
	p := &change.Problem{Kind: change.Poison, What: "the collection " + name + " was there before and is gone, or its marker is", Where: t.where(),
		Why:  "filled on from here it would show only the rows that change from now on",
		Mend: "bring it back (a backup), or begin anew: sluice replay --to beginning --empty"}
	if table != nil {
		p.Table = table.TableName
	}
	return p
}

// check refuses a collection that holds something else.
func (m *mark) check(name string, want owner) error {
	have := m.Owner
	p := &change.Problem{Kind: change.Poison, Table: change.TableName{DB: want.Database, Name: want.Table}, Where: "collection " + name}
	switch {
	case !have.sameTable(want):
		p.What = fmt.Sprintf("the collection holds %s.%s of source %s, not %s.%s of source %s", have.Database, have.Table, have.Source, want.Database, want.Table, want.Source)
		p.Why = "rows of two tables would overwrite each other; versions of two sources cannot be compared"
		p.Mend = "set a mongodb.collection that tells them apart ({source}, {db} and {table} stand for the parts)"
	case !slices.Equal(have.Key, want.Key):
		p.What = fmt.Sprintf("the collection's documents have the key (%s), the table has (%s)", strings.Join(have.Key, ", "), strings.Join(want.Key, ", "))
		p.Why = "the rows of before would stay beside those of now"
		p.Mend = "begin anew: sluice replay --to beginning --empty"
	case have.Dates != want.Dates || have.JSON != want.JSON:
		p.What = fmt.Sprintf("the collection has dates: %s and json: %s, the config dates: %s and json: %s", have.Dates, have.JSON, want.Dates, want.JSON)
		p.Why = "half of the collection would have another form"
		p.Mend = "begin anew: sluice replay --to beginning --empty, or set another mongodb.collection"
	case have.Shape != want.Shape:
		p.What = "the collection's documents were written in another shape"
		p.Why = "half of the collection would have other fields' values, and what should not be there would stay"
		p.Mend = "begin anew: sluice replay --to beginning --empty, or set another mongodb.collection"
	default:
		return nil
	}
	return p
}

// facts are what the server says of a collection.
type facts struct {
	Type    string `bson:"type"`
	Options struct {
		Capped    bool     `bson:"capped"`
		Collation bson.Raw `bson:"collation"`
	} `bson:"options"`
}

// facts returns nil where there is no such collection.
func (t *Target) facts(ctx context.Context, db *mongo.Database, name string) (*facts, error) {
	cursor, err := db.ListCollections(ctx, bson.D{{Key: "name", Value: name}})
	if err != nil {
		return nil, t.judge("the collections could not be listed", err)
	}
	var all []facts
	if err := cursor.All(ctx, &all); err != nil {
		return nil, t.judge("the collections could not be listed", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return &all[0], nil
}

// problem says why a collection cannot hold a table, nil where it can.
func (f *facts) problem(name string) *change.Problem {
	p := &change.Problem{Kind: change.Poison, Where: "collection " + name, Mend: "rename or drop it, or set another mongodb.collection"}
	locale, _ := f.Options.Collation.Lookup("locale").StringValueOK()
	switch {
	case f.Type != "" && f.Type != "collection":
		p.What = name + " is a " + f.Type + " and no plain collection"
	case f.Options.Capped:
		p.What, p.Why = "the collection "+name+" is capped", "the server would remove old rows by itself"
	case locale != "" && locale != "simple":
		p.What = "the collection " + name + " has the collation " + locale
		p.Why = "keys that the collation takes for equal would be one document"
	default:
		return nil
	}
	return p
}

// index is what the server says of an index.
type index struct {
	Name   string `bson:"name"`
	Unique bool   `bson:"unique"`
}

// uniques returns the names of the collection's unique indexes beside that of _id.
func (t *Target) uniques(ctx context.Context, db *mongo.Database, name string) ([]string, error) {
	cursor, err := db.Collection(name).Indexes().List(ctx)
	if hasCode(err, codeNoNames) {
		return nil, nil
	}
	if err != nil {
		return nil, t.judge("the indexes could not be listed", err)
	}
	var all []index
	if err := cursor.All(ctx, &all); err != nil {
		return nil, t.judge("the indexes could not be listed", err)
	}
	var names []string
	for _, i := range all {
		if i.Unique && i.Name != "_id_" {
			names = append(names, i.Name)
		}
	}
	return names, nil
}

// uniqueIndex tells of a unique index that the target cannot obey.
func uniqueIndex(collection, name string) *change.Problem {
	return &change.Problem{Kind: change.Poison, What: fmt.Sprintf("the collection %s has a unique index, %s", collection, name),
		Why:  "partitions are applied side by side, so a value can come to its new row before it has left its old one; without transactions neither can win",
		Mend: fmt.Sprintf("make it a plain index: db.getCollection(%q).dropIndex(%q), then createIndex without unique; the source keeps the values unique", collection, name)}
}
