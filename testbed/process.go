package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout bounds a start when the context has no earlier end. The
	// slowest server takes 13 s on two idle cores; a busy machine is allowed
	// ten times that.
	startTimeout = 130 * time.Second
	// stopTimeout is how long a server may take to end after SIGTERM before
	// it is killed.
	stopTimeout = 30 * time.Second
	readyPoll   = 20 * time.Millisecond
	// logTail is how much of a server's log goes into an error.
	logTail = 2000
)

// process is one running child. The goroutine that started it waits for it.
type process struct {
	pid  int
	os   *os.Process
	done chan struct{} // closed when the child has been waited for
	err  error         // its end; readable once done is closed
}

// runProcess starts a child. Pdeathsig fires when the *thread* that started the
// child ends, and Go ends and reuses threads as it likes; so the goroutine that
// starts the child locks its thread and keeps it until the child has ended.
func runProcess(cmd *exec.Cmd) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = childAttributes()
	}
	child := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(child.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		child.os, child.pid = cmd.Process, cmd.Process.Pid
		started <- nil
		child.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return child, nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// server is what all servers of this package have in common: a folder, a port
// and a process that can be started, killed and paused.
type server struct {
	// Port is the TCP port. It stays the same over restarts.
	Port int

	// host is where it runs; nil is this machine, on 127.0.0.1.
	host    *Host
	name    string
	dir     string // made by this package, removed by Stop
	owner   *os.File
	logPath string
	// ports are further ones that Stop gives back.
	ports []int
	// command makes a fresh command for each start.
	command func() *exec.Cmd
	// stopSignal ends it in order; 0 is SIGTERM.
	stopSignal syscall.Signal
	// ready asks the server itself once; an error means not yet.
	ready func(ctx context.Context) error

	mu sync.Mutex // guards the following
	// child is nil before the first start and after the end.
	child *process
	// gone is set by Stop: the data is removed, a start makes no sense.
	gone bool
}

// newServer makes the folder and takes the port; nothing runs yet.
func newServer(name, parent, logName string) (*server, error) {
	if parent == "" {
		removeOrphans(os.TempDir(), "sluice-"+name+"-*", nil)
	} else if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("make a folder for %s: %w", name, err)
	}
	dir, err := os.MkdirTemp(parent, "sluice-"+name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for %s: %w", name, err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("name the folder of %s: %w", name, err)
	}
	owner, err := claim(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the folder of %s: %w", name, err), os.RemoveAll(dir))
	}
	return &server{Port: FreePort(), name: name, dir: dir, owner: owner, logPath: filepath.Join(dir, logName)}, nil
}

// extraPort takes another port for the server's life.
func (s *server) extraPort() int {
	port := FreePort()
	s.ports = append(s.ports, port)
	return port
}

// Address is host:port, on 127.0.0.1 unless the server was given a Host.
func (s *server) Address() string { return fmt.Sprintf("%s:%d", s.ip(), s.Port) }

func (s *server) ip() string {
	if s.host != nil {
		return s.host.IP
	}
	return "127.0.0.1"
}

// Pid is the process id of the running server, 0 when it is not running.
func (s *server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil || !s.child.running() {
		return 0
	}
	return s.child.pid
}

// Running says whether the process is there, paused or not.
func (s *server) Running() bool { return s.Pid() != 0 }

// Start starts the server again on the same port and data, after Kill or
// Shutdown or an end of its own, and waits until it is ready. It is an error
// when the server runs already or was ended by Stop.
func (s *server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return fmt.Errorf("start %s: Stop has removed its data; Shutdown ends it and keeps them", s.name)
	}
	if s.child != nil && s.child.running() {
		return fmt.Errorf("start %s: it runs already, pid %d", s.name, s.child.pid)
	}
	// On a Host there is nobody else.
	if s.host == nil && !listenable(s.Port) {
		return fmt.Errorf("start %s: another process listens on 127.0.0.1:%d", s.name, s.Port)
	}
	output, err := os.OpenFile(s.logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: open its log: %w", s.name, err)
	}
	defer output.Close()
	cmd := s.command()
	if s.host != nil {
		cmd = s.host.inside(cmd)
	}
	cmd.Dir = s.dir
	cmd.Stdout, cmd.Stderr = output, output
	child, err := runProcess(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.child = child
	if err := s.waitReady(ctx, child); err != nil {
		tail := s.tail() // before the end adds its own lines
		child.signalAndWait(syscall.SIGKILL, stopTimeout)
		s.child = nil
		return fmt.Errorf("start %s: %w\nits log %s ends:\n%s", s.name, err, s.logPath, tail)
	}
	return nil
}

