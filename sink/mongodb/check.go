package mongodb

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// hello is what is read of the server's answer to hello.
type hello struct {
	SetName string `bson:"setName"`
	Message string `bson:"msg"` // isdbgrid: a mongos
}

// Check looks at the server without changing anything.
func (t *Target) Check(ctx context.Context, _ string, tables []*change.Table) ([]sink.Finding, error) {
	db, err := t.database()
	if err != nil {
		return nil, err
	}
	var build struct {
		Version string `bson:"version"`
	}
	var h hello
	err = db.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&build)
	if err == nil {
		err = db.RunCommand(ctx, bson.D{{Key: "isMaster", Value: 1}}).Decode(&h)
	}
	if err != nil {
		return t.finding(t.judge("the server does not answer", err))
	}
	found := []sink.Finding{{Level: sink.Good, Where: t.where(), What: "MongoDB " + build.Version + " answers"}}
	if h.SetName == "" && h.Message != "isdbgrid" {
		found = append(found, sink.Finding{Level: sink.Warning, Where: t.where(), What: "the server is in no replica set",
			Why: "what is acknowledged is in one journal only; when its disk is lost, so are the rows", Mend: "use a replica set of three"})
	}
	if t.config.Deletes == Delete {
		found = append(found, sink.Finding{Level: sink.Warning, Where: t.where(), What: "deletes: delete",
			Why: "a stale write that comes late brings a deleted row back", Mend: "deletes: tombstone"})
	}
	return t.checkTables(ctx, db, tables, found)
}

// checkTables looks at the collections where the source is not part of the name; else Prepare does.
func (t *Target) checkTables(ctx context.Context, db *mongo.Database, tables []*change.Table, found []sink.Finding) ([]sink.Finding, error) {
	seen := make(map[string]bool)
	for _, table := range tables {
		name := t.config.collection("", table.TableName)
		if name != t.config.collection("x", table.TableName) || seen[name] {
			continue
		}
		seen[name] = true
		if err := t.fit(ctx, db, name); err != nil {
			more, err := t.finding(err)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
	}
	return found, nil
}

// finding makes a line of doctor of a problem.
func (t *Target) finding(err error) ([]sink.Finding, error) {
	var p *change.Problem
	if !errors.As(err, &p) {
		return nil, err
	}
	return []sink.Finding{{Level: sink.Wrong, Where: t.where(), What: err.Error(), Why: p.Why, Mend: p.Mend}}, nil
}
