package gtid

import "slices"

// interval is the transaction numbers first to last, both inside.
type interval struct{ first, last int64 }

// intervals are in order, and no two of them touch: 1-5 and 6-9 are 1-9.
type intervals []interval

// add puts one number in. The common case, the next number of the source, costs nothing.
func (l intervals) add(n int64) intervals {
	if len(l) > 0 {
		if end := &l[len(l)-1]; n == end.last+1 {
			end.last = n
			return l
		}
	}
	return union(l, intervals{{n, n}})
}

// union returns what is in a or b. It may return a or b itself when the other is empty.
func union(a, b intervals) intervals {
	if len(b) == 0 {
		return a
	}
	all := make(intervals, 0, len(a)+len(b))
	all = append(append(all, a...), b...)
	return normalize(all)
}

// normalize sorts l in place and joins what touches.
func normalize(l intervals) intervals {
	slices.SortFunc(l, func(x, y interval) int {
		switch {
		case x.first < y.first:
			return -1
		case x.first > y.first:
			return 1
		}
		return 0
	})
	joined := l[:0]
	for _, next := range l {
		if n := len(joined); n > 0 && next.first <= joined[n-1].last+1 {
			joined[n-1].last = max(joined[n-1].last, next.last)
			continue
		}
		joined = append(joined, next)
	}
	return joined
}

// minus returns what is in a and not in b, in a new list.
func minus(a, b intervals) intervals {
	var left intervals
	for _, piece := range a {
		for len(b) > 0 && b[0].last < piece.first {
			b = b[1:]
		}
		for _, cut := range b {
			if cut.first > piece.last {
				break
			}
			if cut.first > piece.first {
				left = append(left, interval{piece.first, cut.first - 1})
			}
			piece.first = cut.last + 1
		}
		if piece.first <= piece.last {
			left = append(left, piece)
		}
	}
	return left
}

// contains reports whether all of b is in a.
func contains(a, b intervals) bool {
	for _, want := range b {
		for len(a) > 0 && a[0].last < want.first {
			a = a[1:]
		}
		if len(a) == 0 || a[0].first > want.first || a[0].last < want.last {
			return false
		}
	}
	return true
}
