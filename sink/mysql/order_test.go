package mysql

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
)

var drivers = change.TableName{DB: "shop", Name: "drivers"}

func TestOrderOfMoves(t *testing.T) {
	for _, test := range []struct{ moves, want string }{
		{"", ""},
		{"a>b", "b takes over from a"},
		{"a>b b>c", "b takes over from a; c takes over from a, b"},
		{"b>c a>b", "b takes over from a; c takes over from a, b"},
		{"c>d a>b b>c x>d", "b takes over from a; c takes over from a, b; d takes over from a, b, c, x"},
		{"a>b a>c", "b takes over from a; c takes over from a"},
		{"a>b b>a", "back to it"},
		{"a>b b>c c>a", "back to it"},
	} {
		c := Config{SideTables: []string{"shop.*"}}
		for _, m := range strings.Fields(test.moves) {
			from, to, _ := strings.Cut(m, ">")
			c.Moves = append(c.Moves, Move{"shop.d*", from, to}, Move{"shop.orders", to, from})
		}
		o, err := c.orderOf(drivers)
		got := o.String()
		if err != nil {
			got = err.Error()
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("%s: got %q, want %q", test.moves, got, test.want)
		}
	}
	c := Config{Moves: []Move{{"shop.drivers", "a", "b"}}}
	if _, err := c.orderOf(drivers); err == nil || !strings.Contains(err.Error(), "side_tables") {
		t.Errorf("moves without a side table: %v", err)
	}
}

// said is one change of the key: a value, or a delete.
type said struct {
	source  int64
	version change.Version
	value   string // empty: a delete
}

// keyed is what a shard has of the key.
type keyed struct {
	stored *holder
	value  string
}

// rule applies a change; broken ones leave something out.
type rule func(k keyed, r ranks, c said) keyed

func rightRule(k keyed, r ranks, c said) keyed {
	switch {
	case r.decide(k.stored, c.version) != write:
		return k
	case c.value != "":
		return keyed{&holder{source: c.source, version: c.version}, c.value}
	case len(r.below) > 0:
		return keyed{stored: &holder{source: c.source, version: c.version, rowless: true}}
	}
	return keyed{}
}

// forgetful deletes without a mark.
func forgetful(k keyed, r ranks, c said) keyed {
	if k = rightRule(k, r, c); k.value == "" {
		return keyed{}
	}
	return k
}

// byVersion lets the greater version win between sources too.
func byVersion(k keyed, r ranks, c said) keyed {
	if k.stored != nil && k.stored.version >= c.version {
		return k
	}
	return rightRule(k, ranks{source: c.source, below: slices.Concat(r.below, r.above)}, c)
}

// lastWins lets whatever comes last take over.
func lastWins(k keyed, r ranks, c said) keyed {
	return rightRule(k, ranks{source: c.source, below: slices.Concat(r.below, r.above)}, c)
}

// differs delivers the logs of three sources, of which each takes over from those before it, in random order, each now and then from an earlier
// place once more, and reports whether the key then is something else than what the last source that ever spoke of it said last.
func differs(r *rand.Rand, apply rule) bool {
	logs, at := make([][]said, 3), make([]int, 3)
	want := ""
	for i := range logs {
		version := change.Version(r.IntN(20))
		for range r.IntN(4) {
			version += 1 + change.Version(r.IntN(9))
			c := said{source: int64(i + 1), version: version}
			if r.IntN(3) > 0 {
				c.value = fmt.Sprintf("%d at %d", i, version)
			}
			logs[i], want = append(logs[i], c), c.value
		}
	}
	all := []ranks{{source: 1, above: []int64{2, 3}}, {source: 2, below: []int64{1}, above: []int64{3}}, {source: 3, below: []int64{1, 2}}}
	var k keyed
	for backs := r.IntN(3); ; {
		var open []int
		for i := range logs {
			if at[i] < len(logs[i]) {
				open = append(open, i)
			}
		}
		if backs > 0 && r.IntN(4) == 0 {
			i := r.IntN(3)
			at[i] = r.IntN(at[i] + 1)
			backs--
			continue
		}
		if len(open) == 0 {
			return k.value != want
		}
		i := open[r.IntN(len(open))]
		k = apply(k, all[i], logs[i][at[i]])
		at[i]++
	}
}

// What a key becomes when sources take over from each other follows from their logs alone, whatever the order of delivery is, and however often
// it goes back. That the test can fail, rules show that leave something out.
func TestTakingOverIsDeterministic(t *testing.T) {
	const histories = 50_000
	for name, test := range map[string]struct {
		apply rule
		wrong bool
	}{"the rule": {rightRule, false}, "no marks of deletes": {forgetful, true}, "by version": {byVersion, true}, "whatever comes last": {lastWins, true}} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			wrong := 0
			for range histories {
				if differs(r, test.apply) {
					wrong++
				}
			}
			if (wrong > 0) != test.wrong {
				t.Errorf("%d of %d histories end wrong; want some: %v", wrong, histories, test.wrong)
			}
		})
	}
}
