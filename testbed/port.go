package testbed

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Ports are taken from below the range from which Linux picks the local end of
// outgoing connections (32768 and up). From inside it, a server that was killed
// could find its port taken by somebody's client when it comes back.
const (
	portMin = 20_000
	portMax = 32_000
	// portTries bounds the search; with a handful of servers on a machine
	// the first try nearly always succeeds.
	portTries = 200
)

var reserved = struct {
	sync.Mutex
	// locks holds the reservations of this process, each with the file lock
	// that keeps the other processes of the machine away from it.
	locks map[int]*os.File
}{locks: map[int]*os.File{}}

// FreePort returns a TCP port on 127.0.0.1 that nobody listens on and that no
// other caller on this machine is given while this process lives. Asking the
// kernel for port 0 gives no such promise: between its answer and the server's
// start, and while a killed server is down, another test could be given it.
func FreePort() int {
	reserved.Lock()
	defer reserved.Unlock()
	for range portTries {
		port := portMin + rand.IntN(portMax-portMin)
		if reserved.locks[port] != nil {
			continue
		}
		lock, ok := reservePort(port)
		if !ok {
			continue
		}
		if !listenable(port) {
			lock.Close()
			continue
		}
		reserved.locks[port] = lock
		return port
	}
	// The reservation is a courtesy; without it (no writable temp folder) the
	// kernel's choice is still a good one.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("testbed: no free port on 127.0.0.1: %v", err))
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// ReleasePort gives a port from FreePort back once its server is gone for good.
func ReleasePort(port int) {
	reserved.Lock()
	defer reserved.Unlock()
	if lock := reserved.locks[port]; lock != nil {
		delete(reserved.locks, port)
		lock.Close()
	}
}

func reservePort(port int) (*os.File, bool) {
	dir := filepath.Join(os.TempDir(), "sluice-ports")
	// Everybody who runs tests here shares it, as with the temp folder.
	if err := os.Mkdir(dir, 0o777); err == nil {
		if err := os.Chmod(dir, 0o1777); err != nil {
			return nil, false
		}
	}
	return reserve(dir, fmt.Sprint(port))
}

// reserve takes the lock of that name, which the kernel drops when this process
// ends; not ok means that somebody has it.
func reserve(dir, name string) (*os.File, bool) {
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, false
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, false
	}
	return file, true
}

func listenable(port int) bool {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}
