package mongodb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/mongodb"
)

func prepare(p *place, source string, of *change.Table) error {
	p.t.Helper()
	target := p.open()
	defer target.Close()
	return target.Prepare(p.t.Context(), "g", source, []*change.Table{of})
}

// TestWhoseCollection: what holds something else is refused, with the way on.
func TestWhoseCollection(t *testing.T) {
	p := newPlace(t)
	of := table("owned", note)
	target := p.prepared(of)
	apply(t, target, put(of, 10, row(1, text("a"))))
	problemOf(t, prepare(p, "other", of), change.Poison, "of source src, not shop.owned of source other", "mongodb.collection")
	rekeyed := table("owned", note)
	rekeyed.Key = []int{1}
	problemOf(t, prepare(p, "src", rekeyed), change.Poison, "the key (id), the table has (note)", "--empty")
	bent := *p
	bent.config.Dates = mongodb.Text
	problemOf(t, prepare(&bent, "src", of), change.Poison, "dates: date", "--empty")

	if _, err := p.db.Collection("shop.foreign").InsertOne(t.Context(), byID("mine")); err != nil {
		t.Fatal(err)
	}
	problemOf(t, prepare(p, "src", table("foreign")), change.Poison, "not Sluice's", "rename or empty")
	if n := p.count("shop.foreign", bson.D{}); n != 1 {
		t.Errorf("the foreign collection has %d documents", n)
	}

	if err := p.db.CreateCollection(t.Context(), "shop.made"); err != nil {
		t.Fatal(err)
	}
	if err := prepare(p, "src", table("made")); err != nil {
		t.Errorf("an empty collection that an operator made: %v", change.Explain(err))
	}
}

func unique(p *place, collection, field string) {
	p.t.Helper()
	if _, err := p.db.Collection(collection).Indexes().CreateOne(p.t.Context(),
		mongo.IndexModel{Keys: bson.D{{Key: field, Value: 1}}, Options: options.Index().SetUnique(true).SetSparse(true)}); err != nil {
		p.t.Fatal(err)
	}
}

// TestUniqueIndexes are refused at the start, by doctor, and where one is made later by what it stands against.
func TestUniqueIndexes(t *testing.T) {
	p := newPlace(t)
	of := table("unique", note)
	target := p.prepared(of)
	apply(t, target, put(of, 10, row(1, text("a"))))
	unique(p, "shop.unique", "note")
	problemOf(t, target.Apply(t.Context(), batch(put(of, 11, row(2, text("a"))))), change.Poison, "note_1", "plain index")
	problemOf(t, prepare(p, "src", of), change.Poison, "note_1", "dropIndex", "without transactions")
	found, err := target.Check(t.Context(), "g", []*change.Table{of})
	if last := found[len(found)-1]; err != nil || last.Level != sink.Wrong || !strings.Contains(last.What, "note_1") {
		t.Errorf("doctor says %+v (%v)", found, err)
	}
}

// TestLostCollections: a server that has lost a collection makes another by itself. The batch that meets it says so, every start
// says so, and only replay --empty goes on.
func TestLostCollections(t *testing.T) {
	lose := map[string]func(p *place) error{
		"the collection": func(p *place) error { return p.db.Collection("shop.lost").Drop(p.t.Context()) },
		"all":            func(p *place) error { return p.db.Drop(p.t.Context()) },
	}
	for name, lose := range lose {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			of := table("lost", note)
			target := p.prepared(of)
			apply(t, target, put(of, 10, row(1, text("a"))))
			if err := lose(p); err != nil {
				t.Fatal(err)
			}
			empty := batch(put(of, 20, row(1)))
			empty.Changes = nil
			problemOf(t, target.Apply(t.Context(), empty), change.Poison, "was there before and is gone", "--empty")
			problemOf(t, target.Apply(t.Context(), batch(put(of, 20, row(2, text("b"))))), change.Poison, "shop.lost", "--empty")
			words := []string{"was there before and is gone", "--empty"}
			if name == "all" {
				words = []string{"not Sluice's"} // the list is lost too; what came after is in the way
			}
			problemOf(t, prepare(p, "src", of), change.Poison, words...)
			if name == "all" {
				return
			}
			if err := target.Empty(t.Context(), "src", []*change.Table{of}); err != nil {
				t.Fatal(change.Explain(err))
			}
			if n := p.count("shop.lost", bson.D{}) + p.count(mongodb.LedgerCollection, bson.D{}); n != 0 {
				t.Errorf("%d documents are left", n)
			}
			target = p.prepared(of)
			apply(t, target, put(of, 10, row(1, text("a"))))
			if got := scan(t, target, of); len(got) != 1 {
				t.Errorf("the rows are %v", got)
			}
		})
	}
}

