package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

const carefulTriesMax = 10 // of one row, when others write its unique values meanwhile

// carefully does the transaction anew, with the rows in conflict apart: they are few, the others are written together, those few
// one by one in the log's order.
func (tx *transaction) carefully(ctx context.Context) error {
	if err := tx.start(ctx); err != nil {
		return err
	}
	statements, err := tx.rows(work{deletes: tx.work.deletes})
	if err != nil {
		return err
	}
	if _, err := tx.exec(ctx, statements...); err != nil {
		return err
	}
	few, clear, err := tx.suspects(ctx)
	if err != nil {
		return err
	}
	met, err := tx.write(ctx, clear)
	if err != nil {
		return err
	}
	few = append(few, met...)
	slices.SortStableFunc(few, func(a, b *sink.Change) int { return int(a.Offset - b.Offset) }) // the version's order
	for _, c := range few {
		if err := tx.writeOne(ctx, c); err != nil {
			return err
		}
	}
	return tx.end(ctx)
}

// slowly does the transaction anew, each key in a statement of its own, so that an error names its row.
func (tx *transaction) slowly(ctx context.Context) error {
	if err := tx.start(ctx); err != nil {
		return err
	}
	for _, c := range tx.work.deletes {
		remove, err := tx.removal([]*sink.Change{c})
		if err == nil {
			_, err = tx.exec(ctx, remove)
		}
		if err != nil {
			return tx.blame(c, err)
		}
	}
	for _, c := range tx.work.upserts {
		if err := tx.writeOne(ctx, c); err != nil {
			return err
		}
	}
	return tx.end(ctx)
}

