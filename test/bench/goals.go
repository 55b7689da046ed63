package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// The names of contenders, as works, goals and rivals.go know them.
const (
	ours         = "sluice"
	maxwell      = "maxwell"
	debeziumJSON = "debezium-json"
	debeziumAvro = "debezium-avro"
	debeziumJDBC = "debezium-jdbc"
	producer     = "floor-producer"
	loader       = "floor-loader"
	bulkLoader   = "floor-bulk"
	mysqldump    = "floor-mysqldump"
	mysqlbinlog  = "floor-mysqlbinlog"
)

// The names of works.
const (
	workBacklog = "backlog, 200 B"
	workCrawl   = "crawl"
	workBoth    = "crawl under writes"
	workMySQL   = "topic to MySQL"
	workUnique  = "topic to MySQL, 1 % conflicts"
	workSearch  = "topic to Elasticsearch"
	workDelay   = "delay at 1,000 changes/s"
	workLarge   = "large transaction"
	workKill    = "SIGKILL"
	workAny     = "all works"
)

// What is looked at where it is not the rate.
const (
	rate       = ""
	cpuOwn     = "CPU s a million rows"
	visibleP50 = "visible p50, ms"
	visibleP99 = "visible p99, ms"
	killSource = "source, s"
	killSink   = "sink, s after the session's time"
	memSource  = "source, MB"
	memSink    = "sink, MB"
	leastOnce  = "exactly once of at least once"
)

// Goal is what is wanted of a work. With an opponent it is about the ratio of rates, else about a figure of ours.
type Goal struct {
	Name    string
	Work    string
	Against string
	Measure string
	AtLeast bool // else at most
	Bound   float64
	Never   string // why it cannot be measured
}

// Goals are all of them, in the order in which they are printed. Those of rates come from what peers and bare programs did on a quiet
// machine of two cores when the goals were set; they are ratios, so they hold on others.
var Goals = []Goal{
	{Name: "backlog against Maxwell", Work: workBacklog, Against: maxwell, AtLeast: true, Bound: 5},
	{Name: "backlog against Debezium, JSON", Work: workBacklog, Against: debeziumJSON, AtLeast: true, Bound: 12},
	{Name: "backlog against Debezium, Avro", Work: workBacklog, Against: debeziumAvro, AtLeast: true, Bound: 30},
	{Name: "backlog, own CPU s a million rows", Work: workBacklog, Measure: cpuOwn, Bound: 1.5},
	{Name: "backlog, exactly once of at least once", Work: workBacklog, Measure: leastOnce, AtLeast: true, Bound: 0.9,
		Never: "the source has no setting for at least once"},
	{Name: "crawl against Debezium's snapshot, JSON", Work: workCrawl, Against: debeziumJSON, AtLeast: true, Bound: 6},
	{Name: "crawl against mysqldump", Work: workCrawl, Against: mysqldump, AtLeast: true, Bound: 0.8},
	{Name: "to MySQL against a bare loader", Work: workMySQL, Against: loader, AtLeast: true, Bound: 0.9},
	{Name: "to MySQL, 1 % conflicts, against a bare loader", Work: workUnique, Against: loader, AtLeast: true, Bound: 0.5},
	{Name: "to MySQL against Debezium's JDBC sink", Work: workMySQL, Against: debeziumJDBC, AtLeast: true, Bound: 5},
	{Name: "to Elasticsearch against a bare bulk loader", Work: workSearch, Against: bulkLoader, AtLeast: true, Bound: 0.9},
	{Name: "commit to visible at 1,000/s, p50 ms", Work: workDelay, Measure: visibleP50, Bound: 10},
	{Name: "commit to visible at 1,000/s, p99 ms", Work: workDelay, Measure: visibleP99, Bound: 25},
	{Name: "source killed to first new row, s", Work: workKill, Measure: killSource, Bound: 3},
	{Name: "sink killed to first new row, s without the session's time", Work: workKill, Measure: killSink, Bound: 2},
	{Name: "memory of the source, MB", Work: workAny, Measure: memSource, Bound: 150},
	{Name: "memory of a sink, MB", Work: workAny, Measure: memSink, Bound: 200},
}

