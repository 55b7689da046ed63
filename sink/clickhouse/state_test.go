package clickhouse_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// TestWhatPeopleSee: the queries of the docs, on each engine.
func TestWhatPeopleSee(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		orders := table("orders", note, change.Column{Name: "total", Type: change.Decimal, Precision: 10, Scale: 2},
			change.Column{Name: "updated_at", Type: change.DateTime, Scale: 6})
		target := p.prepared(orders)
		image := func(id int64, s, total string) []change.Value {
			return row(id, text(s), text(total), text("2026-01-02 03:04:05.678901"))
		}
		apply(t, target, put(orders, 10, image(1, "a", "19.90")), put(orders, 11, image(2, "b", "-0.05")), put(orders, 12, image(3, "c", "1.00")))
		apply(t, target, put(orders, 13, image(1, "A", "20.00")), drop(orders, 14, image(2, "b", "-0.05")))
		p.says("SELECT id, note, total * 100 FROM $.shop_orders FINAL WHERE _sluice_deleted = 0 ORDER BY id",
			map[string]string{old: "1\tA\t2000.00\n3\tc\t100.00", modern: "1\tA\t2000\n3\tc\t100"}[p.engine])
		if p.engine == modern {
			p.says("SELECT id, note, total, updated_at FROM $.shop_orders FINAL ORDER BY id", "1\tA\t20\t2026-01-02 03:04:05.678901\n3\tc\t1\t2026-01-02 03:04:05.678901")
			p.says("SELECT count() FROM $.shop_orders SETTINGS final = 1", "2")
		}
		p.query("OPTIMIZE TABLE $.shop_orders FINAL")
		p.says("SELECT count() FROM $.shop_orders", "3") // the deleted row's marker stays
	})
}

// TestDeletedStaysDeleted: stale writes come after the delete, also after the server has merged, and was emptied of memory.
func TestDeletedStaysDeleted(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		orders := table("orders", note)
		target := p.prepared(orders)
		one := row(1, text("a"))
		apply(t, target, put(orders, 10, one), drop(orders, 20, one))
		p.query("OPTIMIZE TABLE $.shop_orders FINAL")
		apply(t, target, put(orders, 11, one))
		p.query("OPTIMIZE TABLE $.shop_orders FINAL")
		apply(t, p.prepared(orders), put(orders, 19, one))
		if rows := scan(t, target, orders); len(rows) != 0 {
			t.Errorf("a stale write brought the row back: %v", rows)
		}
		apply(t, target, put(orders, 21, one))
		if rows := scan(t, target, orders); len(rows) != 1 || rows["1"].Version != 21 {
			t.Errorf("the row is back at the source, here it is %v", rows)
		}
	})
}

// TestDatesBeyond: what no type of the server holds is the nearest, and its text stands beside; people who change it are believed.
func TestDatesBeyond(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		days := table("days", change.Column{Name: "day", Type: change.Date, Nullable: true}, change.Column{Name: "at", Type: change.DateTime, Nullable: true},
			change.Column{Name: "stamp", Type: change.Timestamp, Nullable: true}, change.Column{Name: "fine", Type: change.DateTime, Scale: 3, Nullable: true})
		target := p.prepared(days)
		images := map[string][]change.Value{
			"1": row(1, text("0000-00-00"), text("0000-00-00 00:00:00"), text("0000-00-00 00:00:00"), text("0000-00-00 00:00:00.000")),
			"2": row(2, text("9999-12-31"), text("9999-12-31 23:59:59"), text("2038-01-19 03:14:07"), text("9999-12-31 23:59:59.999")),
			"3": row(3, text("2024-02-00"), text("1000-01-01 00:00:00"), text("1970-01-01 00:00:01"), text("1000-01-01 00:00:00.001")),
			"4": row(4, text("1969-12-31"), text("1969-12-31 23:59:59"), text("2001-02-03 04:05:06"), text("1969-12-31 23:59:59.999")),
			"5": row(5, text("2024-02-29"), text("2024-02-29 12:00:00"), change.Value{}, text("2024-02-29 12:00:00.500")),
		}
		for v, image := range images {
			apply(t, target, put(days, change.Version(len(v)+10), image))
		}
		rows := scan(t, target, days)
		for key, image := range images {
			for i := range image {
				if got := rows[key].Values; len(got) != len(image) || !got[i].Equal(image[i]) {
					t.Errorf("row %s: %v, want %v", key, got, image)
					break
				}
			}
		}
		want := map[string]string{
			old:    "0000-00-00\t0000-00-00 00:00:00\n2106-02-06\t2106-02-06 06:28:15\n0000-00-00\t0000-00-00 00:00:00\n0000-00-00\t0000-00-00 00:00:00\n2024-02-29\t2024-02-29 12:00:00",
			modern: "1900-01-01\t1900-01-01 00:00:00\n2299-12-31\t2299-12-31 23:59:59\n1900-01-01\t1900-01-01 00:00:00\n1969-12-31\t1969-12-31 23:59:59\n2024-02-29\t2024-02-29 12:00:00",
		}[p.engine]
		p.says("SELECT day, at FROM $.shop_days FINAL ORDER BY id", want)
		p.says("SELECT _sluice_exact FROM $.shop_days FINAL WHERE id = 5", "")
		p.query("INSERT INTO $.shop_days SELECT id, toDate('2020-01-01'), at, stamp, fine, _sluice_version + 1, 0, _sluice_exact FROM $.shop_days WHERE id = 2")
		if got := scan(t, target, days)["2"].Values; got[1].String() != "2020-01-01" || got[2].String() != "9999-12-31 23:59:59" {
			t.Errorf("a date that somebody has changed comes back as %v", got)
		}
	})
}

