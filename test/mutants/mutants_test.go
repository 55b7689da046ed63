// Package mutants plants the errors of internal/mutant into the real code, one after the other, and demands that the test which is
// there for it fails, with the words for that error, and passes without it. A test that cannot fail proves nothing.
//
// At full size (SLUICE_FULL=1, make mutants) it plants all of them, else the cheap ones.
package mutants

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// TestPlanted plants one mutant after the other.
func TestPlanted(t *testing.T) {
	full := os.Getenv("SLUICE_FULL") != ""
	healthy := map[string]error{} // tests that were run without a mutant
	for _, p := range list {
		if !full && !p.cheap {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			began := time.Now()
			out, failed := p.run("mutant_" + p.name)
			if err := p.caught(out, failed); err != nil {
				t.Errorf("%s: %v\n%s", p.command("mutant_"+p.name), err, tail(out))
				return
			}
			took := time.Since(began)
			key := p.folder + " " + p.test
			err, known := healthy[key]
			if !known {
				out, failed := p.run("")
				err = p.passed(out, failed)
				if healthy[key] = err; err != nil {
					t.Log(tail(out))
				}
			}
			if err != nil {
				t.Errorf("%s: %v", p.command(""), err)
			}
			t.Logf("caught in %.1f s by %s in %s", took.Seconds(), p.test, p.folder)
		})
	}
}

// command is how a person runs the test.
func (p *planted) command(tags string) string { return "go " + strings.Join(p.arguments(tags), " ") }

func (p *planted) arguments(tags string) []string {
	args := []string{"test", "-v", "-count=1", "-timeout=4m"}
	if tags != "" {
		args = append(args, "-tags="+tags)
	}
	return append(args, "-run=^"+strings.ReplaceAll(p.test, "/", "$/^")+"$", "./"+p.folder)
}

// run runs the test at its usual size.
func (p *planted) run(tags string) (out string, failed bool) {
	cmd := exec.Command("go", p.arguments(tags)...)
	cmd.Dir = root
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SLUICE_FULL=") })
	text, err := cmd.CombinedOutput()
	return string(text), err != nil
}

// caught says why a run with the mutant does not count as one that caught it, or nil.
func (p *planted) caught(out string, failed bool) error {
	switch {
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		return errors.New("it does not build")
	case strings.Contains(out, "panic: test timed out"):
		return errors.New("it was given up after its time")
	case strings.Contains(out, "[no tests to run]"):
		return errors.New("there is no such test")
	case !failed && strings.Contains(out, "--- SKIP: "+p.test):
		return errors.New("it was skipped")
	case !failed:
		return errors.New("NOT CAUGHT: the test passes")
	case !strings.Contains(out, "--- FAIL: "+p.test):
		return errors.New("the test did not run to its end")
	case !strings.Contains(out, p.says):
		return fmt.Errorf("it fails, and does not say %q: for another reason?", p.says)
	}
	return nil
}

// passed says what is wrong with a run without a mutant, or nil.
func (p *planted) passed(out string, failed bool) error {
	if failed || !strings.Contains(out, "--- PASS: "+p.test) {
		return errors.New("without the mutant it does not pass either, so it has caught nothing")
	}
	return nil
}

// tail is the end of a test's output.
func tail(out string) string {
	const most = 4000
	return out[max(0, len(out)-most):]
}

// TestCaught: only a failure for the right reason is one.
func TestCaught(t *testing.T) {
	p := &planted{test: "TestX/sub", says: "row 7 is missing"}
	for out, want := range map[string]string{
		"--- FAIL: TestX (1s)\n    --- FAIL: TestX/sub (1s)\n  x.go:1: row 7 is missing\nFAIL": "",
		"--- FAIL: TestX (1s)\n    --- FAIL: TestX/sub (1s)\n  x.go:1: no server\nFAIL":        "for another reason",
		"x.go:3: undefined: y\nFAIL ./x [build failed]":                                        "does not build",
		"row 7 is missing\npanic: test timed out after 4m0s\n--- FAIL: TestX/sub":              "given up",
		"row 7 is missing\npanic: runtime error\nFAIL":                                         "to its end",
		"--- PASS: TestX/sub\nPASS":                                                            "NOT CAUGHT",
		"--- SKIP: TestX/sub\nPASS":                                                            "skipped",
		"testing: warning: no tests to run\nPASS\nok ./x [no tests to run]":                    "no such test",
	} {
		err := p.caught(out, strings.Contains(out, "FAIL"))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", out, err, want)
		}
	}
	if p.passed("--- SKIP: TestX/sub\nPASS", false) == nil || p.passed("--- PASS: TestX/sub\nPASS", false) != nil {
		t.Error("what passes without a mutant is not told from what does not")
	}
}

// TestListIsTheCode: each constant has its tag's file, its place in the code, its test here and its line in docs/internals.md.
func TestListIsTheCode(t *testing.T) {
	constants := regexp.MustCompile(`(?m)^\t(\w+) *= Tag == "mutant_(\w+)" *// (.*)$`).FindAllStringSubmatch(read(t, "internal/mutant/mutant.go"), -1)
	places := placesInCode(t)
	page := read(t, "docs/internals.md")
	named := map[string]bool{}
	for _, c := range constants {
		constant, name, breaks := c[1], c[2], c[3]
		named[name] = true
		if !strings.HasPrefix(read(t, "internal/mutant/"+name+".go"), "//go:build mutant_"+name+"\n") {
			t.Errorf("internal/mutant/%s.go is not of the tag mutant_%s", name, name)
		}
		at := slices.IndexFunc(list, func(p planted) bool { return p.name == name })
		if at < 0 || len(places[constant]) == 0 {
			t.Errorf("mutant.%s: listed here %v, used in %v", constant, at >= 0, places[constant])
			continue
		}
		if row := list[at].row(breaks, places[constant]); !strings.Contains(page, "\n"+row+"\n") {
			t.Errorf("docs/internals.md lacks the line\n%s", row)
		}
	}
	for _, p := range list {
		if !named[p.name] {
			t.Errorf("%s has no constant", p.name)
		}
	}
	if got := strings.Count(page, "\n| `") - strings.Count(strings.SplitN(page, "## Mutants", 2)[0], "\n| `"); got != len(list) {
		t.Errorf("docs/internals.md has %d lines of mutants, there are %d", got, len(list))
	}
}

// row is the mutant's line in the table of docs/internals.md.
func (p *planted) row(breaks string, files []string) string {
	torture := ""
	if p.torture {
		torture = "yes"
	}
	return fmt.Sprintf("| `%s` | %s | %s | `%s`, %s | `%s` | %s |", p.name, breaks, strings.Join(files, ", "), p.test, p.folder, p.says, torture)
}

// placesInCode returns the files in which each mutant is planted.
func placesInCode(t *testing.T) map[string][]string {
	t.Helper()
	used := regexp.MustCompile(`\bmutant\.([A-Z]\w*)`)
	places := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "test" || name == filepath.Join("internal", "mutant") || name == ".git"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		for _, m := range used.FindAllStringSubmatch(read(t, name), -1) {
			if !slices.Contains(places[m[1]], name) {
				places[m[1]] = append(places[m[1]], name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return places
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
