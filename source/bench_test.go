package source

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/binlog"
)

// benchName is a table whose rows are of about 200 bytes, as sysbench's are.
var benchName = change.TableName{DB: "sbtest", Name: "sbtest1"}

// benchLoop returns a loop that captures the table, and its TABLE_MAP.
func benchLoop(b testing.TB) (*loop, *rowimage.TableMap) {
	b.Helper()
	l := newTestLoop(b)
	text := func(name string, length int) change.Column {
		return change.Column{Name: name, Type: change.VarChar, Length: length, Charset: "utf8mb4", Collation: "utf8mb4_0900_ai_ci"}
	}
	of := &change.Table{TableName: benchName, Key: []int{0}, Columns: []change.Column{{Name: "id", Type: change.BigInt}, {Name: "k", Type: change.Int},
		text("c", 120), text("pad", 60), {Name: "price", Type: change.Decimal, Precision: 10, Scale: 2}, {Name: "at", Type: change.Timestamp, Scale: 3}}}
	topic := kafka.TopicName(l.cfg.Name, benchName)
	encoder, err := avro.NewEncoder(of, topic, schema.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := kafka.EnsureTopic(b.Context(), kadm.NewClient(l.pub.Client()), topic, l.cfg.Kafka.TableSettings()); err != nil {
		b.Fatal(err)
	}
	name := func(s string) string { return string(append([]byte{byte(len(s))}, s...)) + "\x00" }
	tm, err := rowimage.ParseTableMap([]byte("\x09\x00\x00\x00\x00\x00\x01\x00"+name(benchName.DB)+name(benchName.Name)+
		"\x06\x08\x03\x0f\x0f\xf6\x11"+"\x07\xe0\x01\xf0\x00\x0a\x02\x03"+"\x00"), gtid.MySQL) // types, their metadata, no column that may be NULL
	if err != nil {
		b.Fatal(err)
	}
	l.tables[benchName] = &table{name: benchName, rule: &TableRule{}, image: tm, shape: &form{table: of, encoder: encoder, keyID: 1, valueID: 2},
		state: kafka.TableState{Table: benchName, Topic: topic, Partitions: l.cfg.Kafka.Partitions, KeySchemaID: 1, ValueSchemaID: 2}}
	return l, tm
}

// benchRow appends the image of a row.
func benchRow(dst []byte, id int) []byte {
	dst = binary.LittleEndian.AppendUint64(append(dst, 0), uint64(id)) // no NULL
	dst = binary.LittleEndian.AppendUint32(dst, uint32(id*7919))
	dst = append(append(dst, "\x77\x00"...), strings.Repeat("08566691963-", 10)[:119]...)
	dst = append(append(dst, "\x3b"...), strings.Repeat("63188288836-", 5)[:59]...)
	return append(dst, "\x80\x00\x04\xd2\x38\x65\x00\x00\x00\x13\x88"...)
}

func benchEvent(tm *rowimage.TableMap, op change.Op, rows int) *binlog.Event {
	e := &rowimage.RowsEvent{TableID: 9, Op: op}
	if op != change.Create {
		e.Before = []byte("\x3f")
	}
	if op != change.Delete {
		e.After = []byte("\x3f")
	}
	for i := range rows {
		if e.Data = benchRow(e.Data, i); op == change.Update {
			e.Data = benchRow(e.Data, i)
		}
	}
	return &binlog.Event{Kind: binlog.Rows, Table: benchName, TableMap: tm, Rows: e, Wanted: true, Timestamp: 1_700_000_000,
		Position: change.Position{File: "binlog.000003", Offset: 154321}, Bytes: len(e.Data)}
}

func benchGTID(gno int) binlog.GTID { return binlog.GTID{SID: [16]byte{1, 2, 3}, GNO: int64(gno)} }

// BenchmarkRows takes events of a thousand rows each, from the row image to the Kafka client's buffer.
func BenchmarkRows(b *testing.B) {
	const rows = 1000
	for _, op := range []change.Op{change.Create, change.Update, change.Delete} {
		b.Run(op.String(), func(b *testing.B) {
			l, tm := benchLoop(b)
			ev := benchEvent(tm, op, rows)
			l.begin(&binlog.Event{Kind: binlog.Begin, GTID: benchGTID(1), Position: ev.Position})
			b.ReportAllocs()
			b.SetBytes(int64(len(ev.Rows.Data)))
			for b.Loop() {
				if err := l.take(b.Context(), ev); err != nil {
					b.Fatal(err)
				}
				commitAside(b, l)
			}
			b.ReportMetric(rows, "rows/op")
		})
	}
}

// commitAside commits outside of what is measured.
func commitAside(b *testing.B, l *loop) {
	b.StopTimer()
	if err := l.commit(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.StartTimer()
}

// BenchmarkTransactions takes a thousand transactions of one row each: what a transaction costs is in the figures.
func BenchmarkTransactions(b *testing.B) {
	const rows = 1000
	l, tm := benchLoop(b)
	ev := benchEvent(tm, change.Create, 1)
	events := []*binlog.Event{{Kind: binlog.Begin, Position: ev.Position}, ev, {Kind: binlog.Commit, Position: ev.Position}}
	gno := 0
	b.ReportAllocs()
	for b.Loop() {
		for range rows {
			gno++
			for _, e := range events {
				e.GTID = benchGTID(gno)
				if err := l.take(b.Context(), e); err != nil {
					b.Fatal(fmt.Errorf("transaction %d: %w", gno, err))
				}
			}
		}
		commitAside(b, l)
	}
	b.ReportMetric(rows, "rows/op")
}
