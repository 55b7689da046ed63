// Package report closes `make test`: it says which servers the run met and which it could not.
package report

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"
)

// TestServers prints what the other packages wrote to $SLUICE_MET, one line a server: "met NAME VERSION",
// "unmet NAME reason" or "skip TEST reason".
func TestServers(t *testing.T) {
	file := os.Getenv("SLUICE_MET")
	if file == "" {
		t.Skip("only `make test` collects the servers")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]map[string]bool{"met": {}, "unmet": {}, "skip": {}}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		if set := lines[kind]; set != nil {
			set[rest] = true
		}
	}
	fmt.Println("skipped:", join(lines["skip"]))
	for unmet := range lines["unmet"] {
		fmt.Println("NOT MET:", unmet)
	}
	fmt.Printf("servers met: %s; not met: %s; skipped: %d\n", join(lines["met"]), join(lines["unmet"]), len(lines["skip"]))
}

func join(set map[string]bool) string {
	if len(set) == 0 {
		return "none"
	}
	var names []string
	for s := range set {
		names = append(names, s)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}
