package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticksPerSecond is Linux's USER_HZ, the unit of /proc/PID/stat, which is 100 on all machines whatever the kernel counts in.
const ticksPerSecond = 100

// parseCPU reads the processor seconds, user and system, of all threads of a process out of /proc/PID/stat (proc(5), fields 14 and 15).
// The second field is the command's name in parentheses and may hold anything, so the fields are counted from its end.
func parseCPU(stat string) (float64, error) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("/proc/PID/stat has no command name")
	}
	fields := strings.Fields(stat[end+1:]) // from the third on
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat has %d fields after the command's name, not 13 or more", len(fields))
	}
	ticks := uint64(0)
	for _, text := range fields[11:13] {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		ticks += n
	}
	return float64(ticks) / ticksPerSecond, nil
}

// parsePeak reads the peak of resident memory in bytes out of /proc/PID/status (VmHWM).
func parsePeak(status string) (int64, error) {
	for line := range strings.Lines(status) {
		text, ok := strings.CutPrefix(line, "VmHWM:")
		if !ok {
			continue
		}
		number, ok := strings.CutSuffix(strings.TrimSpace(text), " kB")
		kib, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if !ok || err != nil {
			return 0, fmt.Errorf("/proc/PID/status: %q is no VmHWM in kB", strings.TrimSpace(line))
		}
		return kib << 10, nil
	}
	return 0, errors.New("/proc/PID/status has no VmHWM")
}

// processCPU is what a process has used, 0 and false when it is gone.
func processCPU(pid int) (float64, bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	seconds, err := parseCPU(string(content))
	return seconds, err == nil
}

// processPeak is its peak of resident memory, 0 and false when it is gone.
func processPeak(pid int) (int64, bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	peak, err := parsePeak(string(content))
	return peak, err == nil
}

// machine says on what a run was made.
func machine() string {
	first := func(path, key string) string {
		content, err := os.ReadFile(path)
		if err != nil {
			return "unknown"
		}
		for line := range strings.Lines(string(content)) {
			if name, value, ok := strings.Cut(line, ":"); key == "" || ok && strings.TrimSpace(name) == key {
				if key == "" {
					value = line
				}
				return strings.TrimSpace(value)
			}
		}
		return "unknown"
	}
	return fmt.Sprintf("%s, %s of memory, Linux %s",
		first("/proc/cpuinfo", "model name"), first("/proc/meminfo", "MemTotal"), first("/proc/sys/kernel/osrelease", ""))
}

// load is the machine's load of the last minute, as text.
func load() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(content), " ")
	return one
}
