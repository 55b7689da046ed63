package source

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/source/crawl"
)

// Topic makes the table's topic or takes the one that is there.
func (x *session) Topic(ctx context.Context, name change.TableName, rule *TableRule) (kafka.TableState, error) {
	settings := x.cfg.Kafka.TableSettings()
	if rule.Partitions > 0 {
		settings.Partitions = rule.Partitions
	}
	topic, err := kafka.EnsureTopic(ctx, x.admin, kafka.TopicName(x.cfg.Name, name), settings)
	if err != nil {
		return kafka.TableState{}, err
	}
	for _, note := range topic.Notes {
		x.log.Debug("topic", "topic", topic.Name, "note", note)
	}
	// A new table is crawled unless the config says otherwise. A new topic of a table that the server made a moment ago is
	// crawled too: the table is small then, and it may have been filled before we looked.
	return kafka.TableState{
		Shape: rule.fingerprint(), Table: name, Topic: topic.Name, TopicID: topic.ID, Partitions: topic.Partitions, Crawled: x.cfg.Crawl.Mode == "never", Fresh: topic.Created,
	}, nil
}

// Shape registers the schemas of a table's form.
func (x *session) Shape(ctx context.Context, t *change.Table, topic string) (*form, error) {
	encoder, err := x.cfg.Encoder(t, topic)
	if err != nil {
		return nil, err
	}
	s := &form{table: t, encoder: encoder}
	if s.keyID, err = x.registry.Register(ctx, topic+"-key", encoder.KeySchema()); err != nil {
		return nil, err
	}
	s.valueID, err = x.registry.Register(ctx, topic+"-value", encoder.ValueSchema())
	return s, err
}

// learn reads the table's definition from the server and refuses one that cannot be captured.
func (x *session) learn(ctx context.Context, name change.TableName, key []string) (*change.Table, error) {
	t, extras, err := mysql.LoadTable(ctx, x.db, x.facts, name, key)
	if err != nil {
		return nil, err
	}
	for _, f := range mysql.CheckTable(x.facts, t, extras, x.cfg.Cascades == "accept") {
		if !f.Warning {
			p := f.Problem
			return nil, &p
		}
	}
	return t, nil
}

// exists reports whether the server has the table now.
func (x *session) exists(ctx context.Context, name change.TableName) (bool, error) {
	var n int
	err := x.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ? AND table_name = ? AND table_type = 'BASE TABLE'",
		name.DB, name.Name).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for table %s: %w", name, x.cfg.MySQL.Problem(err))
	}
	return n > 0, nil
}

// openTables takes up the tables of the checkpoint and those of the server that the config names. Every table is looked at
// before anything is published: what the preflight refuses, it refuses all at once.
func (x *session) openTables(ctx context.Context) error {
	saved := x.pub.Checkpoint()
	stops, err := x.savedTables(ctx, saved.Tables)
	if err != nil {
		return err
	}
	wanted, err := x.wantedTables(ctx)
	if err != nil {
		return err
	}
	if err := x.preflightTables(ctx, wanted); err != nil {
		return err
	}
	if x.accept.Anew {
		for xid, open := range x.loop.openXA {
			delete(x.loop.openXA, xid)
			stops = append(stops, func() error { return x.pub.Delete(open) })
		}
	}
	for _, stop := range stops {
		if err := stop(); err != nil {
			return err
		}
	}
	var progress []crawl.Progress
	for _, c := range saved.Crawls {
		progress = append(progress, *c)
	}
	return x.openCrawls(ctx, progress, wanted)
}

// savedTables takes up the tables of the checkpoint. It returns what is to be published of them (tables that stop, that are left, or
// that begin anew), which is done when nobody else is waited for: it opens a Kafka transaction.
func (x *session) savedTables(ctx context.Context, saved map[change.TableName]*kafka.TableState) (stops []func() error, err error) {
	l := x.loop
	for name, state := range saved {
		if slices.Contains(x.accept.Forget, name) {
			if err := x.newIncarnation(ctx, state); err != nil {
				return nil, err
			}
			stops = append(stops, func() error { return x.pub.Delete(state) })
			continue
		}
		rule := x.cfg.Rule(name)
		if rule == nil { // the config captures it no more; its entry stays, for it may come back
			if !state.Left {
				left := *state
				left.Left = true
				stops = append(stops, func() error { return x.pub.Set(&left) })
			}
			continue
		}
		t := &table{name: name, rule: rule, state: *state}
		l.tables[name] = t
		if state.Stopped != nil {
			x.stats.stopped(name, state.Stopped)
			continue
		}
		err := x.pinned(ctx, state)
		if err == nil {
			err = x.poisoned[name]
		}
		if err != nil && change.SeverityOf(err) != change.Poison {
			return nil, err
		}
		if err != nil {
			stops = append(stops, func() error {
				l.then = append(l.then, func() { delete(x.poisoned, name) }) // durable: when it is mended it may go on
				return l.stop(ctx, t, err)
			})
		}
	}
	return stops, nil
}

