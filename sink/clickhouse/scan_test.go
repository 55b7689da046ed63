package clickhouse_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// TestKeysOfEveryType: rows are found by keys of each type, and only they.
func TestKeysOfEveryType(t *testing.T) {
	columns := []struct {
		column change.Column
		values []change.Value
	}{
		{change.Column{Type: change.BigInt, Unsigned: true}, []change.Value{change.UintValue(math.MaxUint64), change.UintValue(1 << 63)}},
		{change.Column{Type: change.BigInt}, []change.Value{change.IntValue(math.MinInt64), change.IntValue(-1)}},
		{change.Column{Type: change.Decimal, Precision: 38, Scale: 4}, []change.Value{text("-9999999999999999999999999999999999.9999"), text("0.0001")}},
		{change.Column{Type: change.Date}, []change.Value{text("2024-02-29"), text("1970-01-01")}},
		{change.Column{Type: change.DateTime}, []change.Value{text("2024-02-29 23:59:59"), text("1970-01-01 00:00:00")}},
		{change.Column{Type: change.DateTime, Scale: 6}, []change.Value{text("2024-02-29 23:59:59.000001"), text("2024-02-29 23:59:59.000002")}},
		{change.Column{Type: change.Timestamp}, []change.Value{text("2024-02-29 23:59:59"), text("2024-02-29 23:59:58")}},
		{change.Column{Type: change.Time, Scale: 3}, []change.Value{text("-838:59:59.000"), text("00:00:00.001")}},
		{change.Column{Type: change.Year}, []change.Value{change.IntValue(1901), change.IntValue(0)}},
		{change.Column{Type: change.VarChar, Length: 99}, []change.Value{text("'\\\x00\n\té😀`"), text("")}},
		{change.Column{Type: change.Enum, Charset: "utf8mb4"}, []change.Value{text("it's"), text("é")}},
		{change.Column{Type: change.VarBinary, Length: 9}, []change.Value{change.RawValue([]byte("\xff\x00'\\")), change.RawValue([]byte("\x01"))}},
		{change.Column{Type: change.Bit, Length: 64}, []change.Value{change.RawValue([]byte("\xff\xff\xff\xff\xff\xff\xff\xff")), change.RawValue(make([]byte, 8))}},
	}
	onBoth(t, func(t *testing.T, p *place) {
		for n, each := range columns {
			c, values := each.column, each.values
			of := table(fmt.Sprintf("by_%s_%d", c.Type, n), note)
			c.Name = "id"
			of.Columns[0] = c
			target := p.prepared(of)
			apply(t, target, put(of, 1, []change.Value{values[0], text("one")}), put(of, 2, []change.Value{values[1], text("two")}))
			rows := scan(t, target, of, values[:1])
			if got, ok := rows[strings.TrimSpace(values[0].String())]; len(rows) != 1 || !ok || !got.Values[0].Equal(values[0]) || got.Values[1].String() != "one" {
				t.Errorf("%s: by the key %s: %v", c.Type, values[0], rows)
			}
			if rows := scan(t, target, of); len(rows) != 2 {
				t.Errorf("%s: all: %v", c.Type, rows)
			}
		}
	})
}

// TestRanges: key ranges are served, row by row as MySQL would, where the order is the same.
func TestRanges(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		of := table("pairs", note)
		of.Columns = append(of.Columns, change.Column{Name: "bin", Type: change.VarBinary, Length: 9})
		of.Key = []int{2, 0}
		target := p.prepared(of)
		type key struct {
			bin string
			id  int64
		}
		var all []key
		var changes []sink.Change
		for i := range 60 {
			k := key{[]string{"", "a", "a\x00", "b", "\xff"}[i%5], int64(i/5) - 6}
			all = append(all, k)
			changes = append(changes, put(of, change.Version(i+1), row(k.id, text("x"), change.RawValue([]byte(k.bin)))))
		}
		apply(t, target, changes...)
		slices.SortFunc(all, func(a, b key) int {
			if c := strings.Compare(a.bin, b.bin); c != 0 {
				return c
			}
			return int(a.id - b.id)
		})
		r := rand.New(rand.NewPCG(1, 2))
		bound := func(i int) []change.Value {
			return []change.Value{change.RawValue([]byte(all[i].bin)), change.IntValue(all[i].id)}
		}
		for range 8 {
			from, to := r.IntN(60), r.IntN(60)
			if from > to {
				from, to = to, from
			}
			if rows := scanned(t, target, sink.Scan{Source: "src", Table: of, After: bound(from), Through: bound(to)}); len(rows) != to-from {
				t.Errorf("between %+v and %+v: %d rows, want %d", all[from], all[to], len(rows), to-from)
			}
			if rows := scanned(t, target, sink.Scan{Source: "src", Table: of, Through: bound(to)}); len(rows) != to+1 {
				t.Errorf("through %+v: %d rows, want %d", all[to], len(rows), to+1)
			}
		}
		texts := table("texts", note)
		texts.Key = []int{1}
		texts.Columns[1].Nullable = false
		err := p.prepared(texts).Scan(t.Context(), sink.Scan{Source: "src", Table: texts, After: []change.Value{text("a")}}, nil)
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a range of text gives %v", err)
		}
	})
}

// TestScanMeetsAnException after rows were sent: it is an error, and not the end.
func TestScanMeetsAnException(t *testing.T) {
	p := newPlace(t, old)
	p.config.CreateTables = false
	of := table("orders", change.Column{Name: "n", Type: change.BigInt})
	p.query("CREATE DATABASE $")
	// A column that cannot be computed for one row: what comes before it is sent before.
	p.query("CREATE TABLE $.shop_orders (id Int64, n Int64, _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id")
	p.query(`ALTER TABLE $.shop_orders COMMENT COLUMN _sluice_version '{"source":"src","database":"shop","table":"orders","key":["id"],"mode":"state"}'`)
	p.query("INSERT INTO $.shop_orders SELECT number, number, 1, 0, '' FROM numbers(400000)")
	target := p.prepared(of)
	count := func() (rows int, err error) {
		err = target.Scan(t.Context(), sink.Scan{Source: "src", Table: of}, func(sink.Row) error { rows++; return nil })
		return rows, err
	}
	if rows, err := count(); err != nil || rows != 400_000 {
		t.Fatalf("%d rows, %v", rows, err)
	}
	p.query("ALTER TABLE $.shop_orders DROP COLUMN n")
	p.query("ALTER TABLE $.shop_orders ADD COLUMN n Int64 ALIAS toInt64(intDiv(1, toInt64(id != 399000)))")
	rows, err := count()
	problemOf(t, err, change.Retry, "could not be read to its end", "Code: 153")
	if rows == 0 {
		t.Log("no row came before the exception")
	}
}

func TestScanOfWhatIsNotThere(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		target := p.prepared(table("orders", note))
		other := table("others", note)
		problemOf(t, target.Scan(t.Context(), sink.Scan{Source: "src", Table: other}, nil), change.Poison, "shop_others is not there")
		wider := table("orders", note, change.Column{Name: "n", Type: change.Int})
		problemOf(t, target.Scan(t.Context(), sink.Scan{Source: "src", Table: wider}, nil), change.Poison, "has no column n")
	})
}
