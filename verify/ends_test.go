package verify

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-cdc/sluice/change"
)

// TestGuess: whatever lies between the keys, the ranges cover all of them, none has more than twice the rows that are wanted, few have
// far less, and the server is not asked often.
func TestGuess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rows = 100
		unsigned := rapid.Bool().Draw(t, "unsigned")
		keys := guessKeys(t, unsigned)
		g, asked, ranges, small := &guess{rows: rows, step: rows}, 0, 0, 0
		for after := 0; after < len(keys); ranges++ {
			through, ok, err := g.end(keys[after], func(through change.Value) (uint64, error) {
				asked++
				return uint64(guessAbove(keys, through) - after), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !ok { // the key is walked
				after = min(after+rows, len(keys))
				continue
			}
			n := guessAbove(keys, through) - after
			if n < 1 || n > 2*rows {
				t.Fatalf("a range of %d rows", n)
			}
			if n < rows/8 {
				small++
			}
			after += n
		}
		if asked > 12+10*ranges || small > 4+ranges/2 {
			t.Fatalf("%d keys: asked %d times for %d ranges, %d of them small", len(keys), asked, ranges, small)
		}
	})
}

// guessKeys makes keys in stretches of one distance each, with gaps between them.
func guessKeys(t *rapid.T, unsigned bool) (keys []change.Value) {
	at := rapid.Uint64().Draw(t, "first")
	if rapid.Bool().Draw(t, "low") {
		at %= 1000
	}
	for range rapid.IntRange(0, 5).Draw(t, "stretches") {
		at += 1 << rapid.IntRange(0, 50).Draw(t, "gap")
		distance := uint64(1) << rapid.IntRange(0, 40).Draw(t, "distance")
		for range rapid.IntRange(1, 3000).Draw(t, "rows") {
			v := change.UintValue(at)
			if !unsigned {
				v = change.IntValue(int64(at ^ 1<<63))
			}
			keys = append(keys, v)
			if at > math.MaxUint64-distance {
				return keys
			}
			at += distance
		}
	}
	slices.SortFunc(keys, guessOrder)
	return slices.CompactFunc(keys, func(a, b change.Value) bool { return a.Num == b.Num })
}

func guessOrder(a, b change.Value) int {
	if a.Kind == change.Int64 && a.Int() < b.Int() || a.Kind == change.Uint64 && a.Num < b.Num {
		return -1
	}
	if a.Num == b.Num {
		return 0
	}
	return 1
}

// guessAbove is how many keys do not lie above one.
func guessAbove(keys []change.Value, through change.Value) int {
	at, found := slices.BinarySearchFunc(keys, through, guessOrder)
	if found {
		at++
	}
	return at
}
