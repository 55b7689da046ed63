package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// pythonPackage is a package of PyPI that is a program in itself: an engine that reads what Sluice has written.
type pythonPackage struct {
	name, version string
	pip           string // the package that pip installs
	hash          string // the only one that is taken; empty where there is a file for each version of Python
	size          string
}

var pythonPackages = map[string]pythonPackage{
	"duckdb": {name: "duckdb", version: "2.0.1", pip: "duckdb", size: "25 MB"},
	"chdb":   {name: "chdb", version: "26.9.0", pip: "chdb-core", hash: "sha256:707e2ec3fe0f7953bac97942eaeb7a1ed1d66b1e56ecef3f0aa2130f61f6e735", size: "182 MB"},
}

// Python is a command that runs Python with one of the packages that [Names] lists, duckdb or chdb, in its path.
func Python(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	_, dir, err := pythonInstall(ctx, name, nil)
	if err != nil {
		unmet(name, err)
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "python3", args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+dir, "PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8", "TZ=UTC")
	met(name, pythonPackages[name].version)
	return cmd, nil
}

func pythonInstaller(name string) func(context.Context, Log) (string, string, error) {
	return func(ctx context.Context, log Log) (string, string, error) { return pythonInstall(ctx, name, log) }
}

func pythonInstall(ctx context.Context, name string, log Log) (version, dir string, err error) {
	p, known := pythonPackages[name]
	if !known {
		return "", "", fmt.Errorf("unknown Python package %q", name)
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", "", fmt.Errorf("%w; %s is a package of Python's", err, name)
	}
	dir, err = cached(ctx, "python-"+name+"-"+p.version, log, func(ctx context.Context, dir string) error {
		log.printf("pip: %s %s (%s)", p.pip, p.version, p.size)
		wanted := p.pip + "==" + p.version
		if p.hash != "" {
			wanted += " --hash=" + p.hash
		}
		list := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(list, []byte(wanted+"\n"), 0o644); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--no-compile",
			"--only-binary", ":all:", "--target", filepath.Join(dir, "lib"), "--requirement", list)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("pip install %s==%s: %w:\n%s", p.pip, p.version, err, lastLines(output, 15))
		}
		return nil
	})
	return p.version, filepath.Join(dir, "lib"), err
}
