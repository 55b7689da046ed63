package sinktest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"testing"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// randomHistories tries histories over each table of the suite.
func randomHistories(t *testing.T, o Options, deliver func(*testing.T, Options, *rand.Rand, *history, func() sink.Target)) {
	first := seed(t)
	tables := []Table{plainTable(), keyedTable()}
	if o.Uniques {
		tables = append(tables, uniqueTable(), uniqueTable())
	}
	for i := range histories(t, o) {
		s := first + uint64(i)
		ok := t.Run(fmt.Sprintf("SLUICE_SEED=%d", s), func(t *testing.T) {
			r := rand.New(rand.NewPCG(s, 0))
			table := tables[r.IntN(len(tables))]
			h := newHistory(r, table, 1+r.IntN(4), 10+r.IntN(120))
			open := o.New(t, Spec{Group: group, Source: source, Tables: []Table{table}})
			deliver(t, o, r, h, open)
			compare(t, o, open, h)
		})
		if !ok {
			t.Logf("replay with SLUICE_SEED=%d SLUICE_HISTORIES=1", s)
			return
		}
	}
}

// deliverInTurn delivers all partitions from one goroutine, so that the interleaving follows from the seed.
func deliverInTurn(t *testing.T, o Options, r *rand.Rand, h *history, open func() sink.Target) {
	d := newDelivery(t, o, h, open)
	for {
		var open []int
		for p := range h.logs {
			if d.at[p] < h.ends[p] {
				open = append(open, p)
			}
		}
		if len(open) == 0 {
			return
		}
		d.act(r, open[r.IntN(len(open))])
	}
}

// deliverAtOnce delivers each partition from a goroutine of its own, as the runtime does.
func deliverAtOnce(t *testing.T, o Options, r *rand.Rand, h *history, open func() sink.Target) {
	var wg sync.WaitGroup
	d := newDelivery(t, o, h, open)
	for p := range h.logs {
		own := rand.New(rand.NewPCG(r.Uint64(), uint64(p)))
		wg.Go(func() {
			for d.at[p] < h.ends[p] && !t.Failed() {
				from, next, changes := d.cut(own, p)
				if !d.try(p, from, next, changes) {
					return
				}
				d.at[p] = next
			}
		})
	}
	wg.Wait()
}

// delivery is how far each partition has come, and who owns it.
type delivery struct {
	t      *testing.T
	o      Options
	h      *history
	open   func() sink.Target
	now    *handle
	at     []int64 // by partition: the next offset to deliver; each element has one goroutine that uses it
	parts  []sink.Partition
	keeper bool // the target keeps progress
}

func newDelivery(t *testing.T, o Options, h *history, open func() sink.Target) *delivery {
	d := &delivery{t: t, o: o, h: h, open: open, at: make([]int64, len(h.logs))}
	for p := range h.logs {
		d.parts = append(d.parts, partition(h.table.Table, int32(p), int32(len(h.logs))))
	}
	d.takeOver()
	return d
}

// takeOver opens the target as a new process and assigns all partitions to it.
func (d *delivery) takeOver() {
	d.now = newHandle(d.t, d.o, d.open, d.h.table.Table)
	_, d.keeper = d.now.target.(sink.Progress)
	for p := range d.parts {
		d.reassign(p)
	}
}

// reassign asks the target how far it is. What it says must be what it was told: it is never ahead.
func (d *delivery) reassign(p int) {
	next, known := d.now.assign(d.parts[p])
	switch {
	case !d.keeper:
	case known && next > d.at[p]:
		d.t.Fatalf("%s: the target says next is %d, only %d was delivered", d.parts[p], next, d.at[p])
	case known:
		d.at[p] = next
	default:
		d.at[p] = 0
	}
}

// act does one random thing with the partition: mostly the next batch.
func (d *delivery) act(r *rand.Rand, p int) {
	from, next, changes := d.cut(r, p)
	switch n := r.IntN(40); {
	case n == 0:
		d.crash(r, p, from, next, changes)
	case n == 1:
		d.lateOwner(p, from, next, changes)
	case n < 5 && !d.keeper:
		d.at[p] = r.Int64N(d.at[p] + 1) // records come again, from any offset on
	case n < 5:
		d.now.must(d.parts[p], from, next, changes...)
		d.again(p, from, next, changes)
		d.at[p] = next
	default:
		d.now.must(d.parts[p], from, next, changes...)
		d.at[p] = next
	}
}

