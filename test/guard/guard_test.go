// Package guard holds what the hot path allocates for each row against committed figures, baseline.txt. They are counts, so a loss shows
// on any machine, however slow or busy it is, and a machine's speed is never taken for one.
//
// Each line of the baseline is a benchmark of the package that it names; with more rows than one an operation, it reports them
// as rows/op. To watch one more, add a line with its package and name, and zeros. Figures that are meant to change are renewed by
//
//	go test ./test/guard -update
//
// and -only sink/mysql looks at one package alone.
package guard

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	update = flag.Bool("update", false, "write the baseline anew")
	only   = flag.String("only", "", "look at this package alone, as the baseline spells it")
)

const (
	baselineFile = "baseline.txt"
	module       = "github.com/sluice-cdc/sluice/"
	rounds       = 3 // what is not the benchmark's own (the runtime's, a timer's) only adds: the least counts
)

// The losses that are let pass: a tenth, and what is no whole thing for a hundred rows.
const (
	lossAllowed  = 0.10
	allocsSlight = 0.01
	bytesSlight  = 1
	steadyWithin = 0.02 // bytes that vary by more from round to round are not held against anything
)

// benchmark names one: its package within the module, and its name as go test prints it.
type benchmark struct{ pkg, name string }

// figures are what a row costs. bytes is below 0 where it is not steady.
type figures struct{ allocs, bytes float64 }

func TestAllocations(t *testing.T) {
	text, err := os.ReadFile(baselineFile)
	if err != nil {
		t.Fatal(err)
	}
	then, err := parseBaseline(string(text))
	if err != nil {
		t.Fatal(err)
	}
	aside := make(map[benchmark]figures)
	for b, f := range then {
		if *only != "" && b.pkg != *only {
			aside[b] = f
			delete(then, b)
		}
	}
	if len(then) == 0 {
		t.Fatalf("%s has no benchmark of %q", baselineFile, *only)
	}
	now := measure(t, then)
	if *update {
		maps.Copy(now, aside)
		if err := os.WriteFile(baselineFile, []byte(renewed(string(text), now)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, b := range missing(then, now) {
		t.Errorf("%s of %s is in %s or was run, not both: add or remove its line, then go test ./test/guard -update", b.name, b.pkg, baselineFile)
	}
	for b, is := range now {
		was, ok := then[b]
		if lost := loss(was, is); ok && lost != "" {
			t.Errorf("%s %s allocates more for a row: %s (over %.0f %%)\nsee where:    %s\nif it is meant: go test ./test/guard -update%s",
				b.pkg, b.name, lost, 100*lossAllowed, b.look(), otherGo(string(text)))
		} else if gain := loss(is, was); ok && gain != "" {
			t.Logf("%s %s allocates less than %s says (from now to then: %s): renew it with go test ./test/guard -update", b.pkg, b.name, baselineFile, gain)
		}
	}
}

// measure runs the benchmarks of the baseline, all of them and each a few times, and returns the least of each.
func measure(t *testing.T, of map[benchmark]figures) map[benchmark]figures {
	t.Helper()
	var pkgs, names []string
	for b := range of {
		top, _, _ := strings.Cut(b.name, "/")
		pkgs, names = append(pkgs, "./"+b.pkg), append(names, top)
	}
	slices.Sort(pkgs)
	slices.Sort(names)
	// The collector is off in the benchmarks, not in what compiles them: at its whim pools would be empty.
	args := []string{"test", "-run", "^$", "-bench", "^(" + strings.Join(slices.Compact(names), "|") + ")$", "-benchmem", "-benchtime", "20x",
		"-count", strconv.Itoa(rounds), "-cpu", "1", "-vet", "off", "-ldflags", "-s -w", "-exec", "env GOGC=off", "-timeout", "5m"}
	cmd := exec.Command("go", append(args, slices.Compact(pkgs)...)...)
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	now, err := parseOutput(string(out), of)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return now
}

// parseOutput reads what go test prints of the benchmarks that are watched.
func parseOutput(out string, of map[benchmark]figures) (map[benchmark]figures, error) {
	watched := make(map[benchmark]bool)
	for b := range of {
		b.name, _, _ = strings.Cut(b.name, "/")
		watched[b] = true
	}
	now, most := make(map[benchmark]figures), make(map[benchmark]float64)
	pkg := ""
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == "pkg:" {
			pkg = strings.TrimPrefix(fields[1], module)
		}
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		b := benchmark{pkg, fields[0]}
		top, _, _ := strings.Cut(b.name, "/")
		if !watched[benchmark{pkg, top}] {
			continue
		}
		f, err := parseFigures(fields[2:])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		known, again := now[b]
		if !again {
			known = f
		}
		most[b] = max(most[b], f.bytes)
		now[b] = figures{min(known.allocs, f.allocs), min(known.bytes, f.bytes)}
	}
	for b, f := range now {
		if most[b] > f.bytes*(1+steadyWithin)+bytesSlight {
			f.bytes = -1
			now[b] = f
		}
	}
	return now, nil
}

// parseFigures reads pairs of a number and its unit.
func parseFigures(fields []string) (figures, error) {
	of := map[string]float64{"rows/op": 1}
	for i := 0; i+1 < len(fields); i += 2 {
		n, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return figures{}, err
		}
		of[fields[i+1]] = n
	}
	return figures{of["allocs/op"] / of["rows/op"], of["B/op"] / of["rows/op"]}, nil
}

func parseBaseline(text string) (map[benchmark]figures, error) {
	baseline := make(map[benchmark]figures)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) != 4 {
			return nil, fmt.Errorf("%s: %q: want a package, a benchmark, allocations and bytes a row", baselineFile, line)
		}
		var f figures
		var err error
		if f.allocs, err = strconv.ParseFloat(fields[2], 64); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", baselineFile, line, err)
		}
		if f.bytes = -1; fields[3] != "-" {
			if f.bytes, err = strconv.ParseFloat(fields[3], 64); err != nil {
				return nil, fmt.Errorf("%s: %q: %w", baselineFile, line, err)
			}
		}
		baseline[benchmark{fields[0], fields[1]}] = f
	}
	return baseline, nil
}

