package crawl

import (
	"context"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/merge"
)

// Stream is what a crawl asks of the source's loop. All methods may be called from many goroutines at once
// and return early when ctx ends. An error that is a change.Problem of the kind Poison, sql.ErrNoRows or a
// MySQL server's ends the one crawl, or is tried again as the server's errors are; any other is the stream's
// own and ends the Manager's Run.
type Stream interface {
	// Delivered returns all GTIDs that the binlog has handed over, the transaction in progress and the set
	// the connection was resumed from too. It is nil or empty where the server has none.
	Delivered(ctx context.Context) (*gtid.Set, error)

	// Open opens a window on the table and notes in the same critical section what has been delivered.
	Open(ctx context.Context, table change.TableName) (Window, error)

	// Read hands over the rows of a chunk and the server's position after they were read. It blocks until
	// the rows that are left are published, or the chunk was thrown away. progress is called once, when the
	// rows are being published, with how many are left; the record that it returns goes into the same Kafka
	// transaction. Chunks of one crawl wait side by side, so only at that moment is it known which of them
	// are published. Whatever Read returns, the window is the stream's from then on; progress may be called
	// after Read has returned with the error of its context.
	Read(ctx context.Context, w Window, rows []merge.Row, high change.Position, progress func(published int) Progress) (Outcome, error)

	// Discard forgets a window that Read was not called for.
	Discard(w Window)

	// Finish makes a crawl's record durable without rows: its start, its end, its cancelling.
	Finish(ctx context.Context, p Progress) error
}

// Refresher is a Stream that keeps what it learnt of tables. A definition that was read while a DDL was being
// committed is the old one, and nothing that comes later says so; the crawl sees it, because it looks again
// when the server shows that DDL.
type Refresher interface {
	// Refresh forgets what is known of the table's definition from INFORMATION_SCHEMA.
	Refresh(ctx context.Context, table change.TableName) error
}

// Window is an open window of the stream.
type Window struct {
	ID         merge.WindowID
	Delivered  *gtid.Set      // exactly what had been handed over when it was opened
	ServerUUID string         // of the server that the stream reads; empty on MariaDB
	Version    change.Version // the greatest version given by then
	Table      *change.Table  // the table as the stream knows it; nil: it does not exist (a sweep's last look)
	Encoder    *avro.Encoder  // writes the table's rows
	Source     avro.Source    // the source block of op r rows
}

// Outcome is what became of a chunk.
type Outcome struct {
	Published bool
	Reason    string // why it was thrown away, where it was not published
	Rows      int    // published
	Struck    int    // left out, for the stream carried their keys meanwhile
}
