package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sluice-cdc/sluice/change"
)

// demoCommand starts the program sluice-demo that stands beside this one: it brings servers with it that this one need not
// link.
func demoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo", Short: "a MySQL under fire, two shards, a search index, two kills, every row compared", DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			program := filepath.Join(filepath.Dir(self), "sluice-demo")
			if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
				if program, err = exec.LookPath("sluice-demo"); err != nil {
					return &change.Problem{Kind: change.Configuration, What: "sluice-demo is not beside this program", Mend: "make build, or: make demo"}
				}
			}
			return syscall.Exec(program, append([]string{program}, args...), os.Environ())
		},
	}
}
