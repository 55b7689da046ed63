package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// Apply writes the batch as one transaction. A batch with several schemas of the table is applied as that many batches, one after
// the other: the progress says how far it came.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	for rest := *b; ; {
		part := rest
		if n := sameSchema(rest.Changes); n < len(rest.Changes) {
			part.Changes, part.Next, part.ThroughMillis = rest.Changes[:n], rest.Changes[n].Offset, sameThrough
		}
		if err := t.applyPart(ctx, &part); err != nil || part.Next == b.Next {
			return err
		}
		rest.Changes, rest.From = rest.Changes[len(part.Changes):], part.Next
	}
}

// sameSchema returns how many of the changes, from the first, are of one schema.
func sameSchema(changes []sink.Change) int {
	for i := range changes {
		if changes[i].Table != changes[0].Table {
			return i
		}
	}
	return len(changes)
}

func (t *Target) applyPart(ctx context.Context, b *sink.Batch) error {
	o, err := t.ownership(ctx, b)
	if err != nil {
		return err
	}
	if o.next >= b.Next {
		return nil // done by an earlier try of the batch
	}
	if o.next >= 0 && o.next < b.From { // a hole: the batch does not build on what is there
		return &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch, Err: fmt.Errorf("the stored next offset is %d, the batch begins at %d", o.next, b.From)}
	}
	x := &transfer{batch: b, from: o.next}
	if len(b.Changes) > 0 {
		if x.table, err = t.table(ctx, b.Group, b.Source, b.Changes[0].Table); err != nil {
			return err
		}
		if x.source, err = t.server.sourceNumber(ctx, b.Source); err != nil {
			return err
		}
		x.work = plan(b.Changes, o.next)
	}
	err = t.applyTries(ctx, x, o)
	var refused *sink.Refused
	if change.SeverityOf(err) == change.Poison && x.table != nil && !errors.As(err, &refused) {
		t.dropTable(b.Source, x.table.schema) // it is not what was prepared: look again when the topic goes on
	}
	return err
}

const (
	contentionTriesMax = 8
	contentionPause    = 5 * time.Millisecond
)

// applyTries runs the transaction. One that met another (deadlock, lock wait, a unique value that is taken) was rolled back, and is
// repeated while no other of this process runs on the table: two that meet once would meet again.
func (t *Target) applyTries(ctx context.Context, x *transfer, o *ownership) error {
	way := straight
	var bad *badValue
	for try := 0; ; try++ {
		err := t.applyOnce(ctx, x, way, try > 0)
		switch {
		case err == nil:
			o.next = x.batch.Next
			return nil
		case lostOwnership(err):
			o.next = unknownNext
			return &sink.OwnershipLost{Partition: x.batch.Partition, Epoch: x.batch.Epoch, Err: err}
		case errors.As(err, &bad):
			return x.table.refuse(bad.change, t.server, "the value has no place in PostgreSQL", bad.mend, bad)
		case way == straight && x.table != nil && t.server.guardFailed(err):
			way = careful
			continue
		case way != slow && x.table != nil && ofRow(err):
			way = slow
			continue
		case contended(err) && try < contentionTriesMax && ctx.Err() == nil:
			time.Sleep(rand.N(contentionPause << (try + 1))) // two that met would otherwise meet again
			continue
		}
		o.next = unknownNext // the commit may have come through
		if ofTable(err) && x.table != nil {
			return x.table.altered(t.server, err)
		}
		return t.server.problem(err)
	}
}

// way is how a transaction is done.
type way uint8

const (
	straight way = iota // in one round trip
	careful             // the rows that meet others one by one
	slow                // all rows one by one, so that an error names its row
)

// transfer is one batch on its way.
type transfer struct {
	table  *table // nil where the batch is empty
	batch  *sink.Batch
	work   work
	from   int64 // the progress row moves from here
	source int64 // the number of the batch's source
}

// applyOnce runs the transaction once, over a connection of the pool.
func (t *Target) applyOnce(ctx context.Context, x *transfer, way way, alone bool) error {
	if x.table != nil {
		lock := t.aloneLock(x.table)
		if alone {
			lock.Lock()
			defer lock.Unlock()
		} else {
			lock.RLock()
			defer lock.RUnlock()
		}
	}
	c, err := t.server.session(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	tx := &transaction{session: c, transfer: x}
	switch way {
	case straight:
		return tx.straight(ctx, alone)
	case careful:
		return tx.carefully(ctx)
	}
	return tx.slowly(ctx)
}

// transaction is a batch on a connection.
type transaction struct {
	*session
	*transfer
}

var begin, commit = statement{text: "BEGIN"}, statement{text: "COMMIT"}

// straight sends the whole transaction at once.
func (tx *transaction) straight(ctx context.Context, alone bool) error {
	statements := []statement{begin, tx.progress(tx.batch, tx.from)}
	if tx.table != nil {
		if len(tx.table.uniques) > 0 && !alone {
			statements = append(statements, statement{text: fmt.Sprintf("SET LOCAL lock_timeout=%d", metLockTimeout.Milliseconds())})
		}
		rows, err := tx.rows(tx.work)
		if err != nil {
			return err
		}
		statements = append(statements, rows...)
		statements = append(statements, tx.payments()...)
	}
	tx.open = true // from here on, a connection that is given back is rolled back first
	results, err := tx.exec(ctx, append(statements, commit)...)
	if err != nil {
		return err
	}
	tx.open = false
	return tx.moved(results[1], "; this batch was written without progress, which the versions make harmless when it comes again")
}

// moved is the error where the progress row was removed under its owner.
func (tx *transaction) moved(progress result, besides string) error {
	if progress.changed == 1 {
		return nil
	}
	return &change.Problem{Kind: change.Fatal, What: "the progress row of " + tx.batch.Partition.String() + " is gone",
		Where: tx.where() + ", table " + tx.own(progressTable), Why: "without it nobody knows what was applied" + besides,
		Mend: "start again: the partition is read from the beginning of the log"}
}

// start begins the transaction and moves the progress.
func (tx *transaction) start(ctx context.Context) error {
	tx.open = true
	results, err := tx.exec(ctx, begin, tx.progress(tx.batch, tx.from))
	if err != nil {
		return err
	}
	return tx.moved(results[1], "")
}

// end strikes debts and commits.
func (tx *transaction) end(ctx context.Context) error {
	if _, err := tx.exec(ctx, append(tx.payments(), commit)...); err != nil {
		return err
	}
	tx.open = false
	return nil
}

// rows returns the statements that write the work: deletes first, which sets unique values free.
func (tx *transaction) rows(w work) (statements []statement, err error) {
	if len(w.deletes) > 0 {
		remove, err := tx.removal(w.deletes)
		if err != nil {
			return nil, err
		}
		statements = append(statements, remove)
	}
	if len(w.upserts) > 0 {
		values, err := tx.table.arrays(tx.config, w.upserts)
		if err != nil {
			return nil, err
		}
		statements = append(statements, statement{tx.table.upsert, append(values, number(tx.source))})
	}
	return statements, nil
}

// removal is the versioned DELETE of the changes' rows: one that is newer stays. A row of another source is not ours to delete: ours is not
// there.
func (tx *transaction) removal(changes []*sink.Change) (statement, error) {
	values, err := tx.table.keyArrays(changes)
	return statement{tx.table.remove, append(values, number(tx.source))}, err
}
