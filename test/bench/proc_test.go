package bench

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 1234 66 13 14 15"
	for _, name := range []string{"(java)", "(a) b (c)", "(with ) R 1 2 inside)"} {
		if got, err := parseCPU("4711 " + name + rest); err != nil || got != 13 {
			t.Errorf("%s: %g seconds, %v; want 13", name, got, err)
		}
	}
	for text, want := range map[string]string{
		"4711 java S 1":     "no command name",
		"4711 (java) S 1 2": "3 fields",
		"1 (x) S 1 2 3 4 5 6 7 8 9 10 many 66 1 2 ": "many",
	} {
		if _, err := parseCPU(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestParsePeak(t *testing.T) {
	if got, err := parsePeak("Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 12 kB\n"); err != nil || got != 2<<20 {
		t.Errorf("%d bytes, %v; want 2 MiB", got, err)
	}
	for text, want := range map[string]string{"VmRSS: 12 kB\n": "no VmHWM", "VmHWM:\t12 MB\n": "no VmHWM in kB", "VmHWM: x kB\n": "no VmHWM in kB"} {
		if _, err := parsePeak(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestOwnProcess reads this test's own: what it burns is seen.
func TestOwnProcess(t *testing.T) {
	before, ok := processCPU(os.Getpid())
	if !ok {
		t.Skip("no /proc on this system")
	}
	x := 1.0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		for range 1_000_000 {
			x = math.Sqrt(x + 1)
		}
		if now, _ := processCPU(os.Getpid()); now-before >= 0.05 {
			break
		}
	}
	if now, _ := processCPU(os.Getpid()); now-before < 0.05 || x == 0 {
		t.Errorf("%g seconds of processor time in ten seconds of work", now-before)
	}
	if peak, ok := processPeak(os.Getpid()); !ok || peak < 1<<20 {
		t.Errorf("a peak of %d bytes, %v", peak, ok)
	}
	if _, ok := processCPU(0); ok {
		t.Error("there is no process 0")
	}
}
