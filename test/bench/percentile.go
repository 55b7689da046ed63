package bench

import (
	"math"
	"slices"
	"time"
)

// percentile is the least value that at least this share of all values do not exceed (nearest rank), and 0 where there are none. It sorts
// the values.
func percentile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := int(math.Ceil(share * float64(len(values))))
	return values[min(max(rank, 1), len(values))-1]
}
