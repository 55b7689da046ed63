//go:build faultpoints

package fault

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled reports whether this build has fault points.
const Enabled = true

type plan struct {
	at     int64 // the passage at which it strikes
	action string
}

var (
	plans = mustParse(os.Getenv("SLUICE_FAULT"))

	mu     sync.Mutex // guards passed
	passed = map[string]int64{}
)

// Point marks a place: what SLUICE_FAULT has planned for it happens here.
func Point(name string) {
	if len(plans) == 0 {
		return
	}
	p, ok := plans[name]
	if !ok {
		if !slices.Contains(Names, name) {
			panic("fault: the point " + name + " is not in Names")
		}
		return
	}
	mu.Lock()
	passed[name]++
	strike := passed[name] == p.at
	mu.Unlock()
	if !strike {
		return
	}
	fmt.Fprintf(os.Stderr, "fault: %s at %s\n", p.action, name)
	switch p.action {
	case "exit":
		os.Exit(3)
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		// The signal is the process's: another thread may take it, and this one would run on until it is told.
		time.Sleep(stopTakes)
	default:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}

const stopTakes = 100 * time.Millisecond

func mustParse(s string) map[string]plan {
	plans, err := parse(s)
	if err != nil {
		panic("fault: SLUICE_FAULT: " + err.Error())
	}
	return plans
}

func parse(s string) (map[string]plan, error) {
	plans := map[string]plan{}
	for _, one := range strings.Split(s, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		parts := strings.Split(one, ":")
		p := plan{at: 1, action: "kill"}
		if !slices.Contains(Names, parts[0]) {
			return nil, fmt.Errorf("%q is no point; they are %s", parts[0], strings.Join(Names, ", "))
		}
		if len(parts) > 1 {
			n, err := strconv.ParseInt(parts[1], 10, 64)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q: want a number of 1 or more after the point", one)
			}
			p.at = n
		}
		if len(parts) > 2 {
			p.action = parts[2]
		}
		if len(parts) > 3 || !slices.Contains([]string{"kill", "stop", "exit"}, p.action) {
			return nil, fmt.Errorf("%q: want point:number:kill, stop or exit", one)
		}
		plans[parts[0]] = p
	}
	return plans, nil
}
