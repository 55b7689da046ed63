// Package model has TLC look at every state of Sluice.tla, a small model of the rules R3, R4 and R5: nothing is wrong in
// it as the rules are, and each part of a rule that is left out is found out. What is modelled, and what is not, is in
// docs/internals.md.
package model

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// constants are the model's, as TLC's configuration writes them.
type constants map[string]string

// rules are the constants with no error planted.
var rules = constants{
	"Wait": "TRUE", "InProgress": "TRUE", "ResumeSet": "TRUE", "HighFromEnd": "TRUE", "Remember": "TRUE", "Strike": "TRUE",
	"Compare": "TRUE", "Holders": `"older"`,
}

// The bounds. whole is the row's way from end to end; crawl leaves the target out, target the crawl and the server's
// delays, and each can afford more of the rest.
var (
	whole = constants{
		"KeyCount": "2", "Vals": "{a}", "MaxTx": "2", "MaxChunks": "1", "MaxRestarts": "0", "MaxLate": "1", "Tombstones": "TRUE",
		"FirstCrawl": "TRUE", "Prompt": "FALSE", "Sink": "TRUE",
	}
	crawl = constants{
		"KeyCount": "2", "Vals": "{a}", "MaxTx": "2", "MaxChunks": "1", "MaxRestarts": "1", "MaxLate": "0", "Tombstones": "FALSE",
		"FirstCrawl": "TRUE", "Prompt": "FALSE", "Sink": "FALSE",
	}
	target = constants{
		"KeyCount": "3", "Vals": "{a, b}", "MaxTx": "3", "MaxChunks": "0", "MaxRestarts": "0", "MaxLate": "1", "Tombstones": "TRUE",
		"FirstCrawl": "FALSE", "Prompt": "TRUE", "Sink": "TRUE",
	}
)

// needsTLC skips the test where there is no Java or no TLC.
func needsTLC(t *testing.T) {
	t.Helper()
	if err := testbed.Available(t.Context(), "tlc"); err != nil {
		t.Skipf("not met: %v", err)
	}
}

func (c constants) with(changes constants) constants {
	c = maps.Clone(c)
	maps.Copy(c, changes)
	return c
}

// TestRules: no state within the bounds breaks an invariant. SLUICE_FULL=1 widens them.
func TestRules(t *testing.T) {
	needsTLC(t)
	runs := map[string]constants{
		"whole":  whole,
		"crawl":  crawl,
		"target": target,
		// A target that keeps its progress with the rows needs no memory of deletes: nothing comes late to it.
		"target with progress": target.with(constants{"KeyCount": "2", "MaxTx": "4", "MaxLate": "0", "Tombstones": "FALSE"}),
	}
	if os.Getenv("SLUICE_FULL") != "" {
		runs["whole"] = whole.with(constants{"MaxRestarts": "1", "MaxChunks": "2"})
		runs["crawl"] = crawl.with(constants{"MaxTx": "3", "MaxRestarts": "1"})
		runs["target"] = target.with(constants{"MaxTx": "4"})
	}
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		t.Run(name, func(t *testing.T) {
			printed, holds := check(t, runs[name])
			if !holds {
				t.Errorf("the rules are wrong:\n%s", printed)
			}
			t.Log(states(printed))
		})
	}
}

// TestPlantedErrors: with a part of a rule left out TLC finds a state that is wrong. A model that finds no error in these
// would say nothing of the rules either.
func TestPlantedErrors(t *testing.T) {
	needsTLC(t)
	for _, planted := range []struct {
		name  string
		model constants
		error constants
	}{
		{"R4 step 2: no wait", crawl, constants{"Wait": "FALSE"}},
		{"R4 step 1: the transaction in progress is not waited for", crawl, constants{"InProgress": "FALSE"}},
		{"R4 step 1: the resume set is not waited for", crawl, constants{"ResumeSet": "FALSE"}},
		{"R4 step 1: keys are not remembered while the rows are read", crawl, constants{"Remember": "FALSE"}},
		{"R4 step 4: the high mark is gtid_executed", crawl, constants{"HighFromEnd": "FALSE"}},
		{"R4 step 4: events do not strike", crawl, constants{"Strike": "FALSE"}},
		{"R5: versions are not compared", target, constants{"Compare": "FALSE"}},
		{"R5: every holder is deleted, as REPLACE does", target, constants{"Holders": `"all"`}},
		{"R5: no holder is deleted", target, constants{"Holders": `"none"`}},
		{"R6: late writes, and deletes are forgotten", target, constants{"Tombstones": "FALSE"}},
	} {
		t.Run(planted.name, func(t *testing.T) {
			printed, holds := check(t, planted.model.with(planted.error))
			if holds {
				t.Fatalf("TLC found nothing wrong:\n%s", printed)
			}
			violated := regexp.MustCompile(`Invariant \w+ is violated`).FindString(printed)
			if violated == "" {
				t.Fatalf("TLC stopped for another reason:\n%s", printed)
			}
			t.Logf("%s after %s", violated, states(printed))
		})
	}
}

var summary = regexp.MustCompile(`\d+ states generated, \d+ distinct states found`)

func states(printed string) string { return summary.FindString(printed) }

// check runs TLC with these constants.
func check(t *testing.T, c constants) (printed string, holds bool) {
	t.Helper()
	dir := t.TempDir()
	module, err := os.ReadFile("Sluice.tla")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"Sluice.tla": string(module), "Sluice.cfg": configuration(rules.with(c))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	printed, holds, err = testbed.RunTLC(ctx, testbed.TLCRun{Dir: dir, Module: "Sluice"}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	return printed, holds
}

func configuration(c constants) string {
	var b strings.Builder
	b.WriteString("SPECIFICATION Spec\nSYMMETRY Symmetry\nCHECK_DEADLOCK FALSE\n")
	b.WriteString("INVARIANTS Typed ChunkTrue LogRight UniqueAtTarget Right\nCONSTANTS\n  a = a\n  b = b\n")
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "  %s = %s\n", name, c[name])
	}
	return b.String()
}
