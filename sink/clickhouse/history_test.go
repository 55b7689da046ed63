package clickhouse_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
	"github.com/sluice-cdc/sluice/sink/clickhouse"
)

// told is what a history says of each change, in order.
const told = "SELECT op, key, before, after, version, transaction, committed_ms, toUnixTimestamp(committed), kafka_partition, kafka_offset FROM $.shop_orders_history ORDER BY version, kafka_offset"

func TestHistory(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		history(&p.config)
		p.config.HistoryPartition = clickhouse.Day
		orders := table("orders", note, change.Column{Name: "total", Type: change.Decimal, Precision: 20, Scale: 2}, change.Column{Name: "doc", Type: change.JSON, Nullable: true},
			change.Column{Name: "bin", Type: change.VarBinary, Length: 9})
		image := func(s, doc string) []change.Value {
			v := row(1, text(s), text("12345678901234567.80"), text(doc), change.RawValue([]byte("\x00\xff")))
			if doc == "" {
				v[3] = change.Value{}
			}
			return v
		}
		const noon, micro = 1_767_268_800_000, 1000
		at := func(c sink.Change, millis int64, transaction string) sink.Change {
			c.Origin = sink.Origin{CommitMillis: millis, GTID: "g:1", Transaction: transaction}
			c.Version = change.Version(millis*micro) + c.Version
			return c
		}
		update := put(orders, 2, image("b", "null"))
		update.Op, update.Before = change.Update, image("a", "")
		found := drop(orders, 5, image("b", "null"))
		found.Before[1] = change.Value{}
		crawl := at(found, noon+86_400_000, "")
		crawl.Origin.Snapshot = "incremental"
		tombstone := drop(orders, 4, image("", ""))
		tombstone.Tombstone, tombstone.Before = true, nil
		tombstone.Version += noon * micro
		gone := drop(orders, 3, image("b", "null"))
		target := p.prepared(orders)
		apply(t, target, at(put(orders, 1, image("a", "")), noon+1, "g:1:2"), at(update, noon+2, ""), at(gone, noon+3, ""), tombstone, crawl)

		one := `{"id":1,"note":"a","total":"12345678901234567.80","bin":"AP8="}`
		two := `{"id":1,"note":"b","total":"12345678901234567.80","doc":null,"bin":"AP8="}`
		key := `{"id":1}`
		p.says(told, strings.Join([]string{
			fmt.Sprintf("tombstone\t%s\t\t\t%d\t\t%d\t%d\t0\t4", key, noon*micro+4, noon, noon/1000),
			fmt.Sprintf("c\t%s\t\t%s\t%d\tg:1:2\t%d\t%d\t0\t1", key, one, (noon+1)*micro+1, noon+1, noon/1000),
			fmt.Sprintf("u\t%s\t%s\t%s\t%d\tg:1\t%d\t%d\t0\t2", key, one, two, (noon+2)*micro+2, noon+2, noon/1000),
			fmt.Sprintf("d\t%s\t%s\t\t%d\tg:1\t%d\t%d\t0\t3", key, two, (noon+3)*micro+3, noon+3, noon/1000),
			fmt.Sprintf("d\t%s\t\t\t%d\tg:1\t%d\t%d\t0\t5", key, (noon+86_400_000)*micro+5, noon+86_400_000, noon/1000+86_400),
		}, "\n"))
		p.says("SELECT count(DISTINCT partition) FROM system.parts WHERE active AND database = '$' AND table = 'shop_orders_history'", "2")
		// The docs' question: the table as it was at a time.
		p.says(fmt.Sprintf("SELECT argMax(after, version) AS row FROM $.shop_orders_history WHERE committed_ms <= %d GROUP BY key HAVING row != ''", noon+2), two)
		p.says(fmt.Sprintf("SELECT argMax(after, version) AS row FROM $.shop_orders_history WHERE committed_ms <= %d GROUP BY key HAVING row != ''", noon+4), "")
		if p.engine == modern {
			p.says("SELECT committed, JSONExtractString(after, 'note'), JSONExtract(after, 'total', 'Decimal(20, 2)') FROM $.shop_orders_history WHERE op = 'u'", "2026-01-01 12:00:00.002\tb\t12345678901234567.8")
		}
	})
}

