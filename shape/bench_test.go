package shape

import (
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

var benchTable = &change.Table{TableName: change.TableName{DB: "shop", Name: "orders"}, Key: []int{0}, Columns: []change.Column{
	{Name: "id", Type: change.BigInt}, {Name: "status", Type: change.VarChar, Length: 20, Charset: "utf8mb4"},
	{Name: "total", Type: change.Int}, {Name: "deleted", Type: change.Int, Nullable: true}}}

var benchRow = []change.Value{change.IntValue(7_000_000), change.StringValue("PAID"), change.IntValue(5_000), {}}

const benchRows = 1000

func BenchmarkFilter(b *testing.B) {
	f, err := CompileFilter("status != 'OPEN' && total > 1000 && deleted == nil", benchTable)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for range benchRows {
			if passes, err := f.Passes(benchRow); err != nil || !passes {
				b.Fatal(passes, err)
			}
		}
	}
	b.ReportMetric(benchRows, "rows/op")
}

func BenchmarkExpression(b *testing.B) {
	e, err := Compile("id % 1024", benchTable)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for range benchRows {
			if v, err := e.Eval(benchRow); err != nil || v.Int() != 7_000_000%1024 {
				b.Fatal(v, err)
			}
		}
	}
	b.ReportMetric(benchRows, "rows/op")
}