// wantedTables returns the server's tables that the config names. The account must be able to read them.
func (x *session) wantedTables(ctx context.Context) ([]change.TableName, error) {
	names, err := mysql.ListTables(ctx, x.db)
	if err != nil {
		return nil, err
	}
	var wanted []change.TableName
	for _, name := range names {
		if x.cfg.Rule(name) != nil {
			wanted = append(wanted, name)
		}
	}
	grants, err := mysql.CheckGrants(ctx, x.db, x.facts, wanted)
	if err != nil {
		return nil, err
	}
	if err := refuse(findingsAt(x.cfg.MySQL.Address, x.facts, grants), func(f mysql.Finding) { x.log.Warn(f.What, "mend", f.Mend) }); err != nil {
		return nil, err
	}
	if len(wanted) == 0 && len(x.loop.tables) == 0 {
		x.log.Warn("no table matches the config yet", "tables_on_server", len(names))
	}
	return wanted, nil
}

// preflightTables refuses tables that cannot be captured, all at once. Tables that the checkpoint knows are not refused
// here: if they cannot go on they are stopped one by one, beside the others.
func (x *session) preflightTables(ctx context.Context, wanted []change.TableName) error {
	var findings []mysql.Finding
	for _, name := range wanted {
		if x.loop.tables[name] != nil {
			continue
		}
		t, extras, err := mysql.LoadTable(ctx, x.db, x.facts, name, x.cfg.Rule(name).Key)
		if change.SeverityOf(err) == change.Poison && err != nil {
			findings = append(findings, mysql.Finding{Problem: change.Problem{Kind: change.Configuration, What: err.Error(), Mend: mendOf(err)}})
			continue
		}
		if err != nil {
			return err
		}
		findings = append(findings, mysql.CheckTable(x.facts, t, extras, x.cfg.Cascades == "accept")...)
		if _, err := x.cfg.rulePublishes(t); err != nil {
			findings = append(findings, mysql.Finding{Problem: *err})
		}
	}
	for i := range findings {
		if findings[i].Kind == change.Poison {
			findings[i].Kind = change.Configuration
		}
	}
	return refuse(findings, func(f mysql.Finding) { x.log.Warn(f.What, "why", f.Why, "mend", f.Mend) })
}

// pinned holds the table's topic against the one that the checkpoint knows: another topic of the same name, or more
// partitions, would break the order of keys without an error from Kafka.
func (x *session) pinned(ctx context.Context, state *kafka.TableState) error {
	topic, err := kafka.LookupTopic(ctx, x.admin, state.Topic)
	if err != nil {
		return err
	}
	if topic == nil {
		return &change.Problem{Kind: change.Poison, Table: state.Table, What: "the topic is gone", Where: state.Topic,
			Why:  "the rows published before were in it; a new one would begin in the middle",
			Mend: "begin the table anew, and tell its sinks' groups: start the source once with --forget " + state.Table.String()}
	}
	err = topic.CheckPinned(state)
	if wrong := new(change.Problem); errors.As(err, &wrong) && topic.ID == state.TopicID {
		wrong.Mend = mendByNewTopic(state)
	}
	return err
}

func mendByNewTopic(state *kafka.TableState) string {
	return fmt.Sprintf("delete the topic (kafka-topics --delete --topic %s), start the source once with --forget %s, and rebuild its sinks under new groups",
		state.Topic, state.Table)
}

// newIncarnation refuses to begin a table anew in the topic that it had: keys that moved to other partitions, or that have
// other bytes now, would stay in it under their old ones for ever.
func (x *session) newIncarnation(ctx context.Context, state *kafka.TableState) error {
	topic, err := kafka.LookupTopic(ctx, x.admin, state.Topic)
	if err != nil || topic == nil || topic.ID != state.TopicID || topic.ID.IsZero() {
		return err
	}
	return &change.Problem{
		Kind: change.Configuration, What: "--forget " + state.Table.String() + ": its topic is still the same one", Where: state.Topic,
		Why:  "the old records of keys that are in another partition now, or have other bytes, would stay in it for ever",
		Mend: mendByNewTopic(state),
	}
}

// topicsEvery is how often the topics are looked at while the source runs.
const topicsEvery = 10 * time.Second

// watchTopics stops the tables whose topic was deleted, made again or given more partitions while the source runs: Kafka
// itself would go on without an error.
func (x *session) watchTopics(ctx context.Context) error {
	tick := time.NewTicker(topicsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		var states []kafka.TableState
		err := x.loop.call(ctx, func(context.Context) error {
			for _, t := range x.loop.tables {
				if t.live() {
					states = append(states, t.state)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i := range states {
			if err := x.watchTopic(ctx, &states[i]); err != nil {
				return err
			}
		}
	}
}

func (x *session) watchTopic(ctx context.Context, state *kafka.TableState) error {
	wrong := x.pinned(ctx, state)
	if wrong == nil || change.SeverityOf(wrong) != change.Poison {
		return nil // what else fails is met by those who publish
	}
	return x.loop.call(ctx, func(ctx context.Context) error {
		t := x.loop.tables[state.Table]
		if !t.live() || t.state.TopicID != state.TopicID || t.state.Partitions != state.Partitions {
			return nil
		}
		return x.loop.stop(ctx, t, wrong)
	})
}
