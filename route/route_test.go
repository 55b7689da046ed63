package route

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

var shards = []string{"s0", "s1", "s2"}

func TestModulusIsTheMathematicalRemainder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 1000).Draw(t, "shards")
		x := new(big.Int)
		var v change.Value
		if rapid.Bool().Draw(t, "unsigned") {
			u := rapid.Uint64().Draw(t, "value")
			v, x = change.UintValue(u), x.SetUint64(u)
		} else {
			i := rapid.Int64().Draw(t, "value")
			v, x = change.IntValue(i), x.SetInt64(i)
		}
		want := int(new(big.Int).Mod(x, big.NewInt(int64(n))).Int64()) // Euclidean: never negative
		if got, err := (Modulus{n}).Shard(v); err != nil || got != want {
			t.Fatalf("%s mod %d = %d, %v; want %d", v, n, got, err, want)
		}
	})
}

// Rows written by an older binary are looked for by a newer one: the hash must never change. (The numbers come
// from another implementation, in Python.)
func TestHashIsFrozen(t *testing.T) {
	tests := []struct {
		value change.Value
		want  int
	}{
		{change.StringValue(""), 38}, {change.StringValue("seoul"), 4},
		{change.IntValue(42), 44}, {change.RawValue([]byte{0, 255}), 56},
	}
	for _, test := range tests {
		if got, err := (Hash{64}).Shard(test.value); err != nil || got != test.want {
			t.Errorf("hash of %q = %d, %v; want %d", test.value, got, err, test.want)
		}
	}
	same := []change.Value{change.IntValue(42), change.UintValue(42), change.StringValue("42"), change.Float64Value(42)}
	for _, v := range same {
		if got, _ := (Hash{64}).Shard(v); got != 44 {
			t.Errorf("hash of %v (%d) = %d, want that of 42", v, v.Kind, got)
		}
	}
	zero, _ := Hash{64}.Shard(change.Float64Value(0))
	if got, _ := (Hash{64}).Shard(change.Float64Value(math.Copysign(0, -1))); got != zero {
		t.Errorf("-0 goes to %d, 0 to %d", got, zero)
	}
	if _, err := (Hash{64}).Shard(change.Value{}); err == nil {
		t.Error("NULL was placed")
	}
}

func TestHashSpreads(t *testing.T) {
	counts := make([]int, 8)
	for i := range 80_000 {
		shard, _ := Hash{8}.Shard(change.StringValue("user-" + change.IntValue(int64(i)).String()))
		counts[shard]++
	}
	if slices.Min(counts) < 9_500 || slices.Max(counts) > 10_500 {
		t.Errorf("80,000 keys over 8 shards: %v", counts)
	}
}

func TestRange(t *testing.T) {
	r, err := NewRange(map[string][]string{"s0": {"..-1", "200..299"}, "s1": {"0..99"}, "s2": {"300.."}}, shards)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		value change.Value
		want  int // -2: no place
	}{
		{change.IntValue(math.MinInt64), 0}, {change.IntValue(-1), 0}, {change.IntValue(0), 1}, {change.UintValue(99), 1},
		{change.IntValue(100), -2}, {change.IntValue(199), -2}, {change.IntValue(200), 0}, {change.IntValue(299), 0},
		{change.IntValue(300), 2}, {change.UintValue(math.MaxUint64), 2},
		{change.StringValue("5"), -2}, {change.Value{}, -2},
	}
	for _, test := range tests {
		got, err := r.Shard(test.value)
		if err != nil {
			got = -2
		}
		if got != test.want {
			t.Errorf("%v goes to %d (%v), want %d", test.value, got, err, test.want)
		}
	}
	if got := r.Gaps(); !slices.Equal(got, []string{"between 99 and 200"}) {
		t.Errorf("gaps %q", got)
	}
}

func TestRangeOfText(t *testing.T) {
	r, err := NewRange(map[string][]string{"s0": {"..m"}, "s1": {"n.."}}, shards)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]int{"": 0, "apple": 0, "m": 0, "n": 1, "서울": 1} {
		if got, err := r.Shard(change.StringValue(value)); err != nil || got != want {
			t.Errorf("%q goes to %d, %v; want %d", value, got, err, want)
		}
	}
	if got, err := r.Shard(change.StringValue("mango")); err == nil {
		t.Errorf("mango lies in the gap between m and n, yet went to %d", got)
	}
	if _, err := r.Shard(change.IntValue(5)); err == nil {
		t.Error("an integer was placed in ranges of text")
	}
}

