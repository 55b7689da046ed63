package bench

import "slices"

// rival is a peer or a bare program that ours is held against. Those that there are stand in rivals (peers.go): an entry is all that a new
// one needs. What a goal names and is not there is not measured, and the table says so.
type rival struct {
	name  string
	works []string // the names of the works that it does
	quick bool     // in a quick run too
	// make makes one run of it. Each run has a name of its own, of which topics, groups and folders are made.
	make func(b *bed, w *work, run string) Contender
}

// rivalsOf are those of a work.
func (r *run) rivalsOf(work string) (of []rival) {
	if r.settings.Alone {
		return nil
	}
	for _, one := range rivals {
		if slices.Contains(one.works, work) && (one.quick || !r.settings.Quick) {
			of = append(of, one)
		}
	}
	return of
}