// TestKeyBeyond: two keys would become one, so the row is refused; a column of text holds it.
func TestKeyBeyond(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		days := table("days", note)
		days.Columns[0] = change.Column{Name: "id", Type: change.Date}
		image := []change.Value{text("9999-12-31"), text("a")}
		good := []change.Value{text("2026-02-03"), text("b")}
		target := p.prepared(days)
		err := target.Apply(t.Context(), batch(put(days, 9, good), put(days, 10, image)))
		problemOf(t, err, change.Poison, "offset 10", "column id", "String")
		apply(t, target, put(days, 9, good))
		if rows := scan(t, target, days, good[:1], image[:1]); len(rows) != 1 {
			t.Errorf("the rows of the two keys are %v", rows)
		}
		texts := *days
		texts.Name = "texts"
		p.query("CREATE TABLE $.shop_texts (id String, note Nullable(String), _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id")
		other := p.prepared(&texts)
		apply(t, other, put(&texts, 10, image), put(&texts, 11, good))
		if rows := scan(t, other, &texts, image[:1]); len(rows) != 1 {
			t.Errorf("with the key as text: %v", rows)
		}
	})
}

// TestBlocks: what many partitions bring within insert_wait is one block, and a block that is full goes at once.
func TestBlocks(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.config.InsertWait, p.config.InsertRows = 20*time.Second, 60
		orders := table("orders", note)
		target := p.prepared(orders)
		began := time.Now()
		applyAtOnce(t, target, orders, 20, 3)
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("a full block waited %v", took)
		}
		p.says("SELECT count() FROM system.parts WHERE database = '$' AND table = 'shop_orders'", "1")
		p.says("SELECT count() FROM $.shop_orders", "60")
	})
	p := newPlace(t, old)
	p.config.InsertWait = 300 * time.Millisecond
	orders := table("orders", note)
	began := time.Now()
	applyAtOnce(t, p.prepared(orders), orders, 8, 1)
	if took := time.Since(began); took < p.config.InsertWait {
		t.Errorf("a block that is not full waited %v, want %v", took, p.config.InsertWait)
	}
	p.says("SELECT count() FROM system.parts WHERE database = '$' AND table = 'shop_orders'", "1")
}

// applyAtOnce applies a batch of so many rows for each of so many partitions.
func applyAtOnce(t *testing.T, target sink.Target, of *change.Table, partitions, rows int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range partitions {
		var changes []sink.Change
		for j := range rows {
			id := int64(i*rows + j)
			changes = append(changes, put(of, change.Version(id+1), row(id, text("x"))))
		}
		b := batch(changes...)
		b.Partition.Partition = int32(i)
		wg.Go(func() {
			if err := target.Apply(t.Context(), b); err != nil {
				t.Error(change.Explain(err))
			}
		})
	}
	wg.Wait()
}

