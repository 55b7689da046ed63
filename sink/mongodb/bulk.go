package mongodb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// documentMax is the largest document that the server stores, in bytes.
const documentMax = 16 << 20

// The pauses between tries of writes that the server could not do now. They end soon: the runtime tries again too, and makes sure
// first that the partition is still ours.
const (
	busyTries = 5
	busyFirst = 100 * time.Millisecond
)

// outcome is what follows from an error of one write.
type outcome int

const (
	taken       outcome = iota // the key has a document, which was not older when it was looked at
	again                      // the server could not do it now
	badIndex                   // a unique index of the collection stands against it
	badAccount                 // the user may not
	badDocument                // the document is at fault
)

func outcomeOf(e *mongo.WriteError) outcome {
	switch {
	case e.Code == codeDuplicate && ofID(e):
		return taken
	case e.Code == codeDuplicate:
		return badIndex
	case slices.Contains(codesAgain, e.Code):
		return again
	case slices.Contains(codesGrant, e.Code):
		return badAccount
	}
	return badDocument
}

// indexPattern finds the index's name in "E11000 duplicate key error collection: db.c index: _id_ dup key: { ... }".
var indexPattern = regexp.MustCompile(` index: (?:\S+\.\$)?(\S+)`)

// ofID reports whether a duplicate key error is of _id. Servers since 4.4 say which fields; others name the index in the text, where
// no value stands before it.
func ofID(e *mongo.WriteError) bool {
	if pattern, ok := e.Raw.Lookup("keyPattern").DocumentOK(); ok {
		elements, err := pattern.Elements()
		return err == nil && len(elements) == 1 && elements[0].Key() == "_id"
	}
	match := indexPattern.FindStringSubmatch(e.Message)
	return match != nil && match[1] == "_id_"
}

// send makes the writes, in bulks that stop at no error: there is one write a key, so their order does not matter.
//
// A write replaces the key's document if its version is lower. Where there is none, the document is inserted; so where there is one
// that is not lower, the insert meets it: a duplicate of _id. Mostly that means stale. But the document may have been inserted by
// another process between our look and our insert, and be lower: so all these writes are made once more, without insert.
func (t *Target) send(ctx context.Context, c *mongo.Collection, writes []write) error {
	upsert := true
	var late []write // met a document
	for try := 1; len(writes) > 0; {
		met, busy, err := t.bulk(ctx, c, writes, upsert)
		if err != nil {
			return err
		}
		late = append(late, met...)
		if writes = busy; len(busy) == 0 {
			if upsert {
				upsert, writes = false, late
			}
			continue
		}
		if try == busyTries {
			return &change.Problem{Kind: change.Retry, What: fmt.Sprintf("the server could not do %d writes %d times", len(busy), try), Where: t.where(),
				Mend: "look at the server; it is tried again"}
		}
		pause := busyFirst << (try - 1)
		try++
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// bulk makes each write once and returns those that met a document of their key and those that have to be made again.
func (t *Target) bulk(ctx context.Context, c *mongo.Collection, writes []write, upsert bool) (met, busy []write, err error) {
	models := make([]mongo.WriteModel, len(writes))
	for i := range writes {
		models[i] = writes[i].model(upsert)
	}
	_, err = c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	var failed mongo.BulkWriteException
	if !errors.As(err, &failed) || len(failed.WriteErrors) == 0 || noMajority(err) {
		return nil, nil, t.judge("a bulk write failed", err)
	}
	for i := range failed.WriteErrors {
		e := &failed.WriteErrors[i].WriteError
		if e.Index < 0 || e.Index >= len(writes) {
			return nil, nil, &change.Problem{Kind: change.Retry, What: "the server answered for writes that were not made", Where: t.where(), Err: e}
		}
		w := writes[e.Index]
		switch outcomeOf(e) {
		case taken:
			met = append(met, w)
		case again:
			busy = append(busy, w)
		case badAccount:
			return nil, nil, t.judge("a write was refused", failed)
		case badIndex:
			return nil, nil, t.uniqueProblem(c.Name(), e)
		case badDocument:
			return nil, nil, &sink.Refused{Offset: w.offset, Err: &change.Problem{Kind: change.Poison, What: fmt.Sprintf("the server refuses a document: %s (code %d)", e.Message, e.Code),
				Where: t.where(), Why: "the row would be missing in the collection",
				Mend: "change what the collection asks of its documents (a validator, a geo or text index), or mend the value at the source;" +
					" the topic goes on by itself then (on_error: dead_letter sets such records aside)"}}
		}
	}
	return met, busy, nil
}

func (w *write) model(upsert bool) mongo.WriteModel {
	if w.replace == nil {
		return mongo.NewDeleteOneModel().SetFilter(w.guard)
	}
	return mongo.NewReplaceOneModel().SetFilter(w.guard).SetReplacement(w.replace).SetUpsert(upsert)
}

func tooLarge(c *sink.Change, size int) error {
	return &change.Problem{Kind: change.Poison, Table: c.Table.TableName, What: fmt.Sprintf("a row is a document of %d bytes, the server stores %d", size, documentMax),
		Why: "the row would be missing in the collection", Mend: "make the row smaller at the source, or set the record aside (on_error: dead_letter)"}
}

// uniqueProblem tells of a unique index that was made after Prepare looked.
func (t *Target) uniqueProblem(collection string, e *mongo.WriteError) error {
	p := uniqueIndex(collection, "")
	p.What, p.Where = "a unique index of the collection "+collection+" stands against a row: "+e.Message, t.where()
	return p
}
