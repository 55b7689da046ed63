package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Result is one run of one contender.
type Result struct {
	Work, Who  string
	Round      int   // of the pairs, from 1
	Rows       int64 // of the whole work
	Bytes      int64 // as many bytes as these rows take in the binlog
	Share      float64
	Seconds    float64            // that the share took
	FirstAfter time.Duration      // from the start of the process to the first progress
	CPU        map[string]float64 // by process: seconds, and after perMillion seconds a million rows
	Peak       map[string]int64   // bytes of resident memory, by process
	Note       string
}

// RowsPerSecond is the rate.
func (r *Result) RowsPerSecond() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Rows) * r.Share / r.Seconds
}

// MBPerSecond is the rate in millions of bytes of binlog, the same for all contenders of a work.
func (r *Result) MBPerSecond() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Bytes) * r.Share / r.Seconds / 1e6
}

// takeRate puts what a program says of itself in the place of what was seen of it from outside: such a program has no progress to look at.
func (r *Result) takeRate(name string, rate Rate) {
	r.Rows, r.Seconds, r.Share, r.Note = rate.Rows, rate.Seconds, 1, "by its own word"
	if rate.Bytes > 0 {
		r.Bytes = rate.Bytes
	}
	r.CPU[name] = rate.CPUSeconds
}

// perMillion turns seconds into seconds a million rows.
func (r *Result) perMillion() {
	rows := float64(r.Rows) * r.Share
	for name, seconds := range r.CPU {
		if rows > 0 {
			r.CPU[name] = seconds / rows * 1e6
		}
	}
}

// own is the processor time a million rows of the processes whose names begin so.
func (r *Result) own(prefix string) (sum float64) {
	for name, seconds := range r.CPU {
		if strings.HasPrefix(name, prefix) {
			sum += seconds
		}
	}
	return sum
}

// report is all that a run has found.
type report struct {
	header  []string
	results []*Result
	tables  []table              // of works that are not about a rate
	pairs   map[fight][]pair     // by work and opponent
	figures map[figure][]float64 // ours alone
	peaks   map[string]int64     // the highest of each of our processes, over all works
	reasons map[string]string    // of works that have failed, or were left out, by name
	floors  map[string][]float64 // rates of the floor's programs, in the unit of their figure
}

// fight is a work and whom ours is held against there.
type fight struct{ work, against string }

// figure is a work and what was looked at.
type figure struct{ work, measure string }

// table is one of the report's own.
type table struct {
	title   string
	columns []string
	rows    [][]string
}

func newReport() *report {
	return &report{pairs: map[fight][]pair{}, figures: map[figure][]float64{}, peaks: map[string]int64{}, reasons: map[string]string{},
		floors: map[string][]float64{}}
}

// add keeps a result, with the memory of our own processes.
func (r *report) add(result *Result) {
	r.results = append(r.results, result)
	if result.Who == ours {
		r.peak(result.Peak)
	}
}

// peak keeps the highest of the source's and of the sinks' memory.
func (r *report) peak(peaks map[string]int64) {
	for name, bytes := range peaks {
		kind, _, _ := strings.Cut(name, " ") // "sink mysql" is a sink
		r.peaks[kind] = max(r.peaks[kind], bytes)
	}
}

// figure keeps a figure of ours.
func (r *report) figure(work, measure string, value float64) {
	r.figures[figure{work, measure}] = append(r.figures[figure{work, measure}], value)
}

// markdown writes the whole report.
func (r *report) markdown(w io.Writer) error {
	var b strings.Builder
	for _, line := range r.header {
		b.WriteString(line + "\n\n")
	}
	lines := r.goals()
	goals := table{title: "Goals", columns: []string{"name", "ours", "theirs", "ratio", "of the pairs", "goal", "verdict"}}
	for _, l := range lines {
		goals.rows = append(goals.rows, l.columns())
	}
	all := append([]table{goals, r.resultTable()}, r.tables...)
	for _, t := range all {
		t.markdown(&b)
	}
	for _, work := range slices.Sorted(maps.Keys(r.reasons)) {
		fmt.Fprintf(&b, "- %s: %s\n", work, r.reasons[work])
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// resultTable has one line a run.
func (r *report) resultTable() table {
	t := table{title: "Runs", columns: []string{"work", "who", "pair", "rows", "s", "rows/s", "MB/s", "first after",
		"CPU s a million rows", "peak RSS, MB", ""}}
	for _, one := range r.results {
		var cpu, peak []string
		for _, name := range slices.Sorted(maps.Keys(one.CPU)) {
			cpu = append(cpu, fmt.Sprintf("%s %.2f", name, one.CPU[name]))
		}
		for _, name := range slices.Sorted(maps.Keys(one.Peak)) {
			peak = append(peak, fmt.Sprintf("%s %d", name, one.Peak[name]>>20))
		}
		t.rows = append(t.rows, []string{one.Work, one.Who, fmt.Sprint(one.Round), fmt.Sprintf("%.0f", float64(one.Rows)*one.Share),
			fmt.Sprintf("%.2f", one.Seconds), fmt.Sprintf("%.0f", one.RowsPerSecond()), fmt.Sprintf("%.1f", one.MBPerSecond()),
			one.FirstAfter.Round(10 * time.Millisecond).String(), strings.Join(cpu, ", "), strings.Join(peak, ", "), one.Note})
	}
	return t
}

func (t *table) markdown(b *strings.Builder) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(b, "## %s\n\n| %s |\n|%s\n", t.title, strings.Join(t.columns, " | "), strings.Repeat("---|", len(t.columns)))
	for _, row := range t.rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\n")
}