// floorFigure is what a bare program did on the quiet machine on which the goals were set.
type floorFigure struct {
	rate float64
	unit string // rows/s or MB/s
}

// floorFigures are for rows of 200 B. A floor below 80 % of its figure means that the machine is slower or is not quiet: what was measured
// beside it is then no figure to keep.
var floorFigures = map[string]floorFigure{
	mysqldump:   {510_000, "rows/s"},
	mysqlbinlog: {539, "MB/s"},
	loader:      {82_000, "rows/s"},
}

// floorLeast is that share.
const floorLeast = 0.8

// line is one goal with what came of it.
type line struct {
	Goal
	ours, theirs, figure float64 // NaN: none
	spread               string
	verdict              Verdict
	reason               string
}

// goals holds all figures against the goals.
func (r *report) goals() []line {
	var lines []line
	for _, g := range Goals {
		lines = append(lines, r.line(g))
	}
	return lines
}

func (r *report) line(g Goal) line {
	l := line{Goal: g, ours: math.NaN(), theirs: math.NaN(), figure: math.NaN(), spread: "-"}
	switch {
	case g.Never != "":
		l.reason = g.Never
	case g.Against != "":
		pairs := r.pairs[fight{g.Work, g.Against}]
		var mine, other []float64
		for _, p := range pairs {
			mine, other = append(mine, p.ours.RowsPerSecond()), append(other, p.theirs.RowsPerSecond())
		}
		l.ours, l.theirs, l.figure, l.spread = median(mine), median(other), ratio(pairs), spread(pairs)
	default:
		l.ours = median(r.figures[figure{g.Work, g.Measure}])
		l.figure = l.ours
	}
	l.verdict = judge(l.figure, g.Bound, g.AtLeast)
	if l.verdict == NotMeasured && l.reason == "" {
		l.reason = r.reason(g)
	}
	return l
}

// reason says why a goal has no figure.
func (r *report) reason(g Goal) string {
	for _, name := range []string{g.Work + ", " + g.Against, g.Work} {
		if reason := r.reasons[name]; reason != "" {
			return reason
		}
	}
	if g.Against != "" && !slices.ContainsFunc(rivals, func(one rival) bool { return one.name == g.Against }) {
		return g.Against + " is not built in"
	}
	return "too little data, or none of this run"
}

// bound is the goal as text.
func (g *Goal) bound() string {
	sign := "≤"
	if g.AtLeast {
		sign = "≥"
	}
	return fmt.Sprintf("%s %g", sign, g.Bound)
}

func (l *line) columns() []string {
	verdict := string(l.verdict)
	if l.reason != "" {
		verdict += ": " + l.reason
	}
	ratio := l.figure
	if l.Against == "" {
		ratio = l.figure / l.Bound
	}
	return []string{l.Name, number(l.ours), number(l.theirs), number(ratio), l.spread, l.bound(), verdict}
}

// number prints a figure with as many digits as it bears.
func number(f float64) string {
	switch {
	case math.IsNaN(f):
		return "-"
	case math.Abs(f) >= 1000:
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.3g", f)
}

// void says which floors were too slow for the run's figures to be kept.
func (r *report) void() []string {
	var said []string
	for _, name := range slices.Sorted(maps.Keys(floorFigures)) {
		want, got := floorFigures[name], median(r.floors[name])
		if !math.IsNaN(got) && got < floorLeast*want.rate {
			said = append(said, fmt.Sprintf("void: %s did %s %s, less than %.0f %% of the %s of a quiet machine: this one is slower or was not quiet",
				name, number(got), want.unit, floorLeast*100, number(want.rate)))
		}
	}
	return said
}