// suspects splits the upserts into those whose unique values another row is seen to hold, and the others. It need not find all:
// write finds the rest.
func (tx *transaction) suspects(ctx context.Context) (few, clear []*sink.Change, err error) {
	suspect := make([]bool, len(tx.work.upserts))
	values, err := tx.table.arrays(tx.config, tx.work.upserts)
	if err != nil || len(suspect) == 0 {
		return nil, nil, err
	}
	for u := range tx.table.uniques {
		err := tx.query(ctx, statement{tx.table.holdersOf(u, false), values}, func(fields [][]byte) error {
			n, err := strconv.Atoi(string(fields[0]))
			if err == nil {
				suspect[n-1] = true
			}
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	for i, c := range tx.work.upserts {
		if suspect[i] {
			few = append(few, c)
		} else {
			clear = append(clear, c)
		}
	}
	return few, clear, nil
}

var savepoint, forget, back = statement{text: "SAVEPOINT one"}, statement{text: "RELEASE SAVEPOINT one"}, statement{text: "ROLLBACK TO SAVEPOINT one"}

// try runs the upsert of the rows within a savepoint: an error of it leaves the transaction usable.
func (tx *transaction) try(ctx context.Context, rows []*sink.Change) error {
	statements, err := tx.rows(work{upserts: rows})
	if err != nil {
		return err
	}
	if _, err = tx.exec(ctx, savepoint, statements[0], forget); stateOf(err) == "" {
		return err
	}
	if _, rollback := tx.exec(ctx, back, forget); rollback != nil {
		return errors.Join(err, rollback)
	}
	return err
}

// write writes the rows by guarded upserts. One that fails is halved until the rows are found that meet another; those are returned.
func (tx *transaction) write(ctx context.Context, rows []*sink.Change) (met []*sink.Change, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	err = tx.try(ctx, rows)
	switch {
	case err == nil:
		return nil, nil
	case !tx.guardFailed(err):
		return nil, err
	case len(rows) == 1:
		return rows, nil
	}
	for _, half := range [][]*sink.Change{rows[:len(rows)/2], rows[len(rows)/2:]} {
		more, err := tx.write(ctx, half)
		if err != nil {
			return nil, err
		}
		met = append(met, more...)
	}
	return met, nil
}

// holder is an existing row that a row to be written meets.
type holder struct {
	key     []change.Value
	version change.Version
	source  int64
	unique  string // the index that they share, empty for the key
}

// writeOne writes one row by the rule, with all rows that it meets locked: not over a newer state of itself, not while a newer row
// holds one of its unique values; an older holder is deleted.
func (tx *transaction) writeOne(ctx context.Context, c *sink.Change) error {
	var last error
	for range carefulTriesMax {
		own, err := tx.lockOwn(ctx, c)
		if err != nil {
			return tx.blame(c, err)
		}
		if own != nil && own.source != 0 && own.source != tx.source {
			return tx.foreign(ctx, c, own)
		}
		if own != nil && own.version >= c.Version {
			return nil // stale
		}
		done, err := tx.clearHolders(ctx, c)
		if err != nil || done {
			return err
		}
		if last = tx.try(ctx, []*sink.Change{c}); last == nil {
			return nil
		}
		if !tx.guardFailed(last) {
			return tx.blame(c, last)
		}
	}
	return tx.table.refuse(c, tx.server, "another row holds one of its unique values, and could not be found by it",
		"compare the unique indexes of the target with the source's unique keys, and drop what the source has not", last)
}

// lockOwn locks the row that has the change's key, nil where there is none.
func (tx *transaction) lockOwn(ctx context.Context, c *sink.Change) (own *holder, err error) {
	values, err := tx.table.keyArrays([]*sink.Change{c})
	if err != nil {
		return nil, err
	}
	err = tx.query(ctx, statement{tx.table.lock, values}, func(fields [][]byte) error {
		version, source, err := numbers(fields)
		own = &holder{version: change.Version(version), source: source}
		return err
	})
	return own, err
}

// clearHolders locks the other rows that hold the row's unique values, and deletes them if all are older. It returns true where one
// is newer: then nothing may be written. Both are done in trust that a next change is on its way, of the holder's key or of this
// one, and leave a debt.
func (tx *transaction) clearHolders(ctx context.Context, c *sink.Change) (done bool, err error) {
	values, err := tx.table.arrays(tx.config, []*sink.Change{c})
	if err != nil {
		return false, err
	}
	var all []holder
	for u := range tx.table.uniques {
		found, err := tx.holders(ctx, u, values)
		if err != nil {
			return false, tx.blame(c, err)
		}
		all = append(all, found...)
	}
	for i := range all {
		if h := &all[i]; h.source != 0 && h.source != tx.source {
			return false, tx.foreign(ctx, c, h)
		}
		if all[i].version > c.Version {
			return true, tx.owe(ctx, c, c.KeyValues, c.Version)
		}
	}
	for i := range all {
		h := &sink.Change{KeyValues: all[i].key, Version: c.Version + 1} // it is locked, and not newer than c
		remove, err := tx.removal([]*sink.Change{h})
		if err != nil {
			return false, err
		}
		if _, err := tx.exec(ctx, remove); err != nil {
			return false, tx.blame(c, err)
		}
		if err := tx.owe(ctx, c, all[i].key, all[i].version); err != nil {
			return false, err
		}
	}
	return false, nil
}

// holders locks and reads the other rows that hold a row's value of a unique index.
func (tx *transaction) holders(ctx context.Context, unique int, values [][]byte) ([]holder, error) {
	var found []holder
	err := tx.query(ctx, statement{tx.table.holdersOf(unique, true), values}, func(fields [][]byte) error {
		version, source, err := numbers(fields[1:])
		if err != nil {
			return err
		}
		h := holder{version: change.Version(version), source: source, unique: tx.table.uniques[unique].name}
		for k, field := range fields[3:] {
			v, err := parseText(&tx.table.schema.Columns[tx.table.schema.Key[k]], field)
			if err != nil {
				return err
			}
			h.key = append(h.key, v)
		}
		found = append(found, h)
		return nil
	})
	return found, err
}

// blame makes an error one that names the row, if the row is what it is about.
func (tx *transaction) blame(c *sink.Change, err error) error {
	if !ofRow(err) {
		return err
	}
	return tx.table.refuse(c, tx.server, "the target's column, constraint or index does not take a value that the source holds",
		"alter the target's table so that it can hold what the source's does, then start the sink again", err)
}

// foreign is the error for a row that another source wrote.
func (tx *transaction) foreign(ctx context.Context, c *sink.Change, h *holder) error {
	name := "number " + strconv.FormatInt(h.source, 10)
	if names, err := tx.sourceNames(ctx); err == nil && names[h.source] != "" {
		name = names[h.source]
	}
	with := "its key"
	if h.unique != "" {
		with = "its value of the unique index " + h.unique
	}
	why := fmt.Sprintf("a row with %s was written from source %s; versions of two sources cannot be compared", with, name)
	return tx.table.refuse(c, tx.server, why,
		"keep the sources' keys apart, write them to tables of their own ({source} in postgres.table), or delete the other source's row if it has moved here", nil)
}
