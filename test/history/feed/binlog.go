package feed

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/test/history"
)

// Binlog says where the truth is read.
type Binlog struct {
	MySQL    mysql.Config
	ServerID uint32    // of this reader: no other replica's
	From     *gtid.Set // what the server had executed when the source began; it must have GTIDs
	Wanted   func(change.TableName) bool
	Key      func(change.TableName) []string // as the source's rules name it; nil: the primary key
	Told     func(change.TableName) bool     // of the wanted tables those whose rows are decoded and told; nil: all
	Count    func(change.TableName)          // is called for each row's change of all wanted tables; nil: nobody is
	Each     func(Row)                       // is shown each row's change that is told; nil: nobody is
}

// Row is one row's change as the binlog has it: one also where the key changes.
type Row struct {
	Table         *change.Table
	Op            change.Op
	Before, After []change.Value // nil where there is none
	Position      change.Position
}

// errEnd ends the reading.
var errEnd = errors.New("the binlog's end")

// ReadBinlog tells the Checker what the binlog has from there to its end as it is now.
func ReadBinlog(ctx context.Context, b Binlog, c *history.Checker) error {
	if b.From == nil {
		return errors.New("the binlog's history cannot be read without the GTIDs at its beginning")
	}
	db, err := mysql.Open(b.MySQL, mysql.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	facts, err := mysql.ReadFacts(ctx, db)
	if err != nil {
		return err
	}
	file, offset, _, err := facts.BinlogStatus(ctx, db)
	if err != nil {
		return err
	}
	end := change.Position{File: file, Offset: offset}
	t := &truth{Binlog: b, checker: c, tables: map[change.TableName]*shape{}}
	reader := binlog.New(binlog.Config{MySQL: b.MySQL, ServerID: b.ServerID, Facts: facts, Wanted: b.Wanted})
	err = reader.Run(ctx, binlog.From{GTID: b.From}, func(ev *binlog.Event) error {
		if err := t.take(ev); err != nil {
			return err
		}
		if ev.Position.Compare(end) >= 0 && ev.Kind != binlog.Rows && ev.Kind != binlog.Begin {
			return errEnd
		}
		return nil
	})
	if !errors.Is(err, errEnd) {
		return fmt.Errorf("read the binlog of %s: %w", b.MySQL.Address, err)
	}
	return nil
}

// truth turns binlog events into the Checker's.
type truth struct {
	Binlog
	checker *history.Checker
	tables  map[change.TableName]*shape
	walker  binlog.Walker
}

// shape reads the rows of one form of a table. A row goes through the encoding and back, because only so all ways to it
// end in the same values.
type shape struct {
	image   *rowimage.TableMap
	table   *change.Table
	encoder *avro.Encoder
	decoder *avro.Decoder
}

func (t *truth) take(ev *binlog.Event) error {
	switch {
	case ev.Kind == binlog.Statement:
		t.statement(ev)
	case ev.Kind == binlog.Rows && ev.Wanted:
		s, err := t.shape(ev.TableMap)
		if err != nil {
			return err
		}
		name := ev.TableMap.Name
		told := t.Told == nil || t.Told(name)
		return t.walker.Walk(ev, func(before, after []rowimage.Cell, _ []byte) error {
			if t.Count != nil {
				t.Count(name)
			}
			if !told {
				return nil
			}
			return t.row(ev, s, before, after)
		})
	}
	return nil
}

// statement notes that rows may have changed without events.
func (t *truth) statement(ev *binlog.Event) {
	p := &ev.Parsed
	if p.Harmless || !p.ValueChanging && !p.Removing && !p.DML {
		return
	}
	tables := p.Tables
	if tables == nil { // any of them, or all of a database
		for name := range t.tables {
			tables = append(tables, name)
		}
	}
	for _, name := range tables {
		t.checker.Unlogged(name)
	}
}

func (t *truth) shape(image *rowimage.TableMap) (*shape, error) {
	name := image.Name
	old := t.tables[name]
	if old != nil && old.image == image {
		return old, nil
	}
	var key []string
	if t.Key != nil {
		key = t.Key(name)
	}
	table, err := image.Table(key)
	if err != nil {
		return nil, err
	}
	if old != nil && reflect.DeepEqual(old.table, table) {
		old.image = image
		return old, nil
	}
	s := &shape{image: image, table: table}
	if s.encoder, err = avro.NewEncoder(table, "history."+name.String(), schema.Options{}); err != nil {
		return nil, err
	}
	if s.decoder, err = avro.NewDecoder(s.encoder.ValueSchema()); err != nil {
		return nil, err
	}
	t.tables[name] = s
	return s, nil
}

// row tells one row's change. Where the key's bytes change it is two.
func (t *truth) row(ev *binlog.Event, s *shape, before, after []rowimage.Cell) error {
	var d avro.Decoded
	body, err := s.encoder.AppendValue(nil, &avro.Event{Op: ev.Rows.Op, Before: avro.Row{Cells: before}, After: avro.Row{Cells: after}})
	if err != nil {
		return err
	}
	if err := s.decoder.Decode(body, &d); err != nil {
		return err
	}
	if t.Each != nil {
		t.Each(Row{s.table, ev.Rows.Op, d.Before, d.After, ev.Position})
	}
	var from, to history.Key
	if before != nil {
		from = keyOf(s.table.TableName, keyValues(s.table, d.Before))
	}
	if after != nil {
		to = keyOf(s.table.TableName, keyValues(s.table, d.After))
	}
	tell := func(k history.Key, op change.Op, before, after history.Row) {
		if t.checker.Wants(k) {
			t.checker.Event(history.Event{Key: k, Op: op, Before: before, After: after, Where: ev.Position.String()})
		}
	}
	switch {
	case before == nil:
		tell(to, change.Create, "", rowOf(d.After))
	case after == nil:
		tell(from, change.Delete, rowOf(d.Before), "")
	case from == to:
		tell(to, change.Update, rowOf(d.Before), rowOf(d.After))
	default:
		tell(from, change.Delete, rowOf(d.Before), "")
		tell(to, change.Create, "", rowOf(d.After))
	}
	return nil
}
