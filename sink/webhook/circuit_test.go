package webhook

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func whole(d time.Duration) time.Duration { return d }

// TestCircuitProperties: whatever comes in whatever order, an open circuit lets nothing go before its time and then one request
// only, it always lets one go in the end, and a success closes it.
func TestCircuitProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := circuit{failuresMax: rapid.IntRange(1, 5).Draw(r, "max"), pause: time.Second, pauseMax: 8 * time.Second}
		now := time.Unix(1_700_000_000, 0)
		type request struct{ probe bool }
		var under []request // under way
		inRow := 0
		for range rapid.IntRange(1, 80).Draw(r, "steps") {
			switch rapid.IntRange(0, 3).Draw(r, "what") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(r, "ms")) * time.Millisecond)
			case 1:
				open, early, probing := c.opened > 0, now.Before(c.until), c.probing
				wait, probe := c.admit(now)
				if goes := wait == 0; goes != (!open || !early && !probing) || probe != (open && goes) || wait < 0 || wait > c.pauseMax {
					r.Fatalf("open %v, early %v, probing %v: wait %s, probe %v", open, early, probing, wait, probe)
				}
				if wait == 0 {
					under = append(under, request{probe})
				}
			default:
				if len(under) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(under)-1).Draw(r, "which")
				ended := under[i]
				under = append(under[:i], under[i+1:]...)
				open, times := c.opened > 0, c.opened
				switch rapid.IntRange(0, 2).Draw(r, "how") {
				case 0:
					inRow = 0
					if closed := c.succeed(); closed != open || c.opened > 0 || c.failures > 0 {
						r.Fatalf("a success left %+v (closed %v)", c, closed)
					}
				case 1:
					if !open {
						inRow++
					}
					opened := c.fail(now, ended.probe, whole)
					want := !open && inRow >= c.failuresMax || open && ended.probe
					if opened != want || opened && (c.opened != times+1 || !c.until.After(now)) {
						r.Fatalf("a failure (probe %v) of %d in a row left %+v (opened %v)", ended.probe, inRow, c, opened)
					}
					if opened {
						inRow = 0
					}
				default:
					if c.cancel(ended.probe); c.opened != times {
						r.Fatalf("a cancelled request left %+v", c)
					}
				}
			}
		}
		// With nothing under way any more, one request goes when the time has come.
		for _, ended := range under {
			c.cancel(ended.probe)
		}
		if wait, _ := c.admit(now.Add(c.pauseMax)); wait != 0 {
			r.Fatalf("%+v lets nothing go", c)
		}
	})
}

func TestBackoff(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		first := time.Duration(rapid.Int64Range(1, int64(time.Second)).Draw(r, "first"))
		most := first + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(r, "more"))
		n := rapid.IntRange(1, 1_000_000).Draw(r, "failures")
		d, next := backoff(n, first, most), backoff(n+1, first, most)
		if d < first || d > most || next < d || next != min(2*d, most) {
			r.Fatalf("after %d and %d failures: %s, %s", n, n+1, d, next)
		}
		if j := jitter(d); j > d || j < d/2 {
			r.Fatalf("%s with jitter is %s", d, j)
		}
	})
}
