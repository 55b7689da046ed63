// Command testbed fetches the servers that the tests and the demo use, and
// starts one for people to play with.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/sluice-cdc/sluice/testbed"
)

const usage = `testbed fetches real servers into a cache folder and starts them on loopback.

  testbed fetch [NAME...]   fetch into the cache; all that tests start when none is named
  testbed start NAME        start one and run it until ^C
  testbed cache             print the cache folder

Names: %s.
Nothing is installed on this machine; remove the cache folder to be rid of it.
`

// Exit codes: 0 done, 1 failed, 2 usage.
func main() {
	flag.Usage = func() { fmt.Fprintf(os.Stderr, usage, strings.Join(testbed.Names(), ", ")) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	command, names := flag.Arg(0), flag.Args()
	if len(names) > 0 {
		names = names[1:]
	}
	for _, name := range names {
		if !slices.Contains(testbed.Names(), name) {
			fmt.Fprintf(os.Stderr, "testbed: unknown server %q; there are %s\n", name, strings.Join(testbed.Names(), ", "))
			os.Exit(2)
		}
	}
	var err error
	switch {
	case command == "fetch":
		err = fetch(ctx, names)
	case command == "start" && len(names) == 1:
		err = start(ctx, names[0])
	case command == "cache" && len(names) == 0:
		err = printCache()
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		os.Exit(1)
	}
}

// progress goes to stderr, what was asked for to stdout.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
