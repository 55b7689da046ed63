package bench

import (
	"fmt"
	"math"
	"slices"
)

// slack is by how much a goal may be undershot without being missed: less than what the same run differs from itself on a quiet machine.
const slack = 0.10

// Verdict is what a figure says of its goal.
type Verdict string

// The verdicts.
const (
	Met         Verdict = "met"
	Nearly      Verdict = "met, within 10 %" // below the goal by no more than slack
	Missed      Verdict = "missed"
	NotMeasured Verdict = "not measured"
)

// judge holds a figure against its bound.
func judge(figure, bound float64, atLeast bool) Verdict {
	if math.IsNaN(figure) {
		return NotMeasured
	}
	better, near := figure >= bound, figure >= bound*(1-slack)
	if !atLeast {
		better, near = figure <= bound, figure <= bound*(1+slack)
	}
	switch {
	case better:
		return Met
	case near:
		return Nearly
	}
	return Missed
}

// median is the middle of the values, the mean of the two in the middle where their number is even, and NaN where there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// pair is ours and theirs, one right after the other.
type pair struct{ ours, theirs *Result }

// ratio is the median of the pairs' ratios, not the ratio of medians: what loads the machine for a while then strikes both of a pair.
func ratio(pairs []pair) float64 {
	var ratios []float64
	for _, p := range pairs {
		if theirs := p.theirs.RowsPerSecond(); theirs > 0 {
			ratios = append(ratios, p.ours.RowsPerSecond()/theirs)
		}
	}
	return median(ratios)
}

// spread is how far the pairs' ratios lie apart, for people to judge the noise by.
func spread(pairs []pair) string {
	least, most := math.Inf(1), math.Inf(-1)
	for _, p := range pairs {
		if theirs := p.theirs.RowsPerSecond(); theirs > 0 {
			one := p.ours.RowsPerSecond() / theirs
			least, most = min(least, one), max(most, one)
		}
	}
	if math.IsInf(least, 0) {
		return "-"
	}
	return fmt.Sprintf("%.2f to %.2f", least, most)
}
