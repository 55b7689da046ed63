package sim

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// historiesDefault takes about ten seconds on one core; $SLUICE_HISTORIES sets another number.
const historiesDefault = 50_000

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, text, err)
	}
	return n
}

// find runs histories until one fails, and returns its seed, how many it took, and what is wrong.
func find(m Mutant, first, count uint64) (seed, tried uint64, err error) {
	for i := range count {
		s, program := draw(first+i, m)
		if err := newWorld(s).run(program); err != nil {
			return first + i, i + 1, err
		}
	}
	return 0, 0, nil
}

// explain shrinks a failing history and prints its story.
func explain(seed uint64, m Mutant) string {
	s, program := draw(seed, m)
	before := len(program)
	program = shrink(s, program)
	story, err := tellStory(s, program)
	return fmt.Sprintf("SLUICE_SEED=%d SLUICE_HISTORIES=1: %v\n%s; %d acts, %d before shrinking\n%s", seed, err, s.target, len(program), before, story)
}

// TestHistories: topic and target are the table in the end, and nothing was wrong on the way.
func TestHistories(t *testing.T) {
	first := number(t, "SLUICE_SEED", uint64(time.Now().UnixNano())>>20)
	count := number(t, "SLUICE_HISTORIES", historiesDefault)
	t.Logf("SLUICE_SEED=%d, %d histories", first, count)
	if seed, _, err := find(None, first, count); err != nil {
		t.Fatalf("%v\n%s", err, explain(seed, None))
	}
}

// TestMutants: each planted error is found, and after how many histories.
func TestMutants(t *testing.T) {
	const most = 20_000
	for _, m := range Mutants {
		t.Run(string(m), func(t *testing.T) {
			seed, tried, err := find(m, 1, most)
			if err == nil {
				t.Fatalf("not found in %d histories", most)
			}
			t.Logf("found after %d histories: %v", tried, err)
			if testing.Verbose() {
				t.Log(explain(seed, m))
			}
		})
	}
}
