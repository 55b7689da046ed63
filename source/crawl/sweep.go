package crawl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// A sweep finds the keys that are in the topic and not in the table: deletes that nobody saw (a TRUNCATE, a
// dropped partition, a failover). The topic is read by one goroutine, the keys are looked up by the workers,
// in batches, each a chunk of named keys like any other.
//
// Only one topic is read at a time: what a pass holds in memory is bounded once for all crawls.

const (
	batchKeys    = 250
	batchesMax   = 16  // of a sweep, waiting or at workers
	sweepKeySize = 160 // bytes that a key takes in the reader's memory, about
)

// errCancelled says that the crawl whose topic is being read is over.
var errCancelled = errors.New("the crawl is over")

// sweep reads topics until ctx ends.
func (m *Manager) sweep(ctx context.Context) error {
	for ctx.Err() == nil {
		c, changed, pause := m.nextSweep()
		if c == nil {
			wait(ctx, changed, pause)
			continue
		}
		err := m.sweepCrawl(ctx, c)
		if ctx.Err() != nil {
			return nil
		}
		var own streamError
		if errors.As(err, &own) {
			return own.error
		}
		m.swept(c, err)
	}
	return nil
}

// nextSweep returns the first crawl that is to be swept, or what to wait for.
func (m *Manager) nextSweep() (*crawl, <-chan struct{}, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, pause := time.Now(), idle
	for _, c := range m.crawls {
		if c.phase != sweeping {
			continue
		}
		if c.self.ready(now) {
			c.flying++ // so that the crawl's last record comes after those of the sweep
			return c, nil, 0
		}
		pause = min(pause, c.self.after.Sub(now))
	}
	return nil, m.changed, max(pause, time.Millisecond)
}

// swept notes how the reading of a topic ended.
func (m *Manager) swept(c *crawl, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.wake()
	c.flying--
	switch {
	case c.phase == finishing || c.phase == closed || errors.Is(err, errCancelled):
	case err == nil:
		c.end(Done, "")
	case judge(err, c.self.tries) == fail:
		m.fail(c, err)
	default:
		c.self.tries++
		c.self.after = time.Now().Add(backoff(c.self.tries))
		c.note = err.Error()
		m.cfg.Log.Warn("the topic cannot be read for the sweep", "crawl", c.id, "table", c.table.String(), "error", err)
	}
}

// sweepCrawl makes all passes that are not done.
func (m *Manager) sweepCrawl(ctx context.Context, c *crawl) error {
	if err := m.beginSweep(ctx, c); err != nil {
		return err
	}
	m.mu.Lock()
	record := c.snapshot()
	m.mu.Unlock()
	for pass := range record.Ranges {
		if record.Ranges[pass].Done {
			continue
		}
		if err := m.pass(ctx, c, &record, pass); err != nil {
			return err
		}
		m.mu.Lock()
		if c.phase == finishing || c.phase == closed {
			m.mu.Unlock()
			return errCancelled
		}
		c.record.Ranges[pass].Done = true
		now := c.snapshot()
		m.mu.Unlock()
		if err := m.stream.Finish(ctx, now); err != nil {
			return fromStream(err)
		}
	}
	return nil
}

// beginSweep notes how many passes there will be: from here the record's ranges are those.
func (m *Manager) beginSweep(ctx context.Context, c *crawl) error {
	m.mu.Lock()
	switch {
	case c.phase == finishing: // since nextSweep looked: its state is the last
		m.mu.Unlock()
		return errCancelled
	case c.record.State == Sweeping:
		m.mu.Unlock()
		return nil
	}
	passes := 1 + max(c.record.Rows, c.record.Estimate)*sweepKeySize/m.cfg.SweepBytes
	c.record.State, c.record.Ranges = Sweeping, make([]Range, passes)
	record := c.snapshot()
	m.mu.Unlock()
	return fromStream(m.stream.Finish(ctx, record))
}

// pass reads the keys of one pass and waits until all of them are looked up.
func (m *Manager) pass(ctx context.Context, c *crawl, record *Progress, pass int) error {
	var keys []namedKey
	within, cancel := context.WithCancel(ctx) // a crawl that is given up need not read a long topic to its end
	defer cancel()
	defer context.AfterFunc(c.over, cancel)()
	err := m.cfg.Topic.Keys(within, c.table, record.Started, pass, len(record.Ranges), func(body []byte) error {
		keys = append(keys, namedKey{body: bytes.Clone(body)})
		if len(keys) < batchKeys {
			return nil
		}
		full := keys
		keys = nil
		return m.push(ctx, c, full)
	})
	if err != nil {
		return fmt.Errorf("read the topic of %s: %w", c.table, err)
	}
	if len(keys) > 0 {
		if err := m.push(ctx, c, keys); err != nil {
			return err
		}
	}
	return m.until(ctx, c, func() bool { return len(c.batches) == 0 })
}

// push gives the workers a batch as soon as there is room.
func (m *Manager) push(ctx context.Context, c *crawl, keys []namedKey) error {
	if err := m.until(ctx, c, func() bool { return len(c.batches) < batchesMax }); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.batches = append(c.batches, &batch{keys: keys})
	m.wake()
	return nil
}

// until waits for a condition on the crawl, which is asked with the lock held.
func (m *Manager) until(ctx context.Context, c *crawl, met func() bool) error {
	for {
		m.mu.Lock()
		over, ok, changed := c.phase == finishing || c.phase == closed, met(), m.changed
		m.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case over:
			return errCancelled
		case ok:
			return nil
		}
		wait(ctx, changed, time.Minute)
	}
}
