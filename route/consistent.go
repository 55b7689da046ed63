package route

import (
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
)

// Consistent spreads values over shards by name, such that a shard that is added takes its share from all others and nothing else
// moves, and one that is taken away gives its rows to all others: rendezvous hashing (Thaler and Ravishankar, 1998). Of all shards the
// one whose hash together with the value is greatest has the row; the hash is Sum64 of the shard's name, a zero byte, and the value's text
// as Hash takes it. The order in which the shards are listed does not matter.
type Consistent struct{ Shards []string }

// Shard returns the shard with the greatest hash, and of two with the same the one whose name is greater.
func (c Consistent) Shard(v change.Value) (int, error) {
	if v.IsNull() {
		return 0, errNull
	}
	var scratch [64]byte
	best, greatest := 0, uint64(0)
	for i, name := range c.Shards {
		text := append(append(scratch[:0], name...), 0)
		sum := Sum64(appendText(text, v))
		if i == 0 || sum > greatest || sum == greatest && name > c.Shards[best] {
			best, greatest = i, sum
		}
	}
	return best, nil
}

// String returns "consistent s0, s1", in the order of the names.
func (c Consistent) String() string {
	names := slices.Clone(c.Shards)
	slices.Sort(names)
	return "consistent " + strings.Join(names, ", ")
}
