package testbed

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// childAttributes makes the kernel kill a server when the thread that started
// it ends, which runProcess keeps alive as long as the server: so it dies with
// this process, also when this process is killed. Its own process group keeps a
// ^C at the terminal for this process, which then stops its servers in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// unprivilegedAttributes is for a server that refuses to run as root. Where this
// process is root the child gets a user namespace in which it is somebody else,
// without any of root's capabilities; outside it stays the owner of its files,
// so neither the cache nor the data has to change hands.
func unprivilegedAttributes() *syscall.SysProcAttr {
	attributes := childAttributes()
	if os.Geteuid() == 0 {
		attributes.Cloneflags = syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: unprivilegedID, HostID: 0, Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: unprivilegedID, HostID: os.Getegid(), Size: 1}}
	}
	return attributes
}

// unprivilegedID is who the child is to itself: any number but root's.
const unprivilegedID = 1000

// listens reports whether the process has a socket that listens on the port.
func listens(pid, port int) bool {
	inodes := map[string]bool{}
	// The process's own tables: it may be in another network namespace.
	for _, table := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // a kernel without IPv6, or the process has ended
		}
		// https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == "0A" {
				inodes["socket:["+fields[9]+"]"] = true
			}
		}
	}
	descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return false
	}
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err == nil && inodes[target] {
			return true
		}
	}
	return false
}