func TestRangeRefuses(t *testing.T) {
	tests := []struct {
		ranges map[string][]string
		want   string
	}{
		{map[string][]string{"s0": {"..10"}, "s1": {"10.."}}, "overlap"},
		{map[string][]string{"s0": {".."}, "s1": {"5.."}}, "overlap"},
		{map[string][]string{"s0": {"..5"}, "s1": {"..7"}}, "overlap"},
		{map[string][]string{"s0": {"9..1"}}, "empty"},
		{map[string][]string{"s9": {"1..9"}}, `shard "s9"`},
		{map[string][]string{"s0": {"1-9"}}, "from..to"},
		{nil, "at least one"},
	}
	for _, test := range tests {
		if _, err := NewRange(test.ranges, shards); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v, want one with %q", test.ranges, err, test.want)
		}
	}
}

// Ranges cut anywhere place every value exactly where a linear search does.
func TestRangeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cuts := rapid.SliceOfNDistinct(rapid.Int64Range(-50, 50), 2, 12, rapid.ID[int64]).Draw(t, "cuts")
		slices.Sort(cuts)
		ranges := map[string][]string{}
		var spans [][3]int64
		for i := 0; i+1 < len(cuts); i += 2 {
			shard := rapid.IntRange(0, 2).Draw(t, "shard")
			text := change.IntValue(cuts[i]).String() + ".." + change.IntValue(cuts[i+1]).String()
			ranges[shards[shard]] = append(ranges[shards[shard]], text)
			spans = append(spans, [3]int64{cuts[i], cuts[i+1], int64(shard)})
		}
		r, err := NewRange(ranges, shards)
		if err != nil {
			t.Fatal(err)
		}
		for v := int64(-55); v <= 55; v++ {
			want := -1
			for _, s := range spans {
				if s[0] <= v && v <= s[1] {
					want = int(s[2])
				}
			}
			got, err := r.Shard(change.IntValue(v))
			if (err != nil) != (want < 0) || (err == nil && got != want) {
				t.Fatalf("%d in %v goes to %d, %v; want %d", v, r, got, err, want)
			}
		}
	})
}

func TestSpecFromYAML(t *testing.T) {
	var specs []Spec
	err := yaml.Unmarshal([]byte(`
- {table: shop.orders,    by: user_id, rule: modulus}
- {table: shop.customers, by: id, rule: {range: {s0: "..100000", s1: ["100001..200000", "300000.."]}}}
- {table: shop.countries, rule: all}
- {table: "shop.archive_*", rule: s2}
`), &specs)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		if err := s.Check(shards); err != nil {
			t.Error(err)
		}
	}
	want := []string{"modulus 3", "range s0 ..100000, s1 100001..200000, s1 300000..", "all", "one 2"}
	for i, s := range specs {
		rule, err := s.Rule.Build(shards)
		if err != nil || rule.String() != want[i] {
			t.Errorf("%s: rule %v, %v; want %s", s.Table, rule, err, want[i])
		}
	}
	if s, err := Find(specs, change.TableName{DB: "shop", Name: "archive_2025"}, shards); err != nil || s.Rule.Name != "s2" {
		t.Errorf("shop.archive_2025: %v, %v", s, err)
	}
	if s, err := Find(specs, change.TableName{DB: "shop", Name: "clicks"}, shards); err == nil {
		t.Errorf("shop.clicks has no route among 3 shards, yet got %v", s)
	}
	if s, err := Find(nil, change.TableName{DB: "shop", Name: "clicks"}, shards[:1]); err != nil || s.Rule.Name != "s0" {
		t.Errorf("a single shard takes every table; got %v, %v", s, err)
	}
}

func TestSpecRefuses(t *testing.T) {
	for _, text := range []string{
		`{table: shop.orders, rule: {modulus: 3}}`, `{table: shop.orders, rule: {range: {s0: 5}}}`, `{table: shop.orders, rule: []}`,
	} {
		var s Spec
		if err := yaml.Unmarshal([]byte(text), &s); err == nil {
			t.Errorf("%s was read as %+v", text, s)
		}
	}
	for want, s := range map[string]Spec{
		"needs `by`":     {Table: "a.b", Rule: RuleSpec{Name: "modulus"}},
		"is not known":   {Table: "a.b", By: "id", Rule: RuleSpec{Name: "modulo"}},
		"database.table": {Table: "orders", By: "id", Rule: RuleSpec{Name: "hash"}},
	} {
		if err := s.Check(shards); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", s, err, want)
		}
	}
}

func TestExplainAndFingerprint(t *testing.T) {
	orders := change.TableName{DB: "shop", Name: "orders"}
	if got, want := Explain(orders, "user_id", Modulus{3}, shards, change.IntValue(-1)), "shop.orders: user_id = -1, modulus 3 -> s2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	base := Fingerprint("user_id", Modulus{3}, shards)
	for _, other := range []string{
		Fingerprint("id", Modulus{3}, shards), Fingerprint("user_id", Hash{3}, shards),
		Fingerprint("user_id", Modulus{3}, []string{"s1", "s0", "s2"}),
	} {
		if other == base {
			t.Errorf("another route has the same fingerprint %s", base)
		}
	}
}
