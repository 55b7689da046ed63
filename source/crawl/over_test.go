package crawl

import (
	"context"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql"
)

// ledger is a Stream that takes records and nothing else.
type ledger struct {
	Stream
	records []Progress
}

func (l *ledger) Finish(_ context.Context, p Progress) error {
	l.records = append(l.records, p)
	return nil
}

func (l *ledger) last() Progress { return l.records[len(l.records)-1] }

// aCrawl returns a manager without a server, with one crawl as the record has it.
func aCrawl(t *testing.T, record Progress) (*Manager, *ledger, *crawl) {
	t.Helper()
	l := &ledger{}
	m, err := New(Config{Facts: &mysql.Facts{}}, nil, l)
	if err != nil {
		t.Fatal(err)
	}
	record.ID, record.Table = "x", change.TableName{DB: "shop", Name: "orders"}
	m.Restore([]Progress{record})
	return m, l, m.crawls[0]
}

// A chunk that waits for its high mark while its crawl is given up is published after the crawl's last record: that it is must
// neither bring the crawl down nor back.
func TestChunkAfterTheEnd(t *testing.T) {
	for _, state := range []string{Cancelled, Failed} {
		m, l, c := aCrawl(t, Progress{State: Running, Ranges: make([]Range, 2)})
		c.phase, c.lanes = reading, make([]lane, 2)
		late, _ := c.next(time.Now())
		c.end(state, "")
		m.settle(late, context.Canceled)
		last, _ := c.next(time.Now())
		if last == nil || last.step != finishStep {
			t.Fatalf("%s: after the last worker comes %+v", state, last)
		}
		if err := m.finish(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		if p := l.last(); p.State != state {
			t.Errorf("%s: the last record says %s", state, p.State)
		}
		if p := c.advance(late, []string{"7"}, false, 3); p.State != state || p.Rows != 3 || p.Ranges != nil {
			t.Errorf("%s: the record of a late chunk says %+v", state, p)
		}
	}
}

// A crawl that is cancelled when its sweep is about to begin stays cancelled.
func TestCancelBeforeTheSweep(t *testing.T) {
	m, l, c := aCrawl(t, Progress{State: Running, Sweep: true, Ranges: []Range{{Done: true}}})
	c.phase, c.lanes = reading, make([]lane, 1)
	if !c.settled() {
		t.Fatal("no sweep begins")
	}
	next, _, _ := m.nextSweep()
	c.end(Cancelled, "")
	if early, _ := c.next(time.Now()); early != nil {
		t.Error("the last record is written while the sweep may write others")
	}
	err := m.sweepCrawl(t.Context(), next)
	if err != errCancelled {
		t.Errorf("the sweep ends with %v", err)
	}
	m.swept(next, err)
	last, _ := c.next(time.Now())
	if err := m.finish(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if p := l.last(); p.State != Cancelled {
		t.Errorf("the last record says %s", p.State)
	}
}
