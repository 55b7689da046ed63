package shape

import (
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

func orders() *change.Table {
	return &change.Table{
		TableName: change.TableName{DB: "shop", Name: "orders"},
		Columns: []change.Column{
			{Name: "id", Type: change.BigInt, Unsigned: true},
			{Name: "Status", Type: change.VarChar, Length: 20, Nullable: true},
			{Name: "total", Type: change.Int, Nullable: true},
			{Name: "flags", Type: change.Bit, Length: 12},
		},
		Key: []int{0},
	}
}

func order(id uint64, status string, total int64) []change.Value {
	row := []change.Value{change.UintValue(id), {}, {}, change.RawValue([]byte{0, 5})}
	if status != "" {
		row[1] = change.StringValue(status)
	}
	if total >= 0 {
		row[2] = change.IntValue(total)
	}
	return row
}

func TestCondition(t *testing.T) {
	open, paid, null := order(1, "OPEN", 50), order(1, "PAID", 200), order(1, "", -1)
	for _, c := range []struct {
		text          string
		op            change.Op
		before, after []change.Value
		want          bool
	}{
		{"before.status != 'PAID' && after.status == 'PAID'", change.Update, open, paid, true},
		{"before.status != 'PAID' && after.status == 'PAID'", change.Update, paid, paid, false},
		{"before.STATUS != 'PAID' && after['Status'] == 'PAID'", change.Update, null, paid, true}, // NULL is not 'PAID'
		{"before.status != 'PAID' && after.status == 'PAID'", change.Create, nil, paid, true},     // there was no row
		{"before.status != 'PAID' && after.status == 'PAID'", change.Delete, paid, nil, false},
		{"before == nil", change.Create, nil, paid, true},
		{"nil != before", change.Create, nil, paid, false},
		{"before == nil", change.Update, null, paid, false},
		{"after == nil && before.status == 'PAID'", change.Delete, paid, nil, true},
		{"after?.status == nil", change.Delete, paid, nil, true},
		{"after.total > 100", change.Update, open, paid, true},
		{"after.total > 100", change.Update, open, null, false}, // as in SQL
		{"100 < after.total", change.Delete, open, nil, false},
		{"after.total > before.total", change.Update, open, paid, true},
		{"after.total > before.total", change.Update, null, paid, false},
		{"after.status startsWith 'P'", change.Update, open, paid, true},
		{"after.status startsWith 'P'", change.Delete, open, nil, false},
		{"after.status matches '^PA'", change.Update, open, paid, true},
		{"after.status matches '^PA'", change.Update, open, null, false},
		{"after.status contains 'AI'", change.Update, open, null, false},
		{"(after.total ?? 0) * 2 < 100", change.Update, open, null, true},
		{"after.status in ['PAID', 'SENT']", change.Update, open, paid, true},
		{"after.status in ['PAID', 'SENT']", change.Update, open, null, false},
		{"after.flags == 5", change.Update, open, paid, true},
		{"op == 'd' && table == 'orders' && db == 'shop'", change.Delete, open, nil, true},
		{"let limit = 100; after.total > limit", change.Update, open, paid, true},
	} {
		compiled, err := CompileCondition(c.text, orders())
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got, err := compiled.Holds(c.op, c.before, c.after); err != nil || got != c.want {
			t.Errorf("%s at %s of %v to %v is %v (%v), want %v", c.text, c.op, c.before, c.after, got, err, c.want)
		}
		if got := compiled.ReadsBefore(); got != strings.Contains(c.text, "before") {
			t.Errorf("%s reads before: %v", c.text, got)
		}
		if _, err := CompileCondition(c.text, nil); err != nil {
			t.Errorf("%s without a table: %v", c.text, err)
		}
	}
}

func TestConditionErrors(t *testing.T) {
	null := order(1, "", -1)
	for text, row := range map[string][]change.Value{"after.total + 1 > 2": null, "lower(after.status) == 'x'": null, "after.id > 5": order(1<<63+5, "", 1)} {
		c, err := CompileCondition(text, orders())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Holds(change.Update, row, row); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s of %v gave %v (%v), want an error that names the condition", text, row, got, err)
		}
	}
}

func TestCompileConditionRefuses(t *testing.T) {
	for _, c := range []struct {
		text, want   string
		withoutTable bool // is seen without the schema too
	}{
		{"after.state == 'x'", `column "state" is not in shop.orders (id, Status, total, flags)`, false},
		{"status == 'x'", `the name "status" is not known`, false},
		{"after.status == 5", "mismatched types", false},
		{"after.total", "bool", false},
		{"1 + 2", "bool", true},
		{"before && after.total > 1", "before stands alone", true},
		{"let b = before; b.status == 'x'", "before stands alone", true},
		{"$env.before == 1", "$env", true},
		{"now().Unix() > after.total", "now", false},
		{"after.total >", "unexpected token", true},
	} {
		if _, err := CompileCondition(c.text, orders()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s gave %v, want %q", c.text, err, c.want)
		}
		if _, err := CompileCondition(c.text, nil); c.withoutTable != (err != nil) {
			t.Errorf("%s without a table gave %v", c.text, err)
		}
	}
}
