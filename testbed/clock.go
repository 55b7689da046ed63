package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// faketimeVersion is what Debian bookworm has.
const faketimeVersion = "0.9.10"

var faketimePackage = debianRoot{
	suite:    "bookworm",
	packages: []string{"libfaketime"},
	assumed:  []string{"libc6"}, // each server has its own
	size:     "about 0.1 MB",
}

func faketimeInstall(ctx context.Context, log Log) (string, error) {
	return cached(ctx, "libfaketime-"+faketimeVersion, log, func(ctx context.Context, dir string) error {
		if err := faketimePackage.unpack(ctx, dir, log); err != nil {
			return fmt.Errorf("fetch libfaketime: %w", err)
		}
		return nil
	})
}

// movableClock is a library between one server and its C library, which adds an
// offset to the wall clock and leaves the monotonic one alone, as a machine does
// whose clock is set. The offset is in a file that it reads at every question
// for the time, so it can be changed at any moment and lasts over restarts.
type movableClock struct {
	library string
	// file holds the offset in seconds.
	file string
}

// newMovableClock fetches the library when it is not in the cache.
func newMovableClock(ctx context.Context, dir string, log Log) (*movableClock, error) {
	home, err := faketimeInstall(ctx, log)
	if err != nil {
		unmet("libfaketime", err)
		return nil, err
	}
	c := &movableClock{
		// MT is the build for programs with threads.
		library: filepath.Join(home, "root/usr/lib", debianArchitecture[runtime.GOARCH].libraries, "faketime/libfaketimeMT.so.1"),
		file:    filepath.Join(dir, "clock"),
	}
	if !exists(c.library) {
		return nil, fmt.Errorf("%s is not there; remove %s", c.library, home)
	}
	if err := c.set(0); err != nil {
		return nil, err
	}
	met("libfaketime", faketimeVersion)
	return c, nil
}

// set replaces the file in one step: a half of an offset would be another.
func (c *movableClock) set(offset time.Duration) error {
	fresh := c.file + ".new"
	if err := os.WriteFile(fresh, fmt.Appendf(nil, "%+.6f\n", offset.Seconds()), 0o644); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	if err := os.Rename(fresh, c.file); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// wind makes a command whose program is a loader run under this clock.
// https://github.com/wolfcw/libfaketime/blob/v0.9.10/README
func (c *movableClock) wind(cmd *exec.Cmd) *exec.Cmd {
	wound := exec.Command(cmd.Path, append([]string{"--preload", c.library}, cmd.Args[1:]...)...)
	wound.Env = append(cmd.Environ(),
		"FAKETIME_TIMESTAMP_FILE="+c.file, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1",
		// Else, by a guess from the C library's version, the offset would be
		// taken off every wait by the monotonic clock, which knows none: InnoDB's
		// threads would never sleep.
		"FAKETIME_FORCE_MONOTONIC_FIX=0")
	return wound
}

// faketimeShared is what the library makes for the children of its process, and
// leaves behind when that is killed.
var faketimeShared = []string{"/dev/shm/faketime_shm_%s", "/dev/shm/sem.faketime_sem_%s"}

// sweepShared removes it. The server of that pid has it open and no children;
// that of dead processes would be in the way of later ones of the same pid.
func sweepShared(server int) {
	for _, pattern := range faketimeShared {
		found, _ := filepath.Glob(fmt.Sprintf(pattern, "*")) // the pattern is well formed
		for _, path := range found {
			pid := path[strings.LastIndex(path, "_")+1:]
			if pid == strconv.Itoa(server) || !exists("/proc/"+pid) {
				_ = os.Remove(path) // another sweep may have been first
			}
		}
	}
}

// SetClock moves the server's wall clock to that far from the machine's, ahead
// or, if negative, back; 0 is the machine's time. Timestamps that the server
// takes from now on show it, its time-outs do not. It lasts over Kill, Shutdown
// and Start. It is an error without MovableClock.
func (m *MySQL) SetClock(offset time.Duration) error {
	if m.clock == nil {
		return errors.New("set the clock: the server was started without MySQLOptions.MovableClock")
	}
	return m.clock.set(offset)
}

func (m *MySQL) prepareClock(ctx context.Context, log Log) error {
	if m.home.Host != "" {
		return fmt.Errorf("the machine's own %s can not have a movable clock, which is loaded into a fetched one: %w", m.home.Host, errors.ErrUnsupported)
	}
	clock, err := newMovableClock(ctx, m.dir, log)
	if err != nil {
		return err
	}
	m.clock = clock
	m.command = func() *exec.Cmd { return clock.wind(m.home.serverCommand(m.args...)) }
	return nil
}

// Start starts the server again on the same port and data, after Kill or
// Shutdown or an end of its own, and waits until it is ready. It is an error
// when the server runs already or was ended by Stop.
func (m *MySQL) Start(ctx context.Context) error {
	err := m.server.Start(ctx)
	if m.clock != nil {
		sweepShared(m.Pid())
	}
	return err
}
