package avro

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
)

// sysbench is a row of about 200 bytes, as sysbench's tables have it.
func sysbench(tb testing.TB) (*Encoder, Row, Row) {
	utf8 := func(name string, t change.Type, length int) change.Column {
		return change.Column{Name: name, Type: t, Length: length, Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci"}
	}
	table := &change.Table{
		TableName: change.TableName{DB: "sbtest", Name: "sbtest1"},
		Columns: []change.Column{
			{Name: "id", Type: change.BigInt}, {Name: "k", Type: change.Int},
			utf8("c", change.Char, 120), utf8("pad", change.Char, 60),
			{Name: "price", Type: change.Decimal, Precision: 10, Scale: 2}, {Name: "at", Type: change.Timestamp, Scale: 3},
		},
		Key: []int{0},
	}
	e, err := NewEncoder(table, "bench.sbtest.sbtest1", schema.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	c, pad := strings.Repeat("08566691963-", 10)[:119], strings.Repeat("63188288836-", 5)[:59]
	image, text := Row{}, Row{}
	for _, v := range []struct{ image, text string }{
		{"\x15\xcd\x5b\x07\x00\x00\x00\x00", "123456789"}, {"\x40\x42\x0f\x00", "1000000"}, {c, c}, {pad, pad},
		{"\x80\x00\x04\xd2\x38", "1234.56"}, {"\x65\x00\x00\x00\x13\x88", "2023-09-12 06:06:56.500"},
	} {
		image.Cells = append(image.Cells, rowimage.Cell{Present: true, Data: []byte(v.image)})
		text.Text = append(text.Text, []byte(v.text))
	}
	return e, image, text
}

func benchEvent(after Row) *Event {
	source := Source{Version: "1.0", Name: "bench", TsMs: 1_700_000_000_000, TsUs: 1_700_000_000_000_000, TsNs: 1_700_000_000_000_000_000,
		DB: "sbtest", Table: "sbtest1", ServerID: 1, GTID: "3e11fa47-71ca-11e1-9e33-c80aa9429562:23", File: "binlog.000003", Pos: 154321}
	block := &SourceBlock{}
	block.Set(&source)
	return &Event{Op: change.Create, After: after, Source: source, Block: block, TsMs: 1_700_000_000_123}
}

func BenchmarkAppendValue(b *testing.B) {
	e, image, text := sysbench(b)
	without := benchEvent(image)
	without.Block = nil
	for _, c := range []struct {
		name  string
		event *Event
	}{{"Image", benchEvent(image)}, {"Text", benchEvent(text)}, {"ImageSourceEachRow", without}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 1000)
			var err error
			for b.Loop() {
				if dst, err = e.AppendValue(dst[:0], c.event); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}

func BenchmarkAppendKey(b *testing.B) {
	e, image, text := sysbench(b)
	for name, row := range map[string]Row{"Image": image, "Text": text} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, 100)
			var err error
			for b.Loop() {
				if dst, err = e.AppendKey(dst[:0], row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode decodes into the same memory again and again, and into memory that is left to the caller each time, as a sink does.
func BenchmarkDecode(b *testing.B) {
	e, image, _ := sysbench(b)
	body, err := e.AppendValue(nil, benchEvent(image))
	if err != nil {
		b.Fatal(err)
	}
	d, err := NewDecoder(e.ValueSchema())
	if err != nil {
		b.Fatal(err)
	}
	for _, detached := range []bool{false, true} {
		b.Run(map[bool]string{false: "Reused", true: "Detached"}[detached], func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			var into Decoded
			const rows = 1000
			for b.Loop() {
				for range rows {
					if err := d.Decode(body, &into); err != nil {
						b.Fatal(err)
					}
					if detached {
						into.Detach()
					}
				}
			}
			b.ReportMetric(rows, "rows/op")
		})
	}
}

// TestNothingIsAllocatedForARow holds for the usual row and for random rows of all types.
func TestNothingIsAllocatedForARow(t *testing.T) {
	e, image, text := sysbench(t)
	d, err := NewDecoder(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]Row{"image": image, "text": text} {
		checkAllocs(t, name, e, d, row)
	}
	r := randomRows{rand.New(rand.NewPCG(1, 2))}
	for range 100 {
		table := r.table()
		if e, err = NewEncoder(table, "t", schema.Options{}); err != nil {
			t.Fatal(err)
		}
		if d, err = NewDecoder(e.ValueSchema()); err != nil {
			t.Fatal(err)
		}
		image, text, _ := r.row(table)
		text.Text = longFloatsAway(table, text.Text)
		if !hasJSON(table) { // rowimage.AppendJSON's own business
			checkAllocs(t, "random image", e, d, image)
		}
		checkAllocs(t, "random text", e, d, text)
	}
}

// longFloatsAway: strconv.ParseFloat wants a string, which costs an allocation past 32 bytes; MySQL prints at most 24.
func longFloatsAway(table *change.Table, text [][]byte) [][]byte {
	for i := range table.Columns {
		if t := table.Columns[i].Type; (t == change.Float || t == change.Double) && len(text[i]) > 24 {
			text[i] = []byte("1.5")
		}
	}
	return text
}

func hasJSON(table *change.Table) bool {
	for i := range table.Columns {
		if table.Columns[i].Type == change.JSON {
			return true
		}
	}
	return false
}

func checkAllocs(t *testing.T, name string, e *Encoder, d *Decoder, row Row) {
	t.Helper()
	event := benchEvent(row)
	event.Before, event.Op = row, change.Update
	var value, key []byte
	var into Decoded
	allocs := testing.AllocsPerRun(20, func() {
		var err error
		if value, err = e.AppendValue(value[:0], event); err != nil {
			t.Fatal(err)
		}
		if key, err = e.AppendKey(key[:0], row); err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(value, &into); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%s: %v allocations a row: %+v", name, allocs, e.Table().Columns)
	}
}

// TestSourceBlock: the prepared block gives the bytes of the source it was made of, for each row index.
func TestSourceBlock(t *testing.T) {
	e, image, _ := sysbench(t)
	event := benchEvent(image)
	for _, row := range []int32{0, 1, 63, 64, 1 << 20, -1} {
		event.Source.Row, event.Source.Query, event.Source.Thread = row, "insert", 9
		event.Block.Set(&event.Source)
		with, err := e.AppendValue(nil, event)
		if err != nil {
			t.Fatal(err)
		}
		plain := *event
		plain.Block = nil
		without, err := e.AppendValue(nil, &plain)
		if err != nil || !bytes.Equal(with, without) {
			t.Errorf("row %d: block and source differ (%v)", row, err)
		}
	}
}

func TestOperationsAndAbsentImages(t *testing.T) {
	e, image, text := sysbench(t)
	d, err := NewDecoder(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	var into Decoded // reused, so that leftovers would show
	for _, c := range []struct {
		op            change.Op
		before, after Row
	}{{change.Create, Row{}, image}, {change.Update, image, image}, {change.Delete, image, Row{}}, {change.Read, Row{}, text}} {
		body, err := e.AppendValue(nil, &Event{Op: c.op, Before: c.before, After: c.after})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(body, &into); err != nil {
			t.Fatal(err)
		}
		if into.Op != c.op || (into.Before == nil) != c.before.absent() || (into.After == nil) != c.after.absent() {
			t.Errorf("op %s: got %s, before %v, after %v", c.op, into.Op, into.Before, into.After)
		}
		if into.Source.Snapshot != "false" || into.Transaction != nil {
			t.Errorf("op %s: snapshot %q, transaction %v", c.op, into.Source.Snapshot, into.Transaction)
		}
	}
}

// TestDetach: rows that were left to the caller survive the next Decode.
func TestDetach(t *testing.T) {
	e, image, _ := sysbench(t)
	d, err := NewDecoder(e.ValueSchema())
	if err != nil {
		t.Fatal(err)
	}
	first, _ := e.AppendValue(nil, &Event{Op: change.Create, After: image})
	image.Cells[5].Data = []byte("\x66\x00\x00\x00\x00\x00")
	second, _ := e.AppendValue(nil, &Event{Op: change.Create, After: image})
	var into Decoded
	if err := d.Decode(first, &into); err != nil {
		t.Fatal(err)
	}
	kept := into.After
	into.Detach()
	if err := d.Decode(second, &into); err != nil {
		t.Fatal(err)
	}
	if got := kept[5].String(); got != "2023-09-12 06:06:56.500" {
		t.Errorf("the kept row changed to %s", got)
	}
	if got := into.After[5].String(); got != "2024-03-24 10:27:12.000" {
		t.Errorf("the second row has %s", got)
	}
}

// TestDetachedRowsStay: rows that were left to the caller are what they were, however many follow, of whatever table and length.
func TestDetachedRowsStay(t *testing.T) {
	r := randomRows{rand.New(rand.NewPCG(3, 4))}
	var into Decoded
	for range 30 {
		table := r.table()
		e, err := NewEncoder(table, "t", schema.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := NewDecoder(e.ValueSchema())
		if err != nil {
			t.Fatal(err)
		}
		var want, kept [][]change.Value
		for range 200 {
			image, _, values := r.row(table)
			event := &Event{Op: change.Create, After: image}
			if r.IntN(2) == 0 {
				event.Op, event.Before = change.Update, image
			}
			body, err := e.AppendValue(nil, event)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Decode(body, &into); err != nil {
				t.Fatal(err)
			}
			if r.IntN(4) == 0 {
				continue // the next one takes its memory
			}
			into.Detach()
			kept, want = append(kept, into.After), append(want, values)
			if into.Before != nil {
				kept, want = append(kept, into.Before), append(want, values)
			}
		}
		for i := range kept {
			checkValues(t, table, want[i], kept[i])
		}
	}
}

func TestSelectList(t *testing.T) {
	table := &change.Table{Columns: []change.Column{
		{Name: "id", Type: change.Int}, {Name: "a`b", Type: change.Float}, {Name: "d", Type: change.Double, Nullable: true},
		{Name: "v", Type: change.Vector, Length: 2},
	}, Key: []int{0}}
	e, err := NewEncoder(table, "t", schema.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"`id`", "`a``b`*1e0", "`d`*1e0", "`v`"}, e.SelectList()); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownCharset(t *testing.T) {
	table := &change.Table{Columns: []change.Column{{Name: "c", Type: change.VarChar, Charset: "klingon"}}, Key: []int{0}}
	if _, err := NewEncoder(table, "t", schema.Options{}); err == nil || change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), "klingon") {
		t.Errorf("got %v", err)
	}
}

// TestRowsThatCannotBe: each is refused as a Poison that names the column and not the value, and leaves dst alone.
func TestRowsThatCannotBe(t *testing.T) {
	column := func(c change.Column) *change.Table {
		c.Name = "secretly"
		return &change.Table{Columns: []change.Column{{Name: "id", Type: change.Int}, c}, Key: []int{0}}
	}
	text := func(t change.Type, charset string) *change.Table {
		return column(change.Column{Type: t, Charset: charset})
	}
	for _, c := range []struct {
		table       *change.Table
		image, text string
	}{
		{column(change.Column{Type: change.TinyInt}), "\x01\x02", "128"},
		{column(change.Column{Type: change.TinyInt, Unsigned: true}), "", "-1"},
		{column(change.Column{Type: change.BigInt, Unsigned: true}), "\x01", "18446744073709551616"},
		{column(change.Column{Type: change.BigInt}), "1234567", "9223372036854775808"},
		{column(change.Column{Type: change.MediumInt}), "1234", "-8388609"},
		{column(change.Column{Type: change.Int}), "12", "1e3"},
		{column(change.Column{Type: change.Int}), "", ""},
		{column(change.Column{Type: change.Float}), "123", "1,5"},
		{column(change.Column{Type: change.Double}), "1234", "nought"},
		{column(change.Column{Type: change.Decimal, Precision: 4, Scale: 2}), "\x80\x01\x01", "123.45"},
		{column(change.Column{Type: change.Decimal, Precision: 4, Scale: 2}), "\xe4\x00", "1.234"},
		{column(change.Column{Type: change.Decimal, Precision: 4, Scale: 2}), "", "1.2.3"},
		{column(change.Column{Type: change.Decimal, Precision: 65}), "", strings.Repeat("9", 66)},
		{column(change.Column{Type: change.Decimal, Precision: 65}), "", "1" + strings.Repeat("0", 300)},
		{column(change.Column{Type: change.Bit, Length: 4}), "\x10", "\x10"},
		{column(change.Column{Type: change.Bit, Length: 1}), "\x02", ""},
		{column(change.Column{Type: change.Bit, Length: 12}), "\x01", "\x10\x00"},
		{column(change.Column{Type: change.Year}), "\x01\x02", "19"},
		{column(change.Column{Type: change.Date}), "\x00\x00", "2024-1-1"},
		{column(change.Column{Type: change.Date}), "\xff\xff\xff", "2024-13-01"},
		{column(change.Column{Type: change.Time}), "\x80\x00", "839:00:00"},
		{column(change.Column{Type: change.Time}), "\xff\xff\xff", "00:60:00"},
		{column(change.Column{Type: change.Time, Scale: 2}), "\x80\x00\x00", "00:00:00"},
		{column(change.Column{Type: change.DateTime}), "\x00\x00\x00\x00\x00", "2024-01-01 24:00:00"},
		{column(change.Column{Type: change.DateTime, Scale: 1}), "\x99\xb2\x42\x00\x00\xff", "2024-01-01 00:00:00.12"},
		{column(change.Column{Type: change.Timestamp}), "\x01", "1970-01-01 00:00:00"},
		{column(change.Column{Type: change.Timestamp}), "", "2024-02-30 00:00:00"},
		{column(change.Column{Type: change.Enum, Charset: "latin1", Elements: []string{"a"}}), "\x02", ""},
		{column(change.Column{Type: change.Set, Charset: "latin1", Elements: []string{"a"}}), "\x02", ""},
		{text(change.VarChar, "utf8mb4"), "\xff", "\xed\xa0\x80"},
		{text(change.VarChar, "ascii"), "\x80", "\xff"},
		{text(change.VarChar, "ucs2"), "a", "\xd8\x00"},
		{column(change.Column{Type: change.Binary, Length: 2}), "123", "123"},
		{column(change.Column{Type: change.JSON}), "\xff\xff", "\"\xff\""},
		{column(change.Column{Type: change.Geometry, Geometry: "geometry"}), "1234", "12345678"},
		{column(change.Column{Type: change.Geometry, Geometry: "point"}), "123456789", "1234" + strings.Repeat("\x02", 21)},
		{column(change.Column{Type: change.Vector}), "123", "12345"},
	} {
		e, err := NewEncoder(c.table, "t", schema.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if c.image != "" {
			checkRefused(t, e, Row{Cells: []rowimage.Cell{{Present: true, Data: []byte("1234")}, {Present: true, Data: []byte(c.image)}}})
		}
		checkRefused(t, e, Row{Text: [][]byte{[]byte("1"), []byte(c.text)}})
	}
}

func checkRefused(t *testing.T, e *Encoder, r Row) {
	t.Helper()
	if r.Text != nil && len(r.Text[1]) == 0 && e.Table().Columns[1].Type != change.Int {
		return // no text that is wrong was given
	}
	dst := []byte("before")
	out, err := e.AppendValue(dst, &Event{Op: change.Create, After: r})
	if err == nil || string(out) != "before" {
		t.Errorf("%s: got % x, %v", schema.Describe(&e.Table().Columns[1]), out, err)
		return
	}
	if change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), "secretly") {
		t.Errorf("%s: the error is not good: %v", schema.Describe(&e.Table().Columns[1]), err)
	}
}

func TestShapesThatCannotBe(t *testing.T) {
	e, image, text := sysbench(t)
	for name, row := range map[string]Row{
		"few cells": {Cells: image.Cells[:5]}, "few texts": {Text: text.Text[:5]}, "no cells": {Cells: []rowimage.Cell{}},
		"key NULL":      {Cells: append([]rowimage.Cell{{Present: true, Null: true}}, image.Cells[1:]...)},
		"key text NULL": {Text: append([][]byte{nil}, text.Text[1:]...)},
		"absent cell":   {Cells: append([]rowimage.Cell{{}}, image.Cells[1:]...)},
	} {
		if _, err := e.AppendKey(nil, row); err == nil {
			t.Errorf("%s: a key was made", name)
		}
		if _, err := e.AppendValue(nil, &Event{Op: change.Create, After: row}); change.SeverityOf(err) != change.Poison || err == nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := e.AppendKey(nil, Row{}); err == nil {
		t.Error("a key was made of no row")
	}
}
