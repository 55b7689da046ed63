package floor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/testbed/rig"
)

// Build compiles the command into a folder and returns its path.
func Build(dir string) (string, error) {
	path := filepath.Join(dir, "floor")
	out, err := exec.Command("go", "build", "-o", path, "github.com/sluice-cdc/sluice/test/bench/cmd/floor").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build test/bench/cmd/floor: %w\n%s", err, out)
	}
	return path, nil
}

// Process is the command, running.
type Process struct {
	process *rig.Process
	dir     string
}

// Start starts the command that Build has made, with a subcommand and its flags: "produce", "-rows", "1000".
func Start(path string, args ...string) (*Process, error) {
	dir, err := os.MkdirTemp("", "sluice-floor-")
	if err != nil {
		return nil, err
	}
	p := &Process{process: rig.New("floor", filepath.Join(dir, "output"), path, args), dir: dir}
	if err := p.process.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return p, nil
}

// Pids has it as "floor"; a program that it runs is a child of it and not there.
func (p *Process) Pids() map[string]int { return map[string]int{"floor": p.process.Pid()} }

// Done says whether it has ended, well or not.
func (p *Process) Done() bool { return !p.process.Running() }

// Wait waits for its end and returns what it says. An end that did not come within the time is an error, and the process goes on.
func (p *Process) Wait(within time.Duration) (Result, error) {
	err, ended := p.process.Wait(within)
	output := strings.TrimSpace(p.process.Log())
	switch {
	case !ended:
		return Result{}, fmt.Errorf("the command floor has not ended within %s", within)
	case err != nil:
		return Result{}, fmt.Errorf("the command floor: %w: %s", err, output)
	}
	lines := strings.Split(output, "\n")
	return Parse(lines[len(lines)-1])
}

// Stop ends it, where it still runs, and removes its output.
func (p *Process) Stop() error {
	defer os.RemoveAll(p.dir)
	if p.Done() {
		return nil
	}
	return p.process.Kill()
}
