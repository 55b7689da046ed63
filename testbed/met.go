package testbed

import (
	"fmt"
	"os"
)

// met writes into the file that $SLUICE_MET names, if any, that a test run has met a server, so that `make test` can end with
// the list of those it met and those it could not.
func met(name, version string) { note("met %s %s", name, version) }

// unmet says that a server could not be had, and why.
func unmet(name string, err error) { note("unmet %s (%.200s)", name, err.Error()) }

func note(format string, args ...any) {
	path := os.Getenv("SLUICE_MET")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return // a report that cannot be written fails no test
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}
