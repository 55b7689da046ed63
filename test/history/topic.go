package history

import (
	"fmt"
	"slices"

	"github.com/sluice-cdc/sluice/change"
)

// checkTopic holds the records of one key against its events.
func (c *Checker) checkTopic(k Key, l *life) {
	p := pass{Checker: c, key: k, life: l, unsure: l.unsure}
	if len(l.events) > 0 && (len(l.unsure) == 0 || l.unsure[0] > 0) {
		p.row, p.known = l.events[0].Before, true // where the row's first change says what it was before
	}
	for i := range l.records {
		r := &l.records[i]
		switch {
		case r.Tombstone && i > 0 && l.records[i-1].Op == change.Delete && !l.records[i-1].Tombstone:
		case r.Crawled: // a tombstone too: the sweep of a table that is gone has no envelope
			p.crawled(r)
		case r.Tombstone:
			c.fault(Fault{Invented, k, r.place(), "a tombstone without its delete"})
		default:
			p.streamed(r)
		}
		if c.options.Tombstones && r.Op == change.Delete && !r.Tombstone && (i+1 == len(l.records) || !l.records[i+1].Tombstone) {
			c.fault(Fault{NoTombstone, k, r.place(), "the delete has no tombstone"})
		}
	}
	for _, e := range l.events[p.matched:] {
		c.fault(Fault{Gap, k, "the topic's end", "missing " + e.text()})
	}
}

// pass is a walk through the records of one key.
type pass struct {
	*Checker
	key     Key
	life    *life
	matched int     // events that the topic has had, or should have
	late    []Event // those of them that come after their time, which has been said
	row     Row     // what the topic says of the row so far
	known   bool
	unsure  []int // as in life, those still to come
}

// crawled takes what a crawl says of the row: nothing but what the binlog says of it at this place. Where the row may have
// changed without an event since the last one that the topic had, the crawl is believed.
func (p *pass) crawled(r *Record) {
	if len(p.unsure) > 0 && p.unsure[0] <= p.matched || p.matched == 0 && p.Checker.unsure[p.key.Table] {
		p.known = false
	}
	if p.known && r.After != p.row {
		p.fault(Fault{StaleCrawl, p.key, r.place(), fmt.Sprintf("the crawl says %s, the binlog %s", r.After.text(), p.row.text())})
	}
	p.row, p.known = r.After, true
}

// streamed takes a record of the stream, which must be the next event.
func (p *pass) streamed(r *Record) {
	is := func(e Event) bool { return e.is(r) }
	rest := p.life.events[p.matched:]
	at := slices.IndexFunc(rest, is)
	switch late := slices.IndexFunc(p.late, is); {
	case at == 0:
	case late >= 0:
		p.late = slices.Delete(p.late, late, late+1)
		return
	case at > 0:
		for _, e := range rest[:at] {
			if p.life.comes(r, e) {
				p.late = append(p.late, e)
				p.fault(Fault{Reorder, p.key, r.place(), fmt.Sprintf("%s comes before %s", r.text(), e.text())})
			} else {
				p.fault(Fault{Gap, p.key, r.place(), fmt.Sprintf("missing %s before %s", e.text(), r.text())})
			}
		}
	case slices.ContainsFunc(p.life.events[:p.matched], is):
		p.fault(Fault{Duplicate, p.key, r.place(), r.text() + " again"})
		return
	default:
		p.fault(Fault{Invented, p.key, r.place(), r.text() + " is not in the binlog"})
		return
	}
	p.matched += at + 1
	p.row, p.known = r.After, true
	for len(p.unsure) > 0 && p.unsure[0] < p.matched {
		p.unsure = p.unsure[1:]
	}
}

// comes reports whether a record of the key after r is that event.
func (l *life) comes(r *Record, e Event) bool {
	for i := range l.records {
		if o := &l.records[i]; o.Offset > r.Offset && !o.Crawled && !o.Tombstone && e.is(o) {
			return true
		}
	}
	return false
}

// is reports whether the record says what the event does.
func (e *Event) is(r *Record) bool { return e.Op == r.Op && e.Before == r.Before && e.After == r.After }

func (r Row) text() string {
	if r == "" {
		return "no row"
	}
	return fmt.Sprintf("%.200q", string(r))
}

func (e *Event) text() string {
	return fmt.Sprintf("%s of %s (%s)", e.Op, e.After.text(), e.Where)
}

func (r *Record) text() string { return fmt.Sprintf("%s of %s", r.Op, r.After.text()) }