// TestHistoryOnce: what comes again after a crash, a failed insert or a replay is there once, also for those who do not say FINAL.
func TestHistoryOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		history(&p.config)
		orders := table("orders", note)
		var changes []sink.Change
		for v := range change.Version(30) {
			changes = append(changes, put(orders, v+1, row(int64(v%7), text(fmt.Sprint(v)))))
		}
		const count = "SELECT count(), count(DISTINCT kafka_offset), max(kafka_offset) FROM $.shop_orders_history"
		target := p.prepared(orders)
		apply(t, target, changes[:5]...)
		apply(t, target, changes[5:10]...)
		p.says(count, "10\t10\t10")
		apply(t, target, changes[5:10]...) // its answer was lost
		p.says(count, "10\t10\t10")
		apply(t, p.prepared(orders), changes[3:15]...) // a new process, from what was committed on
		p.says(count, "15\t15\t15")
		apply(t, target, changes[10:20]...) // the old one goes on, without knowing
		p.says("SELECT count(DISTINCT kafka_offset), max(kafka_offset) FROM $.shop_orders_history", "20\t20")
		p.says("SELECT count() FROM $.shop_orders_history FINAL", "20")
		replayed := p.prepared(orders)
		for i := 0; i < 30; i += 10 { // the whole log again, with a record missing in the middle of what was there
			if i == 10 {
				p.query("OPTIMIZE TABLE $.shop_orders_history FINAL")
			}
			apply(t, replayed, changes[i:i+10]...)
		}
		p.says(count, "30\t30\t30")
		other := batch(changes[:3]...)
		other.TopicID[0] = 9 // the topic was made anew: these are other records
		if err := replayed.Apply(t.Context(), other); err != nil {
			t.Fatal(change.Explain(err))
		}
		p.says("SELECT count() FROM $.shop_orders_history FINAL", "33")
		if err := replayed.(sink.Resender).Resend(t.Context(), other.Partition, &changes[0]); err != nil {
			t.Fatal(change.Explain(err))
		}
		p.says("SELECT count() FROM $.shop_orders_history FINAL", "33")
	})
}

// TestHistoryFillsGaps: what is missing in the middle of what is stored is written when it comes again.
func TestHistoryFillsGaps(t *testing.T) {
	p := newPlace(t, old)
	history(&p.config)
	orders := table("orders", note)
	all := []sink.Change{put(orders, 1, row(1, text("a"))), put(orders, 2, row(2, text("b"))), put(orders, 3, row(3, text("c")))}
	apply(t, p.prepared(orders), all[0])
	apply(t, p.prepared(orders), all[2])
	apply(t, p.prepared(orders), all...)
	p.says("SELECT kafka_offset FROM $.shop_orders_history ORDER BY kafka_offset", "1\n2\n3")
}

// TestHistoryOfSchemas: a history holds what each schema had; the table as it is now is read from it.
func TestHistoryOfSchemas(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		history(&p.config)
		first := table("orders", change.Column{Name: "n", Type: change.Int}, note)
		second := table("orders", change.Column{Name: "n", Type: change.VarChar, Length: 9, Nullable: true}, change.Column{Name: "new", Type: change.Int, Nullable: true})
		target := p.prepared(first)
		apply(t, target, put(first, 10, row(1, change.IntValue(7), text("gone"))))
		if err := target.Prepare(t.Context(), "g", "src", []*change.Table{second}); err != nil {
			t.Fatal(change.Explain(err))
		}
		apply(t, target, put(second, 11, row(1, text("seven"), change.IntValue(1))), put(second, 12, row(2, change.Value{}, change.Value{})))
		p.says("SELECT after FROM $.shop_orders_history ORDER BY version", `{"id":1,"n":7,"note":"gone"}`+"\n"+`{"id":1,"n":"seven","new":1}`+"\n"+`{"id":2,"n":null,"new":null}`)
		rows := scan(t, target, second)
		if len(rows) != 2 || rows["1"].Values[1].String() != "seven" || rows["1"].Version != 11 || !rows["2"].Values[2].IsNull() {
			t.Errorf("rows are %v", rows)
		}
		if rows := scan(t, target, second, row(2), row(99)); len(rows) != 1 {
			t.Errorf("by key: %v", rows)
		}
	})
}

// TestHistoryRefuses what JSON cannot say, and says which record it is.
func TestHistoryRefuses(t *testing.T) {
	p := newPlace(t, old)
	history(&p.config)
	orders := table("orders", note)
	target := p.prepared(orders)
	err := target.Apply(t.Context(), batch(put(orders, 10, row(1, text("a"))), put(orders, 11, row(2, text("\xff")))))
	problemOf(t, err, change.Poison, "offset 11", "column note", "not UTF-8")
	p.says("SELECT count() FROM $.shop_orders_history", "0")
	if floor := target.(sink.Floor).Floor(sink.LogSettings{Compacted: true, MinCompactionLag: time.Hour, DeleteRetention: time.Hour}); floor != time.Hour {
		t.Errorf("the floor is %v", floor)
	}
	if floor := target.(sink.Floor).Floor(sink.LogSettings{MinCompactionLag: time.Hour}); floor != 0 {
		t.Errorf("the floor of a log that is not compacted is %v", floor)
	}
}
