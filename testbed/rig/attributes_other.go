//go:build !linux

package rig

import "syscall"

// attributes keep a ^C at the terminal from the process, for it is ours to pass on.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
