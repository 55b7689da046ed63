package rig

import "syscall"

// attributes keep a ^C at the terminal from the process, for it is ours to pass on, and end the process when the thread that started it
// ends, which Start keeps until then: so also when this process is killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
