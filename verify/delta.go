package verify

import "bytes"

// Deltas is what is left of a share of a table's rows when what should be at the target is added and what is there is taken away,
// by key. It is pure; rows come in any order, from both sides. What is equal is gone, so what is held is what has been met on one
// side only, and what differs.
//
// Both sides mostly come in the order of the key, the source's first. So rows of the source wait in the order in which they came, and a
// row of the target looks a little ahead among them; what it passes by, and what has come otherwise, is left in a map.
type Deltas struct {
	waiting []waiting
	keys    []byte // of those waiting, one behind the other
	next    int    // the first that still waits
	begin   int    // where its key begins

	left map[string]Sum
}

type waiting struct {
	end int // of its key
	sum Sum
}

// lookAhead is how many rows of the source may lie between two of one shard without being left: more than shards there usually are.
const lookAhead = 16

// NewDeltas returns one that has met nothing. size is about how many rows one side has.
func NewDeltas(size int) *Deltas {
	return &Deltas{waiting: make([]waiting, 0, size), left: make(map[string]Sum)}
}

// Want adds a row that should be at the target, in one place.
func (d *Deltas) Want(key []byte, s Sum) {
	if len(d.left) > 0 { // the target's came first
		d.put(key, d.left[string(key)].plus(s))
		return
	}
	d.keys = append(d.keys, key...)
	d.waiting = append(d.waiting, waiting{len(d.keys), s})
}

// Found adds a row that is at the target, in one place.
func (d *Deltas) Found(key []byte, s Sum) {
	begin := d.begin
	for i := d.next; i < min(len(d.waiting), d.next+lookAhead); i++ {
		w := d.waiting[i]
		if !bytes.Equal(d.keys[begin:w.end], key) {
			begin = w.end
			continue
		}
		d.leave(i)
		d.next, d.begin = i+1, w.end
		if w.sum != s {
			d.put(key, d.left[string(key)].plus(w.sum).minus(s))
		}
		return
	}
	d.put(key, d.left[string(key)].minus(s))
}

// leave has the rows before one that waits wait no more.
func (d *Deltas) leave(before int) {
	for ; d.next < before; d.next++ {
		w := d.waiting[d.next]
		key := d.keys[d.begin:w.end]
		d.put(key, d.left[string(key)].plus(w.sum))
		d.begin = w.end
	}
}

func (d *Deltas) put(key []byte, s Sum) {
	if s == (Sum{}) {
		delete(d.left, string(key))
		return
	}
	d.left[string(key)] = s
}

// Len returns how many rows are held.
func (d *Deltas) Len() int { return len(d.left) + len(d.waiting) - d.next }

// Keys returns the keys that differ, once both sides have come.
func (d *Deltas) Keys() []string {
	d.leave(len(d.waiting))
	keys := make([]string, 0, len(d.left))
	for key := range d.left {
		keys = append(keys, key)
	}
	return keys
}