const madeWith = "# made with "

// renewed keeps the comments at the top and writes the figures anew.
func renewed(text string, now map[benchmark]figures) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		if strings.HasPrefix(line, madeWith) {
			line = madeWith + runtime.Version() + " on " + runtime.GOARCH + "\n"
		}
		b.WriteString(line)
	}
	var lines []string
	for of, f := range now {
		bytes := "-"
		if f.bytes >= 0 {
			bytes = strconv.FormatFloat(f.bytes, 'f', 0, 64)
		}
		lines = append(lines, fmt.Sprintf("%-20s %-40s %8.2f %8s\n", of.pkg, of.name, f.allocs, bytes))
	}
	slices.Sort(lines)
	return b.String() + strings.Join(lines, "")
}

// missing returns what is in one and not in the other.
func missing(then, now map[benchmark]figures) (list []benchmark) {
	for b := range then {
		if _, ok := now[b]; !ok {
			list = append(list, b)
		}
	}
	for b := range now {
		if _, ok := then[b]; !ok {
			list = append(list, b)
		}
	}
	return list
}

// loss says by what a row costs more now, empty where it does not.
func loss(then, now figures) string {
	var said []string
	if now.allocs > then.allocs*(1+lossAllowed)+allocsSlight {
		said = append(said, fmt.Sprintf("%.2f allocations then, %.2f now", then.allocs, now.allocs))
	}
	if then.bytes >= 0 && now.bytes > then.bytes*(1+lossAllowed)+bytesSlight {
		said = append(said, fmt.Sprintf("%.0f bytes then, %.0f now", then.bytes, now.bytes))
	}
	return strings.Join(said, "; ")
}

