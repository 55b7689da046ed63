package handler

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/sink"
)

// progressDDL makes the progress table. Groups are compared byte by byte; names of sources and topics are ASCII by Kafka's rules.
const progressDDL = `CREATE TABLE IF NOT EXISTS %s (
	consumer_group VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	source VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	topic_id BINARY(16) NOT NULL,
	partition_count INT NOT NULL,
	partition_number INT NOT NULL,
	next_offset BIGINT NOT NULL,
	epoch BIGINT NOT NULL,
	through_millis BIGINT NOT NULL,
	PRIMARY KEY (consumer_group, source, topic, topic_id, partition_count, partition_number)) ENGINE=InnoDB`

// there reports whether the progress table is there. It is asked first, so that an account that may not make tables can use it.
func (t *Transaction) there(ctx context.Context) (bool, error) {
	var one int
	err := t.db.QueryRowContext(ctx, "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?", t.options.Progress).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, t.failed(ctx, "look for the progress table", err)
	}
	return true, nil
}

// make makes the tables where they are missing, once.
func (t *Transaction) make(ctx context.Context) error {
	t.creating.Lock()
	defer t.creating.Unlock()
	if t.created {
		return nil
	}
	there, err := t.there(ctx)
	if err != nil {
		return err
	}
	statements := slices.Clone(t.options.Create)
	if !there {
		statements = append(statements, fmt.Sprintf(progressDDL, t.progress()))
	}
	for _, statement := range statements {
		if _, err := t.db.ExecContext(ctx, statement); err != nil {
			err = t.failed(ctx, "make a table", err)
			var problem *change.Problem
			if errors.As(err, &problem) {
				problem.Mend = statement + ";"
			}
			return err
		}
	}
	t.created = true
	return nil
}

// Assign makes the caller the partition's owner.
func (t *Transaction) Assign(ctx context.Context, group string, p sink.Partition) (next, epoch int64, found bool, err error) {
	if err := t.make(ctx); err != nil {
		return 0, 0, false, err
	}
	tx, err := t.begin(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "INSERT INTO "+t.progress()+" (consumer_group, source, topic, topic_id, partition_count, partition_number, next_offset, epoch, through_millis)"+
		" VALUES (?, ?, ?, ?, ?, ?, -1, 1, 0) ON DUPLICATE KEY UPDATE epoch = epoch + 1", identity(group, p)...)
	if err == nil {
		err = tx.QueryRowContext(ctx, "SELECT next_offset, epoch FROM "+t.progress()+identityWhere, identity(group, p)...).Scan(&next, &epoch)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return 0, 0, false, t.failed(ctx, "take over "+p.String(), err)
	}
	return next, epoch, next >= 0, nil
}

// Positions returns the group's progress.
func (t *Transaction) Positions(ctx context.Context, group string) ([]sink.Position, error) {
	t.group.Store(&group)
	if there, err := t.there(ctx); err != nil || !there {
		return nil, err
	}
	rows, err := t.db.QueryContext(ctx, "SELECT source, topic, topic_id, partition_count, partition_number, next_offset, epoch, through_millis FROM "+t.progress()+
		" WHERE consumer_group = ?", group)
	if err != nil {
		return nil, t.failed(ctx, "read the progress", err)
	}
	defer rows.Close()
	var all []sink.Position
	for rows.Next() {
		var p sink.Position
		var id []byte
		if err := rows.Scan(&p.Source, &p.Topic, &id, &p.Count, &p.Partition.Partition, &p.Next, &p.Epoch, &p.ThroughMillis); err != nil {
			return nil, t.failed(ctx, "read the progress", err)
		}
		copy(p.TopicID[:], id)
		all = append(all, p)
	}
	if err := rows.Err(); err != nil {
		return nil, t.failed(ctx, "read the progress", err)
	}
	return all, nil
}

// SetProgress writes each partition's next offset and makes every old owner lose it.
func (t *Transaction) SetProgress(ctx context.Context, group string, to []sink.Reset) error {
	for _, reset := range to {
		p := reset.Partition
		if _, _, _, err := t.Assign(ctx, group, p); err != nil {
			return err
		}
		tx, err := t.begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		_, err = tx.ExecContext(ctx, "UPDATE "+t.progress()+" SET next_offset = ?, through_millis = ?"+identityWhere,
			append([]any{reset.Next, reset.ThroughMillis}, identity(group, p)...)...)
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM "+t.progress()+" WHERE consumer_group = ? AND source = ? AND topic = ? AND (topic_id <> ? OR partition_count <> ?)",
				group, p.Source, p.Topic, p.TopicID[:], p.Count)
		}
		if err == nil {
			err = tx.Commit()
		}
		if err != nil {
			return t.failed(ctx, "set the progress of "+p.String(), err)
		}
	}
	return nil
}

// Occupied names the tables of the results that hold rows.
func (t *Transaction) Occupied(ctx context.Context, _ string, _ []*change.Table) ([]string, error) {
	if len(t.options.Results) == 0 {
		return nil, errNoResults
	}
	var occupied []string
	for _, name := range t.options.Results {
		var one int
		err := t.db.QueryRowContext(ctx, "SELECT 1 FROM "+name+" LIMIT 1").Scan(&one)
		switch {
		case err == nil:
			occupied = append(occupied, name)
		case !errors.Is(err, sql.ErrNoRows):
			return nil, t.failed(ctx, "look at "+name, err)
		}
	}
	return occupied, nil
}

var errNoResults = &change.Problem{Kind: change.Configuration, What: "the handler does not say in which tables its results are",
	Why: "what is in them already would be counted twice", Mend: "name them in TransactionOptions.Results"}

// Empty empties the results: all of them, so all topics that they are made of must be read anew.
func (t *Transaction) Empty(ctx context.Context, source string, tables []*change.Table) error {
	if len(t.options.Results) == 0 {
		return errNoResults
	}
	others, err := t.others(ctx, source, tables)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return &change.Problem{Kind: change.Configuration, What: "the results are also made of " + strings.Join(others, ", "),
			Why: "what came of those would be missing", Mend: "replay all topics of the group: leave --topics out"}
	}
	for _, name := range t.options.Results {
		if _, err := t.db.ExecContext(ctx, "DELETE FROM "+name); err != nil {
			return t.failed(ctx, "empty "+name, err)
		}
	}
	return nil
}

// others are the topics that the group has read besides those of the tables.
func (t *Transaction) others(ctx context.Context, source string, tables []*change.Table) ([]string, error) {
	group := t.group.Load()
	if group == nil {
		return nil, nil
	}
	positions, err := t.Positions(ctx, *group)
	if err != nil {
		return nil, err
	}
	var others []string
	for _, p := range positions {
		named := slices.ContainsFunc(tables, func(of *change.Table) bool { return p.Topic == source+"."+of.String() })
		if !named && !slices.Contains(others, p.Topic) {
			others = append(others, p.Topic)
		}
	}
	return others, nil
}
