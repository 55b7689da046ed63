package kafka

import (
	"os"
	"strconv"
	"strings"
)

// Process names one run of a program on one machine, so that another one there can tell whether it still lives.
type Process struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
	// Boot is the machine's boot, Namespace the world its PIDs count in (two containers may share a boot and a
	// host name and yet mean different processes by one number), Started the process's start in ticks since boot:
	// PIDs are used again. Empty where the system does not say.
	Boot      string `json:"boot,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Started   string `json:"started,omitempty"`
}

// ThisProcess names the calling process.
func ThisProcess() Process {
	host, _ := os.Hostname()
	p := Process{Host: host, PID: os.Getpid()}
	p.Boot, p.Namespace = thisMachine()
	p.Started = startOf(p.PID)
	return p
}

// Dead reports whether the process is known to be gone: it ran where we run, and its PID is free or another's.
// Of a process elsewhere nothing is known, and the answer is false.
func (p Process) Dead() bool {
	boot, namespace := thisMachine()
	host, _ := os.Hostname()
	if boot == "" || namespace == "" || p.Started == "" || p.Boot != boot || p.Namespace != namespace || p.Host != host {
		return false
	}
	return startOf(p.PID) != p.Started
}

func thisMachine() (boot, namespace string) {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	namespace, _ = os.Readlink("/proc/self/ns/pid")
	return strings.TrimSpace(string(b)), namespace
}

// startOf returns when a process started, in clock ticks since boot: field 22 of /proc/<pid>/stat. Empty when
// there is no such process, or only what its parent has not yet buried.
func startOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the program's name in parentheses and may hold anything, parentheses too.
	_, rest := cutLast(string(b), ") ")
	fields := strings.Fields(rest) // from the third field on
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}

func cutLast(s, sep string) (before, after string) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+len(sep):]
}
