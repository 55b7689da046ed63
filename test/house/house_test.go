// Package house checks the shape of the repository itself: which folder may import which, that every
// package says what it is, and what each binary links.
package house

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/sluice-cdc/sluice/"

var update = flag.Bool("update", false, "write the link lists anew")

// layers is the order in which a row travels. A package imports only packages of layers above its own, or of
// its own folder.
var layers = [][]string{
	{"change"},
	{"internal"},
	{"mysql"},
	{"schema"},
	{"shape", "route"},
	{"kafka"},
	{"source", "sink"},
	{"sink/"}, // the targets: one folder each
	{"verify"},
	{"sink/run"},
	{"sink/handler"}, // no target, but what makes one of a user's function, and a program of it
	{"tower"},
	{"testbed"}, // tests and the demo only: see onlyTests
	{"cmd", "test", "examples"},
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Doc, Name     string
	Imports                   []string
	Deps                      []string
	TestGoFiles, XTestGoFiles []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,Name,Imports,Deps,TestGoFiles,XTestGoFiles"}, args...)...)
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// layer returns the layer of a package path inside the module, and its folder there.
func layer(path string) (int, string) {
	best, bestLayer := "", -1
	for i, folders := range layers {
		for _, f := range folders {
			if (path == f || strings.HasPrefix(path, strings.TrimSuffix(f, "/")+"/")) && len(f) > len(best) {
				best, bestLayer = f, i
			}
		}
	}
	if best == "sink/" { // one folder a target: targets do not import each other
		best = strings.Join(strings.SplitN(path, "/", 3)[:2], "/")
	}
	return bestLayer, best
}

func allowed(from, to string) bool {
	fl, ff := layer(from)
	tl, tf := layer(to)
	if fl < 0 || tl < 0 {
		return false
	}
	if tf == "testbed" {
		return ff == "testbed" || from == "cmd/sluice-demo" || strings.HasPrefix(from, "test/")
	}
	if ff == "testbed" { // stands beside the way of a row: servers, nothing of ours but plain words
		return tl <= 1
	}
	return ff == tf || tl < fl
}

func TestImportsGoOneWay(t *testing.T) {
	for _, p := range list(t, "./...") {
		from := strings.TrimPrefix(p.ImportPath, module)
		if l, _ := layer(from); l < 0 {
			t.Errorf("%s: a folder that layers does not know; say where on the way of a row it stands", from)
		}
		for _, imp := range p.Imports {
			if to, ok := strings.CutPrefix(imp, module); ok && !allowed(from, to) {
				t.Errorf("%s imports %s: imports go one way (see layers)", from, to)
			}
		}
	}
}

func TestSourceAndSinkNeverMeet(t *testing.T) {
	for _, p := range list(t, "./source/...", "./sink/...") {
		own, _, _ := strings.Cut(strings.TrimPrefix(p.ImportPath, module), "/")
		other := map[string]string{"source": "sink", "sink": "source"}[own]
		for _, dep := range p.Deps {
			if dep == module+other || strings.HasPrefix(dep, module+other+"/") {
				t.Errorf("%s depends on %s: what the two sides share is the record in Kafka", p.ImportPath, dep)
			}
		}
	}
}

func TestChangeIsStandardLibraryOnly(t *testing.T) {
	for _, p := range list(t, "./change/...", "./route/...") {
		for _, imp := range p.Imports {
			if strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && imp != module+"change" {
				t.Errorf("%s imports %s", p.ImportPath, imp)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range list(t, "./...") {
		if p.Doc == "" {
			// A folder of tests only has its comment in a test file, which go list does not show.
			if p.Name == "" || len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 && onlyTests(p.ImportPath) {
				continue
			}
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func onlyTests(importPath string) bool {
	return strings.HasPrefix(strings.TrimPrefix(importPath, module), "test/")
}

// TestLinks compares the modules that each binary links with the committed list: a driver that slips into a
// binary which does not need it is seen here. Write the lists anew with: go test ./test/house -update
func TestLinks(t *testing.T) {
	for _, p := range list(t, "./cmd/...") {
		name := filepath.Base(p.ImportPath)
		cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", p.ImportPath)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", name, err)
		}
		seen := map[string]bool{}
		for _, m := range strings.Fields(string(out)) {
			seen[m] = true
		}
		delete(seen, strings.TrimSuffix(module, "/"))
		mods := make([]string, 0, len(seen))
		for m := range seen {
			mods = append(mods, m)
		}
		sort.Strings(mods)
		got := strings.Join(mods, "\n") + "\n"
		golden := filepath.Join("links", name+".txt")
		if *update {
			if err := os.MkdirAll("links", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatalf("%s: no committed link list (go test ./test/house -update): %v", name, err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s links other modules than committed (-want +got):\n%s", name, diff)
		}
	}
}
