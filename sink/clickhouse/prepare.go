package clickhouse

import (
	"context"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// complete makes a table, or brings it to what it should be, or says which statements would. It returns the table as it then is.
func (b *base) complete(ctx context.Context, w *wanted) (*existing, error) {
	x, err := b.look(ctx, w.name)
	if err != nil {
		return nil, err
	}
	if x == nil {
		if err := b.make(ctx, w); err != nil {
			return nil, err
		}
		if x, err = b.look(ctx, w.name); err != nil {
			return nil, err
		}
		if x == nil {
			return nil, b.lost(w)
		}
	}
	if err := b.fit(ctx, x, w); err != nil {
		return nil, err
	}
	steps, err := b.steps(x, w)
	if err == nil && len(steps) > 0 {
		if err = b.alter(ctx, x, w, steps); err == nil {
			x, err = b.settled(ctx, w)
		}
	}
	if err != nil || !b.config.CreateTables {
		return x, err
	}
	if is, err := b.listed(ctx, w.name); is || err != nil {
		return x, err
	}
	return x, b.enter(ctx, w.name, w.owner)
}

// make makes a table that is not there.
func (b *base) make(ctx context.Context, w *wanted) error {
	statement := b.create(w)
	if !b.config.CreateTables {
		return &change.Problem{Kind: change.Poison, What: "the table " + w.name + " is not there", Where: b.where(),
			Why:  "where it was there before, its rows are lost: the sink has to begin anew (sluice replay --to beginning --empty)",
			Mend: statement + "\nor set clickhouse.create_tables: true"}
	}
	if is, err := b.listed(ctx, w.name); err != nil {
		return err
	} else if is {
		return b.lost(w)
	}
	err := b.client.exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quoteName(b.config.Database))
	if err == nil {
		err = b.client.exec(ctx, statement)
	}
	if err != nil {
		return b.client.judge("the table "+w.name+" could not be made", err)
	}
	b.log.Info("made a table", "target", b.where(), "name", w.name, "table", w.owner.Database+"."+w.owner.Table)
	return b.enter(ctx, w.name, w.owner)
}

// lost is a table that was there before and is gone.
func (b *base) lost(w *wanted) error {
	return &change.Problem{Kind: change.Poison, What: "the table " + w.name + " was there before and is gone", Where: b.where(),
		Why:  "made anew it would show only what changes from now on",
		Mend: "bring it back (a backup, ATTACH), or begin anew: sluice replay --to beginning --empty"}
}

// fit refuses a table that holds something else, and one that has rows and does not say whose.
func (b *base) fit(ctx context.Context, x *existing, w *wanted) error {
	if err := x.check(w, b.where()); err != nil || x.owner != nil {
		return err
	}
	is, err := b.listed(ctx, w.name)
	if err != nil {
		return err
	}
	if is {
		return &change.Problem{Kind: change.Poison, Where: b.where(), What: "the table " + w.name + " is another than the one that was made",
			Why: "what the other held would be missing in it", Mend: "bring the other back, or begin anew: sluice replay --to beginning --empty"}
	}
	rows, err := b.client.text(ctx, "SELECT count() FROM "+b.place(x.name))
	if err != nil {
		return b.client.judge("the table "+x.name+" could not be looked at", err)
	}
	if rows != "0\n" {
		return foreign(w, b.where())
	}
	return nil
}

func foreign(w *wanted, where string) error {
	return &change.Problem{Kind: change.Poison, Where: where, What: "the table " + w.name + " has rows that are not Sluice's",
		Why: "they would stay beside the source's", Mend: "rename or empty it, or set another clickhouse.table"}
}

// alter runs the statements, or names them.
func (b *base) alter(ctx context.Context, x *existing, w *wanted, steps []string) error {
	if !b.config.CreateTables {
		return &change.Problem{Kind: change.Poison, What: "the table " + x.name + " lacks something", Where: b.where(),
			Why:  "values of columns that are not there would be lost, or another table could come into it",
			Mend: strings.Join(steps, "\n") + "\nor set clickhouse.create_tables: true"}
	}
	for _, statement := range steps {
		b.log.Info("completing a table", "target", b.where(), "statement", statement)
		err := b.client.exec(ctx, statement)
		if code := codeOf(err); err != nil && code != codeColumnExists && code != codeColumnExistsOld { // another process was faster
			return b.client.judge("the table "+w.name+" could not be completed: "+statement, err)
		}
	}
	return nil
}

// settled looks at a table that was altered, by this process or by several at once.
func (b *base) settled(ctx context.Context, w *wanted) (*existing, error) {
	x, err := b.look(ctx, w.name)
	if err != nil {
		return nil, err
	}
	if x == nil {
		return nil, b.lost(w)
	}
	if err := x.check(w, b.where()); err != nil {
		return nil, err
	}
	steps, err := b.steps(x, w)
	if err == nil && len(steps) > 0 {
		err = &change.Problem{Kind: change.Retry, What: "the table " + w.name + " is not altered yet", Where: b.where(), Mend: strings.Join(steps, "\n")}
	}
	return x, err
}
