package rig

import (
	"fmt"
	"os/exec"
	"path/filepath"
)

// Build compiles one of our programs into a folder and returns its path. tags are build tags ("faultpoints").
func Build(dir, program, tags string) (string, error) {
	path := filepath.Join(dir, program)
	cmd := exec.Command("go", "build", "-tags", tags, "-o", path, "github.com/sluice-cdc/sluice/cmd/"+program)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build cmd/%s: %w\n%s", program, err, out)
	}
	return path, nil
}
