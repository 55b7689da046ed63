package verify

// Deltas is what is left of a share of a table's rows when what should be at the target is added and what is there is taken away,
// by key. It is pure; rows come in any order, from both sides. What is equal is gone, so what is held is what has been met on one
// side only, and what differs.
type Deltas struct {
	left map[string]Sum
}

// NewDeltas returns one that has met nothing. size is about how many rows one side has.
func NewDeltas(size int) *Deltas { return &Deltas{left: make(map[string]Sum, size)} }

// Want adds a row that should be at the target, in one place.
func (d *Deltas) Want(key []byte, s Sum) { d.put(key, d.left[string(key)].plus(s)) }

// Found adds a row that is at the target, in one place.
func (d *Deltas) Found(key []byte, s Sum) { d.put(key, d.left[string(key)].minus(s)) }

func (d *Deltas) put(key []byte, s Sum) {
	if s == (Sum{}) {
		delete(d.left, string(key))
		return
	}
	d.left[string(key)] = s
}

// Len returns how many keys are held.
func (d *Deltas) Len() int { return len(d.left) }

// Keys returns the keys that differ, once both sides have come.
func (d *Deltas) Keys() []string {
	keys := make([]string, 0, len(d.left))
	for key := range d.left {
		keys = append(keys, key)
	}
	return keys
}