// TestRemade: a collection that was lost and made anew by another process is not the one that this one fills.
func TestRemade(t *testing.T) {
	p := newPlace(t)
	of := table("remade", note)
	target := p.prepared(of)
	if err := p.open().Empty(t.Context(), "src", []*change.Table{of}); err != nil {
		t.Fatal(err)
	}
	if err := prepare(p, "src", of); err != nil {
		t.Fatal(err)
	}
	problemOf(t, target.Apply(t.Context(), batch(put(of, 10, row(1, text("a"))))), change.Poison, "was there before")
}

// TestEmptyKeepsWhatAnOperatorMade: indexes stay, rows and tombstones go.
func TestEmptyKeepsWhatAnOperatorMade(t *testing.T) {
	p := newPlace(t)
	of, never := table("emptied", note), table("never", note)
	target := p.prepared(of)
	if names, err := target.Occupied(t.Context(), "src", []*change.Table{of, never}); err != nil || len(names) != 0 {
		t.Errorf("occupied are %v (%v)", names, err)
	}
	apply(t, target, put(of, 10, row(1, text("a"))), put(of, 11, row(2, text("b"))))
	apply(t, target, drop(of, 20, row(1)))
	if names, err := target.Occupied(t.Context(), "src", []*change.Table{of, never}); err != nil || fmt.Sprint(names) != "[shop.emptied]" {
		t.Errorf("occupied are %v (%v)", names, err)
	}
	problemOf(t, target.Empty(t.Context(), "other", []*change.Table{of}), change.Poison, "of source src")
	if n := p.count("shop.emptied", people); n != 1 {
		t.Errorf("%d rows after the refusal", n)
	}
	unique(p, "shop.emptied", "id")
	if err := target.Empty(t.Context(), "src", []*change.Table{of, never}); err != nil {
		t.Fatal(change.Explain(err))
	}
	if n := p.count("shop.emptied", bson.D{}); n != 0 {
		t.Errorf("%d documents are left", n)
	}
	problemOf(t, prepare(p, "src", of), change.Poison, "id_1") // the index is there still
}