// look returns the command that shows where a benchmark allocates.
func (b benchmark) look() string {
	parts := strings.Split(b.name, "/")
	for i := range parts {
		parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
	}
	return fmt.Sprintf("go test -run '^$' -bench '%s' -benchmem -memprofile mem.out -memprofilerate 1 ./%s && go tool pprof -sample_index alloc_objects -top mem.out",
		strings.Join(parts, "/"), b.pkg)
}

// otherGo says so where the baseline is another compiler's: what escapes to the heap is its decision.
func otherGo(text string) string {
	for line := range strings.Lines(text) {
		if made, ok := strings.CutPrefix(strings.TrimSpace(line), strings.TrimSpace(madeWith)+" "); ok && !strings.HasPrefix(made, runtime.Version()+" ") {
			return fmt.Sprintf("\nthe baseline was made with %s, this is %s: it may be the compiler's doing", made, runtime.Version())
		}
	}
	return ""
}

// TestLoss is the guard's own: a loss of over a tenth is one, in either figure, and nothing else is.
func TestLoss(t *testing.T) {
	for _, c := range []struct {
		then, now figures
		want      string
	}{
		{figures{0, 0}, figures{0, 0}, ""},
		{figures{0, 0}, figures{1, 16}, "0.00 allocations then, 1.00 now; 0 bytes then, 16 now"},
		{figures{0, 0}, figures{0.01, 1}, ""},
		{figures{3, 500}, figures{3.3, 550}, ""},
		{figures{3, 500}, figures{3.4, 500}, "3.00 allocations then, 3.40 now"},
		{figures{3, 500}, figures{3, 560}, "500 bytes then, 560 now"},
		{figures{3, -1}, figures{3, 5000}, ""},
		{figures{3, 500}, figures{2, 100}, ""},
	} {
		if got := loss(c.then, c.now); got != c.want {
			t.Errorf("then %v, now %v: %q, want %q", c.then, c.now, got, c.want)
		}
	}
}

// TestOutput: of several rounds the least counts, rows are divided by, and bytes that vary are left out.
func TestOutput(t *testing.T) {
	of := map[benchmark]figures{{"a/b", "BenchmarkX/one"}: {}, {"a/b", "BenchmarkY"}: {}}
	out := "pkg: " + module + "a/b\nBenchmarkX/one\t 20\t 300 ns/op\t 100.0 rows/op\t 2000 B/op\t 250 allocs/op\n" +
		"BenchmarkX/one 20 200 ns/op 100.0 rows/op 2010 B/op 251 allocs/op\nBenchmarkY 20 9 ns/op 9 MB/s 64 B/op 1 allocs/op\n" +
		"BenchmarkY 20 9 ns/op 9 MB/s 80 B/op 1 allocs/op\nBenchmarkZ 20 9 ns/op 1 B/op 1 allocs/op\npkg: " + module + "c\nBenchmarkY 20 9 ns/op 1 B/op 1 allocs/op\n"
	now, err := parseOutput(out, of)
	if err != nil {
		t.Fatal(err)
	}
	text := "# a comment\n" + madeWith + "go1.0 on paper\na/b BenchmarkGone 1 1\n"
	want := "# a comment\n" + madeWith + runtime.Version() + " on " + runtime.GOARCH + "\n" +
		"a/b                  BenchmarkX/one                               2.50       20\n" +
		"a/b                  BenchmarkY                                   1.00        -\n"
	if got := renewed(text, now); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if !strings.Contains(otherGo(text), "go1.0 on paper") || otherGo(want) != "" {
		t.Errorf("the compiler: %q, %q", otherGo(text), otherGo(want))
	}
	again, err := parseBaseline(want)
	if err != nil || len(missing(again, now)) != 0 {
		t.Errorf("read back: %v, %v", again, err)
	}
}
