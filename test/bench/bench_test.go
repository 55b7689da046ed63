package bench

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

func TestSettings(t *testing.T) {
	s := Settings{Programs: "bin", Only: []string{"crawl", "delay"}, Rows: 5000}
	if err := s.Check(); err != nil || s.Pairs != 3 || s.backlogRows() != 5000 || s.killRows() != killRowsMin || s.wants("kill") || !s.wants("delay") {
		t.Errorf("%+v, %v", s, err)
	}
	for want, bad := range map[string]Settings{
		"no work \"crawls\": ONLY takes backlog, crawl": {Programs: "bin", Only: []string{"crawls"}},
		"PAIRS=-1":                {Programs: "bin", Pairs: -1},
		"ROWS=10: want 1000":      {Programs: "bin", Rows: 10},
		"the folder of the progr": {},
	} {
		if err := bad.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", bad, err, want)
		}
	}
}

func TestBacklogCounts(t *testing.T) {
	for changes, transactions := range map[int]int{1000: 11, 1049: 11, 1050: 12, 200_000: 2001} {
		b := backlogOf(changes)
		if b.transactions != transactions || b.changes() < int64(changes) || b.changes() > int64(changes)+100 {
			t.Errorf("%d changes: %d transactions with %d, want %d", changes, b.transactions, b.changes(), transactions)
		}
	}
	if e := backlogOf(1000).events(); e[change.Create] != 550 || e[change.Update] != 400 || e[change.Delete] != 100 {
		t.Errorf("events %v", e)
	}
	// 1, 2, 101 and 102, 201
	if e := codeEvents(201); e[change.Create] != 201 || e[change.Update] != 5 {
		t.Errorf("codes' events %v", e)
	}
}

// stub goes the way that its steps say, one a look.
type stub struct {
	steps   []Progress
	at      int
	stopped bool
}

func (*stub) Name() string                { return "stub" }
func (*stub) Prime(context.Context) error { return nil }
func (*stub) Start(context.Context) error { return nil }
func (*stub) Pids() map[string]int        { return nil }
func (s *stub) Stop() error               { s.stopped = true; return nil }
func (s *stub) Progress(context.Context) (Progress, error) {
	if s.at++; s.at > len(s.steps) {
		return Progress{}, errors.New("the process has ended")
	}
	return s.steps[s.at-1], nil
}

// TestWatch looks at what counts: from the first progress to the last, not the start before and not the late word behind, nor what is used until
// that comes. Memory counts until then.
func TestWatch(t *testing.T) {
	used := 0.0
	w := watcher{contender: &stub{steps: []Progress{{}, {Done: -4}, {Done: 100}, {Done: 300}, {Done: 400}, {Done: 400}, {Done: 400, Through: true}}},
		usage: func() usage {
			used += 3
			return usage{cpu: map[string]float64{"source": used, "new": used}, peak: map[string]int64{"source": int64(used)}}
		}}
	began := time.Now()
	if err := w.run(t.Context(), began); err != nil {
		t.Fatal(err)
	}
	r := w.result(began)
	if r.Share != 0.75 || r.CPU["source"] != 6 || r.Peak["source"] != 15 || r.FirstAfter < pollEvery {
		t.Errorf("share %g, cpu %v, peak %v, first after %s; want 0.75, 6 s, 15 bytes, one pause or more", r.Share, r.CPU, r.Peak, r.FirstAfter)
	}
	if whole := time.Since(began); r.Seconds < 2*pollEvery.Seconds() || r.Seconds > (whole-4*pollEvery).Seconds() {
		t.Errorf("%g s of %s: the start or the late word counts", r.Seconds, whole)
	}
	r.Rows = 4_000_000
	if r.perMillion(); r.CPU["source"] != 2 {
		t.Errorf("%g s a million rows, want 6 s for 3 million", r.CPU["source"])
	}
	over := watcher{contender: &stub{steps: []Progress{{Done: 7, Through: true}}}, usage: func() usage { return usage{} }}
	if err := over.run(t.Context(), began); err != nil {
		t.Fatal(err)
	}
	if r := over.result(began); r.Share != 1 || r.Seconds <= 0 || r.Note == "" || len(r.CPU) > 0 {
		t.Errorf("a work that was over at once: %+v", r)
	}
}

// TestFight has an opponent that dies: its pair is gone and said, and ours go on. Ours that lost rows ends the work.
func TestFight(t *testing.T) {
	mine := func() *named {
		return &named{stub{steps: []Progress{{Done: 1}, {Done: 9, Through: true}}}, ours}
	}
	theirs := &named{stub{steps: []Progress{{Done: 1}, {Done: 9, Through: true}}}, "their 1.0"}
	dies := &named{stub{steps: []Progress{{Done: 1}}}, "their 1.0"}
	r := &run{report: newReport(), progress: &strings.Builder{}, began: time.Now(), bed: &bed{}}
	w := &work{name: workCrawl, rows: 10, check: func(context.Context, Contender) error { return nil }}
	if err := r.fight(t.Context(), w, []turn{{mine(), "x", 1}, {dies, "x", 1}, {mine(), "x", 2}, {theirs, "x", 2}}); err != nil {
		t.Fatal(err)
	}
	if pairs := r.report.pairs[fight{workCrawl, "x"}]; len(pairs) != 1 || pairs[0].theirs.Round != 2 || pairs[0].ours.Round != 2 {
		t.Errorf("pairs %+v, want the second alone", pairs)
	}
	if said := r.report.reasons[workCrawl+", x"]; !strings.Contains(said, "the process has ended") || !dies.stopped {
		t.Errorf("reason %q, stopped %v", said, dies.stopped)
	}
	w.check = func(context.Context, Contender) error { return errors.New("rows were lost") }
	if err := r.fight(t.Context(), w, []turn{{mine(), "x", 1}, {theirs, "x", 1}}); err == nil || !strings.Contains(err.Error(), "rows were lost") {
		t.Errorf("a work that lost rows ended with %v", err)
	}
}

