package bench

import (
	"math"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median(%v) = %g, want %g", c.values, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing = %g", got)
	}
	values := []float64{2, 1}
	if median(values); values[0] != 2 {
		t.Error("median sorts its caller's values")
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		figure, bound float64
		atLeast       bool
		want          Verdict
	}{
		{5, 5, true, Met},
		{6, 5, true, Met},
		{4.9, 5, true, Nearly},
		{4.5, 5, true, Nearly},
		{4.49, 5, true, Missed},
		{10, 10, false, Met},
		{3, 10, false, Met},
		{11, 10, false, Nearly},
		{11.1, 10, false, Missed},
		{math.NaN(), 10, false, NotMeasured},
		{math.NaN(), 10, true, NotMeasured},
	} {
		if got := judge(c.figure, c.bound, c.atLeast); got != c.want {
			t.Errorf("judge(%g, %g, at least %v) = %q, want %q", c.figure, c.bound, c.atLeast, got, c.want)
		}
	}
}

// at is a result of so many rows a second.
func at(rowsPerSecond int64) *Result { return &Result{Rows: rowsPerSecond, Share: 1, Seconds: 1} }

// TestRatio has a machine that was half as fast in the second pair: both sides were, and the ratio stays.
func TestRatio(t *testing.T) {
	pairs := []pair{{at(1000), at(100)}, {at(500), at(50)}, {at(1200), at(100)}}
	if got := ratio(pairs); got != 10 {
		t.Errorf("ratio %g, want 10", got)
	}
	if got := spread(pairs); got != "10.00 to 12.00" {
		t.Errorf("spread %q", got)
	}
	if got := ratio(nil); !math.IsNaN(got) {
		t.Errorf("ratio of no pairs %g", got)
	}
	if got := spread(nil); got != "-" {
		t.Errorf("spread of no pairs %q", got)
	}
}

func TestGoalLines(t *testing.T) {
	r := newReport()
	r.pairs[fight{workBacklog, maxwell}] = []pair{{at(560), at(100)}, {at(400), at(100)}, {at(570), at(100)}}
	r.figure(workBacklog, cpuOwn, 2)
	r.figure(workBacklog, cpuOwn, 1)
	r.figure(workBacklog, cpuOwn, 3)
	r.reasons[workCrawl] = "left out by ONLY"
	r.reasons[workBacklog+", "+debeziumJSON] = "it ended"
	lines := map[string][]string{}
	for _, l := range r.goals() {
		columns := l.columns()
		lines[columns[0]] = columns[1:]
	}
	if len(lines) != len(Goals) {
		t.Errorf("%d lines for %d goals: two have one name", len(lines), len(Goals))
	}
	for name, want := range map[string][]string{
		"backlog against Maxwell":                {"560", "100", "5.6", "4.00 to 5.70", "≥ 5", "met"},
		"backlog against Debezium, JSON":         {"-", "-", "-", "-", "≥ 12", "not measured: it ended"},
		"memory of the source, MB":               {"-", "-", "-", "-", "≤ 150", "not measured: too little data, or none of this run"},
		"backlog, own CPU s a million rows":      {"2", "-", "1.33", "-", "≤ 1.5", "missed"},
		"backlog, exactly once of at least once": {"-", "-", "-", "-", "≥ 0.9", "not measured: the source has no setting for at least once"},
		"crawl against mysqldump":                {"-", "-", "-", "-", "≥ 0.8", "not measured: left out by ONLY"},
	} {
		if got := lines[name]; !equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func equal(a, b []string) bool {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestGoalsAreMeasured holds the goals against the works: one that no work has would never be measured.
func TestGoalsAreMeasured(t *testing.T) {
	known := map[string]bool{workAny: true}
	var words []string
	for _, w := range (&run{}).works() {
		words = append(words, w.word)
		for _, name := range w.goals {
			known[name] = true
		}
	}
	if !equal(words, Works) {
		t.Errorf("ONLY takes %v, there are %v", Works, words)
	}
	for _, g := range Goals {
		if !known[g.Work] || g.Bound <= 0 {
			t.Errorf("goal %q: work %q, bound %g", g.Name, g.Work, g.Bound)
		}
	}
}

func TestVoid(t *testing.T) {
	r := newReport()
	r.floor(mysqldump, at(408_001))
	r.floor(mysqlbinlog, &Result{Bytes: 400_000_000, Share: 1, Seconds: 1})
	r.floor(producer, at(1)) // has no figure
	got := r.void()
	if want := "void: floor-mysqlbinlog did 400 MB/s, less than 80 % of the 539 of a quiet machine: this one is slower or was not quiet"; len(got) != 1 || got[0] != want {
		t.Errorf("void says %q, want %q alone", got, want)
	}
}

func TestPercentile(t *testing.T) {
	var values []time.Duration
	for i := 1000; i >= 1; i-- {
		values = append(values, time.Duration(i))
	}
	for share, want := range map[float64]time.Duration{0.5: 500, 0.99: 990, 0.999: 999, 1: 1000, 0: 1} {
		if got := percentile(values, share); got != want {
			t.Errorf("percentile %g = %d, want %d", share, got, want)
		}
	}
	if got := percentile([]time.Duration{7}, 0.999); got != 7 {
		t.Errorf("percentile of one value = %d", got)
	}
	if got := percentile(nil, 0.5); got != 0 {
		t.Errorf("percentile of nothing = %d", got)
	}
}
