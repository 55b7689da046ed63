package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

// benchRow is a row of some 200 bytes, as sysbench has them.
func benchRow(id, n int) []change.Value {
	return []change.Value{number(id), number(n), change.StringValue(strings.Repeat("0123456789-", 10)), change.StringValue(strings.Repeat("abcdef", 10))}
}

func benchTable() *change.Table {
	varchar := func(name string, n int) change.Column {
		return change.Column{Name: name, Type: change.VarChar, Length: n, Charset: "utf8mb4", Collation: "utf8mb4_bin"}
	}
	return &change.Table{TableName: change.TableName{DB: "shop", Name: "bench"}, Key: []int{0},
		Columns: []change.Column{{Name: "id", Type: change.BigInt}, {Name: "k", Type: change.Int}, varchar("c", 120), varchar("pad", 60)}}
}

const benchKeys = 50_000

// BenchmarkApply upserts rows of which most are there, in batches of several sizes.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{100, 500, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := newPlace(b)
			tg := p.opened()
			s := newTeller(benchTable(), 1)
			for i := range b.N {
				s.append(change.Read, nil, benchRow(i*7919%benchKeys, i))
			}
			next, epoch, _, err := tg.Assign(b.Context(), group, s.identity(0))
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for next = max(next, 0); next < int64(b.N); {
				batch := s.batch(0, next, min(next+int64(size), int64(b.N)), epoch)
				if err := tg.Apply(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				next = batch.Next
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkStaging does the same by the way that was not taken: COPY into a temporary table, and an INSERT from it. It takes five round
// trips a batch, without the progress; from a few thousand rows on it is as fast.
func BenchmarkStaging(b *testing.B) {
	for _, size := range []int{100, 500, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := newPlace(b)
			tg := p.opened()
			if err := tg.Prepare(b.Context(), group, source, []*change.Table{benchTable()}); err != nil {
				b.Fatal(err)
			}
			p.exec("SET jit=off; SET enable_seqscan=off; SET enable_hashjoin=off; SET enable_mergejoin=off",
				"CREATE TEMP TABLE staging (id bigint, k int, c varchar(120), pad varchar(60), v bigint, s smallint) ON COMMIT DELETE ROWS")
			b.ResetTimer()
			for from := 0; from < b.N; from += size {
				seen := make(map[int]bool)
				var rows strings.Builder
				for i := min(from+size, b.N) - 1; i >= from; i-- {
					id := i * 7919 % benchKeys
					if seen[id] {
						continue
					}
					seen[id] = true
					r := benchRow(id, i)
					fmt.Fprintf(&rows, "%s\t%s\t%s\t%s\t%d\t1\n", r[0], r[1], r[2].Bytes, r[3].Bytes, i+1)
				}
				p.exec("BEGIN")
				if _, err := p.conn.CopyFrom(context.Background(), strings.NewReader(rows.String()), "COPY staging FROM STDIN"); err != nil {
					b.Fatal(err)
				}
				p.exec(`INSERT INTO $S.bench AS t SELECT * FROM staging ORDER BY id ON CONFLICT (id) DO UPDATE SET k=excluded.k, c=excluded.c, pad=excluded.pad,
					_sluice_version=excluded._sluice_version WHERE t._sluice_version<excluded._sluice_version`)
				p.exec("COMMIT")
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
