package system

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/internal/fault"
	"github.com/sluice-cdc/sluice/testbed"
)

// TestSourceKilledAtEveryPoint kills the source with SIGKILL at every fault point that it has, while it crawls and streams
// transactions that are published in pieces, and goes on with the next process from what the last one left. In the end no
// event is there twice and none is missing.
func TestSourceKilledAtEveryPoint(t *testing.T) {
	b := newBed(t)
	m, db := b.mysql(testbed.MySQLOptions{})
	l := newLedger(t, db, 2000)
	began := b.executed(m)
	config := b.sourceConfig(m, "limits: {transaction_bytes: 20000}\ncrawl: {chunk_bytes: 65536, workers: 2}\n")
	random := rand.New(rand.NewPCG(seed(t), 2))
	crawls, kills := 0, 0
	// The first start is one of them: nothing is expected of what was written before its first commit.
	for _, point := range []string{"publish/after-fence:1", "publish/after-fence:2", "source/after-open:1", "publish/before-endtxn:1"} {
		b.killed(t, config, point, 20*time.Second)
		kills++
	}
	p := b.begin("source", "faultpoints", config, nil)
	b.says(p, 10*time.Second, "crawl begins")
	crawls++
	stop := l.during(t, 150, 20*time.Millisecond)
	time.Sleep(300 * time.Millisecond)
	p.Kill()
	for range size(1, 5) {
		for _, name := range fault.Names {
			if !strings.HasPrefix(name, "publish/") && !strings.HasPrefix(name, "source/") && !strings.HasPrefix(name, "crawl/") {
				continue
			}
			if strings.HasPrefix(name, "crawl/") || crawls < 2 {
				b.cli("crawl", "start", "shop.ledger", "--config", config)
				crawls++
			}
			b.killed(t, config, fmt.Sprintf("%s:%d", name, passage(random, name)), 30*time.Second)
			kills++
		}
	}
	b.begin("source", "faultpoints", config, nil)
	n := stop()
	b.caughtUp(m, config, 30*time.Second)
	t.Logf("%d kills, %d crawls, %d transactions", kills, crawls, n)
	l.check(t, b.compareTopic(cdc(m), "ledger"), crawls)
	b.historyRight(m, began, "ledger")
}

// passage is at which of its passages a point strikes: those of a start are passed once, others often.
func passage(random *rand.Rand, point string) int {
	switch point {
	case "publish/after-fence": // once for each lane
		return 1 + random.IntN(2)
	case "source/after-open", "crawl/before-finish":
		return 1
	case "publish/after-add", "source/before-publish":
		return 1 + random.IntN(2000)
	case "crawl/after-open", "crawl/after-read":
		return 1 + random.IntN(6)
	}
	return 1 + random.IntN(25)
}

// killed starts a source that dies at the point, and waits for its death.
func (b *bed) killed(t testing.TB, config, point string, within time.Duration) {
	t.Helper()
	name := "killed-" + strings.NewReplacer("/", "-", ":", "-").Replace(point)
	p := b.begin(name, "faultpoints", config, nil, "SLUICE_FAULT="+point+":kill")
	began := time.Now()
	b.ends(p, within)
	t.Logf("%s after %v", point, time.Since(began).Round(time.Millisecond))
	if !strings.Contains(p.Log(), "fault: kill at") {
		t.Fatalf("%s: it ended by itself:\n%s", point, p.LogTail(20))
	}
}
