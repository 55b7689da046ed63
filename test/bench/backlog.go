package bench

import (
	"context"
	"fmt"
)

// work is what contenders are given to do.
type work struct {
	name    string
	rows    int64 // or changes
	bytes   int64 // that they take in the binlog
	table   string
	shape   *shape
	topic   string  // that sinks read
	end     offsets // of that topic
	index   string  // that the latest contender of ours will make, in the search engine
	deletes int64   // of the changes: some contenders write a tombstone for each
	// check compares what a contender of ours has left with the source, and removes it.
	check func(ctx context.Context, c Contender) error
}

// turn is one run in the order in which they go.
type turn struct {
	contender Contender
	against   string // the opponent of this pair
	round     int
}

// turns are the pairs of a work, ours first and the other right after it, so that whatever slows the machine down for a while slows both.
// Where there is no opponent ours runs alone as many times.
func (r *run) turns(w *work, mine func() (Contender, error)) (list []turn, err error) {
	of := r.rivalsOf(w.name)
	for round := 1; round <= r.settings.Pairs; round++ {
		for _, one := range of {
			c, err := mine()
			if err != nil {
				return nil, err
			}
			list = append(list, turn{c, one.name, round}, turn{one.make(r.bed, w, r.bed.next(one.name)), one.name, round})
		}
		if len(of) == 0 {
			c, err := mine()
			if err != nil {
				return nil, err
			}
			list = append(list, turn{c, "", round})
		}
	}
	return list, nil
}

// prime primes them all, before the data is written.
func prime(ctx context.Context, list []turn) error {
	for _, t := range list {
		if err := t.contender.Prime(ctx); err != nil {
			return fmt.Errorf("prime %s: %w", t.contender.Name(), err)
		}
	}
	return nil
}

// fight lets them run one after the other. An opponent that fails costs its pair, not the run; ours ends the work.
func (r *run) fight(ctx context.Context, w *work, list []turn) error {
	var mine *Result
	for _, t := range list {
		result, err := r.measure(ctx, w, t.contender, t.round)
		if t.contender.Name() != ours {
			if err != nil {
				r.note("%s: %v", w.name, err)
				r.report.reasons[w.name+", "+t.against] = err.Error()
				continue
			}
			r.report.add(result)
			r.report.pairs[fight{w.name, t.against}] = append(r.report.pairs[fight{w.name, t.against}], pair{mine, result})
			r.report.floor(t.against, result)
			r.note("%s: %s %.0f rows/s, ours %.2f times as fast", w.name, t.against, result.RowsPerSecond(), mine.RowsPerSecond()/result.RowsPerSecond())
			continue
		}
		if err != nil {
			return err
		}
		r.note("%s: ours %.0f rows/s, %.2f own CPU s a million rows", w.name, result.RowsPerSecond(), result.own("source")+result.own("sink"))
		if err := w.check(ctx, t.contender); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		mine = result
		r.report.add(result)
		if own := result.own("source") + result.own("sink"); own*float64(result.Rows)*result.Share >= cpuLeast*1e6 {
			r.report.figure(w.name, cpuOwn, own)
		}
	}
	return nil
}

// cpuLeast is the least of which a figure is made, in seconds: /proc counts in hundredths.
const cpuLeast = 0.1

// floor keeps a bare program's rate, in the unit of its figure.
func (r *report) floor(name string, result *Result) {
	switch want, known := floorFigures[name]; {
	case !known:
	case want.unit == "MB/s":
		r.floors[name] = append(r.floors[name], result.MBPerSecond())
	default:
		r.floors[name] = append(r.floors[name], result.RowsPerSecond())
	}
}

// runBacklog is work (a): sources are stopped, changes are written, and each source in turn catches up.
func (r *run) runBacklog(ctx context.Context) error {
	for _, s := range r.settings.shapes() {
		if err := r.catchUp(ctx, s, "backlog, "+s.label); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) catchUp(ctx context.Context, s *shape, name string) error {
	data := backlogOf(r.settings.backlogRows())
	w := &work{name: name, rows: data.changes(), table: s.name, shape: s, deletes: data.deletes()}
	if err := r.bed.makeTable(ctx, s, w.table); err != nil {
		return err
	}
	var sources []*ownSource
	list, err := r.turns(w, func() (Contender, error) {
		one, err := r.bed.newSource(w.table, false)
		sources = append(sources, one)
		return one, err
	})
	if err != nil {
		return err
	}
	r.note("%s: %d sources are brought to where the backlog begins", name, len(list))
	if err := prime(ctx, list); err != nil {
		return err
	}
	if w.bytes, err = r.bed.written(ctx, func() error { return data.write(ctx, r.bed.db, s, w.table) }); err != nil {
		return err
	}
	end, err := r.bed.binlogEnd(ctx)
	if err != nil {
		return err
	}
	for _, one := range sources {
		one.records, one.end = w.rows+w.deletes, end // each delete has a tombstone
	}
	want, err := r.bed.tableSum(ctx, w.table)
	if err != nil {
		return err
	}
	w.check = func(ctx context.Context, c Contender) error {
		run := c.(*ownSource).run
		if err := r.bed.checkTopic(ctx, run, w.table, want, data.events()); err != nil {
			return err
		}
		return r.bed.deleteTopics(ctx, run)
	}
	if err := r.fight(ctx, w, list); err != nil {
		return err
	}
	return r.bed.forget(ctx, w.table)
}
