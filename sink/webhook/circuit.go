package webhook

import "time"

// circuit decides whether a receiver that fails is left alone for a while. It has no clock and no lock: see endpoint.
//
// Closed, everything goes. After so many failures without a success it opens, and nothing goes until the pause is over. Then it is
// half open: one request goes, the probe. Its success closes the circuit, its failure opens it for twice as long.
type circuit struct {
	failuresMax      int
	pause, pauseMax  time.Duration
	failures, opened int // without a success: failures while it was closed; times that it opened
	until            time.Time
	probing          bool
}

// probeWait is how long those wait who come while the probe is under way, before they ask again.
const probeWait = 50 * time.Millisecond

// admit says whether a request may go now, and whether it is the probe; else how long to wait at least.
func (c *circuit) admit(now time.Time) (wait time.Duration, probe bool) {
	switch {
	case c.opened == 0:
		return 0, false
	case now.Before(c.until):
		return c.until.Sub(now), false
	case c.probing:
		return probeWait, false
	}
	c.probing = true
	return 0, true
}

// succeed notes an answer that shows the receiver at work. closed: the circuit was open.
func (c *circuit) succeed() (closed bool) {
	closed = c.opened > 0
	c.failures, c.opened, c.probing = 0, 0, false
	return closed
}

// fail notes a failure. opened: the circuit has opened by it. A request that was under way when it opened changes nothing.
func (c *circuit) fail(now time.Time, probe bool, jitter func(time.Duration) time.Duration) (opened bool) {
	switch {
	case c.opened > 0 && !probe:
		return false
	case c.opened == 0:
		if c.failures++; c.failures < c.failuresMax {
			return false
		}
	}
	c.probing = false
	c.opened++
	c.until = now.Add(jitter(backoff(c.opened, c.pause, c.pauseMax)))
	return true
}

// cancel notes that a request has ended without showing anything.
func (c *circuit) cancel(probe bool) {
	if probe {
		c.probing = false
	}
}

// backoff is the pause after so many failures, counted from 1: it doubles from first up to most.
func backoff(failures int, first, most time.Duration) time.Duration {
	d := first
	for i := 1; i < failures && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}