// TestHashPartitions: no key has rows in two partitions of the table.
func TestHashPartitions(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.config.HashPartitions = 4
		orders := table("orders", note, change.Column{Name: "part", Type: change.VarChar, Length: 9, Charset: "utf8mb4", Collation: "utf8mb4_bin"})
		orders.Key = []int{2, 0}
		target := p.prepared(orders)
		for v := range 3 {
			var changes []sink.Change
			for id := range int64(50) {
				changes = append(changes, put(orders, change.Version(int64(v)*50+id+1), row(id, text(fmt.Sprint(v)), text("p"))))
			}
			apply(t, target, changes...)
		}
		p.says("SELECT count(DISTINCT partition) FROM system.parts WHERE active AND database = '$' AND table = 'shop_orders'", "4")
		rows := scan(t, target, orders)
		if len(rows) != 50 {
			t.Errorf("%d rows, want 50", len(rows))
		}
		for key, r := range rows {
			if r.Values[1].String() != "2" {
				t.Errorf("row %s is %v", key, r.Values)
			}
		}
	})
}

// TestLargeRows: a row near Kafka's bound for a record, and one of many columns.
func TestLargeRows(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		var columns []change.Column
		image := row(1)
		for i := range 300 {
			columns = append(columns, change.Column{Name: fmt.Sprintf("c%d", i), Type: change.VarChar, Length: 100, Nullable: true})
			image = append(image, text(fmt.Sprint("value ", i)))
		}
		wide := table("wide", columns...)
		large := table("large", note)
		target := p.prepared(wide, large)
		apply(t, target, put(wide, 10, image))
		if got := scan(t, target, wide)["1"].Values; len(got) != 301 || got[300].String() != "value 299" {
			t.Errorf("the row of many columns comes back with %d", len(got))
		}
		body := strings.Repeat("0123456789abcdef", 1<<20)
		apply(t, target, put(large, 10, row(1, text(body))), put(large, 11, row(2, text("small"))))
		if got := scan(t, target, large); len(got) != 2 || got["1"].Values[1].String() != body {
			t.Error("the row of 16 MiB does not come back")
		}
	})
}

// TestNames: what a column or table may be called at MySQL.
func TestNames(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		part := "_part" // the server's own, there
		if p.engine == old {
			problemOf(t, p.prepare(table("own", change.Column{Name: part, Type: change.Int})), change.Poison, part, "rename")
			part = "_pärt"
		}
		odd := table("o`d\\d'ß ta.ble", change.Column{Name: "a`b", Type: change.Int}, change.Column{Name: "c\\d'e", Type: change.Int},
			change.Column{Name: "select", Type: change.Int}, change.Column{Name: "größe %", Type: change.Date}, change.Column{Name: part, Type: change.Int})
		odd.Key = []int{1, 0}
		target := p.prepared(odd)
		image := row(1, change.IntValue(2), change.IntValue(3), change.IntValue(4), text("9999-12-31"), change.IntValue(6))
		apply(t, target, put(odd, 10, image))
		for _, rows := range []map[string]sink.Row{scan(t, target, odd), scan(t, p.prepared(odd), odd, []change.Value{image[1], image[0]})} {
			got := rows["2 1"].Values
			for i := range image {
				if len(got) != len(image) || !got[i].Equal(image[i]) {
					t.Fatalf("comes back as %v", rows)
				}
			}
		}
		own := table("own", change.Column{Name: "_Sluice_version", Type: change.Int})
		problemOf(t, target.Prepare(t.Context(), "g", "src", []*change.Table{own}), change.Poison, "_Sluice_version", "rename")
	})
}

// TestSchemasInOneBatch: a column came in the middle of a batch.
func TestSchemasInOneBatch(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		narrow := table("orders", note)
		wide := table("orders", note, change.Column{Name: "n", Type: change.Int, Nullable: true})
		target := p.prepared(narrow)
		apply(t, target, put(narrow, 9, row(3, text("before"))))
		if err := target.Prepare(t.Context(), "g", "src", []*change.Table{wide}); err != nil {
			t.Fatal(change.Explain(err))
		}
		apply(t, target, put(narrow, 10, row(1, text("a"))), put(narrow, 11, row(2, text("b"))), put(wide, 12, row(1, text("c"), change.IntValue(7))), drop(wide, 13, row(3, text("before"), change.Value{})))
		rows := scan(t, target, wide)
		if len(rows) != 2 || rows["1"].Values[2].Int() != 7 || !rows["2"].Values[2].IsNull() {
			t.Errorf("rows are %v", rows)
		}
	})
}
