package publish

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-cdc/sluice/change"
)

// errCut is what a reset connection gives.
var errCut = &net.OpError{Op: "read", Err: syscall.ECONNRESET}

// cutter is a dialler whose connections the test can cut: before a request leaves, or after the broker's answer
// to it has arrived at this machine and before the client sees it. It works on any broker.
type cutter struct {
	key    kmsg.Key     // the request at which to cut; others pass
	before bool         // cut before the request leaves; else its answer is thrown away
	times  atomic.Int32 // how many are still to be cut; below 0: all
	cuts   atomic.Int32 // how many were

	// With random set, any request may be cut, one in odds.
	mu     sync.Mutex // guards random
	random *rand.Rand
	odds   int
}

func (c *cutter) options() []kgo.Opt {
	return []kgo.Opt{kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, host)
		if err != nil {
			return nil, err
		}
		return &cutConn{Conn: conn, c: c}, nil
	})}
}

// wants decides about one request: whether to cut, and whether before it leaves.
func (c *cutter) wants(key kmsg.Key) (cut, before bool) {
	if c.random != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.random.IntN(c.odds) != 0 {
			return false, false
		}
		c.cuts.Add(1)
		return true, c.random.IntN(2) == 0
	}
	if key != c.key {
		return false, false
	}
	if n := c.times.Add(-1); n < 0 && n > -1000 { // started at 0 or more and used up
		return false, false
	}
	c.cuts.Add(1)
	return true, c.before
}

type cutConn struct {
	net.Conn
	c      *cutter
	doomed atomic.Bool
}

// Write gets one whole request, as the client writes it.
func (c *cutConn) Write(b []byte) (int, error) {
	if len(b) > 6 && !c.doomed.Load() {
		if cut, before := c.c.wants(kmsg.Key(int16(b[4])<<8 | int16(b[5]))); cut {
			if before {
				c.Conn.Close()
				return 0, errCut
			}
			c.doomed.Store(true)
		}
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.doomed.Load() {
		// It is an answer, and the broker sends it after it has acted. Answers to earlier requests on the same
		// connection get lost with it, which only cuts more.
		c.Conn.Close()
		return 0, errCut
	}
	return n, err
}

const all = -1000

// The connection is cut around EndTxn: before it reaches the broker, or after the commit took effect.
func TestTheAnswerToACommitIsLost(t *testing.T) {
	for _, c := range []struct {
		name      string
		before    bool
		times     int32
		lost      bool // what Commit says
		committed bool // what is true
	}{
		{"the request, once", true, 1, false, true},
		{"the answer, once", false, 1, true, true}, // the client does not ask again what it may have been told
		{"the requests, all", true, all, true, false},
		{"the answers, all", false, all, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			lostAnswer(t, b, c.before, c.times, c.lost, c.committed)
		})
	}
}

func lostAnswer(t *testing.T, b *bench, before bool, times int32, wantLost, committed bool) {
	t.Helper()
	cut := &cutter{key: kmsg.EndTxn, before: before}
	p := b.open(t, append(cut.options(), kgo.RetryTimeout(500*time.Millisecond))...)
	must(t, p.Set(position(0)))
	must(t, p.Commit(ctxOf(t)))
	cut.times.Store(times)
	must(t, p.Add(record(b.topics[0], 0, "a", 1)))
	must(t, p.Set(position(1)))
	err := p.Commit(ctxOf(t))
	if cut.cuts.Load() == 0 {
		t.Fatal("nothing was cut")
	}
	var lost *Lost
	if errors.As(err, &lost) != wantLost || lost != nil && (lost.Fenced || change.SeverityOf(err) != change.Retry) {
		t.Fatalf("commit returned %v", err)
	}
	if lost != nil {
		if again := p.Add(record(b.topics[0], 0, "b", 2)); again != err {
			t.Errorf("then Add returned %v", again)
		}
	}
	next := b.open(t)
	want := 0
	if committed {
		want = 1
	}
	if got := int(next.Checkpoint().Position.Version); got != want {
		t.Errorf("the checkpoint is at %d, want %d", got, want)
	}
	if got := len(b.read(t, b.topics[0])[0]); got != want {
		t.Errorf("%d records, want %d", got, want)
	}
}
