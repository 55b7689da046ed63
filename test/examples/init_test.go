package examples

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed/rig"
)

// outside builds the program of a folder outside the tree, from the module cache.
func outside(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", filepath.Base(dir), ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build in %s: %v\n%s", dir, err, out)
	}
}

func tool(t *testing.T, path string, args ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	text, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(text)
}

func checkout(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestInit: what sluice init handler writes builds in an empty folder, handles every row, goes on where it was killed, and ends well.
func TestInit(t *testing.T) {
	b := newBed(t)
	sluice, dir := filepath.Join(b.dir, "sluice"), filepath.Join(t.TempDir(), "mine")
	if code, out := tool(t, sluice, "init", "handler", "--replace", checkout(t), "--module", "example.org/mine", dir); code != 0 || !strings.Contains(out, "page.yaml") {
		t.Fatalf("exit %d: %s", code, out)
	}
	outside(t, dir)
	program := filepath.Join(dir, "mine")
	page := b.page("mine", `"shop.shop.*"`, "handler: {parallel: 4}\n")
	if code, out := tool(t, program, "doctor", "--config", page); code != 0 {
		t.Errorf("doctor: exit %d: %s", code, out)
	}
	if code, out := tool(t, program, "run", "--config", filepath.Join(dir, "page.yaml"), "-x"); code != 2 || !strings.Contains(out, "sluice-sink-mine") {
		t.Errorf("a wrong flag: exit %d: %s", code, out)
	}
	p := rig.New("mine", filepath.Join(b.dir, "mine.log"), program, []string{"--config", page})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill() })
	wait := func() {
		t.Helper()
		if code, out := tool(t, program, "wait", "--config", page, "--now", "--timeout", "3m"); code != 0 {
			t.Fatalf("wait: exit %d: %s\n%s", code, out, p.LogTail(20))
		}
	}
	wait()
	if n := strings.Count(p.Log(), "msg=change "); n != 2*users {
		t.Errorf("%d changes are handled, want %d", n, 2*users)
	}
	p.Kill()
	b.exec("UPDATE shop.orders SET cents = cents + 1 WHERE id < 10", "DELETE FROM shop.orders WHERE id = 11")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	wait()
	if log := p.Log(); strings.Count(log, "op=u") != 10 || strings.Count(log, "op=d") != 1 {
		t.Errorf("%d updates and %d deletes, want 10 and 1", strings.Count(log, "op=u"), strings.Count(log, "op=d"))
	}
	if err := p.Stop(time.Minute); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

func TestInitRefuses(t *testing.T) {
	work := t.TempDir()
	cmd := exec.Command("go", "build", "-o", work+"/", "./cmd/sluice")
	cmd.Dir = checkout(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	taken := filepath.Join(work, "taken")
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(taken, "page.yaml"), []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"built from a checkout": {[]string{filepath.Join(work, "x")}, "--replace"},
		"no checkout":           {[]string{"--replace", work, filepath.Join(work, "x")}, "is no checkout"},
		"a file that is there":  {[]string{"--replace", checkout(t), taken}, "page.yaml is there already"},
		"a name that cannot be": {[]string{"--replace", checkout(t), "--module", "a b", filepath.Join(work, "x")}, "cannot be a module's name"},
	} {
		if code, out := tool(t, filepath.Join(work, "sluice"), append([]string{"init", "handler"}, c.args...)...); code != 2 || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d: %s", name, code, out)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(taken, "page.yaml")); string(text) != "mine" {
		t.Error("a file is overwritten")
	}
	if _, err := os.Stat(filepath.Join(work, "x")); err == nil {
		t.Error("a refused folder is made")
	}
}

// TestReadme builds the program that README shows, outside the tree. It is said to be short.
func TestReadme(t *testing.T) {
	root := checkout(t)
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## Write your own sink\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var program []string
	for _, line := range strings.Split(section, "\n") {
		code, indented := strings.CutPrefix(line, "    ")
		if indented || len(program) > 0 && line == "" {
			program = append(program, code)
		}
	}
	source := strings.TrimSpace(strings.Join(program, "\n")) + "\n"
	if n := strings.Count(source, "\n"); !found || n < 10 || n >= 30 {
		t.Fatalf("README's own sink has %d lines, want less than 30:\n%s", n, source)
	}
	dir := filepath.Join(t.TempDir(), "paid")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"main.go": source, "go.sum": string(sums),
		"go.mod": fmt.Sprintf("module paid\n\ngo 1.26.0\n\nrequire github.com/sluice-cdc/sluice v0.0.0\n\nreplace github.com/sluice-cdc/sluice => %s\n", root)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	outside(t, dir)
	if out, err := exec.Command("gofmt", "-l", dir).Output(); err != nil || len(out) > 0 {
		t.Errorf("gofmt: %s %v", out, err)
	}
	if code, out := tool(t, filepath.Join(dir, "paid"), "run"); code != 2 || !strings.Contains(out, "--config") {
		t.Errorf("exit %d: %s", code, out)
	}
}
