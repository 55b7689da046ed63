package mysql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/sink"
)

// Apply writes the batch to the shards, each by a goroutine, each shard's part in a transaction. A batch with
// several schemas of the table is applied as that many batches, one after the other: the progress says how far
// it came.
func (t *Target) Apply(ctx context.Context, b *sink.Batch) error {
	for from := b.From; ; {
		part := *b
		part.From = from
		if n := sameSchema(b.Changes); n < len(b.Changes) {
			part.Changes, part.Next, part.ThroughMillis = b.Changes[:n], b.Changes[n].Offset, sameThrough
		} else {
			part.Changes = b.Changes
		}
		if err := t.applyPart(ctx, &part); err != nil || part.Next == b.Next {
			return err
		}
		rest := *b
		rest.Changes, from = b.Changes[len(part.Changes):], part.Next
		b = &rest
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
	o, err := t.ownership(b)
	if err != nil {
		return err
	}
	for _, s := range t.shards {
		next, err := o.position(ctx, s, b)
		if err != nil {
			return err
		}
		if next >= 0 && next < b.From { // a hole: the batch does not build on what is there
			return &sink.OwnershipLost{Partition: b.Partition, Shard: s.config.Name, Epoch: b.Epoch,
				Err: fmt.Errorf("the shard's next offset is %d, the batch begins at %d", next, b.From)}
		}
	}
	x := &transfer{batch: b, ownership: o}
	works := make([]work, len(t.shards))
	if len(b.Changes) > 0 {
		if x.table, err = t.table(ctx, b.Group, b.Source, b.Changes[0].Table); err != nil {
			return err
		}
		if err := t.checkOverwrite(x.table, b); err != nil {
			return err
		}
		if works, err = plan(x.table, b.Changes, o.positions, len(x.table.order[b.Source]) > 0); err != nil {
			return err
		}
	}
	err = t.applyWorks(ctx, x, works)
	var refused *sink.Refused
	if change.SeverityOf(err) == change.Poison && x.table != nil && !errors.As(err, &refused) {
		t.dropTable(x.table) // it is not what was prepared: look again when the topic goes on
	}
	return err
}

// transfer is one batch on its way to the shards.
type transfer struct {
	table     *table
	batch     *sink.Batch
	ownership *ownership
}

// applyWorks runs the two phases: first every shard gets its upserts, then rows leave the shards in which they
// were. A shard that no row leaves is done after the first.
func (t *Target) applyWorks(ctx context.Context, x *transfer, works []work) error {
	leaving := false
	for i := range works {
		if w := &works[i]; mutant.MoveAtOnce {
			w.deletes, w.leaves = append(w.deletes, w.leaves...), nil
		}
		leaving = leaving || len(works[i].leaves) > 0
	}
	if leaving {
		first := make([]*work, len(works))
		for i := range works {
			switch w := &works[i]; {
			case len(w.leaves) == 0:
				first[i] = w
			case len(w.upserts) > 0:
				first[i] = &work{upserts: w.upserts, deletes: w.deletes}
			}
		}
		if err := t.eachShard(ctx, x, first, func(i int) bool { return len(works[i].leaves) == 0 }); err != nil {
			return err
		}
	}
	second := make([]*work, len(works))
	for i := range works {
		switch w := &works[i]; {
		case !leaving:
			second[i] = w
		case len(w.leaves) > 0 && len(w.upserts) > 0:
			second[i] = &work{deletes: w.leaves}
		case len(w.leaves) > 0:
			second[i] = &work{deletes: append(append([]*sink.Change(nil), w.deletes...), w.leaves...)}
		}
	}
	return t.eachShard(ctx, x, second, func(int) bool { return true })
}

// eachShard runs each shard's work in a goroutine and waits for all. moves says whether the shard's progress
// moves with it.
func (t *Target) eachShard(ctx context.Context, x *transfer, works []*work, moves func(shard int) bool) error {
	errs := make([]error, len(works))
	run := func(i int) { errs[i] = t.shards[i].apply(ctx, x, works[i], moves(i)) }
	var wg sync.WaitGroup
	for i := range works {
		if works[i] != nil && i > 0 {
			wg.Go(func() { run(i) })
		}
	}
	if works[0] != nil {
		run(0)
	}
	wg.Wait()
	return worst(errs)
}

// worst returns the error that decides: what no retry mends before what one may.
func worst(errs []error) error {
	var found error
	for _, err := range errs {
		if err != nil && (found == nil || change.SeverityOf(found) == change.Retry) {
			found = err
		}
	}
	return found
}

const (
	contentionTriesMax = 6
	contentionPause    = 5 * time.Millisecond
)

// apply runs the work as one transaction. One that met another (deadlock, lock wait) was rolled back, and is
// repeated while no other of this process runs on the table: two that meet once would meet again.
func (s *shard) apply(ctx context.Context, x *transfer, w *work, move bool) error {
	at := x.ownership.positions[s.index]
	if at >= x.batch.Next {
		return nil // done by an earlier try of the batch
	}
	for try := 0; ; try++ {
		err := s.applyOnce(ctx, x, w, at, move, try > 0)
		switch {
		case err == nil:
			if move {
				x.ownership.positions[s.index] = x.batch.Next
			}
			return nil
		case lostOwnership(err):
			x.ownership.positions[s.index] = unknownPosition
			return &sink.OwnershipLost{Partition: x.batch.Partition, Shard: s.config.Name, Epoch: x.batch.Epoch, Err: err}
		case contended(err) && try < contentionTriesMax && ctx.Err() == nil:
			time.Sleep(rand.N(contentionPause << (try + 1))) // two that met would otherwise meet again
			continue
		}
		x.ownership.positions[s.index] = unknownPosition // the commit may have come through
		var known *change.Problem
		if errors.As(err, &known) {
			return err
		}
		if ofTable(err) {
			return x.table.altered(s, err)
		}
		return s.problem(err)
	}
}

// applyOnce runs the transaction once, over a connection of the pool.
func (s *shard) applyOnce(ctx context.Context, x *transfer, w *work, at int64, move, alone bool) error {
	if x.table != nil {
		lock := x.table.shards[s.index].alone
		if alone {
			lock.Lock()
			defer lock.Unlock()
		} else {
			lock.RLock()
			defer lock.RUnlock()
		}
	}
	tx := &transaction{transfer: x, work: w, at: at, to: at}
	if move {
		tx.to = x.batch.Next
	}
	var err error
	if x.table != nil { // before there is a connection: who has one never waits for another
		if tx.ranks, err = s.ranks(ctx, x.table.order, x.batch.Source); err != nil {
			return err
		}
	}
	if tx.session, err = s.conn(ctx); err != nil {
		return err
	}
	defer tx.release()
	return tx.run(ctx)
}

// transaction is one shard's part of a batch.
type transaction struct {
	*session
	*transfer
	work   *work
	at, to int64 // the progress row moves from, to
	ranks  ranks // the batch's source in this shard, and those that keys move between
}

// run does the work by the straight way, and by the careful one where a row is in the way of another or is not
// what the table can hold.
func (tx *transaction) run(ctx context.Context) error {
	if tx.table == nil { // an empty batch: the progress moves, nothing else
		tx.open = true
		return tx.commit(ctx, [][]byte{append(tx.begin(), ";COMMIT"...)})
	}
	packets, err := tx.packets()
	if err != nil {
		return err
	}
	tx.open = true // from here on, a connection that is given back is rolled back first
	err = tx.commit(ctx, packets)
	switch {
	case err == nil:
		return nil
	case tx.table.versioned && tx.guardFailed(err):
		return tx.carefully(ctx) // the transaction is still open: all but the upserts is done
	case ofRow(err):
		return tx.slowly(ctx)
	}
	return err
}

// begin returns BEGIN and the progress statement.
func (tx *transaction) begin() []byte {
	statements := appendProgress([]byte("BEGIN;"), tx.shard, tx.batch, tx.at, tx.to)
	if mutant.ProgressApart {
		statements = append(statements, ";COMMIT;BEGIN"...)
	}
	return statements
}

// packets returns the whole transaction.
func (tx *transaction) packets() ([][]byte, error) {
	st := tx.table.shards[tx.shard.index]
	out := &statements{max: tx.shard.packetMax()}
	out.add(tx.begin())
	tx.addDeletes(out, st, tx.work.deletes)
	if err := out.addUpserts(tx.table, st, tx.work.upserts, tx.ranks); err != nil {
		return nil, err
	}
	out.add([]byte("COMMIT"))
	return out.done(), nil
}

// addDeletes adds the deletes, and pays the debts of their keys.
func (tx *transaction) addDeletes(out *statements, st *shardTable, deletes []*sink.Change) {
	if len(deletes) == 0 {
		return
	}
	if len(tx.ranks.below) > 0 {
		out.addMarks(st, deletes, tx.ranks)
	} else {
		out.addDeletes(st, deletes, tx.ranks.source)
	}
	if tx.table.secondary && tx.table.versioned {
		tx.addPayments(out, st, deletes)
	}
}

// commit sends the packets of a whole transaction.
func (tx *transaction) commit(ctx context.Context, packets [][]byte) error {
	for i, packet := range packets {
		affected, err := tx.exec(ctx, packet)
		if err != nil {
			return err
		}
		if i == 0 && (len(affected) < 2 || affected[1] != 1) {
			return tx.progressGone(len(packets) == 1)
		}
	}
	tx.open = false
	return nil
}

// start begins the transaction and moves the progress.
func (tx *transaction) start(ctx context.Context) error {
	tx.open = true
	affected, err := tx.exec(ctx, tx.begin())
	if err == nil && (len(affected) != 2 || affected[1] != 1) {
		err = tx.progressGone(false)
	}
	return err
}

// end commits.
func (tx *transaction) end(ctx context.Context) error {
	if _, err := tx.exec(ctx, []byte("COMMIT")); err != nil {
		return err
	}
	tx.open = false
	return nil
}

// progressGone is the error where the progress row was removed under its owner.
func (tx *transaction) progressGone(committed bool) error {
	why := "without it nobody knows what was applied"
	if committed {
		why += "; this batch was written without progress, which the versions make harmless when it comes again"
	}
	return &change.Problem{Kind: change.Fatal, What: "the progress row of " + tx.batch.Partition.String() + " is gone",
		Where: tx.shard.where() + ", table " + progressTable, Why: why,
		Mend: "start again: the partition is read from the beginning of the log"}
}
