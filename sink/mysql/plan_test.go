package mysql

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
)

// planTable is a table (id, shard) whose rows are placed by the value of shard, among three.
func planTable(t testing.TB, by string) *table {
	schema := &change.Table{TableName: change.TableName{DB: "d", Name: "t"}, Key: []int{0},
		Columns: []change.Column{{Name: "id", Type: change.Int}, {Name: "shard", Type: change.Int, Nullable: true}}}
	config := Config{Routes: []route.Spec{{Table: "d.t", By: by, Rule: route.RuleSpec{Name: "modulus"}}}}
	for i := range 3 {
		config.Shards = append(config.Shards, Shard{Name: fmt.Sprint("s", i)})
	}
	place, err := newPlacement(config, schema)
	if err != nil {
		t.Fatal(err)
	}
	return &table{source: schema.TableName, schema: schema, placement: place}
}

// routedTable is planTable with a function in place of the route.
func routedTable(t testing.TB, name string) *table {
	tab := planTable(t, "shard")
	config := Config{Router: &Router{Name: name, Place: func(of *change.Table, row []change.Value) (string, error) {
		v := row[of.Column("shard")]
		if v.IsNull() {
			return "", fmt.Errorf("no shard")
		}
		return fmt.Sprint("s", v.Int()), nil
	}}}
	for i := range 3 {
		config.Shards = append(config.Shards, Shard{Name: fmt.Sprint("s", i)})
	}
	var err error
	if tab.placement, err = newPlacement(config, tab.schema); err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestRouterRefuses(t *testing.T) {
	for name, c := range map[string]sink.Change{
		"its own error":           {Op: change.Create, Offset: 7, After: []change.Value{change.IntValue(1), {}}},
		"a shard that is not one": planChange(change.Create, 7, -1, 9, true),
	} {
		_, err := plan(routedTable(t, "by shard"), []sink.Change{c}, make([]int64, 3), false)
		if change.SeverityOf(err) != change.Poison || !strings.Contains(err.Error(), "router by shard") {
			t.Errorf("%s: %v", name, err)
		}
	}
	one, another := routedTable(t, "one").placement, routedTable(t, "another").placement
	if config := (Config{Shards: []Shard{{Name: "s0"}}}); one.fingerprint(config) == another.fingerprint(config) {
		t.Error("the router's name is not the fingerprint")
	}
	good := Config{Shards: []Shard{{Name: "s0", Database: "d"}}, Router: &Router{Name: "x", Place: func(*change.Table, []change.Value) (string, error) { return EveryShard, nil }}}.withDefaults()
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for name, with := range map[string]func(*Config){
		"no name": func(c *Config) { c.Router = &Router{Place: good.Router.Place} }, "no function": func(c *Config) { c.Router = &Router{Name: "x"} },
		"routes too": func(c *Config) { c.Routes = []route.Spec{{Table: "d.t", Rule: route.RuleSpec{Name: "all"}}} },
	} {
		c := good
		with(&c)
		if err := c.check(); err == nil || !strings.Contains(err.Error(), "Router needs a Name") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func planRow(id, shard int) []change.Value {
	return []change.Value{change.IntValue(int64(id)), change.IntValue(int64(shard))}
}

// planChange makes a change of row 1; shard numbers below 0 stand for no image.
func planChange(op change.Op, version, before, after int, trusted bool) sink.Change {
	c := sink.Change{Op: op, Version: change.Version(version), Offset: int64(version), Key: []byte{1},
		KeyValues: []change.Value{change.IntValue(1)}, TrustedBefore: trusted}
	if before >= 0 {
		c.Before = planRow(1, before)
	}
	if after >= 0 {
		c.After = planRow(1, after)
	}
	return c
}

// describePlan prints, by shard, what is to be done with row 1: u upsert, d delete, l leave.
func describePlan(works []work) string {
	shards := make([]string, len(works))
	for i, w := range works {
		for _, kind := range []struct {
			letter string
			list   []*sink.Change
		}{{"u", w.upserts}, {"d", w.deletes}, {"l", w.leaves}} {
			for _, c := range kind.list {
				shards[i] += fmt.Sprint(kind.letter, c.Version)
			}
		}
	}
	return strings.Join(shards, " | ")
}

// crawled makes it what a crawl over the top says.
func crawled(c sink.Change) sink.Change {
	c.Origin.Snapshot = "incremental"
	return c
}

func TestPlan(t *testing.T) {
	tombstone := planChange(change.Delete, 5, -1, -1, false)
	tombstone.Tombstone = true
	tests := []struct {
		name    string
		by      string
		changes []sink.Change
		done    []int64 // by shard
		want    string
	}{
		{"create", "shard", []sink.Change{planChange('c', 1, -1, 2, true)}, nil, " |  | u1"},
		{"update in place", "shard", []sink.Change{planChange('u', 1, 1, 1, true)}, nil, " | u1 | "},
		{"move", "shard", []sink.Change{planChange('u', 1, 0, 2, true)}, nil, "l1 |  | u1"},
		{"move and back", "shard", []sink.Change{planChange('u', 1, 0, 2, true), planChange('u', 2, 2, 0, true)}, nil, "u2 |  | l2"},
		{"two moves", "shard", []sink.Change{planChange('u', 1, 0, 1, true), planChange('u', 2, 1, 2, true)}, nil, "l1 | l2 | u2"},
		{"move, then deleted", "shard", []sink.Change{planChange('u', 1, 0, 1, true), planChange('d', 2, 1, -1, true)}, nil, "l1 | d2 | "},
		{"before not trusted", "shard", []sink.Change{planChange('u', 1, 1, 1, false)}, nil, "l1 | u1 | l1"},
		{"crawled row", "shard", []sink.Change{planChange('r', 1, -1, 1, false)}, nil, "l1 | u1 | l1"},
		{"row of a first crawl", "shard", []sink.Change{planChange('r', 1, -1, 1, true)}, nil, " | u1 | "},
		{"delete, before not trusted", "shard", []sink.Change{planChange('d', 1, 1, -1, false)}, nil, "d1 | d1 | d1"},
		{"bare tombstone", "shard", []sink.Change{tombstone}, nil, "d5 | d5 | d5"},
		{"tombstone of a delete", "shard", []sink.Change{planChange('d', 4, 1, -1, true), tombstone}, nil, " | d4 | "},
		{"tombstone of an older delete", "shard", []sink.Change{tombstone, planChange('c', 6, -1, 0, true)}, nil, "u6 | d5 | d5"},
		{"an older version later", "shard", []sink.Change{planChange('c', 3, -1, 1, true), planChange('r', 2, -1, 1, true)}, nil, " | u3 | "},
		{"done in one shard", "shard", []sink.Change{planChange('u', 1, 0, 2, true), planChange('u', 2, 2, 1, true)}, []int64{0, 0, 2}, "l1 | u2 | l2"},
		{"by the key", "id", []sink.Change{planChange('u', 1, 0, 2, false)}, nil, " | u1 | "},
		{"by the key, tombstone", "id", []sink.Change{tombstone}, nil, " | d5 | "},
		{"by the key, crawled over the top", "id", []sink.Change{crawled(planChange('r', 3, -1, 2, false))}, nil, "l3 | u3 | l3"},
		{"by the key, not found by a crawl", "id", []sink.Change{crawled(planChange('d', 4, -1, -1, true)), tombstone}, nil, "d4 | d4 | d4"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			done := test.done
			if done == nil {
				done = make([]int64, 3)
			}
			works, err := plan(planTable(t, test.by), test.changes, done, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := describePlan(works); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if test.by != "shard" {
				return
			}
			if works, err = plan(routedTable(t, "by shard"), test.changes, done, false); err != nil {
				t.Fatal(err)
			}
			if got := describePlan(works); got != test.want {
				t.Errorf("by a router: got %q, want %q", got, test.want)
			}
		})
	}
}

// However a row's history is cut into batches, and whichever befores are not trusted, the shards end with the row
// in its last place and nowhere else.
func TestPlanProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tab := planTable(t, "shard")
		held := map[int]int{} // shard -> version
		at := -1
		var batch []sink.Change
		flush := func() {
			works, err := plan(tab, batch, make([]int64, 3), false)
			if err != nil {
				r.Fatal(err)
			}
			for i, w := range works {
				for _, c := range w.upserts {
					if held[i] < int(c.Version) {
						held[i] = int(c.Version)
					}
				}
			}
			for i, w := range works {
				for _, c := range append(w.deletes, w.leaves...) {
					if v, ok := held[i]; ok && v < int(c.Version) {
						delete(held, i)
					}
				}
			}
			batch = nil
		}
		steps := rapid.IntRange(1, 12).Draw(r, "steps")
		for v := 1; v <= steps; v++ {
			to := rapid.IntRange(-1, 2).Draw(r, "to")
			trusted := rapid.Bool().Draw(r, "trusted")
			switch {
			case to < 0 && at < 0:
				continue
			case to < 0:
				batch = append(batch, planChange(change.Delete, v, at, -1, trusted))
			case at < 0:
				batch = append(batch, planChange(change.Create, v, -1, to, true))
			default:
				batch = append(batch, planChange(change.Update, v, at, to, trusted))
			}
			at = to
			if rapid.Bool().Draw(r, "cut") {
				flush()
			}
		}
		flush()
		for shard := range held {
			if shard != at {
				r.Fatalf("the row is in shards %v, it belongs in %d", held, at)
			}
		}
		if _, ok := held[at]; at >= 0 && !ok {
			r.Fatalf("the row is in shards %v, it belongs in %d", held, at)
		}
	})
}

func TestAppendValue(t *testing.T) {
	tests := []struct {
		value change.Value
		kind  change.Type
		want  string
	}{
		{change.Value{}, change.Int, "NULL"},
		{change.IntValue(-5), change.Int, "-5"},
		{change.UintValue(1<<64 - 1), change.BigInt, "18446744073709551615"},
		{change.Float32Value(0.1), change.Float, "1.0000000149011612e-01"},
		{change.Float64Value(0.1), change.Double, "1e-01"},
		{change.StringValue("-12.340"), change.Decimal, "-12.340"},
		{change.StringValue("1); DROP"), change.Decimal, "'1); DROP'"},
		{change.StringValue("-"), change.Decimal, "'-'"},
		{change.StringValue("it's \\ \x00"), change.VarChar, `'it\'s \\ \0'`},
		{change.RawValue([]byte("a'\x00\xff")), change.Blob, "_binary'a\\'\\0\xff'"},
		{change.RawValue([]byte{1, 2}), change.Bit, "258"},
	}
	for _, test := range tests {
		if got := string(appendValue(nil, test.value, test.kind)); got != test.want {
			t.Errorf("%v as %s: got %s, want %s", test.value, test.kind, got, test.want)
		}
	}
}
