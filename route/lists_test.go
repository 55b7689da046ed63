package route

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// TestConsistentMovesLittle: with a shard more, a value stays where it was or goes to the new one; with one less, only the values of that one
// move. The order of the list does not matter.
func TestConsistentMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z0-9-]{0,8}`), 2, 9, rapid.ID[string]).Draw(t, "shards")
		v := rapid.OneOf(rapid.Map(rapid.Int64(), change.IntValue), rapid.Map(rapid.String(), change.StringValue)).Draw(t, "value")
		at, err := Consistent{names}.Shard(v)
		if err != nil {
			t.Fatal(err)
		}
		shuffled := rapid.Permutation(names).Draw(t, "shuffled")
		if other, _ := (Consistent{shuffled}).Shard(v); shuffled[other] != names[at] {
			t.Errorf("%v is on %s, and on %s in another order", v, names[at], shuffled[other])
		}
		gone := rapid.IntRange(0, len(names)-1).Draw(t, "gone")
		fewer := slices.Delete(slices.Clone(names), gone, gone+1)
		if other, _ := (Consistent{fewer}).Shard(v); gone != at && fewer[other] != names[at] {
			t.Errorf("without %s, %v moves from %s to %s", names[gone], v, names[at], fewer[other])
		}
	})
}

func TestConsistentSpreads(t *testing.T) {
	for _, names := range [][]string{{"s0", "s1"}, {"s0", "s1", "s2"}, {"a", "b", "c", "d", "e", "f", "g"}} {
		counts := make([]int, len(names))
		const values = 70_000
		for i := range values {
			shard, err := Consistent{names}.Shard(change.IntValue(int64(i)))
			if err != nil {
				t.Fatal(err)
			}
			counts[shard]++
		}
		if share := values / len(names); slices.Min(counts) < share*95/100 || slices.Max(counts) > share*105/100 {
			t.Errorf("%v: %v", names, counts)
		}
	}
	if _, err := (Consistent{shards}).Shard(change.Value{}); err == nil {
		t.Error("NULL was placed")
	}
	if got := (Consistent{[]string{"b", "a"}}).String(); got != "consistent a, b" {
		t.Errorf("it calls itself %q", got)
	}
	// What was placed by one release is found by the next.
	for value, want := range map[string]int{"": 1, "seoul": 0, "42": 2, "user-1": 2} {
		if got, _ := (Consistent{shards}).Shard(change.StringValue(value)); got != want {
			t.Errorf("%q is on %d, want %d", value, got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	l, err := NewLookup(map[string][]string{"s0": {"kakao", "7"}, "s2": {"", "daum"}}, shards)
	if err != nil {
		t.Fatal(err)
	}
	for v, want := range map[string]int{"kakao": 0, "7": 0, "": 2, "daum": 2, "Kakao": -2, "8": -2} {
		got, err := l.Shard(change.StringValue(v))
		if err != nil {
			got = -2
		}
		if got != want {
			t.Errorf("%q goes to %d (%v), want %d", v, got, err, want)
		}
	}
	if got, err := l.Shard(change.UintValue(7)); err != nil || got != 0 {
		t.Errorf("the number 7 goes to %d, %v", got, err)
	}
	if _, err := l.Shard(change.Value{}); err == nil {
		t.Error("NULL was placed")
	}
	other, _ := NewLookup(map[string][]string{"s1": {"kakao", "7"}, "s2": {"", "daum"}}, shards)
	if l.String() == other.String() || !strings.HasPrefix(l.String(), "lookup of 4 values") {
		t.Errorf("two lists are called %q and %q", l, other)
	}
}

// TestLookupWritten: as YAML, and as a file.
func TestLookupWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tenants.csv")
	if err := os.WriteFile(file, []byte("# tenant,shard\nkakao,s0\n\"a,b\",s2\n42,s2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{lookup: {s0: kakao, s2: ["a,b", 42]}}`, `{lookup: "` + file + `"}`} {
		var spec RuleSpec
		if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := yaml.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		var back RuleSpec
		if err := yaml.Unmarshal(again, &back); err != nil || fmt.Sprint(back) != fmt.Sprint(spec) || !spec.NeedsKey() {
			t.Errorf("%s is written as %s and read as %v: %v", text, again, back, err)
		}
		rule, err := back.Build(shards)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for v, want := range map[string]int{"kakao": 0, "a,b": 2, "42": 2} {
			if got, err := rule.Shard(change.StringValue(v)); err != nil || got != want {
				t.Errorf("%s: %q goes to %d, %v", text, v, got, err)
			}
		}
	}
}

func TestLookupRefuses(t *testing.T) {
	dir := t.TempDir()
	written := func(text string) string {
		file := filepath.Join(dir, "t.csv")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for want, spec := range map[string]RuleSpec{
		`shard "s9", which is not configured`: {Name: "lookup", Lists: map[string][]string{"s9": {"1"}}},
		`gives "1" to s0 and to s1`:           {Name: "lookup", Lists: map[string][]string{"s0": {"1"}, "s1": {"1"}}},
		"at least one value":                  {Name: "lookup"},
		"cannot be read":                      {Name: "lookup", File: filepath.Join(dir, "none.csv")},
		"a value and a shard in each line":    {Name: "lookup", File: written("a,s0\nb\n")},
	} {
		if _, err := spec.Build(shards); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q", spec, err, want)
		}
	}
	var spec RuleSpec
	if err := yaml.Unmarshal([]byte(`{lookup: {s0: 1.5}}`), &spec); err == nil || !strings.Contains(err.Error(), "want an integer, or text in quotes") {
		t.Errorf("1.5: %v", err)
	}
}
