package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sluice-cdc/sluice/change"
)

// delegate makes a command that is done by the program that the page belongs to: the source, or the sink of the target that
// the page names. So this program links no target's driver, and a user's own sink has the command too.
func delegate(name, short string, forSource bool) *cobra.Command {
	return &cobra.Command{
		Use: name + " --config FILE ...", Short: short, DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
				return c.Help()
			}
			file := configOf(args)
			if file == "" {
				return &change.Problem{Kind: change.Configuration, What: "no configuration was named", Mend: "sluice " + name + " --config FILE"}
			}
			program, err := programOf(file)
			if err != nil {
				return err
			}
			if program == "sluice-source" && !forSource {
				return &change.Problem{Kind: change.Configuration, What: name + " is a sink's command, and " + file + " is a source's page", Mend: "name the page of a sink"}
			}
			return become(program, append([]string{name}, args...))
		},
	}
}

// configOf returns the value of --config.
func configOf(args []string) string {
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, "--config="); ok {
			return value
		}
		if (a == "--config" || a == "-config") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// programOf returns the program that a page belongs to: a source's has tables, a sink's a group and a block with the name of
// its target.
func programOf(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: "the configuration cannot be read", Err: err, Mend: "name the file with --config"}
	}
	var page map[string]any
	if err := yaml.Unmarshal(text, &page); err != nil {
		return "", &change.Problem{Kind: change.Configuration, What: file + " is not YAML", Err: err}
	}
	if _, ok := page["tables"]; ok {
		return "sluice-source", nil
	}
	for key := range page {
		if program := "sluice-sink-" + key; page["group"] != nil && find(program) != "" {
			return program, nil
		}
	}
	return "", &change.Problem{Kind: change.Configuration, What: "whose page " + file + " is cannot be told", Mend: "a source's has tables:, a sink's group: and the block of its target, whose program sluice-sink-<target> must be beside this one or on PATH"}
}

// find returns the path of a program that stands beside this one or on PATH, empty where there is none.
func find(program string) string {
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), program); exists(beside) {
			return beside
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return ""
	}
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

// become turns this process into the program.
func become(program string, args []string) error {
	path := find(program)
	if path == "" {
		return &change.Problem{Kind: change.Configuration, What: program + " is neither beside this program nor on PATH", Mend: "make build"}
	}
	return syscall.Exec(path, append([]string{path}, args...), os.Environ())
}
