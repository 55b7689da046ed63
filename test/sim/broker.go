package sim

import (
	"slices"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/mysql/gtid"
	"github.com/sluice-cdc/sluice/source/crawl"
)

const partitionCount = 2

// record is one record of the topic; a control record has no key.
type record struct {
	offset    int64
	key       int // below 0: a transaction's marker
	op        change.Op
	tombstone bool
	crawled   bool
	fresh     bool // of a first crawl: nothing older of the row stands anywhere
	doubted   bool // header sluice.doubt: before may not be where the row stood
	before    *row
	after     *row
	version   change.Version
	txn       *kafkaTxn
}

// kafkaTxn is one Kafka transaction.
type kafkaTxn struct {
	epoch   int
	owner   *session
	open    bool
	aborted bool
	in      [partitionCount]bool
	saved   *checkpoint
}

// checkpoint is what the source knows of itself when all else is lost. It is copied, never shared.
type checkpoint struct {
	published *gtid.Set
	partly    *transaction // a transaction of which so many rows are published
	rows      int
	version   change.Version
	crawls    []crawl.Progress // in the order in which they were asked for
	crawled   bool             // one of them has come to its end
	fresh     bool             // nothing but the stream and the first crawl is in the topic
	stopped   bool             // the table is: its changes are not published
}

func (c *checkpoint) clone() *checkpoint {
	d := *c
	d.published = c.published.Clone()
	d.crawls = slices.Clone(c.crawls)
	for i := range d.crawls {
		d.crawls[i].Ranges = slices.Clone(d.crawls[i].Ranges)
	}
	return &d
}

// broker holds the topic and the checkpoint. The transactional id's newest epoch is the only one that may write.
type broker struct {
	epoch   int
	logs    [partitionCount][]*record
	ends    [partitionCount]int64
	horizon [partitionCount]int64 // below it compaction may have removed records
	open    []*kafkaTxn
	saved   *checkpoint
	written [partitionCount][]*record // all that was ever written, for the checker
	began   *gtid.Set                 // what the first checkpoint begins after

	unfenced bool // a planted error: any epoch may write
}

// fence hands out the next epoch and aborts what the epochs before have left open.
func (b *broker) fence() int {
	b.epoch++
	for _, t := range b.open {
		if !b.unfenced || t.owner.dead {
			b.end(t, false)
		}
	}
	return b.epoch
}

// produce appends a record; false: the producer is fenced.
func (b *broker) produce(t *kafkaTxn, r *record) bool {
	if t.epoch != b.epoch && !b.unfenced || t.aborted {
		return false
	}
	if !t.open {
		t.open = true
		b.open = append(b.open, t)
	}
	p := partition(r.key)
	r.txn = t
	t.in[p] = true
	b.append(p, r)
	return true
}

func partition(key int) int { return partitions[key] }

func (b *broker) append(p int, r *record) {
	r.offset = b.ends[p]
	b.ends[p]++
	b.logs[p] = append(b.logs[p], r)
	b.written[p] = append(b.written[p], r)
}

// commit ends the transaction; false: the producer is fenced, and nothing is done.
func (b *broker) commit(t *kafkaTxn) bool {
	if t.epoch != b.epoch && !b.unfenced || t.aborted {
		return false
	}
	b.end(t, true)
	return true
}

func (b *broker) end(t *kafkaTxn, commit bool) {
	t.open, t.aborted = false, !commit
	kept := b.open[:0:0]
	for _, o := range b.open {
		if o != t {
			kept = append(kept, o)
		}
	}
	b.open = kept
	for p, in := range t.in {
		if in {
			b.append(p, &record{key: -1, txn: &kafkaTxn{}})
		}
	}
	if commit && t.saved != nil {
		b.save(t)
	}
}

// save makes a transaction's checkpoint the one that the next start reads.
func (b *broker) save(t *kafkaTxn) {
	if b.saved == nil {
		b.began = t.owner.began
	}
	b.saved = t.saved
}

// stable is the last stable offset: up to it everything is decided.
func (b *broker) stable(p int) int64 {
	for _, r := range b.logs[p] {
		if r.txn.open {
			return r.offset
		}
	}
	return b.ends[p]
}

// read calls each for the committed records with offsets in [from, to).
func (b *broker) read(p int, from, to int64, each func(*record)) {
	for _, r := range b.logs[p] {
		if r.offset >= from && r.offset < to && r.key >= 0 && !r.txn.open && !r.txn.aborted {
			each(r)
		}
	}
}

// newest returns each key's newest committed record.
func (b *broker) newest() (all [keyCount]*record) {
	for p := range b.logs {
		b.read(p, 0, b.stable(p), func(r *record) { all[r.key] = r })
	}
	return all
}

// compact removes, below a horizon, the records of keys that have a newer one there.
func (b *broker) compact(p int, part int64) int {
	b.horizon[p] = max(b.horizon[p], b.stable(p)*part/4)
	last := [keyCount]int64{}
	b.read(p, 0, b.horizon[p], func(r *record) { last[r.key] = r.offset })
	var kept []*record
	for _, r := range b.logs[p] {
		if r.offset >= b.horizon[p] || r.key >= 0 && !r.txn.aborted && r.offset == last[r.key] {
			kept = append(kept, r)
		}
	}
	removed := len(b.logs[p]) - len(kept)
	b.logs[p] = kept
	return removed
}
