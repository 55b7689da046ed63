package source

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql/rowimage"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/source/binlog"
	"github.com/sluice-cdc/sluice/source/crawl"
)

// table is what the loop knows of one captured table.
type table struct {
	name  change.TableName
	rule  *TableRule
	state kafka.TableState

	shape *form              // as the stream's rows have it; nil until the first TABLE_MAP
	image *rowimage.TableMap // the one that shape was made for

	// definitions counts the statements that may have changed the table. What was learnt of the table while the count was
	// another may be out of date.
	definitions int
	crawled     *form // as the server's INFORMATION_SCHEMA has it
	crawledAt   int   // definitions when it was read

	doubts crawl.Doubts // while there are any, events say that their before image may be wrong

	published counters

	event  avro.Event // reused from row to row
	block  avro.SourceBlock
	xblock avro.Transaction
}

// form is one form of a table's rows with what writes them.
type form struct {
	table   *change.Table
	encoder *avro.Encoder
	keyID   int
	valueID int
}

// doubt notes what a crawl's record says.
func (t *table) doubt(p *crawl.Progress) {
	if !t.state.Fresh { // else every row in the topic is of the stream, or of this crawl
		t.doubts.Note(p)
	}
}

// live reports whether the table's changes are published.
func (t *table) live() bool { return t.state.Stopped == nil }

// lookup is how the loop learns what only others know. All of it waits for somebody, so the loop calls it with no Kafka
// transaction open.
type lookup interface {
	// Topic returns the state of the table's topic, which is created if it is missing.
	Topic(ctx context.Context, name change.TableName, rule *TableRule) (kafka.TableState, error)
	// Shape registers the schemas of a table's form and returns what writes it.
	Shape(ctx context.Context, t *change.Table, topic string) (*form, error)
}

// tableFor returns the table that the rows event belongs to, in the form that the event has, or nil when its rows are not
// published.
func (l *loop) tableFor(ctx context.Context, ev *binlog.Event) (*table, error) {
	if !ev.Wanted {
		return nil, nil
	}
	t, err := l.known(ctx, ev.TableMap.Name)
	if t == nil || err != nil || !t.live() {
		return nil, err
	}
	if t.image == ev.TableMap {
		return t, nil
	}
	tbl, err := ev.TableMap.Table(t.rule.Key)
	if err != nil {
		return nil, l.stop(ctx, t, err)
	}
	if t.shape == nil || !reflect.DeepEqual(t.shape.table, tbl) {
		s, err := l.newShape(ctx, t, tbl)
		if err != nil || s == nil {
			return nil, err
		}
		t.shape = s
	}
	t.image = ev.TableMap
	return t, nil
}

// known returns the table's entry, and makes one with its topic for a table that is met for the first time: its rows
// from before are crawled.
func (l *loop) known(ctx context.Context, name change.TableName) (*table, error) {
	if t := l.tables[name]; t != nil {
		return t, nil
	}
	rule := l.cfg.Rule(name)
	if rule == nil {
		return nil, nil
	}
	if err := l.commitFirst(ctx); err != nil {
		return nil, err
	}
	state, err := l.lookup.Topic(ctx, name, rule)
	if err != nil {
		return nil, err
	}
	t := &table{name: name, rule: rule, state: state}
	l.tables[name] = t
	l.log.Info("table met", "table", name.String(), "topic", state.Topic, "partitions", state.Partitions)
	if err := l.pub.Set(&t.state); err != nil {
		return nil, err
	}
	l.dirty = true
	if !t.state.Crawled {
		return t, l.firstCrawl(t)
	}
	return t, nil
}

// newShape registers a new form of the table. The key's schema is pinned: key bytes hold its id, and another one would
// send the same row to another key.
func (l *loop) newShape(ctx context.Context, t *table, tbl *change.Table) (*form, error) {
	if err := l.commitFirst(ctx); err != nil {
		return nil, err
	}
	s, err := l.lookup.Shape(ctx, tbl, t.state.Topic)
	if change.SeverityOf(err) == change.Poison && err != nil {
		return nil, l.stop(ctx, t, err)
	}
	if err != nil {
		return nil, err
	}
	return s, l.pin(ctx, t, s)
}

// pin holds a form's schemas against those of the checkpoint.
func (l *loop) pin(ctx context.Context, t *table, s *form) error {
	if t.state.KeySchemaID == 0 {
		t.state.KeySchemaID, t.state.Key = s.keyID, s.table.KeyNames()
	}
	if t.state.KeySchemaID != s.keyID {
		return l.stop(ctx, t, &change.Problem{
			Kind: change.Poison, Table: t.name, What: "the key of " + t.name.String() + " has changed",
			Why: fmt.Sprintf("its topic's records are keyed by schema %d, the table's key is now schema %d (%v); the same row would get two keys",
				t.state.KeySchemaID, s.keyID, s.table.KeyNames()),
			Mend: mendByNewTopic(&t.state),
		})
	}
	if t.state.ValueSchemaID == s.valueID {
		return nil
	}
	t.state.ValueSchemaID = s.valueID
	l.log.Info("schema", "table", t.name.String(), "value_schema", s.valueID, "columns", len(s.table.Columns))
	l.dirty = true
	return l.pub.Set(&t.state)
}

// commitFirst ends the open Kafka transaction: the loop is about to wait for somebody else, and a transaction that stays
// open holds up every reader.
func (l *loop) commitFirst(ctx context.Context) error {
	if l.pub.Age() == 0 {
		return nil
	}
	return l.commit(ctx)
}

// stop ends the publishing of one table for a fault that is the table's or row's own; others go on. Any other error is
// returned as it is and ends the session.
func (l *loop) stop(ctx context.Context, t *table, err error) error {
	if change.SeverityOf(err) != change.Poison {
		return err
	}
	var p *change.Problem
	errors.As(err, &p)
	mend := p.Mend
	if mend == "" {
		mend = "when it is mended: sluice crawl start " + t.name.String()
	}
	t.state.Stopped = &kafka.Stopped{
		Reason: err.Error(), Why: p.Why, Position: l.position, Version: l.version, Mend: mend, Millis: time.Now().UnixMilli(),
	}
	l.stats.stopped(t.name, t.state.Stopped)
	l.log.Error("table stopped", "table", t.name.String(), "position", l.position.String(), "error", err, "mend", mend)
	t.image, t.shape = nil, nil
	l.merger.Invalidate(t.name)
	l.sweepDiscarded()
	l.dirty = true
	return l.pub.Set(&t.state)
}

// resume takes up a stopped table again; the crawl over the top that goes with it brings what was missed.
func (l *loop) resume(ctx context.Context, t *table) error {
	if t.live() {
		return nil
	}
	t.state.Stopped = nil
	t.image, t.shape, t.crawled = nil, nil, nil
	t.definitions++
	l.stats.resumed(t.name)
	l.dirty = true
	return l.pub.Set(&t.state)
}

// redefined is called for each statement that may have changed the table: what was learnt of it counts no more, and chunks
// that were read by the old definition are thrown away.
func (l *loop) redefined(t *table) {
	t.definitions++
	t.image = nil
	l.merger.Invalidate(t.name)
	l.sweepDiscarded()
}
