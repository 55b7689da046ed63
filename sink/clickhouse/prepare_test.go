package clickhouse_test

import (
	"context"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

const plainOrders = "(id Int64, note Nullable(String), _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String)"

func (p *place) prepare(tables ...*change.Table) error {
	p.t.Helper()
	opened := p.open()
	p.t.Cleanup(func() { opened.Close() })
	return opened.Prepare(p.t.Context(), "g", "src", tables)
}

// mend returns the statement that an error names, without the last line, which names a setting.
func mend(t testing.TB, err error) string {
	t.Helper()
	said := change.Explain(err)
	_, statement, found := strings.Cut(said, "mend   ")
	statement, _, has := strings.Cut(statement, "or set clickhouse.create_tables")
	if !found || !has {
		t.Fatalf("the error names no statement: %s", said)
	}
	return statement
}

// TestWithoutCreateTables: the statements that an error names are the ones that help.
func TestWithoutCreateTables(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.config.CreateTables = false
		p.query("CREATE DATABASE $")
		orders := table("orders", note)
		err := p.prepare(orders)
		problemOf(t, err, change.Poison, "shop_orders is not there", "replay --to beginning")
		p.query(mend(t, err))
		target := p.prepared(orders)
		apply(t, target, put(orders, 10, row(1, text("a"))))

		wider := table("orders", note, change.Column{Name: "n", Type: change.Int, Nullable: true})
		err = p.prepare(wider)
		problemOf(t, err, change.Poison, "lacks something", "ADD COLUMN")
		p.query(mend(t, err))
		apply(t, p.prepared(wider), put(wider, 11, row(2, text("b"), change.IntValue(5))))
		if rows := scan(t, p.prepared(wider), wider); len(rows) != 2 {
			t.Errorf("rows are %v", rows)
		}
		p.says("SELECT count() FROM system.tables WHERE database = '$'", "1")
	})
}

func TestForeignTables(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		orders := table("orders", note)
		p.query("CREATE DATABASE $")
		for create, words := range map[string]string{
			plainOrders + " ENGINE = MergeTree ORDER BY id":                                                                                                                 "has the engine MergeTree",
			plainOrders + " ENGINE = ReplacingMergeTree ORDER BY id":                                                                                                        "has the engine ReplacingMergeTree ORDER",
			plainOrders + " ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY (id, lower(_sluice_exact))":                                                               "is ORDER BY",
			plainOrders + " ENGINE = ReplacingMergeTree(_sluice_version) PARTITION BY note IS NULL ORDER BY id":                                                             "is partitioned by note",
			"(id Int64, _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String, note Nullable(Int8)) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id": "does not hold",
			"(id Int32, _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id":                      "shop_orders.id is a Int32",
			"(id Int64, _sluice_version Int64, _sluice_deleted UInt8, _sluice_exact String) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id":                       "_sluice_version is a Int64",
			"(id Int64, _sluice_version UInt64 COMMENT 'mine', _sluice_deleted UInt8, _sluice_exact String) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id":       "the comment of shop_orders._sluice_version is not ours",
			"(id Int64, note Nullable(UUID), _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String) ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id": "it knows no such type",
		} {
			p.query("CREATE TABLE $.shop_orders " + create)
			problemOf(t, p.prepare(orders), change.Poison, words)
			p.query("DROP TABLE $.shop_orders")
		}
		p.query("CREATE TABLE $.shop_orders " + plainOrders + " ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id")
		p.query("INSERT INTO $.shop_orders VALUES (1, 'mine', 1, 0, '')")
		problemOf(t, p.prepare(orders), change.Poison, "has rows that are not Sluice's")
		p.query("TRUNCATE TABLE $.shop_orders")
		if err := p.prepare(orders); err != nil {
			t.Error(change.Explain(err))
		}
	})
}

