package system

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/proxy"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// onKafka puts a real broker behind a proxy in the place of the local one.
func (b *bed) onKafka() (*testbed.Kafka, *proxy.Proxy) {
	b.t.Helper()
	port, brokerPort := testbed.FreePort(), testbed.FreePort()
	testbed.ReleasePort(port)
	testbed.ReleasePort(brokerPort)
	k, err := testbed.StartKafka(b.t.Context(), testbed.KafkaOptions{Properties: map[string]string{
		"advertised.listeners": fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", port),
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
	}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { k.Stop() })
	p, err := proxy.Start(b.t.Context(), k.Address(), port)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(p.Close)
	b.broker = p.Address()
	return k, p
}

// stopped waits until a process has stopped itself at a fault point.
func (b *bed) stopped(p *rig.Process, point string) {
	b.t.Helper()
	b.says(p, 20*time.Second, "fault: stop at "+point)
	time.Sleep(50 * time.Millisecond)
}

// TestSourceBrokerFaults loses the answer to EndTxn after the commit took effect, stops the source for longer than a
// transaction may be open, and, in the full mode, kills the broker: with real Kafka, and every event counted.
func TestSourceBrokerFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("real Kafka")
	}
	b := newBed(t)
	k, between := b.onKafka()
	m, db := b.mysql(testbed.MySQLOptions{})
	l := newLedger(t, db, 200)
	config := b.sourceConfig(m, "limits: {transaction_bytes: 20000, transaction_timeout: 2s}\n")
	first := b.begin("first", "faultpoints", config, nil)
	b.says(first, 20*time.Second, "crawl is over")
	stop := l.during(t, 150, 20*time.Millisecond)
	time.Sleep(300 * time.Millisecond)
	first.Kill()

	const endtxn, flushed = "publish/before-endtxn", "publish/after-flush"
	for i, outage := range []time.Duration{200 * time.Millisecond, 3 * time.Second} {
		p := b.begin(fmt.Sprint("lost-answer-", i), "faultpoints", config, nil, fmt.Sprintf("SLUICE_FAULT=%s:%d:stop", endtxn, 6+i))
		b.stopped(p, endtxn)
		swallowed := between.Counts().Swallowed
		between.DropAnswers()
		p.Signal(syscall.SIGCONT)
		time.Sleep(outage)
		between.Restore()
		if between.Counts().Swallowed == swallowed {
			t.Error("no answer was swallowed")
		}
		before := strings.Count(p.Log(), "reading the binlog")
		time.Sleep(1500 * time.Millisecond)
		t.Logf("answer lost for %v: running %v, sessions %d before, %d after", outage, p.Running(), before, strings.Count(p.Log(), "reading the binlog"))
		if !p.Running() {
			t.Errorf("it ended:\n%s", p.LogTail(10))
		}
		p.Kill()
	}

	const second = "shop.2" // transactions take turns: the sixth is under the second id
	p := b.begin("stood-still", "faultpoints", config, nil, "SLUICE_FAULT="+flushed+":6:stop")
	b.stopped(p, flushed)
	admin := b.admin()
	eventually(t, 30*time.Second, "the broker has aborted the transaction that is open for too long", func() bool {
		all, err := admin.DescribeTransactions(t.Context(), second)
		return err == nil && all[second].State == "CompleteAbort"
	})
	p.Signal(syscall.SIGCONT)
	b.says(p, 10*time.Second, "starting again from the checkpoint")
	if !p.Running() {
		t.Errorf("it ended:\n%s", p.LogTail(10))
	}
	for range size(0, 3) {
		time.Sleep(time.Second)
		if err := k.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := k.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	n := stop()
	b.caughtUp(m, config, 40*time.Second)
	t.Logf("%d transactions", n)
	l.check(t, b.compareTopic(cdc(m), "ledger"), 1)
}
