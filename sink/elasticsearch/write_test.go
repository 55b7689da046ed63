package elasticsearch

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// BenchmarkActions is all that is done for a batch before the first byte goes to a server.
func BenchmarkActions(b *testing.B) {
	for _, documents := range []string{Flat, Envelope} {
		b.Run(documents, func(b *testing.B) {
			config := Default()
			config.Documents = documents
			t := &Target{config: config, now: time.Now}
			batch := &sink.Batch{Changes: benchChanges(1000)}
			for i := range batch.Changes {
				batch.Bytes += batch.Changes[i].Bytes
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, items, err := t.actions(batch, "shop.t"); err != nil || len(items) != len(batch.Changes) {
					b.Fatal(len(items), err)
				}
			}
			b.ReportMetric(float64(len(batch.Changes)), "rows/op")
		})
	}
}

func benchChanges(count int) []sink.Change {
	text := func(name string) change.Column {
		return change.Column{Name: name, Type: change.VarChar, Length: 120, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	}
	of := &change.Table{TableName: change.TableName{DB: "shop", Name: "t"}, Key: []int{0}, Columns: []change.Column{{Name: "id", Type: change.BigInt},
		text("code"), text("note"), {Name: "price", Type: change.Decimal, Precision: 10, Scale: 2},
		{Name: "at", Type: change.DateTime}, {Name: "seen", Type: change.Timestamp}}}
	changes := make([]sink.Change, count)
	for i := range changes {
		row := []change.Value{change.IntValue(int64(i)), change.StringValue("a code"), change.StringValue("a note of some length, with a \"quotation\" in it"),
			change.StringValue("1234.56"), change.StringValue("2023-09-12 06:06:56"), change.StringValue("2023-09-12 06:06:56")}
		changes[i] = sink.Change{Op: change.Update, Table: of, KeyValues: row[:1], Key: binary.BigEndian.AppendUint64(nil, uint64(i)), Before: row, After: row,
			Version: change.Version(i + 1), Offset: int64(i), Bytes: 600}
	}
	return changes
}
