package merge

import (
	"encoding/binary"
	"testing"
)

// Each row is found by its key, one that was struck no more, whatever stands between it and its place; no other key finds one.
func TestIndex(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 1000, 1 << 14} {
		key := func(i int) []byte { return binary.AppendVarint(nil, int64(i)*977) }
		rows := make([]Row, n)
		x := newIndex(n)
		for i := range rows {
			rows[i].Key = key(i)
			if !x.add(rows, i) {
				t.Fatalf("%d rows: the key of row %d is taken for another's", n, i)
			}
		}
		for i := range rows {
			if i%3 == 0 {
				rows[i] = Row{}
			}
		}
		for i := range 2*n + 1 {
			want := i
			if i >= n || i%3 == 0 {
				want = -1
			}
			if got := x.find(rows, key(i)); got != want {
				t.Fatalf("%d rows: key %d is at %d, want %d", n, i, got, want)
			}
		}
		if n > 1 {
			rows[0].Key = key(1)
			if x.add(rows, 0) {
				t.Fatalf("%d rows: a key was taken twice", n)
			}
		}
		if got := x.find(rows, nil); got != -1 {
			t.Fatalf("%d rows: no key finds row %d", n, got)
		}
	}
}
