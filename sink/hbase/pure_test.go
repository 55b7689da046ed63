package hbase

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// TestMessages: rows are read as they were written.
func TestMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body []byte
		var want []row
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			r := row{key: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "key")}
			var cells []byte
			for range rapid.IntRange(1, 4).Draw(t, "cells") {
				c := cell{column: []byte("d:" + rapid.String().Draw(t, "column")), timestamp: rapid.Int64Min(0).Draw(t, "timestamp"), value: rapid.SliceOf(rapid.Byte()).Draw(t, "value")}
				r.cells = append(r.cells, c)
				cells = appendCell(cells, string(c.column), c.timestamp, c.value)
			}
			want = append(want, r)
			body = appendRow(body, r.key, cells)
		}
		got, err := parseRows(body)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %v (%v), want %v", got, err, want)
		}
	})
}

func FuzzParseRows(f *testing.F) {
	f.Add(appendRow(nil, []byte("key"), appendCell(nil, "d:a", 12, []byte("value"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := parseRows(b)
		if err != nil {
			return
		}
		size := 0
		for _, r := range rows {
			size += len(r.key)
			for _, c := range r.cells {
				size += len(c.column) + len(c.value)
			}
		}
		if size > len(b) {
			t.Errorf("%d bytes have rows of %d", len(b), size)
		}
	})
}

func FuzzParseState(f *testing.F) {
	for _, s := range []string{"row", `row ["a","b"]`, "deleted 1764381660123", `table {"made":"x"}`, "row [", "deleted x", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		var again []byte
		switch s.word {
		case stateRow:
			again = appendRowState(nil, s.nulls)
		case stateDeleted:
			again = appendDeletedState(nil, s.deleted)
		default:
			return
		}
		if back, err := parseState(again); err != nil || back.word != s.word || !slices.Equal(back.nulls, s.nulls) || !back.deleted.Equal(s.deleted) {
			t.Errorf("%q is %+v, and again %+v (%v)", b, s, back, err)
		}
	})
}

func TestStates(t *testing.T) {
	if got := string(appendRowState(nil, []string{"note", `a"b, c`})); got != `row ["note","a\"b, c"]` {
		t.Error(got)
	}
	if got := string(appendDeletedState(nil, time.UnixMilli(1764381660123))); got != "deleted 1764381660123" {
		t.Error(got)
	}
}

// TestNames: different tables have different names that HBase takes, and different columns different cells.
func TestNames(t *testing.T) {
	c := Default()
	for name, want := range map[change.TableName]string{
		{DB: "shop", Name: "order_items"}: "shop.order_items",
		{DB: "shop", Name: "a-b c"}:       "shop.a-2db-20c",
		{DB: ".x", Name: "é"}:             ".x.-c3-a9",
	} {
		if strings.HasPrefix(want, ".") {
			want = "t" + want
		}
		if got := c.tableName("src", name); got != want {
			t.Errorf("%v is %s, want %s", name, got, want)
		}
	}
	c.Table = "ns:{source}-{table}"
	if got := c.tableName("a:b", change.TableName{DB: "d", Name: "t"}); got != "ns:a-3ab-t" {
		t.Error(got)
	}
	c.Table = "{table}"
	if got := c.tableName("", change.TableName{Name: strings.Repeat("x", 300)}); len(got) != nameMax {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	if got := c.tableName("", change.TableName{Name: ledgerTable}); got == ledgerTable {
		t.Error("a table of the source has the ledger's name")
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if a != b && escapeName(a) == escapeName(b) {
			t.Fatalf("%q and %q are %q", a, b, escapeName(a))
		}
		a, b = strings.Repeat("_", rapid.IntRange(0, 3).Draw(t, "n"))+rapid.SampledFrom([]string{"sluice", "x"}).Draw(t, "x"), rapid.SampledFrom([]string{"_sluice", "__sluice", "sluice", "_x"}).Draw(t, "y")
		if a != b && qualifier(a) == qualifier(b) || qualifier(a) == stateQualifier {
			t.Fatalf("%q and %q are %q and %q", a, b, qualifier(a), qualifier(b))
		}
	})
}

// TestConfig: every problem is told with its key.
func TestConfig(t *testing.T) {
	problems := func(change func(*Config)) map[string]string {
		c := Default()
		c.URL = "http://gateway:8080"
		change(&c)
		found := make(map[string]string)
		c.Check(func(path, problem string) { found[path] = problem })
		return found
	}
	if found := problems(func(*Config) {}); len(found) != 0 {
		t.Errorf("the default has problems: %v", found)
	}
	for want, with := range map[string]func(*Config){
		"url":               func(c *Config) { c.URL = "gateway:8080" },
		"table":             func(c *Config) { c.Table = "{db}" },
		"family":            func(c *Config) { c.Family = "a:b" },
		"keep_tombstones":   func(c *Config) { c.KeepTombstones = time.Second },
		"put_bytes":         func(c *Config) { c.PutBytes = 1 },
		"requests":          func(c *Config) { c.Requests = 0 },
		"timeout":           func(c *Config) { c.Timeout = time.Millisecond },
		"password_file":     func(c *Config) { c.User, c.Password, c.PasswordFile = "u", "p", "f" },
		"user":              func(c *Config) { c.Password = "p" },
		"tables[0].match":   func(c *Config) { c.Tables = []Table{{Match: "orders"}} },
		"tables[0].row_key": func(c *Config) { c.Tables = []Table{{Match: "a.b", RowKey: "x"}} },
		"tables[0].salt":    func(c *Config) { c.Tables = []Table{{Match: "a.b", Salt: 300}} },
	} {
		if found := problems(with); len(found) != 1 || found[want] == "" {
			t.Errorf("problems are %v, want one of %s", slices.Collect(maps.Keys(found)), want)
		}
	}
	for _, table := range []string{"a b{table}", "a:b:{table}", "{table}/x", "{tabel}"} {
		if found := problems(func(c *Config) { c.Table = table }); found["table"] == "" {
			t.Errorf("hbase.table %q passes", table)
		}
	}
}

// TestReasons: of a Java exception the lines that say something are shown.
func TestReasons(t *testing.T) {
	text := "Bad request\r\njava.lang.IllegalArgumentException: KeyValue size too large\n\tat org.apache.X.y(X.java:1)\n\tat z\n\t... 3 more\n"
	if got := reasonOf(text); got != "Bad request java.lang.IllegalArgumentException: KeyValue size too large" {
		t.Error(got)
	}
	if got := reasonOf(strings.Repeat("x", 1000)); len(got) != causeMax {
		t.Error(len(got))
	}
}

func TestCreation(t *testing.T) {
	of := &change.Table{Columns: []change.Column{{Name: "id", Type: change.Int}}, Key: []int{0}}
	k, err := rowKeyOf(&Table{Salt: 3}, of)
	if err != nil {
		t.Fatal(err)
	}
	want := "create 'shop.orders', {NAME => 'd', VERSIONS => 1, DATA_BLOCK_ENCODING => 'FAST_DIFF'}, SPLITS => ['01', '02']"
	if got := creation(&plan{name: "shop.orders", key: k}, "d"); got != want {
		t.Error(got)
	}
	if !bytes.Equal([]byte(k.String()), []byte("{id} salt 3")) {
		t.Error(k.String())
	}
}