func TestOwners(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		p.config.Table = "{table}"
		orders := table("orders", note)
		target := p.prepared(orders)
		other := *orders
		other.DB = "other"
		problemOf(t, p.prepare(&other), change.Poison, "holds shop.orders of source src, not other.orders")
		problemOf(t, target.Prepare(t.Context(), "g", "src2", []*change.Table{orders}), change.Poison, "of source src2")
		problemOf(t, target.Empty(t.Context(), "src2", []*change.Table{orders}), change.Poison, "of source src2")
		history(&p.config)
		problemOf(t, p.prepare(orders), change.Poison, "ORDER BY")
		p.config.Mode = "state"

		rekeyed := table("orders", note)
		rekeyed.Columns[1].Nullable = false
		rekeyed.Key = []int{0, 1}
		apply(t, target, put(orders, 10, row(1, text("a"))))
		problemOf(t, p.prepare(rekeyed), change.Poison, "have the key (id), the table has (id, note)", "--empty")
		anew := p.open()
		defer anew.Close()
		if err := anew.Empty(t.Context(), "src", []*change.Table{rekeyed}); err != nil {
			t.Fatal(change.Explain(err))
		}
		apply(t, p.prepared(rekeyed), put(rekeyed, 11, row(1, text("a"))), put(rekeyed, 12, row(1, text("b"))))
		if rows := scan(t, p.prepared(rekeyed), rekeyed); len(rows) != 2 {
			t.Errorf("by the new key: %v", rows)
		}
	})
}

// TestLostTable: a table that somebody took away is not made anew in silence, nor is another taken for it.
func TestLostTable(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		orders := table("orders", note)
		target := p.prepared(orders)
		apply(t, target, put(orders, 10, row(1, text("a"))))
		p.query("DROP TABLE $.shop_orders")
		problemOf(t, target.Apply(t.Context(), batch(put(orders, 11, row(2, text("b"))))), change.Poison, "could not be inserted", "replay --to beginning --empty")
		problemOf(t, p.prepare(orders), change.Poison, "was there before and is gone")
		p.query("CREATE TABLE $.shop_orders " + plainOrders + " ENGINE = ReplacingMergeTree(_sluice_version) ORDER BY id")
		problemOf(t, p.prepare(orders), change.Poison, "another than the one that was made")
		p.query("INSERT INTO $.shop_orders VALUES (1, 'mine', 1, 0, '')")
		problemOf(t, target.Empty(t.Context(), "src", []*change.Table{orders}), change.Poison, "has rows that are not Sluice's")
		p.query("TRUNCATE TABLE $.shop_orders")
		if err := target.Empty(t.Context(), "src", []*change.Table{orders}); err != nil {
			t.Fatal(change.Explain(err))
		}
		if names, err := target.Occupied(t.Context(), "src", []*change.Table{orders}); len(names) != 0 || err != nil {
			t.Errorf("occupied: %v, %v", names, err)
		}
		apply(t, p.prepared(orders), put(orders, 10, row(1, text("a"))))
	})
}

// TestWidened: a column that MySQL has widened is widened here, with the rows that are there; what would bend them is refused.
func TestWidened(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		column := func(c change.Column) *change.Table { c.Name = "n"; return table("orders", c) }
		narrow := column(change.Column{Type: change.Int})
		apply(t, p.prepared(narrow), put(narrow, 10, row(1, change.IntValue(-7))))
		for i, c := range []change.Column{{Type: change.Int, Nullable: true}, {Type: change.BigInt, Nullable: true}} {
			wider := column(c)
			target := p.prepared(wider)
			value := change.IntValue(1 << 40)
			if i == 0 {
				value = change.Value{}
			}
			apply(t, target, put(wider, change.Version(11+i), row(int64(2+i), value)))
			if rows := scan(t, target, wider); rows["1"].Values[1].Int() != -7 || len(rows) != 2+i || !rows["2"].Values[1].IsNull() {
				t.Errorf("after %+v: %v", c, rows)
			}
		}
		// A narrower column of the source goes into the wide one of here.
		apply(t, p.prepared(narrow), put(narrow, 20, row(9, change.IntValue(5))))
		problemOf(t, p.prepare(column(change.Column{Type: change.VarChar, Length: 9})), change.Poison, "does not hold", "MODIFY COLUMN", "--empty")
		problemOf(t, p.prepare(column(change.Column{Type: change.BigInt, Unsigned: true})), change.Poison, "does not hold unsigned integers of 64 bits")
	})
}