// crash drops the process before or after the batch was applied; the next one asks the target.
func (d *delivery) crash(r *rand.Rand, p int, from, next int64, changes []sink.Change) {
	before := d.at[p]
	if r.IntN(2) == 0 {
		// One try: where the target fails between two shards, it is done in some of them.
		if err := d.now.apply(d.parts[p], from, next, changes...); err != nil && change.SeverityOf(err) != change.Retry {
			d.t.Fatalf("apply %s %d..%d: %s", d.parts[p], from, next, change.Explain(err))
		}
		d.at[p] = next
	}
	d.takeOver()
	if !d.keeper {
		d.at[p] = before // the commit of the offset did not come through
	}
}

// lateOwner lets another process take the partition over while the old one still has a batch to apply.
func (d *delivery) lateOwner(p int, from, next int64, changes []sink.Change) {
	old := d.now
	d.takeOver()
	if !d.keeper {
		return
	}
	err := old.apply(d.parts[p], from, next, changes...)
	var lost *sink.OwnershipLost
	if !errors.As(err, &lost) {
		d.t.Fatalf("%s: an owner of epoch %d applied after epoch %d was handed out: %v", d.parts[p],
			old.epochs[d.parts[p]], d.now.epochs[d.parts[p]], err)
	}
}

// again applies a batch that was applied: its answer was lost.
func (d *delivery) again(p int, from, next int64, changes []sink.Change) {
	err := d.now.apply(d.parts[p], from, next, changes...)
	var lost *sink.OwnershipLost
	if err != nil && !errors.As(err, &lost) && change.SeverityOf(err) != change.Retry {
		d.t.Fatalf("%s: a batch that comes again: %v", d.parts[p], err)
	}
}

// cut takes the next few offsets of the partition's log.
func (d *delivery) cut(r *rand.Rand, p int) (from, next int64, changes []sink.Change) {
	from = d.at[p]
	next = min(d.h.ends[p], from+1+r.Int64N(12))
	log := d.h.logs[p]
	lo := sort.Search(len(log), func(i int) bool { return log[i].Offset >= from })
	hi := sort.Search(len(log), func(i int) bool { return log[i].Offset >= next })
	return from, next, log[lo:hi]
}

// try applies from a goroutine that may not call Fatal.
func (d *delivery) try(p int, from, next int64, changes []sink.Change) bool {
	for range 200 {
		err := d.now.apply(d.parts[p], from, next, changes...)
		if err == nil {
			return true
		}
		if change.SeverityOf(err) != change.Retry {
			d.t.Errorf("apply %s %d..%d: %s", d.parts[p], from, next, change.Explain(err))
			return false
		}
	}
	d.t.Errorf("apply %s %d..%d: given up after 200 tries", d.parts[p], from, next)
	return false
}

// compare reads the target back and holds it against the history's last state.
func compare(t *testing.T, o Options, open func() sink.Target, h *history) {
	t.Helper()
	hd := newHandle(t, o, open, h.table.Table)
	want := make(map[string]*held)
	for key, row := range h.rows {
		want[key] = row
	}
	for _, row := range scan(t, o, hd.target, h.table.Table) {
		_, key := h.key(row.Values)
		w := want[key]
		switch {
		case w == nil:
			t.Errorf("row %v of version %d should not be there (or is there twice)", row.Values, row.Version)
		case encode(row.Values) != encode(w.values):
			t.Errorf("row %v of version %d: want %v of version %d", row.Values, row.Version, w.values, w.version)
		case row.Version != 0 && row.Version != w.version:
			t.Errorf("row %v has version %d, want %d", row.Values, row.Version, w.version)
		}
		delete(want, key)
	}
	for _, row := range want {
		t.Errorf("row %v of version %d is missing", row.values, row.version)
	}
	noDebts(t, o, hd.target)
}

// noDebts fails where a debt was not paid although all records were delivered.
func noDebts(t *testing.T, o Options, target sink.Target) {
	debtor, ok := target.(sink.Debtor)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	debts, err := debtor.Debts(ctx, group)
	if err != nil {
		t.Fatalf("debts: %v", err)
	}
	for _, d := range debts {
		t.Errorf("debt of %s %s, made by version %d, was not paid", d.Table, d.Key, d.Version)
	}
}

func scan(t *testing.T, o Options, target sink.Target, table *change.Table) []sink.Row {
	t.Helper()
	scanner, ok := target.(sink.Scanner)
	if !ok {
		t.Fatal("the target has no Scan: the suite cannot read it back")
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
	defer cancel()
	var rows []sink.Row
	err := scanner.Scan(ctx, sink.Scan{Source: source, Table: table}, func(r sink.Row) error {
		r.Values = slices.Clone(r.Values)
		for i := range r.Values {
			r.Values[i].Bytes = slices.Clone(r.Values[i].Bytes)
		}
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	return rows
}

func sortedKeys(rows map[string]*held) []string {
	keys := make([]string, 0, len(rows))
	for key := range rows {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
