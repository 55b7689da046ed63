package files

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// What each file says of itself.
const (
	metaTable = "sluice.table"
	metaDates = "sluice.dates"
	metaTopic = "sluice.topic"
	metaID    = "sluice.topic_id"
	metaSpan  = "sluice.offsets"
)

// rowsMin is the least that a row group has: below it their footers would be more than they.
const rowsMin = 64

// rowsOf returns how many rows of so many bytes a row group holds.
func rowsOf(rowGroup, bytes, rows int64) int64 {
	if rows <= 0 || bytes <= 0 {
		return rowsMin
	}
	return max(rowsMin, rowGroup/max(1, bytes/rows))
}

// rowWriter takes rows as values, by a schema that no Go type has.
type rowWriter = parquet.GenericWriter[any]

// pageBytes bounds a page of a column within a row group, which a reader decompresses at once.
const pageBytes = 256 << 10

func newWriter(w io.Writer, schema *parquet.Schema, rowsPerGroup int64, meta map[string]string) *rowWriter {
	options := []parquet.WriterOption{schema, parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}), parquet.MaxRowsPerRowGroup(rowsPerGroup),
		parquet.PageBufferSize(pageBytes), parquet.CreatedBy("sluice", "1", "files")}
	for name, value := range meta {
		options = append(options, parquet.KeyValueMetadata(name, value))
	}
	return parquet.NewGenericWriter[any](w, options...)
}

func (l *layout) meta(p *sink.Partition, s span) map[string]string {
	return map[string]string{metaTable: l.text, metaDates: l.dates, metaTopic: p.Topic, metaID: partitionName(p),
		metaSpan: strconv.FormatInt(s.first, 10) + "-" + strconv.FormatInt(s.next-1, 10)}
}

// writeChanges makes a file of changes of one layout.
func (t *Target) writeChanges(ctx context.Context, f *os.File, l *layout, p *sink.Partition, s span, changes []*sink.Change) error {
	bytes := int64(0)
	for _, c := range changes {
		bytes += int64(c.Bytes)
	}
	w := newWriter(f, l.schema, rowsOf(int64(t.config.RowGroup), bytes, int64(len(changes))), l.meta(p, s))
	row := make(parquet.Row, 0, l.before()+len(l.table.Columns))
	for _, c := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := l.appendRow(row[:0], p, c)
		if err != nil {
			return &sink.Refused{Offset: c.Offset, Err: t.cannotHold(c, err)}
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			return t.making(err)
		}
	}
	return t.making(w.Close())
}

func (t *Target) cannotHold(c *sink.Change, err error) error {
	p := &change.Problem{Kind: change.Poison, Table: c.Table.TableName, What: "a value cannot stand in a Parquet file", Where: c.Table.String(), Err: err,
		Why: "it would have to be bent"}
	if errors.Is(err, errNoDate) {
		p.Mend = "files.dates: text keeps dates as MySQL writes them; or mend the row at the source; or keep such records aside: on_error, dead_letter"
	}
	return p
}

// making judges an error of writing a scratch file.
func (t *Target) making(err error) error {
	if err == nil {
		return nil
	}
	return &change.Problem{Kind: change.Retry, What: "a file could not be made", Where: t.store.String(), Err: err, Mend: "look at the disk: is it full? files.spool names another"}
}
