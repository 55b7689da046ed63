package crawl

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// The planner cuts a table's key space into ranges that workers read side by side. It asks the index only:
// its ends, the key next to a guess, and the optimizer's estimate of the rows between two keys, each a few
// pages. Balance is all that it is about: whatever the cuts are, the ranges cover every key once.
const (
	rangesMax     = 64
	rangeRowsMin  = 10_000 // a range is not cut into pieces of fewer rows
	boundsBytes   = 64 << 10
	balanceGood   = 0.3 // of the estimated rows on the smaller side
	balanceFair   = 0.05
	strideRows    = 50_000 // of a cut that is counted out, where no guess is any good
	stridesMax    = 20     // so many rows are walked at most: strideRows * stridesMax
	guessesMax    = 12     // rounds of seven guesses for one cut
	eighthsMiddle = 4
)

// segment is a range that is being planned: the keys above from up to to. Known keys at its ends give the
// guesses something to go by.
type segment struct {
	from, to  []string // bounds; nil: open
	low, high [][]byte // texts of keys of which none lies outside
	rows      int64    // estimate
	whole     bool     // it can't be cut
}

// cutPoint is a key between two ends.
type cutPoint struct {
	texts [][]byte
	bound []string

	left, right int64 // estimates of the segment's rows up to it, and above it
}

// plan returns the ranges of the table, in key order, as many as wanted if there are rows enough.
func (s *session) plan(ctx context.Context, sh *shape, wanted int) ([]Range, error) {
	whole := []Range{{}}
	first, err := s.probe(ctx, sh, "TRUE", false, 0)
	if err != nil || first == nil {
		return whole, err
	}
	last, err := s.probe(ctx, sh, "TRUE", true, 0)
	if err != nil || last == nil {
		return whole, err
	}
	rows, err := s.explainRows(ctx, sh.hinted(), "TRUE")
	if err != nil {
		return nil, err
	}
	wanted = min(wanted, rangesMax, int(max(rows/rangeRowsMin, 1)), 1+boundsBytes/(3*boundLength(last)))
	segments := []segment{{low: first.texts, high: last.texts, rows: rows}}
	strides := stridesMax
	for len(segments) < wanted {
		i := largest(segments)
		if i < 0 {
			break
		}
		cut, err := s.cut(ctx, sh, &segments[i], &strides)
		if err != nil {
			return nil, err
		}
		if cut == nil {
			segments[i].whole = true
			continue
		}
		right := segments[i]
		right.from, right.low, right.rows = cut.bound, cut.texts, cut.right
		segments[i].to, segments[i].high, segments[i].rows = cut.bound, cut.texts, cut.left
		segments = slices.Insert(segments, i+1, right)
	}
	ranges := make([]Range, len(segments))
	for i, g := range segments {
		ranges[i] = Range{From: g.from, To: g.to}
	}
	return ranges, nil
}

func boundLength(p *cutPoint) int {
	n := 1
	for _, text := range p.bound {
		n += len(text)
	}
	return n
}

// largest returns the segment to cut next, or -1.
func largest(segments []segment) int {
	best := -1
	for i := range segments {
		if segments[i].whole || segments[i].rows < 2*rangeRowsMin {
			continue
		}
		if best < 0 || segments[i].rows > segments[best].rows {
			best = i
		}
	}
	return best
}

// cut finds the key that divides the segment best, or nil. Where most keys lie close together, guesses by
// value miss them at first; each miss says where the keys are not.
func (s *session) cut(ctx context.Context, sh *shape, g *segment, strides *int) (best *cutPoint, err error) {
	balance, better := 0.0, true
	for tries := 0; better && balance < balanceFair && tries < guessesMax; tries++ {
		if best, balance, better, err = s.guess(ctx, sh, g); err != nil {
			return nil, err
		}
	}
	if balance >= balanceFair || *strides == 0 {
		return best, nil
	}
	*strides--
	offset := min(g.rows/2, strideRows)
	counted, err := s.probe(ctx, sh, sh.between(g.from, g.to), false, int(offset))
	if err != nil || counted == nil || slices.EqualFunc(counted.texts, g.high, bytes.Equal) {
		return best, err
	}
	counted.left = offset
	counted.right, err = s.explainRows(ctx, sh.hinted(), sh.between(counted.bound, g.to))
	return counted, err
}

