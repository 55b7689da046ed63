package system

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

const fencedText = "another source has taken over"

// TestTwoSources starts two sources of one name: the second stands by, takes over from one that was killed, and from one
// that stood still, which then ends and has published nothing since.
func TestTwoSources(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	l := newLedger(t, db, 300)
	config := b.sourceConfig(m, "limits: {transaction_bytes: 20000}\n")
	a := b.begin("a", "", config, nil)
	b.says(a, 20*time.Second, "crawl is over")
	stop := l.during(t, 100, 30*time.Millisecond)
	other := b.begin("b", "", config, nil)
	b.says(other, 10*time.Second, "standing by")
	time.Sleep(time.Second)
	if strings.Contains(other.Log(), "reading the binlog") {
		t.Error("the second source did not stand by")
	}
	began := time.Now()
	a.Kill()
	b.says(other, 20*time.Second, "reading the binlog")
	t.Logf("took over %v after the kill", time.Since(began).Round(10*time.Millisecond))

	a.Start()
	b.says(a, 10*time.Second, "standing by")
	began = time.Now()
	other.Signal(syscall.SIGSTOP)
	eventually(t, 20*time.Second, "a takes over from the one that stands still", func() bool { return strings.Count(a.Log(), "reading the binlog") == 2 })
	t.Logf("took over %v after the stop", time.Since(began).Round(10*time.Millisecond))
	time.Sleep(time.Second)
	other.Signal(syscall.SIGCONT)
	b.yields(other, 1)
	stop()
	b.caughtUp(m, config, 20*time.Second)
	l.check(t, b.compareTopic(cdc(m), "ledger"), 1)
}

// yields waits until a source that stood still has noticed that it is the source no more: it ends, thrown out by Kafka, or, when
// the database throws it out first, stands by. standbys is how often it has stood by before.
func (b *bed) yields(p *rig.Process, standbys int) {
	b.t.Helper()
	eventually(b.t, 15*time.Second, p.Name+" yields", func() bool {
		return strings.Contains(p.Log(), fencedText) && !p.Running() || strings.Count(p.Log(), "standing by") > standbys
	})
	b.t.Logf("%s: running %v, thrown out by Kafka %v", p.Name, p.Running(), strings.Contains(p.Log(), fencedText))
}

// TestIdleSourceStoodStill has a source stand still while nothing is written: with nothing to publish it finds out all the same.
func TestIdleSourceStoodStill(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	l := newLedger(t, db, 300)
	config := b.sourceConfig(m, "")
	a := b.begin("a", "", config, nil)
	b.says(a, 20*time.Second, "crawl is over")
	other := b.begin("b", "", config, nil)
	b.says(other, 10*time.Second, "standing by")
	a.Signal(syscall.SIGSTOP)
	b.says(other, 20*time.Second, "reading the binlog")
	time.Sleep(time.Second)
	a.Signal(syscall.SIGCONT)
	b.yields(a, 0)
	if err := l.write(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	b.caughtUp(m, config, 20*time.Second)
	l.check(t, b.compareTopic(cdc(m), "ledger"), 1)
}

// TestTwoSourcesUnderSupervisors starts two sources at the same moment, each under a supervisor that starts it again at once:
// they must not throw each other out for ever.
func TestTwoSourcesUnderSupervisors(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	l := newLedger(t, db, 300)
	config := b.sourceConfig(m, "")
	stop := make(chan struct{})
	var supervisors sync.WaitGroup
	var pair []*rig.Process
	for _, name := range []string{"a", "b"} {
		p := b.begin(name, "", config, nil)
		pair = append(pair, p)
		supervisors.Go(func() {
			for {
				if _, ended := p.Wait(50 * time.Millisecond); ended {
					p.Start()
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	end := time.Now().Add(size(10*time.Second, 20*time.Second))
	for time.Now().Before(end) {
		if err := l.write(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.caughtUp(m, config, 20*time.Second)
	close(stop)
	supervisors.Wait()
	takeovers, fenced := 0, 0
	for _, p := range pair {
		takeovers += strings.Count(p.Log(), "reading the binlog")
		fenced += strings.Count(p.Log(), fencedText)
	}
	t.Logf("%d take-overs, %d times thrown out", takeovers, fenced)
	if takeovers > 2 {
		t.Errorf("%d take-overs", takeovers)
	}
	b.compareTopic(cdc(m), "ledger")
}
