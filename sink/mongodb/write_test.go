package mongodb_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/mongodb"
)

// through makes a place whose target goes through a between.
func through(t *testing.T) (*place, *between) {
	t.Helper()
	server := serverOf(t)
	p := placeOn(t, server)
	b := newBetween(t, server.Address())
	p.config.URI = b.uri()
	return p, b
}

// TestInsertMeetsAnInsert: two processes insert the same new key. The one with the newer change looked before the older was there,
// and is told of a duplicate: that is not stale.
func TestInsertMeetsAnInsert(t *testing.T) {
	p, between := through(t)
	of := table("met", note)
	target := p.prepared(of)
	other := p.open()
	defer other.Close()
	for name, c := range map[string]struct{ other, ours, want change.Version }{"older": {10, 20, 20}, "newer": {30, 20, 30}} {
		t.Run(name, func(t *testing.T) {
			id := int64(c.other)
			var once sync.Once
			between.set(func(command bson.Raw) (answer bson.D) {
				if named(command) == "update" && !strings.Contains(command.String(), "sluice.collections") {
					once.Do(func() { answer = failing(11000, duplicateID) })
				}
				return answer
			})
			direct := placeOnDirect(p, t)
			apply(t, direct, put(of, c.other, row(id, text("theirs"))))
			apply(t, target, put(of, c.ours, row(id, text("ours"))))
			between.set(nil)
			if got := scan(t, direct, of, row(id)); got[fmt.Sprint(id)].Version != c.want {
				t.Errorf("the row is %v, want version %d", got, c.want)
			}
		})
	}
}

// placeOnDirect opens a target on the place that goes to the server itself.
func placeOnDirect(p *place, t *testing.T) *mongodb.Target {
	t.Helper()
	q := *p
	q.t, q.config.URI = t, serverOf(t).URI()
	target := q.open()
	t.Cleanup(func() { target.Close() })
	return target
}

// TestFailedWritesComeAgain: of a bulk of which one write failed, that one is made again; what is no passing failure is told.
func TestFailedWritesComeAgain(t *testing.T) {
	p, between := through(t)
	of := table("again", note)
	target := p.prepared(of)
	fails := func(times int, answer bson.D) *int {
		n := 0
		between.set(func(command bson.Raw) bson.D {
			if named(command) != "update" {
				return nil
			}
			if n++; n > times {
				return nil
			}
			return answer
		})
		return &n
	}
	one := put(of, 10, row(1, text("a")))
	fails(2, failing(112, "WriteConflict"))
	apply(t, target, one)
	if got := scan(t, target, of); len(got) != 1 {
		t.Errorf("after conflicts the rows are %v", got)
	}
	for _, c := range []struct {
		answer bson.D
		kind   change.Severity
		says   string
	}{
		{failing(112, "WriteConflict"), change.Retry, "could not do 1 writes 5 times"},
		{failing(121, "Document failed validation"), change.Poison, "on_error: dead_letter"},
		{failing(13, "not authorized"), change.Configuration, "readWrite"},
		{failing(11000, "E11000 duplicate key error collection: d.c index: email_1 dup key: { email: 1 }"), change.Poison, "plain index"},
		{bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 1}, {Key: "nModified", Value: 1},
			{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "errmsg", Value: "waiting for replication timed out"}}}}, change.Retry, "majority"},
		{bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: 10107}, {Key: "codeName", Value: "NotWritablePrimary"}, {Key: "errmsg", Value: "not primary"}}, change.Retry, "tried again"},
		{bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: 13}, {Key: "errmsg", Value: "not authorized on d"}}, change.Configuration, "readWrite"},
		{bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: 166}, {Key: "errmsg", Value: "d.c is a view"}}, change.Poison, "is a view"},
	} {
		fails(1000, c.answer)
		problemOf(t, target.Apply(t.Context(), batch(put(of, 20, row(2, text("b"))))), c.kind, c.says)
	}
	between.set(nil)
	var refused *sink.Refused
	fails(1000, failing(121, "Document failed validation"))
	if err := target.Apply(t.Context(), batch(put(of, 30, row(3, text("c"))))); !errors.As(err, &refused) || refused.Offset != 30 {
		t.Errorf("a refused document is %v, want offset 30", err)
	}
}