// guess tries values between the segment's ends, the middle first, and returns the cut with the best balance.
// Where that is bad it moves the ends towards each other, if it can.
func (s *session) guess(ctx context.Context, sh *shape, g *segment) (best *cutPoint, balance float64, moved bool, err error) {
	at := 0 // the first column in which the ends differ
	for at < len(sh.columns) && bytes.Equal(g.low[at], g.high[at]) {
		at++
	}
	if at == len(sh.columns) {
		return nil, 0, false, nil
	}
	column := &sh.table.Columns[sh.columns[at]]
	var low, high *cutPoint
	for _, eighths := range [...]int64{eighthsMiddle, 2, 6, 1, 3, 5, 7} {
		text, ok := fraction(column, g.low[at], g.high[at], eighths)
		if !ok {
			continue
		}
		for _, descending := range [...]bool{false, true} {
			found, share, err := s.try(ctx, sh, g, at, text, descending)
			if err != nil {
				return nil, 0, false, err
			}
			switch {
			case found == nil:
				continue
			case found.left < found.right && (low == nil || found.left > low.left):
				low = found
			case found.left >= found.right && (high == nil || found.right > high.right):
				high = found
			}
			if share > balance {
				best, balance = found, share
			}
			if balance >= balanceGood {
				return best, balance, false, nil
			}
		}
	}
	if balance < balanceFair && low != nil {
		g.low, moved = low.texts, true
	}
	if balance < balanceFair && high != nil {
		g.high, moved = high.texts, true
	}
	return best, balance, moved, nil
}

// try asks for the key next to a guess, strictly between the segment's ends, and for its share of the rows.
func (s *session) try(ctx context.Context, sh *shape, g *segment, at int, text []byte, descending bool) (*cutPoint, float64, error) {
	low, err := sh.literals(g.low)
	if err != nil {
		return nil, 0, err
	}
	high, err := sh.literals(g.high)
	if err != nil {
		return nil, 0, err
	}
	guess, err := literal(&sh.table.Columns[sh.columns[at]], text)
	if err != nil {
		return nil, 0, err
	}
	where := ""
	for i := range at {
		where += sh.same(i, low[i]) + " AND "
	}
	op := ">="
	if descending {
		op = "<="
	}
	where += fmt.Sprintf("%s %s %s AND %s AND %s", sh.names[at], op, guess, sh.compare(">", low, false), sh.compare("<", high, false))
	found, err := s.probe(ctx, sh, where, descending, 0)
	if err != nil || found == nil {
		return nil, 0, err
	}
	if found.left, err = s.explainRows(ctx, sh.hinted(), sh.between(g.from, found.bound)); err != nil {
		return nil, 0, err
	}
	if found.right, err = s.explainRows(ctx, sh.hinted(), sh.between(found.bound, g.to)); err != nil {
		return nil, 0, err
	}
	return found, float64(min(found.left, found.right)) / float64(max(found.left+found.right, 1)), nil
}

// probe returns the first key (the last, when descending) that meets the condition, after so many others; nil
// when there is none.
func (s *session) probe(ctx context.Context, sh *shape, where string, descending bool, offset int) (*cutPoint, error) {
	query := fmt.Sprintf("SELECT %s FROM %s WHERE %s ORDER BY %s LIMIT 1 OFFSET %d",
		sh.askedList(), sh.source(), where, sh.order(descending), offset)
	raw := make([]sql.RawBytes, len(sh.columns))
	into := make([]any, len(raw))
	for i := range raw {
		into[i] = &raw[i]
	}
	rows, err := s.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, errors.Join(rows.Err(), rows.Close())
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	p := &cutPoint{}
	for i := range raw {
		p.texts = append(p.texts, bytes.Clone(raw[i]))
		if raw[i] == nil {
			return nil, fmt.Errorf("key column %s is NULL", sh.names[i])
		}
	}
	if p.bound, err = sh.literals(p.texts); err != nil {
		return nil, err
	}
	return p, rows.Close()
}
