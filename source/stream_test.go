package source

import (
	"context"
	"log/slog"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/source/crawl"
)

// crawlBed is a loop with one table that was crawled, and a crawl manager that nobody runs.
type crawlBed struct {
	t     *testing.T
	loop  *loop
	table *table
}

func newCrawlBed(t *testing.T, rule TableRule) *crawlBed {
	t.Helper()
	l := newTestLoop(t)
	l.log = slog.New(slog.DiscardHandler)
	name := change.TableName{DB: "shop", Name: "orders"}
	m, err := crawl.New(crawl.Config{Facts: &mysql.Facts{}, Topic: topicKeys{}}, nil, &stream{loop: l})
	if err != nil {
		t.Fatal(err)
	}
	l.crawls = starter{t.Context(), m}
	b := &crawlBed{t, l, &table{name: name, rule: &rule, state: kafka.TableState{Table: name, Topic: "test.shop.orders", Partitions: 1, Crawled: true}}}
	l.tables[name] = b.table
	return b
}

// wish asks for a crawl as the source itself does and returns its record.
func (b *crawlBed) wish() crawl.Progress {
	b.t.Helper()
	if err := b.loop.recrawl(b.table, "a test"); err != nil {
		b.t.Fatal(err)
	}
	list := b.loop.crawls.List()
	return list[len(list)-1].Progress
}

// ends tells the loop of a crawl's last record.
func (b *crawlBed) ends(p crawl.Progress, state string) {
	b.t.Helper()
	p.State = state
	done := make(chan error)
	go func() { done <- (&stream{loop: b.loop}).Finish(b.t.Context(), p) }()
	call := <-b.loop.calls
	for _, f := range []func(context.Context) error{call, b.loop.commit} {
		if err := f(b.t.Context()); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
}

func (b *crawlBed) doubted() bool {
	return b.table.record(make([]byte, 8), nil, 1).Headers != nil
}

// Events say that they are in doubt from the moment at which a crawl over the top is wished for until one that began then or later has
// looked at the whole table.
func TestDoubtIsSaid(t *testing.T) {
	b := newCrawlBed(t, TableRule{})
	expect := func(when string, want bool) {
		t.Helper()
		if b.doubted() != want {
			t.Errorf("%s: in doubt: %v, want %v", when, !want, want)
		}
	}
	expect("before", false)
	first := b.wish()
	expect("wished for", true)
	b.ends(first, crawl.Sweeping)
	expect("at its sweep", true)
	b.ends(first, crawl.Cancelled)
	expect("cancelled", true)
	second := b.wish()
	b.ends(second, crawl.Done)
	expect("done again", false)
}

// A crawl of the whole table that fails stops the table, also where the first one was of a part: it was wished for because rows had
// changed without an event.
func TestFailedCrawlStopsTheTable(t *testing.T) {
	for _, where := range []string{"", "id > 1000"} {
		b := newCrawlBed(t, TableRule{Crawl: TableCrawl{Where: where}})
		part := b.wish()
		part.ID, part.Where, part.Sweep = "part", "id = 1", false
		b.ends(part, crawl.Failed)
		if !b.table.live() {
			t.Errorf("crawl.where %q: a part that failed stops the table", where)
		}
		b.ends(b.wish(), crawl.Failed)
		if b.table.live() {
			t.Errorf("crawl.where %q: the table goes on, and nobody has looked at its rows", where)
		}
	}
}