// TestMadeByHand: other types, further columns.
func TestMadeByHand(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		orders := table("orders", note, change.Column{Name: "day", Type: change.Date}, change.Column{Name: "n", Type: change.TinyInt},
			change.Column{Name: "price", Type: change.Decimal, Precision: 6, Scale: 2}, change.Column{Name: "at", Type: change.DateTime, Scale: 3})
		p.query("CREATE DATABASE $")
		types := "note Nullable(String), day String, n Int32, price Decimal(18, 6), at DateTime"
		if p.engine == modern {
			types = "note LowCardinality(Nullable(String)) CODEC(ZSTD), day String, n Int32, price Decimal(50, 6), at DateTime64(9, 'Asia/Kathmandu')"
		}
		p.query("CREATE TABLE $.shop_orders (extra UInt8 DEFAULT 7, id Int64, " + types + ", _sluice_version UInt64, _sluice_deleted UInt8, _sluice_exact String) ENGINE = ReplacingMergeTree(_sluice_version) PARTITION BY id % 3 ORDER BY id")
		target := p.prepared(orders)
		image := row(1, text("a"), text("0000-00-00"), change.IntValue(-5), text("1234.50"), text("2026-01-02 03:04:05.678"))
		apply(t, target, put(orders, 10, image))
		got := scan(t, target, orders)["1"].Values
		for i := range image {
			if len(got) != len(image) || !got[i].Equal(image[i]) {
				t.Fatalf("comes back as %v", got)
			}
		}
		p.says("SELECT extra, day, price FROM $.shop_orders FINAL", map[string]string{old: "7\t0000-00-00\t1234.500000", modern: "7\t0000-00-00\t1234.5"}[p.engine])
	})
}

// TestAlteredMeanwhile: rows do not go into a column that was altered since the table was looked at.
func TestAlteredMeanwhile(t *testing.T) {
	p := newPlace(t, modern)
	orders := table("orders", change.Column{Name: "n", Type: change.Int})
	target := p.prepared(orders)
	apply(t, target, put(orders, 10, row(1, change.IntValue(1))))
	p.query("ALTER TABLE $.shop_orders MODIFY COLUMN n Int64")
	problemOf(t, target.Apply(t.Context(), batch(put(orders, 11, row(2, change.IntValue(2))))), change.Poison, "could not be inserted")
	apply(t, target, put(orders, 11, row(2, change.IntValue(2)))) // looked at anew
	p.says("SELECT id, n FROM $.shop_orders FINAL ORDER BY id", "1\t1\n2\t2")
}

func TestPreparedAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		wide := table("orders", note, change.Column{Name: "a", Type: change.Int}, change.Column{Name: "b", Type: change.Int})
		p.prepared(table("orders", note))
		errs := make(chan error)
		for range 4 {
			go func() { errs <- p.prepare(wide) }()
		}
		for range 4 {
			if err := <-errs; err != nil && change.SeverityOf(err) != change.Retry {
				t.Error(change.Explain(err))
			}
		}
		apply(t, p.prepared(wide), put(wide, 10, row(1, text("x"), change.IntValue(1), change.IntValue(2))))
	})
}

func TestDoctor(t *testing.T) {
	onBoth(t, func(t *testing.T, p *place) {
		orders := table("orders", note)
		check := func() string {
			target := p.open()
			defer target.Close()
			found, err := target.Check(t.Context(), "g", []*change.Table{orders})
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, f := range found {
				lines = append(lines, [...]string{"good", "warning", "wrong"}[f.Level]+" "+f.What)
				if f.Level != sink.Good && (f.Why == "" || f.Mend == "") && !strings.Contains(f.What, "comment") {
					t.Errorf("%+v does not say why and what helps", f)
				}
			}
			return strings.Join(lines, "\n")
		}
		p.prepared(orders)
		if said := check(); !strings.Contains(said, "answers") || strings.Contains(said, "wrong") || strings.Contains(said, "does not know deleted rows") != (p.engine == old) {
			t.Error(said)
		}
		p.query("DROP TABLE $.shop_orders")
		p.query("CREATE TABLE $.shop_orders (id Int64) ENGINE = Log")
		if said := check(); !strings.Contains(said, "wrong shop_orders has the engine Log") {
			t.Error(said)
		}
		p.config.Database, p.config.CreateTables = "nowhere", false
		if said := check(); !strings.Contains(said, "wrong there is no database nowhere") {
			t.Error(said)
		}
		p.config.URL = "http://127.0.0.1:1"
		if said := check(); !strings.Contains(said, "wrong the server does not answer") {
			t.Error(said)
		}
	})
}

// TestAccount: a wrong password ends the process.
func TestAccount(t *testing.T) {
	for _, name := range []string{old, modern} {
		serverOf(t, name) // skips where none can be had
		s, err := startServer(context.Background(), name, "right")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Stop() })
		p := placeOn(t, name, s)
		p.config.Password = "wrong"
		problemOf(t, p.prepare(table("orders", note)), change.Configuration, "mend clickhouse.user and password")
		p.config.Password = "right"
		if err := p.prepare(table("orders", note)); err != nil {
			t.Error(change.Explain(err))
		}
	}
}
