package run

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/testbed/localregistry"
)

// BenchmarkDecode measures what a record costs from the queue to the target: per record of a table of ten columns.
func BenchmarkDecode(b *testing.B) {
	reg, err := localregistry.Start(b.Context(), localregistry.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer reg.Close()
	client, err := registry.New(registry.Options{URL: reg.URL()})
	if err != nil {
		b.Fatal(err)
	}
	table := orders("wide")
	row := text(7, "some note")
	for i := range 8 {
		table.Columns = append(table.Columns, change.Column{Name: fmt.Sprintf("c%d", i), Type: change.VarChar, Length: 50, Nullable: true,
			Charset: "utf8mb4", Collation: "utf8mb4_bin"})
		row = append(row, []byte("a value of some length"))
	}
	encoder, err := avro.NewEncoder(table, "src.shop.wide", schema.Options{})
	if err != nil {
		b.Fatal(err)
	}
	keyID, _ := client.Register(b.Context(), "k", encoder.KeySchema())
	valueID, err := client.Register(b.Context(), "v", encoder.ValueSchema())
	if err != nil {
		b.Fatal(err)
	}
	key, _ := encoder.AppendKey(registry.AppendFrame(nil, keyID), avro.Row{Text: row})
	value, err := encoder.AppendValue(registry.AppendFrame(nil, valueID), &avro.Event{Op: change.Update, Before: avro.Row{Text: row}, After: avro.Row{Text: row}})
	if err != nil {
		b.Fatal(err)
	}
	p := &pending{}
	for offset := range int64(1000) {
		p.add(&kgo.Record{Offset: offset, Key: key, Value: value, Headers: []kgo.RecordHeader{{Key: change.VersionHeader, Value: kafka.AppendVersion(nil, change.Version(offset))}}})
	}
	d := decoder{schemas: newSchemas(client), topic: &topic{name: "src.shop.wide"}}
	b.ReportAllocs()
	b.SetBytes(int64(len(value)) * int64(p.rows))
	for b.Loop() {
		if _, err := d.batch(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(p.rows), "rows/op")
}
