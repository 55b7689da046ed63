package hbase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/sink"
)

// put is one change as a row of a request.
type put struct {
	offset int64
	key    []byte
	row    []byte // as a field of the request's message
}

func (p put) compare(q put) int { return bytes.Compare(p.key, q.key) }

// writer makes puts.
type writer struct {
	now   time.Time
	cells []byte // used again for each row
	value []byte
	nulls []string
}

// put makes a change's row. Every column gets a cell with the change's version, NULL and those of a deleted row an empty one: HBase shows
// the newest cell of each column, so a row of an older version that comes later shows nothing, whatever the server has compacted
// meanwhile. A delete marker would hide the row only until the next major compaction takes it away.
func (w *writer) put(p *plan, c *sink.Change) (put, error) {
	values, err := keyValues(p, c)
	if err != nil {
		return put{}, err
	}
	key, err := p.key.append(nil, values)
	if err != nil {
		return put{}, err
	}
	w.cells, w.nulls = w.cells[:0], w.nulls[:0]
	deleted := c.Op == change.Delete
	for i := range p.cells {
		if deleted && mutant.BareTombstone {
			break
		}
		w.value = w.value[:0]
		if !deleted {
			w.value = appendText(w.value, &p.table.Columns[i], c.After[i])
			if c.After[i].IsNull() {
				w.nulls = append(w.nulls, p.columns[i])
			}
		}
		w.cells = appendCell(w.cells, p.cells[i], int64(c.Version), w.value)
	}
	if deleted {
		w.value = appendDeletedState(w.value[:0], w.now)
	} else {
		w.value = appendRowState(w.value[:0], w.nulls)
	}
	w.cells = appendCell(w.cells, p.state, int64(c.Version), w.value)
	return put{offset: c.Offset, key: key, row: appendRow(nil, key, w.cells)}, nil
}

// keyValues returns the key in the order of the table's key.
func keyValues(p *plan, c *sink.Change) ([]change.Value, error) {
	values := make([]change.Value, len(p.table.Key))
	for i, at := range p.table.Key {
		found := false
		for j, name := range c.KeyNames {
			if p.table.Column(name) == at {
				values[i], found = c.KeyValues[j], true
			}
		}
		if !found {
			return nil, fmt.Errorf("the record's key has no column %s", p.table.Columns[at].Name)
		}
	}
	return values, nil
}

// The pauses between tries of requests that HBase could not do now. They end soon: the runtime tries again too, and makes sure first
// that the partition is still ours.
const (
	busyTries = 5
	busyFirst = 100 * time.Millisecond
)

// send sends the puts in requests of about PutBytes, several at once. It returns when none is under way any more. Their order does not
// matter: versions decide.
func (t *Target) send(ctx context.Context, table string, puts []put) error {
	var running sync.WaitGroup
	var mu sync.Mutex
	var worst error
	for len(puts) > 0 {
		n, size := 1, len(puts[0].row)
		for n < len(puts) && size+len(puts[n].row) <= int(t.config.PutBytes) {
			size += len(puts[n].row)
			n++
		}
		some := puts[:n]
		puts = puts[n:]
		running.Go(func() {
			err := t.sendSome(ctx, table, some)
			mu.Lock()
			defer mu.Unlock()
			worst = worse(worst, err)
		})
	}
	running.Wait()
	return worst
}

// worse chooses between the errors of two requests: what is tried again could hide what is not.
func worse(a, b error) error {
	if a == nil || b != nil && change.SeverityOf(a) == change.Retry && change.SeverityOf(b) != change.Retry {
		return b
	}
	return a
}

// sendSome sends one request, and again while HBase cannot do it.
func (t *Target) sendSome(ctx context.Context, table string, puts []put) error {
	for try := 1; ; try++ {
		err := t.request(ctx, table, puts)
		if !has(err, http.StatusServiceUnavailable) && !has(err, http.StatusTooManyRequests) || try == busyTries || disabled(err) {
			return t.client.judge(fmt.Sprintf("%d rows could not be written to %s", len(puts), table), err)
		}
		pause := busyFirst << (try - 1)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// request writes the rows by one request, and where the gateway takes its content for bad, by two of halves, until it is known which row
// it means.
func (t *Target) request(ctx context.Context, table string, puts []put) error {
	err := t.write(ctx, table, puts)
	if !has(err, http.StatusBadRequest) && !has(err, http.StatusRequestEntityTooLarge) || disabled(err) {
		return err
	}
	if len(puts) > 1 {
		half := len(puts) / 2
		return worse(t.request(ctx, table, puts[:half]), t.request(ctx, table, puts[half:]))
	}
	p := &change.Problem{Kind: change.Poison, What: fmt.Sprintf("HBase does not take the row %q of %s", puts[0].key, table), Where: t.client.base, Err: err,
		Why: "the row would be missing in the table", Mend: "mend the row at the source, or set the record aside (on_error: dead_letter)"}
	if has(err, http.StatusBadRequest, "size too large") || has(err, http.StatusRequestEntityTooLarge) {
		p.Mend = "raise hbase.client.keyvalue.maxsize at the gateway and hbase.server.keyvalue.maxsize at the region servers (10 MB by default)"
	}
	return &sink.Refused{Offset: puts[0].offset, Err: p}
}

// disabled reports whether the table is at fault, not the server or a row.
func disabled(err error) bool {
	var answer *statusError
	return errors.As(err, &answer) && has(err, answer.status, "TableNotEnabled", "is disabled")
}

// write sends one request. The row in its path is none: the rows are in the body, whose keys are exact.
func (t *Target) write(ctx context.Context, table string, puts []put) error {
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	size := 0
	for _, p := range puts {
		size += len(p.row)
	}
	body := make([]byte, 0, size)
	for _, p := range puts {
		body = append(body, p.row...)
	}
	_, _, _, err := t.client.do(ctx, http.MethodPut, "/"+table+"/rows", protobuf, body)
	return err
}
