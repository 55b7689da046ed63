package files

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// The columns of a history file that say what happened. They are a format: some may be added, none is changed. Those of the table follow
// as key_<name>, after_<name> and before_<name>.
const (
	colOp = iota
	colTombstone
	colVersion
	colCommitTime
	colAppendTime
	colSource
	colSnapshot
	colTrusted
	colGTID
	colTransaction
	colServerID
	colFile
	colPos
	colRow
	colThread
	colQuery
	colTopic
	colPartition
	colOffset
	ownColumns
)

const (
	prefixKey    = "key_"
	prefixAfter  = "after_"
	prefixBefore = "before_"
)

var moment = parquet.TimestampAdjusted(parquet.Microsecond, true)

var ownNodes = [ownColumns]field{
	colOp:          {parquet.String(), "_op"},
	colTombstone:   {parquet.Leaf(parquet.BooleanType), "_tombstone"},
	colVersion:     {parquet.Int(64), "_version"},
	colCommitTime:  {parquet.Optional(moment), "_commit_time"},
	colAppendTime:  {moment, "_append_time"},
	colSource:      {parquet.String(), "_source"},
	colSnapshot:    {parquet.Optional(parquet.String()), "_snapshot"},
	colTrusted:     {parquet.Leaf(parquet.BooleanType), "_trusted_before"},
	colGTID:        {parquet.Optional(parquet.String()), "_gtid"},
	colTransaction: {parquet.Optional(parquet.String()), "_transaction"},
	colServerID:    {parquet.Int(64), "_server_id"},
	colFile:        {parquet.Optional(parquet.String()), "_file"},
	colPos:         {parquet.Int(64), "_pos"},
	colRow:         {parquet.Int(32), "_row"},
	colThread:      {parquet.Int(64), "_thread"},
	colQuery:       {parquet.Optional(parquet.String()), "_query"},
	colTopic:       {parquet.String(), "_topic"},
	colPartition:   {parquet.Int(32), "_partition"},
	colOffset:      {parquet.Int(64), "_offset"},
}

// group is a schema's root whose columns stand in the order in which they were given; parquet.Group sorts them.
type group struct {
	parquet.Group
	fields []parquet.Field
}

func (g group) Fields() []parquet.Field { return g.fields }

// GoType is never used: rows are written and read as values. parquet.Group's fails for names with a comma.
func (g group) GoType() reflect.Type { return reflect.TypeFor[struct{}]() }

type field struct {
	parquet.Node
	name string
}

func (f field) Name() string { return f.name }

// Value is never used, as GoType.
func (f field) Value(reflect.Value) reflect.Value { return reflect.Value{} }

func newSchema(fields []field) *parquet.Schema {
	g := group{fields: make([]parquet.Field, len(fields))}
	for i := range fields {
		g.fields[i] = fields[i]
	}
	return parquet.NewSchema("change", g)
}

// layout is how one schema of a table stands in files.
type layout struct {
	table  *change.Table
	text   string // the table as JSON: it is in each file, and is how it is read back
	id     string // of the layout: equal for equal text and dates
	dates  string
	forms  []form // by column of the table
	schema *parquet.Schema
}

func newLayout(table *change.Table, dates string) (*layout, error) {
	text, err := json.Marshal(table)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(text, dates...))
	l := &layout{table: table, text: string(text), id: hex.EncodeToString(sum[:8]), dates: dates}
	for i := range table.Columns {
		l.forms = append(l.forms, formOf(&table.Columns[i], dates))
	}
	fields := append([]field(nil), ownNodes[:]...)
	for _, c := range table.Key {
		fields = append(fields, field{l.forms[c].node, prefixKey + table.Columns[c].Name})
	}
	for _, prefix := range []string{prefixAfter, prefixBefore} {
		for i := range table.Columns {
			fields = append(fields, field{parquet.Optional(l.forms[i].node), prefix + table.Columns[i].Name})
		}
	}
	l.schema = newSchema(fields)
	return l, nil
}

// Where the columns of the table begin.
func (l *layout) keys() int   { return ownColumns }
func (l *layout) after() int  { return ownColumns + len(l.table.Key) }
func (l *layout) before() int { return l.after() + len(l.table.Columns) }

// appendRow appends the values of a change. Its error names the column.
func (l *layout) appendRow(row parquet.Row, p *sink.Partition, c *sink.Change) (parquet.Row, error) {
	row = appendOwn(row, p, c)
	for i, at := range l.table.Key {
		v, err := l.forms[at].put(c.KeyValues[i])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", l.table.Columns[at].Name, err)
		}
		row = append(row, v.Level(0, 0, len(row)))
	}
	row, err := l.appendImage(row, c.After)
	if err != nil {
		return nil, err
	}
	return l.appendImage(row, c.Before)
}

func (l *layout) appendImage(row parquet.Row, image []change.Value) (parquet.Row, error) {
	for i := range l.table.Columns {
		if image == nil || image[i].IsNull() {
			row = append(row, parquet.NullValue().Level(0, 0, len(row)))
			continue
		}
		v, err := l.forms[i].put(image[i])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", l.table.Columns[i].Name, err)
		}
		row = append(row, v.Level(0, 1, len(row)))
	}
	return row, nil
}

func appendOwn(row parquet.Row, p *sink.Partition, c *sink.Change) parquet.Row {
	o := &c.Origin
	must := func(v parquet.Value) { row = append(row, v.Level(0, 0, len(row))) }
	may := func(v parquet.Value, there bool) {
		if there {
			row = append(row, v.Level(0, 1, len(row)))
			return
		}
		row = append(row, parquet.NullValue().Level(0, 0, len(row)))
	}
	text := func(s string) parquet.Value { return parquet.ByteArrayValue([]byte(s)) }
	must(text(c.Op.String()))
	must(parquet.BooleanValue(c.Tombstone))
	must(parquet.Int64Value(int64(c.Version)))
	may(parquet.Int64Value(o.CommitMillis*1000), o.CommitMillis > 0)
	must(parquet.Int64Value(c.AppendMillis * 1000))
	must(text(p.Source))
	may(text(o.Snapshot), o.Snapshot != "")
	must(parquet.BooleanValue(c.TrustedBefore))
	may(text(o.GTID), o.GTID != "")
	may(text(o.Transaction), o.Transaction != "")
	must(parquet.Int64Value(o.ServerID))
	may(text(o.File), o.File != "")
	must(parquet.Int64Value(o.Pos))
	must(parquet.Int32Value(o.Row))
	must(parquet.Int64Value(o.Thread))
	may(text(o.Query), o.Query != "")
	must(text(p.Topic))
	must(parquet.Int32Value(p.Partition))
	must(parquet.Int64Value(c.Offset))
	return row
}

// dayOf is the day under which a change lies: that of its version, which is its commit's time in microseconds unless that went back.
func dayOf(v change.Version) string { return time.UnixMicro(int64(v)).UTC().Format(dayLayout) }