// TestProcessesAtOnce: many processes write the same keys in any order; in the end each is as its newest change says.
func TestProcessesAtOnce(t *testing.T) {
	p := newPlace(t)
	of := table("raced", note)
	p.prepared(of)
	const processes, keys, versions = 4, 20, 10
	var working sync.WaitGroup
	for range processes {
		target := p.prepared(of)
		working.Go(func() {
			for _, v := range rand.Perm(versions) {
				var changes []sink.Change
				for k := range keys {
					c := put(of, change.Version(1+v), row(int64(k), text(fmt.Sprint(v))))
					if v%3 == 0 && v < versions-1 {
						c = drop(of, change.Version(1+v), row(int64(k)))
					}
					changes = append(changes, c)
				}
				if err := target.Apply(context.Background(), batch(changes...)); err != nil {
					t.Error(change.Explain(err))
				}
			}
		})
	}
	working.Wait()
	got := scan(t, p.open(), of)
	for k := range keys {
		if r := got[fmt.Sprint(k)]; r.Version != versions {
			t.Errorf("row %d is of version %d, want %d", k, r.Version, versions)
		}
	}
}

// TestServerRestarts: while the server is away the batch is of kind Retry, and goes on when it is back.
func TestServerRestarts(t *testing.T) {
	server := ownServer(t)
	p := placeOn(t, server)
	p.config.Timeout = 2 * time.Second
	of := table("restarted", note)
	target := p.prepared(of)
	apply(t, target, put(of, 10, row(1, text("a"))))
	if err := server.Shutdown(); err != nil {
		t.Fatal(err)
	}
	second := batch(put(of, 20, row(1, text("b"))), drop(of, 21, row(2)))
	problemOf(t, target.Apply(t.Context(), second), change.Retry, "tried again")
	found, err := target.Check(t.Context(), "g", nil)
	if err != nil || len(found) != 1 || found[0].Level != sink.Wrong {
		t.Errorf("doctor says %+v (%v)", found, err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for try := 0; ; try++ {
		err := target.Apply(t.Context(), second)
		if err == nil {
			break
		}
		if change.SeverityOf(err) != change.Retry || try > 50 {
			t.Fatal(change.Explain(err))
		}
	}
	if got := scan(t, target, of); len(got) != 1 || got["1"].Version != 20 {
		t.Errorf("the rows are %v", got)
	}
}

// TestServerHangs: an operation ends by its time-out, and with its context.
func TestServerHangs(t *testing.T) {
	server := ownServer(t)
	p := placeOn(t, server)
	of := table("hung", note)
	p.prepared(of)
	p.config.Timeout = time.Second
	target := p.open()
	defer target.Close()
	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	defer server.Resume()
	began := time.Now()
	problemOf(t, target.Apply(t.Context(), batch(put(of, 10, row(1, text("a"))))), change.Retry, "tried again")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := target.Apply(ctx, batch(put(of, 10, row(1, text("a"))))); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestClose ends what the driver started.
func TestClose(t *testing.T) {
	p := newPlace(t)
	of := table("closed", note)
	p.count("x", bson.D{}) // the test's own driver is there
	before := goleak.IgnoreCurrent()
	target := p.open()
	if err := target.Prepare(t.Context(), "g", "src", []*change.Table{of}); err != nil {
		t.Fatal(err)
	}
	apply(t, target, put(of, 10, row(1, text("a"))))
	if err := target.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
	if err := target.Apply(t.Context(), batch(put(of, 10, row(1, text("a"))))); err == nil {
		t.Error("a closed target applies")
	}
}

// TestRefusedRows: what cannot be a document names its offset and the remedy, and nothing else of the batch is held up by it later.
func TestRefusedRows(t *testing.T) {
	p := newPlace(t)
	of := table("refused", note, change.Column{Name: "more", Type: change.LongBlob, Nullable: true})
	target := p.prepared(of)
	null := change.Value{}
	for name, c := range map[string]struct {
		row  []change.Value
		says string
	}{
		"text":  {row(2, text("\xff"), null), "not UTF-8"},
		"large": {row(2, null, change.RawValue(make([]byte, 16<<20))), "the server stores 16777216"},
	} {
		t.Run(name, func(t *testing.T) {
			err := target.Apply(t.Context(), batch(put(of, 10, row(1, text("a"), null)), put(of, 11, c.row)))
			var refused *sink.Refused
			if !errors.As(err, &refused) || refused.Offset != 11 {
				t.Errorf("got %v, want offset 11 refused", err)
			}
			problemOf(t, err, change.Poison, c.says, "dead_letter")
		})
	}
	big := row(3, null, change.RawValue(make([]byte, 16<<20-200)))
	apply(t, target, put(of, 12, big))
	if got := scan(t, target, of, row(3)); len(got) != 1 || !got["3"].Values[2].Equal(big[2]) {
		t.Error("the largest row is another")
	}
}
