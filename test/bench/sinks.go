package bench

import (
	"context"
	"fmt"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/testbed/rig"
)

// sinkShards are how many the MySQL sink writes to.
const sinkShards = 2

// runMySQL is work (d): a topic that is there, into two shards of a table with a second UNIQUE key, without conflicts and with one row in a
// hundred that meets the owner of before of its value.
func (r *run) runMySQL(ctx context.Context) error {
	if err := r.bed.needShards(ctx); err != nil {
		return err
	}
	if err := r.toShards(ctx, workMySQL, "codes", false); err != nil {
		return err
	}
	return r.toShards(ctx, workUnique, "taken", true)
}

func (r *run) toShards(ctx context.Context, name, table string, conflicts bool) error {
	rows := r.settings.mysqlRows()
	events := codeEvents(rows)
	w := &work{name: name, rows: events[change.Create] + events[change.Update], table: table, shape: rowsUnique}
	publisher, err := r.published(ctx, w, events, func() error { return writeCodes(ctx, r.bed.db, table, rows, conflicts) })
	if err != nil {
		return err
	}
	w.check = func(ctx context.Context, c Contender) error {
		sink := c.(*emptied).Contender.(*ownMySQLSink)
		return r.bed.checkTargets(ctx, table, sink.targets...)
	}
	list, err := r.turns(w, func() (Contender, error) {
		return r.bed.newMySQLSink(w.topic, table, "code", sinkShards, w.end)
	})
	if err != nil {
		return err
	}
	for i := range list { // each begins with empty tables, theirs too
		list[i].contender = &emptied{list[i].contender, func(ctx context.Context) error { return r.bed.emptyTargets(ctx, w.shape, table) }}
	}
	if err := r.fight(ctx, w, list); err != nil {
		return err
	}
	if err := r.bed.deleteTopics(ctx, publisher); err != nil {
		return err
	}
	return r.bed.forget(ctx, table)
}

// emptied is a contender whose targets are emptied before it starts.
type emptied struct {
	Contender
	empty func(context.Context) error
}

func (e *emptied) Start(ctx context.Context) error {
	if err := e.empty(ctx); err != nil {
		return err
	}
	return e.Contender.Start(ctx)
}

func (e *emptied) unwrap() Contender { return e.Contender }

// published brings changes into a topic by a source of ours that reads the binlog, and says in w where that is. It returns the source's
// name. What is in the topic is compared first, else the sinks would be measured on less than the work.
func (r *run) published(ctx context.Context, w *work, events map[change.Op]int64, write func() error) (name string, err error) {
	if err := r.bed.makeTable(ctx, w.shape, w.table); err != nil {
		return "", err
	}
	s, err := r.bed.newSource(w.table, false)
	if err != nil {
		return "", err
	}
	if err := s.Prime(ctx); err != nil {
		return "", err
	}
	if w.bytes, err = r.bed.written(ctx, write); err != nil {
		return "", err
	}
	return s.run, r.publish(ctx, s, w, events)
}

// publish runs a source to its end and compares the topic.
func (r *run) publish(ctx context.Context, s *ownSource, w *work, events map[change.Op]int64) error {
	if err := s.Start(ctx); err != nil {
		return err
	}
	err := s.finish(ctx, stallMax)
	if stop := s.Stop(); err == nil {
		err = stop
	}
	if err != nil {
		return err
	}
	want, err := r.bed.tableSum(ctx, w.table)
	if err != nil {
		return err
	}
	if err := r.bed.checkTopic(ctx, s.run, w.table, want, events); err != nil {
		return fmt.Errorf("%s, before its begin: %w", w.name, err)
	}
	w.topic = s.topic()
	w.end, err = r.bed.committed(ctx, w.topic)
	return err
}

// runSearch is work (e): a topic of rows that were crawled, into an index.
func (r *run) runSearch(ctx context.Context) error {
	if err := r.bed.needSearch(ctx); err != nil {
		return err
	}
	w, err := r.filled(ctx, rows200, "documents", workSearch, r.settings.searchRows())
	if err != nil {
		return err
	}
	s, err := r.newCrawl(w)
	if err != nil {
		return err
	}
	if err := r.publish(ctx, s, w, map[change.Op]int64{change.Read: w.rows}); err != nil {
		return err
	}
	w.check = func(ctx context.Context, c Contender) error {
		source := rig.Place{Name: "source", DB: r.bed.db, Database: database}
		found, err := rig.CompareSearch(ctx, source, r.bed.search.URL(), c.(*ownSearchSink).index(w.table), w.table)
		if err != nil {
			return err
		}
		return compared(found)
	}
	list, err := r.turns(w, func() (Contender, error) {
		sink, err := r.bed.newSearchSink(w.topic, w.end)
		w.index = sink.index(w.table) + "-rows" // the alias's
		return sink, err
	})
	if err != nil {
		return err
	}
	if err := r.warmSearch(ctx, w); err != nil {
		return err
	}
	if err := r.fight(ctx, w, list); err != nil {
		return err
	}
	if err := r.bed.deleteTopics(ctx, s.run); err != nil {
		return err
	}
	return r.bed.forget(ctx, w.table)
}

// warmSearch has a sink run once for nothing: the index is a Java machine too, and whoever comes first would meet it cold.
func (r *run) warmSearch(ctx context.Context, w *work) error {
	sink, err := r.bed.newSearchSink(w.topic, w.end)
	if err != nil {
		return err
	}
	if _, err := r.measure(ctx, w, sink, 0); err != nil {
		return fmt.Errorf("warm the index up: %w", err)
	}
	return nil
}
