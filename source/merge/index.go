package merge

import (
	"bytes"
	"hash/maphash"
	"math/bits"
)

// index finds the rows of one chunk by their keys: an open hash table of row numbers, counted from 1, that is half empty at least. A map of
// the keys would need each as a string, and costs several times as much for what most chunks never ask. A row that was struck has no key any
// more: it matches nothing, and its place is passed by.
type index []int32

// seed makes the places of keys nobody else's choice.
var seed = maphash.MakeSeed()

func newIndex(rows int) index { return make(index, 1<<bits.Len(uint(2*rows))) }

// place returns where the key's row stands, or the free place where it belongs.
func (x index) place(rows []Row, key []byte) int {
	mask := len(x) - 1
	at := int(maphash.Bytes(seed, key)) & mask
	for x[at] != 0 && (rows[x[at]-1].Key == nil || !bytes.Equal(rows[x[at]-1].Key, key)) {
		at = (at + 1) & mask
	}
	return at
}

// add takes a row in; it returns false where its key is there already.
func (x index) add(rows []Row, row int) bool {
	at := x.place(rows, rows[row].Key)
	if x[at] != 0 {
		return false
	}
	x[at] = int32(row + 1)
	return true
}

// find returns the number of the key's row, or -1.
func (x index) find(rows []Row, key []byte) int {
	return int(x[x.place(rows, key)]) - 1
}