type named struct {
	stub
	name string
}

func (n *named) Name() string { return n.name }

// row is a row with a number and a text.
func row(id int64, text string) []change.Value {
	return []change.Value{change.IntValue(id), change.StringValue(text)}
}

// TestTopicCheck loses, bends and doubles events one at a time: each must be seen.
func TestTopicCheck(t *testing.T) {
	topic := func() *carried {
		c := &carried{ops: map[change.Op]int64{}, newest: map[string][16]byte{}}
		c.take("1", change.Create, row(1, "a"))
		c.take("2", change.Create, row(2, "b"))
		c.take("3", change.Create, row(3, "c"))
		c.take("2", change.Update, row(2, "B"))
		c.take("3", change.Delete, nil)
		c.tombstones++
		return c
	}
	var want sum
	want.add(hashOf(row(2, "B")))
	want.add(hashOf(row(1, "a")))
	events := map[change.Op]int64{change.Create: 3, change.Update: 1, change.Delete: 1}
	if err := topic().check(want, events); err != nil {
		t.Fatalf("nothing is wrong with it: %v", err)
	}
	for name, spoil := range map[string]func(*carried){
		"a row is lost":       func(c *carried) { delete(c.newest, "1") },
		"a row is bent":       func(c *carried) { c.newest["1"] = hashOf(row(1, "A")) },
		"a value moves":       func(c *carried) { c.newest["1"], c.newest["2"] = hashOf(row(1, "B")), hashOf(row(2, "a")) },
		"NULL for empty":      func(c *carried) { c.newest["1"] = hashOf([]change.Value{change.IntValue(1), {}}) },
		"a row too many":      func(c *carried) { c.take("4", change.Create, row(4, "d")) },
		"an event came twice": func(c *carried) { c.take("2", change.Update, row(2, "B")) },
		"no tombstone":        func(c *carried) { c.tombstones-- },
	} {
		c := topic()
		spoil(c)
		if c.check(want, events) == nil {
			t.Errorf("%s, and nobody sees it", name)
		}
	}
}

func TestReached(t *testing.T) {
	end := offsets{0: 5, 1: 7, 2: 0}
	for name, c := range map[string]struct {
		at   offsets
		want bool
	}{
		"nothing yet":        {nil, false},
		"one is behind":      {offsets{0: 5, 1: 6}, false},
		"one is not known":   {offsets{0: 9}, false},
		"all, but the empty": {offsets{0: 5, 1: 7}, true},
	} {
		if got := c.at.reached(end); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAtPace does what is late as soon as it can, and gives an error on.
func TestAtPace(t *testing.T) {
	began, last := time.Now(), 0
	err := atPace(t.Context(), 1000, 50, 1, func(i int) any { return i }, func(i int, _ any) error {
		if i == 0 {
			time.Sleep(40 * time.Millisecond) // which the others make up for
		}
		last = i
		return nil
	})
	if took := time.Since(began); err != nil || last != 49 || took < 49*time.Millisecond {
		t.Errorf("%v, the last is %d, after %s", err, last, took)
	}
	bad := errors.New("bad")
	if err := atPace(t.Context(), 10_000, 0, 2, func(int) any { return nil }, func(i int, _ any) error {
		if i == 5 {
			return bad
		}
		return nil
	}); !errors.Is(err, bad) {
		t.Errorf("the error was %v", err)
	}
}

// TestRun makes a whole run on real servers with little data: every work ends, finds all rows, and every goal has its line. What it
// measures says nothing.
func TestRun(t *testing.T) {
	if os.Getenv("SLUICE_FULL") == "" || os.Getenv("SLUICE_FULL") == "0" {
		t.Skip("starts six servers and takes minutes: make system runs it")
	}
	for _, name := range []string{"mysql-9.7", "kafka", "registry", "elasticsearch"} {
		if err := testbed.Available(t.Context(), name); err != nil {
			t.Skipf("%s: %v", name, err)
		}
	}
	programs := t.TempDir()
	for _, name := range []string{"sluice-source", "sluice-sink-mysql", "sluice-sink-elasticsearch"} {
		if _, err := rig.Build(programs, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	s := Settings{Programs: programs, Rows: 20_000, Pairs: 1, Quick: true}
	var full, short strings.Builder
	if err := Run(t.Context(), s, logged{t}, &full, &short); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s\n%s", full.String(), short.String())
	if lines := strings.Count(strings.TrimSpace(short.String()), "\n") + 1; lines < len(Goals) {
		t.Errorf("%d lines for %d goals", lines, len(Goals))
	}
}

// logged writes to the test's log.
type logged struct{ t *testing.T }

func (l logged) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
