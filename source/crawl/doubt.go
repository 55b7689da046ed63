package crawl

import "github.com/sluice-cdc/sluice/change"

// Doubts are the crawls over the top of one table that may still have something to say of its rows. While there is one, a row
// may stand in the topic as it was before a change that no event told. What an event says of before is then not where a target has
// the row (R7), and since the event strikes the row from the crawl, nothing else would ever tell.
//
// A crawl of the whole table that was given up leaves its doubt behind: what it would have mended is mended by the next one
// that comes to its end. Until then the events have to say it. If they did not, the delete of a row that stands elsewhere would
// leave it there for good, for no later crawl and no sweep meets a key that is gone from table and topic both.
//
// The zero value is ready to use. Records of a checkpoint may be noted in any order.
type Doubts struct {
	open   map[string]change.Version // crawl to its Started
	mended change.Version            // Started of the newest whole crawl that is done: it has mended what came before it
}

// Note takes in what a crawl's record says now.
func (d *Doubts) Note(p *Progress) {
	whole := p.Sweep // what a person asks for in part (Where, Keys) has none
	switch {
	case p.State == Done && whole:
		d.mended = max(d.mended, p.Started)
		for id, started := range d.open {
			if started <= d.mended {
				delete(d.open, id)
			}
		}
	case Ended(p.State) && !whole:
		delete(d.open, p.ID)
	case p.Started > d.mended:
		if d.open == nil {
			d.open = make(map[string]change.Version)
		}
		d.open[p.ID] = p.Started
	}
}

// Any reports whether the table is in doubt.
func (d *Doubts) Any() bool { return len(d.open) > 0 }
