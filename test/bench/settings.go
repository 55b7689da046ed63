package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Settings say what a run does.
type Settings struct {
	Quick    bool     // the smaller data: within 15 minutes
	Alone    bool     // ours without opponents: to look at what it does, not for figures
	Only     []string // these works, by the first word of their names; empty: all
	Rows     int      // of each work; 0: as many as Quick says. The large transaction has its own size
	Pairs    int      // runs of ours and of the other, one after the other, of which the median counts
	Programs string   // the folder of our programs and of the floor's
	Dir      string   // configs and logs; kept when the run fails
}

// pairsDefault is the least number of which the median is not one of the extremes.
const pairsDefault = 3

// Works are the words that Only takes, in the order in which they run.
var Works = []string{"backlog", "crawl", "both", "mysql", "search", "delay", "large", "kill"}

// Check completes the settings and refuses what cannot be.
func (s *Settings) Check() error {
	if s.Pairs == 0 {
		s.Pairs = pairsDefault
	}
	for _, name := range s.Only {
		if !slices.Contains(Works, name) {
			return fmt.Errorf("there is no work %q: ONLY takes %s, separated by commas", name, strings.Join(Works, ", "))
		}
	}
	switch {
	case s.Pairs < 1:
		return fmt.Errorf("PAIRS=%d: want 1 or more", s.Pairs)
	case s.Rows < 0 || s.Rows > 0 && s.Rows < rowsMin:
		return fmt.Errorf("ROWS=%d: want %d or more", s.Rows, rowsMin)
	case s.Programs == "":
		return fmt.Errorf("the folder of the programs is missing: make bench builds them and names it")
	}
	return nil
}

// rowsMin is the least that has rows of each kind in each partition.
const rowsMin = 1000

// wants reports whether a work is to run.
func (s *Settings) wants(work string) bool { return len(s.Only) == 0 || slices.Contains(s.Only, work) }

// sized is the number of rows or changes of a work.
func (s *Settings) sized(quick, full int) int {
	switch {
	case s.Rows > 0:
		return s.Rows
	case s.Quick:
		return quick
	}
	return full
}

// The sizes. A quick run's are such that the slowest peer needs some ten seconds.
func (s *Settings) backlogRows() int { return s.sized(500_000, 2_000_000) }
func (s *Settings) crawlRows() int   { return s.sized(250_000, 2_000_000) }
func (s *Settings) mysqlRows() int   { return s.sized(150_000, 2_000_000) }
func (s *Settings) searchRows() int  { return s.sized(60_000, 2_000_000) }
func (s *Settings) killRows() int    { return max(s.sized(300_000, 2_000_000), killRowsMin) }

// killRowsMin is the least in which a process can be met three times on its way.
const killRowsMin = 300_000

// largeBytes is the size of the large transaction.
func (s *Settings) largeBytes() int64 {
	if s.Quick || s.Rows > 0 {
		return 512 << 20
	}
	return 10 << 30
}

// delayFor is how long changes are written at each rate.
func (s *Settings) delayFor() time.Duration {
	if s.Quick || s.Rows > 0 {
		return 10 * time.Second
	}
	return time.Minute
}

// shapes are the rows of which a backlog is measured.
func (s *Settings) shapes() []*shape { return []*shape{rows200, rowsNarrow, rows1k, rows60} }
