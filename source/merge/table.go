package merge

import "slices"

// table is what a Merger remembers of one table: which keys the stream has carried since its oldest open
// window, shared by all its windows, and the chunks that wait.
//
// Several windows of one table overlap nearly all the time, so a key is kept once: touched says which
// window was the newest when the key was last carried, and a window strikes the keys whose mark is its own
// ID or a later one. A key that is carried again while no window was opened since costs nothing. To forget
// without walking the map, each window lists the keys that got its mark; when the windows up to it are
// closed, nobody asks for that mark any more.
type table struct {
	windows []*chunk // open ones, oldest first
	waiting []*chunk // read ones, in the order of Read
	touched map[string]WindowID
	marks   []marks // one for each window since the oldest open one, oldest first
}

// marks lists the keys that were carried while a window was the newest of its table.
type marks struct {
	window WindowID
	keys   []string
}

func newTable() *table { return &table{touched: make(map[string]WindowID)} }

func (t *table) open(c *chunk) {
	t.windows = append(t.windows, c)
	t.marks = append(t.marks, marks{window: c.id})
}

// remember notes a key for all open windows and returns the bytes that it took. There must be one.
func (t *table) remember(key []byte) int64 {
	newest := &t.marks[len(t.marks)-1]
	if t.touched[string(key)] == newest.window {
		return 0
	}
	k := string(key)
	t.touched[k] = newest.window
	newest.keys = append(newest.keys, k)
	return keyBytes(k)
}

// close takes the window out and forgets the keys that no other window needs; it returns the bytes that
// were freed.
func (t *table) close(c *chunk) int64 {
	t.windows = slices.DeleteFunc(t.windows, func(w *chunk) bool { return w == c })
	done := len(t.marks)
	if len(t.windows) > 0 {
		oldest := t.windows[0].id
		done = slices.IndexFunc(t.marks, func(m marks) bool { return m.window == oldest })
	}
	var freed int64
	for _, m := range t.marks[:done] {
		for _, k := range m.keys {
			freed += keyBytes(k)
			if t.touched[k] == m.window { // else it was carried again, and a later mark lists it too
				delete(t.touched, k)
			}
		}
	}
	t.marks = slices.Delete(t.marks, 0, done)
	if len(t.windows) == 0 {
		t.touched = make(map[string]WindowID) // a map never gives its room back
	}
	return freed
}

func keyBytes(k string) int64 { return int64(len(k)) + entryBytes }
