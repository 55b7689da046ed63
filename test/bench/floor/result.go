package floor

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Result is what a run came to. Its String is the line that the command prints, which Parse reads.
type Result struct {
	Name       string // the command: "produce"
	Rows       int64
	Bytes      int64 // of rows or records as they were sent, before compression; 0 where it is not known
	Seconds    float64
	CPUSeconds float64 // of this process and the programs that it ran, user and system; the servers have theirs
}

// fields are the words of the line, in its order. What can be derived is for people.
var fields = []string{"rows", "bytes", "seconds", "rows/s", "MB/s", "cpu_seconds"}

func (r Result) String() string {
	return fmt.Sprintf("floor %s: rows %d bytes %d seconds %.3f rows/s %.0f MB/s %.1f cpu_seconds %.3f",
		r.Name, r.Rows, r.Bytes, r.Seconds, float64(r.Rows)/r.Seconds, float64(r.Bytes)/1e6/r.Seconds, r.CPUSeconds)
}

// Parse reads the line.
func Parse(line string) (Result, error) {
	bad := func(why string) (Result, error) {
		return Result{}, fmt.Errorf("%q is no line of the command floor: %s", line, why)
	}
	head, rest, ok := strings.Cut(strings.TrimSpace(line), ": ")
	name, isFloor := strings.CutPrefix(head, "floor ")
	words := strings.Fields(rest)
	if !ok || !isFloor || len(words) != 2*len(fields) {
		return bad(fmt.Sprintf("want `floor NAME: ` and %s, each with a number", strings.Join(fields, ", ")))
	}
	values := map[string]float64{}
	for i, field := range fields {
		n, err := strconv.ParseFloat(words[2*i+1], 64)
		if words[2*i] != field || err != nil {
			return bad(fmt.Sprintf("want %s and a number in place of %s %s", field, words[2*i], words[2*i+1]))
		}
		values[field] = n
	}
	return Result{Name: name, Rows: int64(values["rows"]), Bytes: int64(values["bytes"]), Seconds: values["seconds"], CPUSeconds: values["cpu_seconds"]}, nil
}

// clock is running from its making.
type clock struct {
	began time.Time
	cpu   float64
}

func startClock() clock { return clock{time.Now(), cpuSeconds()} }

// result is what has passed since then.
func (c clock) result(name string, rows, bytes int64) Result {
	return Result{Name: name, Rows: rows, Bytes: bytes, Seconds: time.Since(c.began).Seconds(), CPUSeconds: cpuSeconds() - c.cpu}
}

// cpuSeconds is what this process and the children that it has waited for have used.
func cpuSeconds() float64 {
	total := 0.0
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil { // it fails only for another who
			total += time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
		}
	}
	return total
}
