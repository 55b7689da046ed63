//go:build !linux

package testbed

import "syscall"

// childAttributes keeps a ^C at the terminal for this process. Only Linux can
// tie a server's life to its starter's.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// unprivilegedAttributes can only leave the child the user of this process: a
// server that refuses to run as root says so itself.
func unprivilegedAttributes() *syscall.SysProcAttr { return childAttributes() }

// listens can not be found out without /proc; that the port was free before the
// start and the process runs has to do.
func listens(pid, port int) bool { return true }