func (s *server) waitReady(ctx context.Context, child *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.ready(ctx)
		if err == nil && child.running() {
			return nil
		}
		select {
		case <-child.done:
			return fmt.Errorf("it ended before it was ready: %v", child.err)
		case <-ctx.Done():
			return fmt.Errorf("it was not ready in time: %w (last answer: %w)", ctx.Err(), err)
		case <-time.After(readyPoll):
		}
	}
}

// Kill ends the server with SIGKILL, as a crash would, and waits for its end.
// The data and the port stay for Start. A server that does not run is no error.
func (s *server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(syscall.SIGKILL)
}

// Shutdown ends the server in order and waits for its end. The data
// and the port stay for Start.
func (s *server) Shutdown() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end(s.orderly())
}

// Stop ends the server in order and removes its data and its folder. It may be
// called more than once.
func (s *server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	endErr := s.end(s.orderly())
	s.gone = true
	for _, port := range append(s.ports, s.Port) {
		ReleasePort(port)
	}
	defer s.owner.Close()
	if err := os.RemoveAll(s.dir); err != nil {
		return errors.Join(endErr, fmt.Errorf("remove the folder of %s: %w", s.name, err))
	}
	return endErr
}

// orderly is the signal that ends the server in order.
func (s *server) orderly() syscall.Signal {
	if s.stopSignal != 0 {
		return s.stopSignal
	}
	return syscall.SIGTERM
}

// end must be called with mu held.
func (s *server) end(signal syscall.Signal) error {
	if s.child == nil {
		return nil
	}
	child := s.child
	if !child.signalAndWait(signal, stopTimeout) && !child.signalAndWait(syscall.SIGKILL, stopTimeout) {
		return fmt.Errorf("end %s: pid %d is still there %s after SIGKILL", s.name, child.pid, stopTimeout)
	}
	s.child = nil
	return nil
}

// signalAndWait reports whether the child ended in time.
func (p *process) signalAndWait(signal syscall.Signal, timeout time.Duration) bool {
	_ = p.os.Signal(signal) // an error means that it has ended
	if signal != syscall.SIGKILL {
		_ = p.os.Signal(syscall.SIGCONT) // a paused process would not hear SIGTERM
	}
	select {
	case <-p.done:
		return true
	case <-time.After(timeout):
		return false
	}
}

// Pause stops the server's process (SIGSTOP): its connections stay open and
// nothing answers, as when a machine hangs.
func (s *server) Pause() error { return s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on (SIGCONT).
func (s *server) Resume() error { return s.signal(syscall.SIGCONT) }

func (s *server) signal(signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.child == nil || !s.child.running() {
		return fmt.Errorf("send %s to %s: it does not run", signal, s.name)
	}
	if err := s.child.os.Signal(signal); err != nil {
		return fmt.Errorf("send %s to %s, pid %d: %w", signal, s.name, s.child.pid, err)
	}
	return nil
}

// ErrorLog is the path of the server's log: all its output since it was made.
func (s *server) ErrorLog() string { return s.logPath }

// tail is the end of the server's log, for an error.
func (s *server) tail() string {
	content, err := os.ReadFile(s.logPath)
	if err != nil {
		return err.Error()
	}
	if len(content) > logTail {
		content = content[len(content)-logTail:]
	}
	return strings.TrimSpace(string(content))
}

// joinStop ends what could not be started whole and adds what that says.
func joinStop(err error, s interface{ Stop() error }) error {
	return errors.Join(err, s.Stop())
}