// TestTombstones: they are hidden by the filter of the docs, say nothing of the row, keep stale writes out, and go when they are old.
func TestTombstones(t *testing.T) {
	p := newPlace(t)
	of := table("gone", note)
	p.config.KeepTombstones = time.Minute
	target := p.prepared(of)
	now := time.Now()
	target.SetClock(func() time.Time { return now })
	one, two, three := row(1, text("secret")), row(2, text("b")), row(3, text("c"))
	apply(t, target, put(of, 10, one), put(of, 11, two), put(of, 12, three))
	bare := drop(of, 21, one)
	bare.Before, bare.Tombstone, bare.TrustedBefore = nil, true, false
	apply(t, target, drop(of, 20, one))
	apply(t, target, bare, drop(of, 20, two)) // the bare one in a batch of its own, as it may come
	apply(t, target, put(of, 15, one), put(of, 16, two))
	if n := p.count("shop.gone", people); n != 1 {
		t.Errorf("%d documents for people, want 1", n)
	}
	if d := p.document("shop.gone", byID(1)); len(d) != 2 || strings.Contains(fmt.Sprint(d), "secret") {
		t.Errorf("the tombstone is %v", d)
	}
	now = now.Add(59 * time.Second)
	apply(t, target, drop(of, 22, three), put(of, 30, two)) // two is back
	if n := p.count("shop.gone", tombstones); n != 2 {
		t.Errorf("%d tombstones before their time, want 2", n)
	}
	now = now.Add(2 * time.Second)
	empty := batch(bare)
	empty.Changes = nil
	if err := target.Apply(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	if n := p.count("shop.gone", tombstones); n != 1 {
		t.Errorf("%d tombstones after the first one's time, want 1", n)
	}
	if got := scan(t, target, of); len(got) != 1 || got["2"].Version != 30 {
		t.Errorf("the rows are %v", got)
	}
}

// TestDeletesWithoutTombstones: the document is gone, and a stale write brings it back, which is why tombstones are the default.
func TestDeletesWithoutTombstones(t *testing.T) {
	p := newPlace(t)
	p.config.Deletes = mongodb.Delete
	of := table("deleted", note)
	target := p.prepared(of)
	one := row(1, text("a"))
	apply(t, target, put(of, 10, one))
	apply(t, target, drop(of, 5, one)) // stale
	if got := scan(t, target, of); len(got) != 1 {
		t.Error("a stale delete took the row away")
	}
	apply(t, target, drop(of, 20, one))
	if n := p.count("shop.deleted", bson.D{}); n != 1 { // the collection's own
		t.Errorf("%d documents are left", n)
	}
	apply(t, target, put(of, 10, one))
	if got := scan(t, target, of); len(got) != 1 {
		t.Error("without a tombstone the stale write is expected to come through")
	}
	found, err := target.Check(t.Context(), "g", nil)
	if err != nil || len(found) != 3 || found[0].Level != sink.Good || found[2].Level != sink.Warning {
		t.Errorf("doctor says %+v (%v)", found, err)
	}
}

// TestFloor: a tombstone must outlive what could still come.
func TestFloor(t *testing.T) {
	p := newPlace(t)
	week := 7 * 24 * time.Hour
	log := sink.LogSettings{MinCompactionLag: week, DeleteRetention: week, Compacted: true}
	target := p.open()
	if got := target.Floor(log); got != 2*week {
		t.Errorf("the floor is %s", got)
	}
	if got := target.Floor(sink.LogSettings{}); got != p.config.KeepTombstones {
		t.Errorf("the floor of a whole log is %s", got)
	}
	p.config.Deletes = mongodb.Delete
	if got := p.open().Floor(sink.LogSettings{}); got != 0 {
		t.Errorf("without tombstones the floor of a whole log is %s", got)
	}
}

// TestOddNamesAndKeys: names that the server would take for something else, and keys of bytes, of text and of several columns.
func TestOddNamesAndKeys(t *testing.T) {
	p := newPlace(t)
	names := []string{"_id", "_sluice", "a.b", "$set", "a$", "%", "%25", "version", "é"}
	of := &change.Table{TableName: change.TableName{DB: "shop", Name: "odd$.%"}, Key: []int{3, 0, 1}}
	for _, n := range names {
		of.Columns = append(of.Columns, change.Column{Name: n, Type: change.VarChar, Length: 10})
	}
	of.Columns[0].Type = change.VarBinary
	of.Columns[1].Type, of.Columns[1].Scale = change.DateTime, 6
	target := p.prepared(of)
	image := func(a, b, c string) []change.Value {
		r := []change.Value{change.RawValue([]byte(a)), text(b), text("x"), text(c)}
		for len(r) < len(names) {
			r = append(r, text("v"))
		}
		return r
	}
	rows := [][]change.Value{
		image("\x00\xff", "2026-01-01 00:00:00.000001", "a"), image("\x00\xff", "2026-01-01 00:00:00.000002", "a"),
		image("\x00\xff", "2026-01-01 00:00:00.000001", "A"), image("", "2026-01-01 00:00:00.000001", "a\x00"),
	}
	var changes []sink.Change
	for i, r := range rows {
		changes = append(changes, put(of, change.Version(10+i), r))
	}
	apply(t, target, changes...)
	apply(t, target, drop(of, 30, rows[2]))
	got := make(map[string]sink.Row)
	for _, keys := range [][][]change.Value{nil, {{rows[1][3], rows[1][0], rows[1][1]}, {text("none"), rows[1][0], rows[1][1]}}} {
		clear(got)
		if err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of, Keys: keys}, func(r sink.Row) error {
			got[fmt.Sprintf("%q", r.Values)] = r
			return nil
		}); err != nil {
			t.Fatal(change.Explain(err))
		}
		want := 3
		if keys != nil {
			want = 1
		}
		if len(got) != want || got[fmt.Sprintf("%q", rows[1])].Version != 11 {
			t.Errorf("the rows of %v are %v", keys, got)
		}
	}
	err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of, After: rows[0][:3]}, func(sink.Row) error { return nil })
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a key range: %v", err)
	}
	stop := errors.New("stop")
	if err := target.Scan(t.Context(), sink.Scan{Source: "src", Table: of}, func(sink.Row) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of each: %v", err)
	}
}

