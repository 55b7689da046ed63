package crawl

import "time"

// sizer decides how many rows the next chunk of a crawl asks for: as many as are read in the target time and
// fit the byte budget, and fewer after a chunk was thrown away. It is pure; the crawl's lock guards it.
type sizer struct {
	target time.Duration // that a chunk's SELECT should take
	bytes  int64         // budget of a chunk

	perRow   float64 // bytes, a moving mean; 0: not known yet
	perRowNs float64 // nanoseconds of SELECT, a moving mean
	ceiling  float64 // rows; lowered by failure, raised by success
	growth   float64 // of the ceiling with each success
}

const (
	// rowsMax bounds a chunk of narrow rows: each row waits in memory with bookkeeping of its own.
	rowsMax = 50_000
	// rowsFirst is a table's first chunk when the server does not know how long its rows are.
	rowsFirst = 1_000
	// rowsSlow is what slowness alone does not go below. A statement has a cost of its own: on a server that
	// is slow to answer at all, smaller chunks take as long each, and ever smaller ones would be asked for.
	rowsSlow = 500
)

// newSizer starts with the server's estimate of a row's length, 0 where it has none.
func newSizer(target time.Duration, bytes, rowBytes int64) sizer {
	s := sizer{target: target, bytes: bytes, ceiling: rowsFirst, growth: 2}
	if rowBytes > 0 {
		s.perRow = float64(rowBytes)
	}
	return s
}

// rows is the LIMIT of the next chunk.
func (s *sizer) rows() int {
	n := s.ceiling
	if s.perRow > 0 {
		n = min(n, float64(s.bytes)/s.perRow*0.95) // a little less: what the budget cuts off is read for nothing
	}
	if s.perRowNs > 0 {
		n = min(n, max(float64(s.target)/s.perRowNs, rowsSlow))
	}
	return int(min(max(n, 1), rowsMax))
}

// took learns from a chunk that was read: its rows, their bytes and how long the SELECT ran.
func (s *sizer) took(rows int, bytes int64, d time.Duration) {
	if rows == 0 {
		return
	}
	s.perRow = mean(s.perRow, float64(bytes)/float64(rows))
	s.perRowNs = mean(s.perRowNs, float64(d)/float64(rows))
}

// published raises the ceiling: quickly at first, and slowly once something was thrown away, so that a busy
// table is not asked for too much again and again.
func (s *sizer) published(rows int) {
	if float64(rows) < s.ceiling/2 { // it did not reach the ceiling, and says nothing of it
		return
	}
	s.ceiling = min(s.ceiling*s.growth+1, rowsMax)
}

// smaller halves the chunk after one of so many rows was thrown away; it returns false when one row is all
// that is left.
func (s *sizer) smaller(rows int) bool {
	s.growth = 1.125
	if rows <= 1 {
		s.ceiling = 1
		return false
	}
	s.ceiling = min(s.ceiling, float64(rows)/2)
	return true
}

// tooWide learns that just so many rows filled the budget.
func (s *sizer) tooWide(rows int) {
	s.perRow = float64(s.bytes) / float64(max(rows, 1))
}

func mean(old, sample float64) float64 {
	if old == 0 {
		return sample
	}
	return old*0.7 + sample*0.3
}
