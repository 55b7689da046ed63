package testbed

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// parentVariable makes this test binary a process that starts a child, says its
// pid and waits.
const parentVariable = "TESTBED_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVariable) != "" {
		child, err := runProcess(exec.Command("sleep", "600"))
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(child.pid)
		time.Sleep(10 * time.Minute)
	}
	if address := os.Getenv(echoVariable); address != "" {
		echo(address)
	}
	os.Exit(m.Run())
}

// TestChildrenDieWithTheirParent kills a process that has started a server.
func TestChildrenDieWithTheirParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a child's life to its parent's")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"=1")
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the parent says %q", line)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it says that it was killed
	for range 500 {
		// An orphan that nobody waits for stays as a zombie: dead all the same.
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, os.ErrNotExist) || strings.Contains(string(status), ") Z ") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("pid %d outlives its parent", pid)
	_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by now
}

// TestChildrenOutliveThreads starts children from goroutines whose threads end,
// which must not be taken for the end of this process.
func TestChildrenOutliveThreads(t *testing.T) {
	var children []*process
	for range 20 {
		started := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			defer close(started)
			child, err := runProcess(exec.Command("sleep", "600"))
			if err != nil {
				t.Error(err)
				return
			}
			children = append(children, child)
		}()
		<-started
	}
	time.Sleep(200 * time.Millisecond)
	for _, child := range children {
		if !child.running() {
			t.Errorf("pid %d ended: %v", child.pid, child.err)
		}
		if !child.signalAndWait(syscall.SIGKILL, stopTimeout) {
			t.Errorf("pid %d did not end", child.pid)
		}
	}
}

func TestOrphansAreRemoved(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	alive, err := newServer("x", "", "log")
	if err != nil {
		t.Fatal(err)
	}
	orphan := temp + "/sluice-x-orphan"
	beingMade := temp + "/sluice-x-being-made"
	for _, dir := range []string{orphan, beingMade} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(orphan+"/"+ownerFile, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	other, err := newServer("x", "", "log")
	if err != nil {
		t.Fatal(err)
	}
	if exists(orphan) || !exists(beingMade) || !exists(alive.dir) {
		t.Errorf("orphan there %t, being made %t, alive %t; want false, true, true", exists(orphan), exists(beingMade), exists(alive.dir))
	}
	for _, s := range []*server{alive, other} {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// TestStartsLeaveEachOtherAlone has servers made side by side, each of which
// looks for orphans.
func TestStartsLeaveEachOtherAlone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				s, err := newServer("x", "", "log")
				if err != nil {
					t.Error(err)
					return
				}
				if !exists(s.dir) {
					t.Errorf("another start removed %s", s.dir)
				}
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
