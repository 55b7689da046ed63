package mysql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// benchTable is sysbench's: 195 bytes a row.
func benchTable(name string) *change.Table {
	char := func(name string, length int) change.Column {
		return change.Column{Name: name, Type: change.Char, Length: length, Charset: "latin1", Collation: "latin1_swedish_ci"}
	}
	return &change.Table{TableName: change.TableName{DB: "shop", Name: name}, Key: []int{0}, Columns: []change.Column{
		{Name: "id", Type: change.Int}, {Name: "k", Type: change.Int}, char("c", 120), char("pad", 60)}}
}

const benchBatch = 500

// BenchmarkApply writes rows into one shard from one partition: new ones, then the same again; rows/s. "plain"
// is the same rows by a multi-row INSERT ... ON DUPLICATE KEY UPDATE without guard, version and progress.
func BenchmarkApply(b *testing.B) {
	c, pad := strings.Repeat("0123456789-", 11)[:119], strings.Repeat("9876543210-", 6)[:59]
	row := func(id, k int) []change.Value { return []change.Value{number(id), number(k), str(c), str(pad)} }
	b.Run("guarded", func(b *testing.B) {
		p := newPlace(b, 1)
		tg := p.opened()
		s := newTeller(benchTable("sb"), 1)
		_, epoch, _, err := tg.Assign(b.Context(), group, s.identity(0))
		if err != nil {
			b.Fatal(err)
		}
		if err := tg.Prepare(b.Context(), group, source, []*change.Table{s.table}); err != nil {
			b.Fatal(err)
		}
		at := int64(0)
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			changes := make([]sink.Change, benchBatch)
			for j := range changes {
				s.version++
				r := row((i*benchBatch+j)%50_000, i)
				changes[j] = sink.Change{Op: change.Update, Table: s.table, KeyNames: []string{"id"}, KeyValues: r[:1], Key: []byte(fmt.Sprint(r[0])),
					Before: r, After: r, TrustedBefore: true, Version: s.version, Offset: at + int64(j)}
			}
			b.StartTimer()
			err := tg.Apply(b.Context(), &sink.Batch{Group: group, Partition: s.identity(0), From: at, Next: at + benchBatch, Epoch: epoch, Changes: changes})
			if err != nil {
				b.Fatal(err)
			}
			at += benchBatch
		}
		b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("plain", func(b *testing.B) {
		p := newPlace(b, 1)
		p.in("CREATE TABLE $DB.sb (id INT PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL) CHARACTER SET latin1")
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			var rows []string
			for j := range benchBatch {
				rows = append(rows, fmt.Sprintf("(%d,%d,'%s','%s')", (i*benchBatch+j)%50_000, i, c, pad))
			}
			statement := "INSERT INTO " + p.shards[0].Database + ".sb VALUES " + strings.Join(rows, ",") +
				" AS n ON DUPLICATE KEY UPDATE k=n.k, c=n.c, pad=n.pad"
			b.StartTimer()
			p.exec(statement)
		}
		b.ReportMetric(float64(b.N)*benchBatch/b.Elapsed().Seconds(), "rows/s")
	})
}
