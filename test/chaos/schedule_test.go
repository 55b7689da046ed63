package chaos

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// plannedKinds are the table's of a run with two shards.
func plannedKinds(t *testing.T) (shapes []shape) {
	t.Helper()
	s, err := ParseSettings(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range (&bed{settings: s}).kindsOf() {
		shapes = append(shapes, k.shape)
	}
	return shapes
}

// TestPlanner: the same seed draws the same faults, another one others; every kind comes up; faults that go on at the same time
// never touch the same thing, and are never too many.
func TestPlanner(t *testing.T) {
	kinds := plannedKinds(t)
	const rounds, length, atOnce = 12, 2 * time.Minute, 4
	play := func(seed uint64) (all [][]Planned) {
		p := newPlanner(seed, 1, kinds)
		for range rounds {
			all = append(all, p.Round(length, 4*time.Second, atOnce))
		}
		return all
	}
	one := play(7)
	if diff := cmp.Diff(one, play(7)); diff != "" {
		t.Errorf("the same seed:\n%s", diff)
	}
	if cmp.Equal(one, play(8)) {
		t.Error("another seed draws the same faults")
	}
	met, overlaps := map[string]int{}, 0
	for _, round := range one {
		for i, f := range round {
			met[f.Kind]++
			if f.At < 0 || f.At+f.Length > length {
				t.Errorf("%v from %v for %v leaves its round", f, f.At, f.Length)
			}
			going := 1
			for _, before := range round[:i] {
				if before.At+before.Length <= f.At {
					continue
				}
				going++
				overlaps++
				for _, c := range claimsOf(kinds, f) {
					for _, other := range claimsOf(kinds, before) {
						if c == other {
							t.Errorf("%v and %v both touch %s", before, f, c)
						}
					}
				}
			}
			if going > atOnce {
				t.Errorf("%d faults at once at %v", going, f.At)
			}
		}
	}
	if overlaps == 0 {
		t.Error("no two faults went on at the same time")
	}
	for _, k := range kinds {
		if met[k.name] == 0 {
			t.Errorf("%s never came up", k.name)
		}
	}
}

func claimsOf(kinds []shape, f Planned) []string {
	return (&Planner{kinds: kinds}).kind(f.Kind).claims(f.Place)
}

// TestSettings: the environment is read, nonsense is refused with the variable's name, and without a duration it is the short
// run with its own seed.
func TestSettings(t *testing.T) {
	from := func(env map[string]string) (Settings, error) {
		return ParseSettings(func(name string) string { return env[name] })
	}
	s, err := from(nil)
	if err != nil || !s.Short || s.Duration != time.Minute || s.Seed != shortSeed {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = from(map[string]string{"SLUICE_TORTURE_DURATION": "30m", "SLUICE_TORTURE_SEED": "7", "SLUICE_TORTURE_SHARDS": "8.0,mariadb-10.11",
		"SLUICE_TORTURE_KINDS": "failover,disk-full"})
	if err != nil || s.Short || s.Seed != 7 || s.Sessions != 1000 || len(s.Shards) != 2 || s.Shards[1] != "mariadb-10.11" || len(s.Kinds) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	for name, value := range map[string]string{"DURATION": "half an hour", "SEED": "seven", "SHARDS": "9.7,5.7", "SESSIONS": "0", "REGISTRY": "none"} {
		if s, err := from(map[string]string{"SLUICE_TORTURE_" + name: value, "SLUICE_TORTURE_DURATION": map[bool]string{true: value, false: "1m"}[name == "DURATION"]}); err == nil {
			t.Errorf("%s=%q is taken: %+v", name, value, s)
		}
	}
}

// TestKeyTexts reads keys out of the forms in which comparisons name them.
func TestKeyTexts(t *testing.T) {
	if diff := cmp.Diff([]string{"17", "NULL", "-4"}, keyTexts("2:17;N;2:-4;")); diff != "" {
		t.Error(diff)
	}
	named := namedKeys("the row with key (no=17812, seq=0) gave way to another; the row with key id=-4 (x) did not")
	if diff := cmp.Diff([][]string{{"17812", "0"}, {"-4"}}, named); diff != "" {
		t.Error(diff)
	}
}
