package handler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// TransactionFunc does with a batch of changes of one partition what the program is for, in the transaction. The batch is in the
// partition's order, which is the order of commits for each key. It must not commit or roll back: that is done when it returns, and
// with it, or not at all, the progress moves. A statement that commits by itself (CREATE TABLE, LOCK TABLES) breaks this.
//
// Functions for different partitions run at once, in transactions of their own, which may deadlock: then all of the batch is tried
// again. Fewer collide where a function writes rows in one order, and each row once.
type TransactionFunc func(ctx context.Context, tx *sql.Tx, batch []*Event) error

// TransactionOptions say where progress and results are.
type TransactionOptions struct {
	// Progress is the table that holds the progress, in the database that db connects to; empty means _sluice_handler. It is made when
	// it is missing. Handlers may share one: the group's name is part of its key.
	Progress string

	// Results are the tables that the function writes to, as SQL names them: replay --empty empties them, and a replay from the
	// beginning refuses while they hold rows. Without any there is no replay from the beginning.
	Results []string

	// Create are statements that make the tables where they are missing (CREATE TABLE IF NOT EXISTS). They run before the first batch.
	Create []string

	// StateOnly is as in Options.
	StateOnly bool
}

const progressName = "_sluice_handler"

// Transaction keeps results and progress in one MySQL database.
type Transaction struct {
	db         *sql.DB
	fn         TransactionFunc
	options    TransactionOptions
	partitions partitions
	creating   sync.Mutex // guards created, and is held while tables are made
	created    bool
	group      atomic.Pointer[string] // whose positions were asked for last: commands do before they empty
}

var (
	_ sink.Target   = (*Transaction)(nil)
	_ sink.Progress = (*Transaction)(nil)
	_ sink.Replayer = (*Transaction)(nil)
	_ sink.Floor    = (*Transaction)(nil)
)

// InTransaction returns the target that calls the function with a transaction of db, a MySQL or MariaDB whose default database holds
// the results. The transactions are READ COMMITTED. Close closes db.
func InTransaction(db *sql.DB, fn TransactionFunc, o TransactionOptions) *Transaction {
	if o.Progress == "" {
		o.Progress = progressName
	}
	return &Transaction{db: db, fn: fn, options: o}
}

// Close closes the database's connections.
func (t *Transaction) Close() error { return t.db.Close() }

// Floor is as Options says.
func (t *Transaction) Floor(s sink.LogSettings) time.Duration {
	o := Options{StateOnly: t.options.StateOnly}
	return o.Floor(s)
}

// Apply has the function do the batch in one transaction with the progress, whose row is its first lock.
func (t *Transaction) Apply(ctx context.Context, b *sink.Batch) error {
	p := t.partitions.of(b)
	tx, err := t.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing, once it is committed
	from, err := t.lock(ctx, tx, b)
	if err != nil {
		return err
	}
	if from >= b.Next && b.Next > b.From { // an earlier try was committed, although its answer was lost
		p.passed(b)
		return nil
	}
	events := p.events(b)
	for len(events) > 0 && events[0].change.Offset < from {
		events = events[1:]
	}
	if len(events) > 0 {
		if err := t.call(ctx, tx, b, events); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "UPDATE "+t.progress()+" SET next_offset = ?, through_millis = ?"+identityWhere, append([]any{b.Next, b.ThroughMillis}, identity(b.Group, b.Partition)...)...)
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return t.failed(ctx, "commit the batch", err)
	}
	p.passed(b)
	return nil
}

// call calls the function and gives its error a kind.
func (t *Transaction) call(ctx context.Context, tx *sql.Tx, b *sink.Batch, events []*Event) error {
	err := t.fn(ctx, tx, events)
	var refused *sink.Refused
	if errors.As(err, &refused) {
		return err
	}
	for _, e := range events {
		if e.missed() != "" {
			return judge(e, nil)
		}
	}
	var p *change.Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &change.Problem{Kind: change.Retry, What: "the handler failed", Where: fmt.Sprintf("%s offsets %d to %d", b.Partition, b.From, b.Next-1), Err: err,
		Why: "nothing is lost: the batch was rolled back and is handled again", Mend: "an error that will not pass is Event.Refuse's"}
}

// lock locks the partition's row and returns the offset from which on the batch is still to be done (rule R6).
func (t *Transaction) lock(ctx context.Context, tx *sql.Tx, b *sink.Batch) (from int64, err error) {
	var epoch int64
	row := tx.QueryRowContext(ctx, "SELECT next_offset, epoch FROM "+t.progress()+identityWhere+" FOR UPDATE", identity(b.Group, b.Partition)...)
	err = row.Scan(&from, &epoch)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch, Err: errors.New("the progress is gone")}
	case err != nil:
		return 0, t.failed(ctx, "lock the progress", err)
	case epoch != b.Epoch || from >= 0 && from < b.From:
		return 0, &sink.OwnershipLost{Partition: b.Partition, Epoch: b.Epoch}
	}
	return from, nil
}

func (t *Transaction) begin(ctx context.Context) (*sql.Tx, error) {
	tx, err := t.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, t.failed(ctx, "begin a transaction", err)
	}
	return tx, nil
}

// failed makes an error of the database one that is tried again.
func (t *Transaction) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &change.Problem{Kind: change.Retry, What: "the handler's database: " + doing, Err: err,
		Why: "nothing is lost: what was not committed is done again", Mend: "nothing, if it passes; else look at the database and at its account's rights"}
}

func (t *Transaction) progress() string {
	return "`" + strings.ReplaceAll(t.options.Progress, "`", "``") + "`"
}

const identityWhere = " WHERE consumer_group = ? AND source = ? AND topic = ? AND topic_id = ? AND partition_count = ? AND partition_number = ?"

func identity(group string, p sink.Partition) []any {
	return []any{group, p.Source, p.Topic, p.TopicID[:], p.Count, p.Partition}
}
