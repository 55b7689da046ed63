package mysql_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/route"
	"github.com/sluice-cdc/sluice/sink"
	target "github.com/sluice-cdc/sluice/sink/mysql"
)

// ending is what keys should be when each of the sources takes over from those before it: by id, the last state at the last source that ever said
// anything of it.
func ending(sources []*teller, states [][][]change.Value) []string {
	var want []string
	for id := range states[0] {
		var row []change.Value
		for i, s := range sources {
			for _, c := range s.logs[0] {
				if c.KeyValues[0].Int() == int64(id) {
					row = states[i][id]
				}
			}
		}
		want = append(want, texts([][]change.Value{row})...)
	}
	return want
}

// Keys that three sources hold, which write and delete them at the same time: in whatever order their changes come, and when they are replayed,
// each key is what the source that took over says, in one shard.
func TestMovesBetweenSources(t *testing.T) {
	for _, shards := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d shards", shards), func(t *testing.T) {
			n := seed(t)
			r := rand.New(rand.NewPCG(n, uint64(shards)))
			p := newPlace(t, shards)
			inSideTables(p)
			p.config.Routes = []route.Spec{{Table: "shop.users", By: "seat", Rule: route.RuleSpec{Name: "modulus"}}}
			p.config.Moves = []target.Move{{Table: "shop.*", From: "shop", To: "south"}, {Table: "shop.users", From: "south", To: "west"}}
			sources := make([]*teller, 3)
			states := make([][][]change.Value, 3)
			for i, name := range []string{"shop", "south", "west"} {
				s := newTeller(users("utf8mb4_general_ci"), 1)
				s.source, s.version = name, change.Version(r.IntN(500))
				states[i] = moves(r, s, 10, 50-10*i)
				sources[i] = s
			}
			interleave(t, r, p.opened(), sources)
			var got []string
			for id := range states[0] {
				got = append(got, p.eachShard(fmt.Sprintf("SELECT id,email,seat,n FROM $DB.users WHERE id=%d", id))...)
			}
			same(t, got, ending(sources, states))
		})
	}
}

// interleave delivers the sources' logs by batches of a few changes in random order, now and then from an earlier offset again.
func interleave(t *testing.T, r *rand.Rand, tg *target.Target, sources []*teller) {
	t.Helper()
	at, epochs := make([]int64, len(sources)), make([]int64, len(sources))
	for backs := 4; ; {
		var open []int
		for i, s := range sources {
			if at[i] < int64(len(s.logs[0])) {
				open = append(open, i)
			}
		}
		if backs > 0 && r.IntN(8) == 0 {
			i := r.IntN(len(sources))
			at[i] = r.Int64N(at[i] + 1)
			if err := tg.SetProgress(t.Context(), group, []sink.Reset{{Partition: sources[i].identity(0), Next: at[i]}}); err != nil {
				t.Fatal(err)
			}
			backs, epochs[i] = backs-1, 0
			continue
		}
		if len(open) == 0 {
			return
		}
		i := open[r.IntN(len(open))]
		s := sources[i]
		if epochs[i] == 0 {
			_, epoch, _, err := tg.Assign(t.Context(), group, s.identity(0))
			if err != nil {
				t.Fatal(err)
			}
			epochs[i] = epoch
		}
		next := min(at[i]+1+r.Int64N(9), int64(len(s.logs[0])))
		if err := tg.Apply(t.Context(), s.batch(0, at[i], next, epochs[i])); err != nil {
			t.Fatal(change.Explain(err))
		}
		at[i] = next
	}
}

// The row that is taken over is replaced, whatever its version; the old source changes nothing any more, not even after a delete.
func TestTakingOver(t *testing.T) {
	p := sidePlace(t)
	p.config.Moves = []target.Move{{Table: "shop.users", From: "shop", To: "south"}}
	tg := p.opened()
	old, south := newTeller(users("utf8mb4_general_ci"), 1), newTeller(users("utf8mb4_general_ci"), 1)
	south.source, south.version = "south", 5
	step := func(s *teller, want ...string) {
		t.Helper()
		s.deliver(t, tg, 10)
		same(t, p.inShard(0), want)
	}
	old.write(nil, user(1, "a", 1, 1))
	old.write(nil, user(2, "b", 2, 1))
	step(old, "1|a|1|1", "2|b|2|1")
	south.write(nil, user(1, "a", 7, 7))
	step(south, "1|a|7|7", "2|b|2|1")
	old.write(user(1, "a", 1, 1), user(1, "a", 1, 2))
	old.write(user(2, "b", 2, 1), user(2, "b", 2, 2))
	step(old, "1|a|7|7", "2|b|2|2")
	south.write(user(1, "a", 7, 7), nil)
	step(south, "2|b|2|2")
	old.write(user(1, "a", 1, 2), user(1, "a", 1, 3))
	step(old, "2|b|2|2")
	old.write(nil, user(3, "a", 3, 3)) // its own keys go on, unique values too
	step(old, "2|b|2|2", "3|a|3|3")
	south.write(nil, user(1, "c", 1, 1))
	step(south, "1|c|1|1", "2|b|2|2", "3|a|3|3")

	if err := tg.Empty(t.Context(), "shop", []*change.Table{old.table}); err != nil {
		t.Fatal(err)
	}
	same(t, p.inShard(0), []string{"1|c|1|1"})
	if lines := p.lines(); len(lines) != 1 || !strings.HasPrefix(lines[0], "1|") {
		t.Errorf("lines %v", lines)
	}
	if err := tg.SetProgress(t.Context(), group, []sink.Reset{{Partition: old.identity(0), Next: -1}}); err != nil {
		t.Fatal(err)
	}
	old.deliver(t, p.opened(), 3)
	same(t, p.inShard(0), []string{"1|c|1|1", "2|b|2|2", "3|a|3|3"})
}

// Moves that have no safe rule are refused, and say why.
func TestMovesRefused(t *testing.T) {
	for _, test := range []struct {
		moves []target.Move
		side  []string
		want  string
	}{
		{[]target.Move{{Table: "shop.users", From: "a", To: "b"}}, nil, "name the table in side_tables"},
		{[]target.Move{{Table: "shop.users", From: "a", To: "b"}, {Table: "shop.*", From: "b", To: "a"}}, []string{"*.*"}, "back to it"},
	} {
		p := newPlace(t, 1)
		p.config.Moves, p.config.SideTables = test.moves, test.side
		schema := []*change.Table{users("utf8mb4_general_ci")}
		err := p.opened().Prepare(t.Context(), group, source, schema)
		if err == nil || change.SeverityOf(err) != change.Configuration || !strings.Contains(change.Explain(err), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
		findings, err := p.opened().Check(t.Context(), group, schema)
		if !slices.ContainsFunc(findings, func(f sink.Finding) bool { return f.Level == sink.Wrong && strings.Contains(f.What, test.want) }) {
			t.Errorf("doctor: %+v, %v", findings, err)
		}
	}
	_, err := target.New(target.Config{Shards: []target.Shard{{Name: "s0", Database: "a"}},
		Moves: []target.Move{{Table: "users", From: "a", To: "b"}, {Table: "a.b", From: "c", To: "c"}}}, sink.Setup{})
	if err == nil || !strings.Contains(err.Error(), `moves[0]: table "users"`) || !strings.Contains(err.Error(), "moves[1]: want from and to") {
		t.Errorf("got %v", err)
	}
}