// TestScanSeesWhatOthersWrote: a document without Sluice's part is a row, so that verify tells of it.
func TestScanSeesWhatOthersWrote(t *testing.T) {
	p := newPlace(t)
	of := table("mixed", note)
	target := p.prepared(of)
	var changes []sink.Change
	for i := range 1200 { // more than two pages
		changes = append(changes, put(of, change.Version(10+i), row(int64(i), text("a"))))
	}
	apply(t, target, changes...)
	if _, err := p.db.Collection("shop.mixed").InsertOne(t.Context(), bson.D{{Key: "_id", Value: int64(5000)}, {Key: "id", Value: int64(5000)}}); err != nil {
		t.Fatal(err)
	}
	got := scan(t, target, of)
	if r := got["5000"]; len(got) != 1201 || r.Version != 0 || !r.Values[1].IsNull() {
		t.Errorf("%d rows, the planted one is %+v", len(got), r)
	}
}

// TestConfig: each problem names its key.
func TestConfig(t *testing.T) {
	good := func() mongodb.Config {
		c := mongodb.Default()
		c.URI, c.Database = "mongodb://h:27017,h2:27018/?replicaSet=r", "shop"
		return c
	}
	for _, c := range []struct {
		change func(*mongodb.Config)
		key    string
		says   string
	}{
		{func(c *mongodb.Config) {}, "", ""},
		{func(c *mongodb.Config) { c.URI = "mongodb+srv://cluster.example.net/?tls=true" }, "", ""},
		{func(c *mongodb.Config) { c.URI = "" }, "uri", "want mongodb://"},
		{func(c *mongodb.Config) { c.URI = "http://h" }, "uri", "want mongodb://"},
		{func(c *mongodb.Config) { c.URI = "mongodb://u:secret@h" }, "uri", "user and password"},
		{func(c *mongodb.Config) { c.URI = "mongodb://h/?connectTimeoutMS=x" }, "uri", "connectTimeoutMS"},
		{func(c *mongodb.Config) { c.Database = "" }, "database", "missing"},
		{func(c *mongodb.Config) { c.Database = "a.b" }, "database", "63 bytes"},
		{func(c *mongodb.Config) { c.Database = "admin" }, "database", "belongs to the server"},
		{func(c *mongodb.Config) { c.Collection = "x" }, "collection", "{table}"},
		{func(c *mongodb.Config) { c.Dates = "x" }, "dates", "date or text"},
		{func(c *mongodb.Config) { c.JSON = "x" }, "json", "document or text"},
		{func(c *mongodb.Config) { c.Deletes = "x" }, "deletes", "tombstone or delete"},
		{func(c *mongodb.Config) { c.KeepTombstones = time.Second }, "keep_tombstones", "a minute or more"},
		{func(c *mongodb.Config) { c.Timeout = 0 }, "timeout", "a second or more"},
		{func(c *mongodb.Config) { c.User, c.Password, c.PasswordFile = "u", "p", "f" }, "password_file", "exclude"},
		{func(c *mongodb.Config) { c.PasswordFile = "f" }, "user", "missing"},
	} {
		config := good()
		c.change(&config)
		var problems []string
		config.Check(func(path, problem string) { problems = append(problems, path+": "+problem) })
		if c.key == "" {
			if len(problems) > 0 {
				t.Errorf("%s: %v", config.URI, problems)
			}
			continue
		}
		if len(problems) != 1 || !strings.HasPrefix(problems[0], c.key+": ") || !strings.Contains(problems[0], c.says) || strings.Contains(problems[0], "secret") {
			t.Errorf("got %v, want %s: ... %s", problems, c.key, c.says)
		}
	}
	config := good()
	config.User, config.PasswordFile = "u", "/nowhere/secret"
	_, err := mongodb.New(config, sink.Setup{})
	problemOf(t, err, change.Configuration, "mongodb.password_file")
}
