package clickhouse

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
)

// sheet is what rows are inserted by: a statement, and what stands before the rows.
type sheet struct {
	place     string // the quoted name of the table
	statement string // INSERT INTO ...
	header    []byte // of RowBinaryWithNamesAndTypes; empty with RowBinary
}

// block is a block of rows that becomes. Each batch that is in it waits for its end.
type block struct {
	sheet  *sheet
	parts  [][]byte
	rows   int
	bytes  int           // of the records
	full   chan struct{} // closed when nothing more comes in
	done   chan struct{} // closed when err is set
	err    error
	ctx    context.Context // ends when that of one of its batches does
	cancel context.CancelFunc
}

// gatherer puts rows of several batches into one block: the server wants few and large ones. There is no goroutine of its own: the batch
// that opens a block waits for it, sends it and tells the others.
type gatherer struct {
	config *Config
	client *client

	mu   sync.Mutex // guards the following
	open map[*sheet]*block
}

// errGivenUp is what the other batches of a block get when one of them is cut off.
var errGivenUp = &change.Problem{Kind: change.Retry, What: "a block was given up, for one of its batches was", Mend: "it is tried again"}

// insert adds the rows to the block that is open and returns when it is inserted, or is not.
func (g *gatherer) insert(ctx context.Context, s *sheet, rows []byte, count, bytes int) error {
	b, first := g.join(s, rows, count, bytes)
	defer context.AfterFunc(ctx, b.cancel)()
	if first {
		g.lead(b)
	}
	<-b.done
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case len(b.parts) > 1 && change.SeverityOf(b.err) == change.Poison && b.err != nil:
		return g.send(ctx, s, [][]byte{rows}) // whose fault it is shows when each goes alone
	}
	return b.err
}

// join adds the rows to the open block, or opens one.
func (g *gatherer) join(s *sheet, rows []byte, count, bytes int) (b *block, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b = g.open[s]
	if b == nil {
		first = true
		b = &block{sheet: s, full: make(chan struct{}), done: make(chan struct{})}
		b.ctx, b.cancel = context.WithCancel(context.Background())
		g.open[s] = b
	}
	b.parts = append(b.parts, rows)
	b.rows += count
	b.bytes += bytes
	if b.rows >= g.config.InsertRows || b.bytes >= int(g.config.InsertBytes) {
		delete(g.open, s)
		close(b.full)
	}
	return b, first
}

// lead waits until the block is full or old enough, and sends it.
func (g *gatherer) lead(b *block) {
	defer b.cancel()
	defer close(b.done)
	wait := time.NewTimer(g.config.InsertWait)
	defer wait.Stop()
	select {
	case <-b.full:
	case <-wait.C:
	case <-b.ctx.Done():
	}
	g.mu.Lock()
	if g.open[b.sheet] == b {
		delete(g.open, b.sheet)
	}
	g.mu.Unlock()
	if b.err = g.send(b.ctx, b.sheet, b.parts); b.ctx.Err() != nil {
		b.err = errGivenUp
	}
}

// send inserts one block.
func (g *gatherer) send(ctx context.Context, s *sheet, parts [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, g.config.Timeout)
	defer cancel()
	readers, size := []io.Reader{bytes.NewReader(s.header)}, int64(len(s.header))
	for _, p := range parts {
		readers = append(readers, bytes.NewReader(p))
		size += int64(len(p))
	}
	return g.client.judge("rows could not be inserted into "+s.place, g.client.insert(ctx, s.statement, g.config.InsertSettings, io.MultiReader(readers...), size))
}
