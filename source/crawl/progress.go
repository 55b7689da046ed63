package crawl

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-cdc/sluice/kafka"
)

// Progress is the record of one crawl in the source's checkpoint. How a crawl uses Ranges:
//
//	a table or a WHERE   key ranges; bounds are SQL literals in the order of the index. The bounds of a range
//	                     that is done are left out
//	named keys           pieces of the list; bounds are indexes into it: above From up to To
//	while sweeping       one range for each pass over the topic
type Progress = kafka.CrawlState

// Range is one key range of a crawl.
type Range = kafka.CrawlRange

// The states of a crawl, in the order in which it goes through them.
const (
	Planning  = "planning"  // asked for; not cut into ranges yet
	Running   = "running"   // chunks are read
	Sweeping  = "sweeping"  // all are read; keys that are only in the topic are looked up
	Done      = "done"      //
	Cancelled = "cancelled" // by request
	Failed    = "failed"    // Reason says why
)

// Ended reports whether a state is one of the last.
func Ended(state string) bool { return state == Done || state == Cancelled || state == Failed }

// Status is a crawl as people see it.
type Status struct {
	Progress
	RowsPerSecond float64       // of the last half minute
	Left          time.Duration // until the end, by that; 0: not known
	Note          string        // what holds it up, if anything does
}

// Percent returns how much is done, 0 to 100. Only a crawl that is over has 100: estimates are low at times.
func (s *Status) Percent() int {
	if s.State == Done {
		return 100
	}
	done := 0.0
	if s.Estimate > 0 {
		done = float64(s.Rows) / float64(s.Estimate)
	}
	if s.State == Sweeping || s.Keys != "" {
		done = float64(rangesDone(s.Ranges)) / float64(max(len(s.Ranges), 1))
	}
	return int(min(max(done, 0), 0.99) * 100)
}

func rangesDone(ranges []Range) int {
	n := 0
	for i := range ranges {
		if ranges[i].Done {
			n++
		}
	}
	return n
}

const barWidth = 20

// Line formats a crawl as one line of a progress display, without a line end:
//
//	crawl  shop.orders              ████████████████░░░░  81 %      97,310 rows   48,200/s   0:09 left
func (s *Status) Line() string {
	var b strings.Builder
	percent := s.Percent()
	full := percent * barWidth / 100
	fmt.Fprintf(&b, "crawl  %-24s %s%s %3d %% %11s rows", s.Table, strings.Repeat("█", full), strings.Repeat("░", barWidth-full),
		percent, grouped(s.Rows))
	switch {
	case s.State == Failed || s.State == Cancelled:
		fmt.Fprintf(&b, "   %s", s.State)
		if s.Reason != "" {
			fmt.Fprintf(&b, ": %s", s.Reason)
		}
		if s.Mend != "" {
			fmt.Fprintf(&b, "; %s", s.Mend)
		}
		return b.String()
	case s.State == Done:
		return b.String() + "   done"
	case s.State == Sweeping:
		b.WriteString("   sweeping")
	}
	fmt.Fprintf(&b, " %10s/s", grouped(int64(s.RowsPerSecond)))
	if s.Left > 0 {
		fmt.Fprintf(&b, " %6s left", clock(s.Left))
	}
	if s.Note != "" {
		fmt.Fprintf(&b, "   (%s)", s.Note)
	}
	return b.String()
}

// grouped writes 97310 as "97,310".
func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// clock writes a duration as "0:09", "12:30" or "3:05:00".
func clock(d time.Duration) string {
	seconds := int64(d.Round(time.Second) / time.Second)
	if seconds < 3600 {
		return fmt.Sprintf("%d:%02d", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}

// meter measures rows per second over the last half minute, in one sample a second.
type meter struct {
	samples []sample
	rows    int64
}

type sample struct {
	at   time.Time
	rows int64 // in all until then
}

const meterSpan = 30 * time.Second

func (m *meter) add(now time.Time, rows int) {
	if len(m.samples) == 0 {
		m.samples = append(m.samples, sample{now, 0})
	}
	m.rows += int64(rows)
	if now.Sub(m.samples[len(m.samples)-1].at) < time.Second {
		return
	}
	m.samples = append(m.samples, sample{now, m.rows})
	for len(m.samples) > 2 && now.Sub(m.samples[0].at) > meterSpan {
		m.samples = m.samples[1:]
	}
}

func (m *meter) perSecond(now time.Time) float64 {
	if len(m.samples) == 0 {
		return 0
	}
	seconds := now.Sub(m.samples[0].at).Seconds()
	if seconds < 0.1 {
		return 0
	}
	return float64(m.rows-m.samples[0].rows) / seconds
}

// left estimates the time until the end.
func left(p *Progress, perSecond float64) time.Duration {
	rest := p.Estimate - p.Rows
	if perSecond <= 0 || rest <= 0 || Ended(p.State) || p.State == Sweeping {
		return 0
	}
	return time.Duration(float64(rest) / perSecond * float64(time.Second))
}
