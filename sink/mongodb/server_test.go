package mongodb_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/mongodb"
	"github.com/sluice-cdc/sluice/testbed"
)

// shared is the server of all tests that do not break it, started at the first use and stopped when all tests are done.
var shared struct {
	once   sync.Once
	server *testbed.Mongo
	missed error // it cannot be had here
	failed error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func serverOf(t testing.TB) *testbed.Mongo {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a Java machine")
	}
	s := &shared
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if s.missed = testbed.Available(ctx, "mongo-java-server"); s.missed == nil {
			s.server, s.failed = testbed.StartMongo(ctx, testbed.MongoOptions{})
		}
	})
	if s.missed != nil {
		t.Skipf("no server to test with: %v", s.missed)
	}
	if s.failed != nil {
		t.Fatal(s.failed)
	}
	return s.server
}

// ownServer starts a server for one test.
func ownServer(t testing.TB) *testbed.Mongo {
	t.Helper()
	serverOf(t) // skips where none can be had
	s, err := testbed.StartMongo(t.Context(), testbed.MongoOptions{HeapMB: 128, Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop() })
	return s
}

var places atomic.Int64

// place is the database of one test.
type place struct {
	t      testing.TB
	config mongodb.Config
	db     *mongo.Database
}

func newPlace(t testing.TB) *place {
	t.Helper()
	return placeOn(t, serverOf(t))
}

func placeOn(t testing.TB, server *testbed.Mongo) *place {
	t.Helper()
	p := &place{t: t, config: mongodb.Default()}
	p.config.URI, p.config.Database, p.config.Timeout = server.URI(), fmt.Sprintf("p%d", places.Add(1)), time.Minute
	client, err := mongo.Connect(options.Client().ApplyURI(server.URI()).SetServerSelectionTimeout(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	p.db = client.Database(p.config.Database)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for try := 0; server.Running(); try++ {
			err := p.db.Drop(ctx)
			if err == nil {
				break
			}
			if try > 5 { // the client learns of a server that was restarted by an error
				t.Errorf("drop the test's database: %v", err)
				break
			}
		}
		client.Disconnect(ctx)
	})
	return p
}

func (p *place) open() *mongodb.Target {
	p.t.Helper()
	p.config.Check(func(path, problem string) { p.t.Errorf("%s: %s", path, problem) })
	target, err := mongodb.New(p.config, sink.Setup{Group: "g", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return target
}

// prepared opens a target that has seen the tables.
func (p *place) prepared(tables ...*change.Table) *mongodb.Target {
	p.t.Helper()
	target := p.open()
	p.t.Cleanup(func() { target.Close() })
	if err := target.Prepare(p.t.Context(), "g", "src", tables); err != nil {
		p.t.Fatal(change.Explain(err))
	}
	return target
}

// document returns the document that the filter finds.
func (p *place) document(collection string, filter bson.D) bson.M {
	p.t.Helper()
	var m bson.M
	if err := p.db.Collection(collection).FindOne(p.t.Context(), filter).Decode(&m); err != nil {
		p.t.Fatal(err)
	}
	return m
}

// count returns how many documents the filter finds.
func (p *place) count(collection string, filter bson.D) int {
	p.t.Helper()
	n, err := p.db.Collection(collection).CountDocuments(p.t.Context(), filter)
	if err != nil {
		p.t.Fatal(err)
	}
	return int(n)
}

func byID(id any) bson.D { return bson.D{{Key: "_id", Value: id}} }

// people is the filter that the docs give, and tombstones finds the others but the collection's own document.
var (
	people     = bson.D{{Key: "_sluice.deleted", Value: bson.D{{Key: "$exists", Value: false}}}}
	tombstones = bson.D{{Key: "_sluice.deleted_at", Value: bson.D{{Key: "$exists", Value: true}}}}
)

// table makes a table of that name with the key id and the columns.
func table(name string, columns ...change.Column) *change.Table {
	return &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0},
		Columns: append([]change.Column{{Name: "id", Type: change.BigInt}}, columns...)}
}

var note = change.Column{Name: "note", Type: change.LongText, Nullable: true, Charset: "utf8mb4", Collation: "utf8mb4_bin"}

func row(id int64, values ...change.Value) []change.Value {
	return append([]change.Value{change.IntValue(id)}, values...)
}

func text(s string) change.Value { return change.StringValue(s) }

// put is a row that exists since version v; drop is one that is gone since then.
func put(t *change.Table, v change.Version, image []change.Value) sink.Change {
	return keyed(sink.Change{Op: change.Create, Table: t, After: image, Version: v, Offset: int64(v), Bytes: 100}, image)
}

func drop(t *change.Table, v change.Version, image []change.Value) sink.Change {
	return keyed(sink.Change{Op: change.Delete, Table: t, Before: image, TrustedBefore: true, Version: v, Offset: int64(v), Bytes: 100}, image)
}

func keyed(c sink.Change, image []change.Value) sink.Change {
	c.KeyNames = c.Table.KeyNames()
	for _, k := range c.Table.Key {
		c.KeyValues = append(c.KeyValues, image[k])
		c.Key = append(append(c.Key, image[k].String()...), 0)
	}
	return c
}

func batch(changes ...sink.Change) *sink.Batch {
	b := &sink.Batch{Group: "g", Changes: changes}
	b.Source, b.Topic = "src", "src."+changes[0].Table.String()
	for i := range changes {
		b.Bytes += changes[i].Bytes
	}
	return b
}

func apply(t testing.TB, target sink.Target, changes ...sink.Change) {
	t.Helper()
	if err := target.Apply(t.Context(), batch(changes...)); err != nil {
		t.Fatal(change.Explain(err))
	}
}

// scan returns the rows by their key as text.
func scan(t testing.TB, target sink.Scanner, of *change.Table, keys ...[]change.Value) map[string]sink.Row {
	t.Helper()
	rows := make(map[string]sink.Row)
	err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of, Keys: keys}, func(r sink.Row) error {
		key := ""
		for _, k := range of.Key {
			key += r.Values[k].String() + " "
		}
		if _, twice := rows[key]; twice {
			t.Errorf("row %s is there twice", key)
		}
		rows[strings.TrimSpace(key)] = r
		return nil
	})
	if err != nil {
		t.Fatal(change.Explain(err))
	}
	return rows
}

// problemOf fails unless err is a Problem of that kind whose text, remedy included, has all the words.
func problemOf(t testing.TB, err error, kind change.Severity, words ...string) {
	t.Helper()
	said := "nothing"
	if err != nil {
		said = change.Explain(err)
	}
	if err == nil || change.SeverityOf(err) != kind {
		t.Errorf("got %s (kind %s), want a problem of kind %s", said, change.SeverityOf(err), kind)
		return
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("the problem\n%s\nshould say %q", said, w)
		}
	}
}
