package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"

	"github.com/sluice-cdc/sluice/change"
)

// reader reads a history file that this package has written.
type reader struct {
	key    string
	object object
	file   *parquet.File
	layout *layout
}

func (t *Target) openFile(ctx context.Context, key string) (*reader, error) {
	o, err := t.store.open(ctx, key)
	if err != nil {
		return nil, err
	}
	r := &reader{key: key, object: o}
	if r.file, err = parquet.OpenFile(o, o.size()); err == nil {
		r.layout, err = t.layoutOf(r.file)
	}
	if err != nil {
		o.Close()
		return nil, &change.Problem{Kind: change.Poison, What: "the file " + key + " cannot be read", Where: t.store.String(), Err: err,
			Why: "it is damaged, or somebody else has put it there", Mend: "look at it with another reader; take it away if it is not Sluice's"}
	}
	return r, nil
}

func (r *reader) close() { r.object.Close() }

// layoutOf makes the layout again of what the file says of its table.
func (t *Target) layoutOf(f *parquet.File) (*layout, error) {
	text, ok := f.Lookup(metaTable)
	dates, _ := f.Lookup(metaDates)
	if !ok {
		return nil, errors.New("it does not name its table")
	}
	t.mu.Lock()
	l := t.read[text+dates]
	t.mu.Unlock()
	if l != nil {
		return l, nil
	}
	table := &change.Table{}
	if err := json.Unmarshal([]byte(text), table); err != nil {
		return nil, err
	}
	l, err := newLayout(table, dates)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.read) >= layoutsMax {
		clear(t.read)
	}
	t.read[text+dates] = l
	return l, nil
}

// valuesAtOnce is how many values of a column are decoded at once.
const valuesAtOnce = 512

// each calls for every row with the values of the columns that are wanted, in the order in which they are named. The values are valid until
// it returns.
func (r *reader) each(ctx context.Context, columns []int, row func(values []parquet.Value) error) error {
	for _, g := range r.file.RowGroups() {
		if err := eachOf(ctx, g, columns, row); err != nil {
			return err
		}
	}
	return nil
}

func eachOf(ctx context.Context, g parquet.RowGroup, columns []int, row func(values []parquet.Value) error) error {
	chunks := g.ColumnChunks()
	readers := make([]parquet.ColumnChunkValueReader, len(columns))
	buffers := make([][]parquet.Value, len(columns))
	for i, c := range columns {
		readers[i] = parquet.NewColumnChunkValueReader(chunks[c])
		defer readers[i].Close()
		buffers[i] = make([]parquet.Value, valuesAtOnce)
	}
	values := make([]parquet.Value, len(columns))
	for left := g.NumRows(); left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(left, valuesAtOnce))
		for i := range readers {
			if err := fill(readers[i], buffers[i][:n]); err != nil {
				return err
			}
		}
		for at := range n {
			for i := range buffers {
				values[i] = buffers[i][at]
			}
			if err := row(values); err != nil {
				return err
			}
		}
		left -= int64(n)
	}
	return nil
}

// fill reads as many values. Bytes are copied: a page is reused as soon as the next is read.
func fill(r parquet.ColumnChunkValueReader, into []parquet.Value) error {
	for done := 0; done < len(into); {
		n, err := r.ReadValues(into[done:])
		for i := done; i < done+n; i++ {
			into[i] = into[i].Clone()
		}
		if done += n; done == len(into) {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("a column ends early: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// image makes values of the table of those of a file, which begin at the given one.
func (l *layout) image(values []parquet.Value) []change.Value {
	image := make([]change.Value, len(l.table.Columns))
	for i := range image {
		if !values[i].IsNull() {
			image[i] = l.forms[i].take(values[i])
		}
	}
	return image
}
