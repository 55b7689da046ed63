//go:build faultpoints

package fault

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const first, second = "publish/after-add", "publish/after-flush"

func TestMain(m *testing.M) {
	if os.Getenv("FAULT_CHILD") != "" {
		for range 2 {
			os.Stdout.WriteString("1")
			Point(first)
			os.Stdout.WriteString("2")
			Point(second)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child passes the two points twice, under a fault.
func child(fault string) (*exec.Cmd, *strings.Builder) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULT_CHILD=1", "SLUICE_FAULT="+fault)
	out := new(strings.Builder)
	cmd.Stdout = out
	return cmd, out
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault, out string
		signal     syscall.Signal
		code       int
	}{
		{"", "1212", 0, 0},
		{first, "1", syscall.SIGKILL, -1},
		{first + ":2", "121", syscall.SIGKILL, -1},
		{second + ":1:exit", "12", 0, 3},
		{second + ":3:kill", "1212", 0, 0},
		{first + ":2:kill," + second + ":1:exit", "12", 0, 3},
	} {
		cmd, out := child(c.fault)
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) != (c.code != 0) {
			t.Errorf("%s: %v", c.fault, err)
			continue
		}
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if out.String() != c.out || cmd.ProcessState.ExitCode() != c.code || c.signal != 0 && status.Signal() != c.signal {
			t.Errorf("%s: wrote %q, ended %v", c.fault, out, cmd.ProcessState)
		}
	}
}

func TestStopHangsUntilItIsContinued(t *testing.T) {
	cmd, out := child(first + ":1:stop")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || out.String() != "1212" {
		t.Errorf("continued: %v, wrote %q", err, out)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{"nowhere", first + ":0", first + ":x", first + ":1:melt", first + ":1:kill:2"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAnUnlistedPointPanics(t *testing.T) {
	plans = map[string]plan{first: {at: 100}}
	defer func() {
		plans = nil
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Point("nowhere")
}
