package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/testbed"
)

// run is one run of the benchmark.
type run struct {
	settings Settings
	bed      *bed
	report   *report
	began    time.Time
	progress io.Writer
}

// note says how far the run is.
func (r *run) note(format string, args ...any) {
	fmt.Fprintf(r.progress, "%7.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// works are all of them, by the word that Settings.Only has. goals are the names under which the goals know them.
func (r *run) works() []struct {
	word  string
	goals []string
	do    func(context.Context) error
} {
	return []struct {
		word  string
		goals []string
		do    func(context.Context) error
	}{
		{"backlog", []string{workBacklog}, r.runBacklog},
		{"crawl", []string{workCrawl}, r.runCrawl},
		{"both", []string{workBoth}, r.runBoth},
		{"mysql", []string{workMySQL, workUnique}, r.runMySQL},
		{"search", []string{workSearch}, r.runSearch},
		{"delay", []string{workDelay}, r.runDelays},
		{"large", []string{workLarge}, r.runLarge},
		{"kill", []string{workKill}, r.runKills},
	}
}

// ErrWork is what Run returns when a work has failed: rows were lost, or it did not come to its end. A missed goal is no error.
var ErrWork = errors.New("a work has failed")

// Run measures what the settings name, says on progress how far it is, writes the whole report to full and the goals to short.
func Run(ctx context.Context, s Settings, progress, full, short io.Writer) (err error) {
	if err := s.Check(); err != nil {
		return err
	}
	if s.Dir == "" {
		if s.Dir, err = os.MkdirTemp("", "sluice-bench-"); err != nil {
			return err
		}
	}
	r := &run{settings: s, report: newReport(), began: time.Now(), progress: progress}
	r.header()
	if r.bed, err = newBed(ctx, &s, r.note); err != nil {
		return fmt.Errorf("start the servers: %w", err)
	}
	if err := r.warm(ctx); err != nil {
		return errors.Join(err, r.bed.close())
	}
	failed := r.all(ctx)
	stop := r.bed.close()
	r.report.header = append(r.report.header, fmt.Sprintf("It took %s.", time.Since(r.began).Round(time.Second)))
	if err := errors.Join(r.report.markdown(full), r.tell(short), stop); err != nil {
		return err
	}
	if failed {
		return fmt.Errorf("%w: see above; configs and logs are in %s", ErrWork, s.Dir)
	}
	return os.RemoveAll(s.Dir)
}

// all does the works. One that fails leaves the others their turn.
func (r *run) all(ctx context.Context) (failed bool) {
	for _, w := range r.works() {
		if !r.settings.wants(w.word) {
			for _, name := range w.goals {
				r.report.reasons[name] = "left out by ONLY"
			}
			continue
		}
		r.note("---- %s", w.word)
		if err := w.do(ctx); err != nil {
			failed = true
			r.note("FAILED: %s: %v", w.word, err)
			for _, name := range w.goals {
				r.report.reasons[name] = "failed: " + firstLine(err.Error())
			}
			if ctx.Err() != nil {
				return failed
			}
		}
	}
	for kind, measure := range map[string]string{"source": memSource, "sink": memSink} {
		if peak := r.report.peaks[kind]; peak > 0 {
			r.report.figure(workAny, measure, float64(peak)/1e6)
		}
	}
	return failed
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// tell prints one line a goal, and before them what makes the run void.
func (r *run) tell(w io.Writer) error {
	var b strings.Builder
	for _, said := range r.report.void() {
		b.WriteString(said + "\n")
	}
	for _, l := range r.report.goals() {
		b.WriteString(strings.Join(l.columns(), " | ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// header says what was run, and on what.
func (r *run) header() {
	kind := "full"
	if r.settings.Quick {
		kind = "quick"
	}
	if r.settings.Rows > 0 {
		kind = fmt.Sprintf("%d rows", r.settings.Rows)
	}
	only := ""
	if r.settings.Alone {
		only = ", without opponents"
	}
	if len(r.settings.Only) > 0 {
		only += ", only " + strings.Join(r.settings.Only, ", ")
	}
	r.report.header = []string{
		fmt.Sprintf("%s, %s%s, %d pairs, at %s.", time.Now().UTC().Format("2006-01-02 15:04"), kind, only, r.settings.Pairs, revision()),
		fmt.Sprintf("%s; %d cores used, %s. Load before the start: %s.", machine(), runtime.GOMAXPROCS(0), runtime.Version(), load()),
		fmt.Sprintf("MySQL %s, one broker of Apache Kafka with %d partitions a topic, compression snappy, Elasticsearch 1 node.", testbed.MySQL97, partitions),
	}
	for _, line := range r.report.header {
		r.note("%s", line)
	}
}

// revision is the commit that the working directory is at.
func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "an unknown revision"
	}
	return strings.TrimSpace(string(out))
}
