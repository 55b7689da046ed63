package postgres

import (
	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// work is what a batch asks for: of each key the newest change only, each list in the log's order.
type work struct {
	upserts []*sink.Change
	deletes []*sink.Change
}

// plan takes the newest change of each key. Changes of an offset below from are done. It is pure.
func plan(changes []sink.Change, from int64) work {
	newest, keys := make(map[string]int, len(changes)), sink.Keys(changes)
	for i := range changes {
		c := &changes[i]
		if c.Offset < from {
			continue
		}
		if best, ok := newest[keys[i]]; !ok || c.Version >= changes[best].Version {
			newest[keys[i]] = i
		}
	}
	var w work
	for i := range changes {
		c := &changes[i]
		if best, ok := newest[keys[i]]; !ok || best != i {
			continue
		}
		if c.Op == change.Delete {
			w.deletes = append(w.deletes, c)
		} else {
			w.upserts = append(w.upserts, c)
		}
	}
	return w
}
