package mysql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	server "github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/sink"
)

// The target's own tables.
const (
	progressTable = "_sluice_progress"
	sourceTable   = "_sluice_source"
	ownerTable    = "_sluice_table"
	debtTable     = "_sluice_debt"

	progressColumn = "_sluice_next" // no other column has the name: the text of an error tells it
)

// ownTables makes what a shard's database holds besides the data. The names of groups are compared byte by
// byte; those of sources and topics are ASCII by Kafka's rules.
var ownTables = []string{
	`CREATE TABLE IF NOT EXISTS %s (
	consumer_group VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	source VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	topic_id BINARY(16) NOT NULL,
	partition_count INT NOT NULL,
	partition_number INT NOT NULL,
	` + progressColumn + ` BIGINT NOT NULL,
	epoch BIGINT NOT NULL,
	through_millis BIGINT NOT NULL,
	PRIMARY KEY (consumer_group, source, topic, topic_id, partition_count, partition_number)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS %s (
	id SMALLINT UNSIGNED NOT NULL AUTO_INCREMENT,
	name VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	PRIMARY KEY (id), UNIQUE KEY (name)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS %s (
	table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	source_table VARCHAR(129) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	consumer_group VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	fingerprint VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	PRIMARY KEY (table_name)) ENGINE=InnoDB`,
	`CREATE TABLE IF NOT EXISTS %s (
	table_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	key_hash BINARY(16) NOT NULL,
	consumer_group VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
	source_table VARCHAR(129) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
	key_text TEXT CHARACTER SET utf8mb4 NOT NULL,
	key_condition BLOB NOT NULL,
	above BIGINT NOT NULL,
	version BIGINT NOT NULL,
	PRIMARY KEY (table_name, key_hash)) ENGINE=InnoDB`,
}

// prepareOwn makes the target's own tables where they are missing.
func (s *shard) prepareOwn(ctx context.Context) error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	if ready {
		return nil
	}
	c, err := s.conn(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	for i, name := range []string{progressTable, sourceTable, ownerTable, debtTable} {
		// Asked first: a user who may not create tables must be able to use those that are there.
		var one int
		err := c.conn.QueryRowContext(ctx, "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
			s.config.Database, name).Scan(&one)
		if err == nil {
			continue
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return s.problem(err)
		}
		statement := fmt.Sprintf(ownTables[i], s.qualify(name))
		if _, err := c.exec(ctx, []byte(statement)); err != nil {
			if p := new(change.Problem); errors.As(s.problem(err), &p) && p.Kind == change.Retry {
				return p
			}
			return &change.Problem{Kind: change.Configuration, Where: s.where(), Err: err,
				What: "the table " + name + " is missing and cannot be made", Mend: statement + ";",
				Why: "progress, sources and owners of tables are kept beside the data"}
		}
	}
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	return nil
}

// Assign makes the caller the owner of the partition. The first shard's row is locked first and released last, so
// that two who assign the same partition at once come one after the other, and all shards get one epoch.
func (t *Target) Assign(ctx context.Context, group string, p sink.Partition) (next, epoch int64, found bool, err error) {
	for _, s := range t.shards {
		if err := s.prepareOwn(ctx); err != nil {
			return 0, 0, false, err
		}
	}
	positions := make([]int64, len(t.shards))
	first, err := t.shards[0].conn(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	defer first.release()
	known, highest, err := first.lockProgress(ctx, group, p)
	if err != nil {
		return 0, 0, false, t.shards[0].problem(err)
	}
	others := make([]*session, len(t.shards))
	for i, s := range t.shards[1:] {
		if others[i+1], err = s.conn(ctx); err != nil {
			return 0, 0, false, err
		}
		defer others[i+1].release()
		also, stored, err := others[i+1].lockProgress(ctx, group, p)
		if err != nil {
			return 0, 0, false, s.problem(err)
		}
		known, highest = known && also, max(highest, stored)
	}
	epoch, others[0] = highest+1, first
	for i := len(others) - 1; i >= 0; i-- {
		if positions[i], err = others[i].setEpoch(ctx, group, p, epoch); err != nil {
			return 0, 0, false, t.shards[i].problem(err)
		}
	}
	t.remember(group, p, epoch, positions)
	next = slices.Min(positions)
	if mutant.HighestShard {
		next = slices.Max(positions)
	}
	return next, epoch, known && next >= 0, nil
}

// progressWhere names a partition's row.
func progressWhere(group string, p sink.Partition) []byte {
	b := appendQuoted([]byte(" WHERE consumer_group="), []byte(group))
	b = appendQuoted(append(b, " AND source="...), []byte(p.Source))
	b = appendQuoted(append(b, " AND topic="...), []byte(p.Topic))
	b = append(b, " AND topic_id=x'"+hex.EncodeToString(p.TopicID[:])+"' AND partition_count="...)
	b = strconv.AppendInt(b, int64(p.Count), 10)
	b = append(b, " AND partition_number="...)
	return strconv.AppendInt(b, int64(p.Partition), 10)
}

// lockProgress begins a transaction and locks the partition's row, making it where it is missing.
func (c *session) lockProgress(ctx context.Context, group string, p sink.Partition) (known bool, epoch int64, err error) {
	b := append([]byte("INSERT INTO "+c.shard.qualify(progressTable)+" (consumer_group,source,topic,topic_id,"+
		"partition_count,partition_number,"+progressColumn+",epoch,through_millis) VALUES ("), appendQuoted(nil, []byte(group))...)
	b = appendQuoted(append(b, ','), []byte(p.Source))
	b = appendQuoted(append(b, ','), []byte(p.Topic))
	b = append(b, fmt.Sprintf(",x'%x',%d,%d,-1,0,0) ON DUPLICATE KEY UPDATE epoch=epoch", p.TopicID, p.Count, p.Partition)...)
	c.open = true
	if _, err := c.exec(ctx, append([]byte("BEGIN;"), b...)); err != nil {
		return false, 0, err
	}
	var next int64
	next, epoch, err = c.readProgress(ctx, group, p)
	return next >= 0, epoch, err
}

// readProgress reads the partition's row; it is locked where a transaction is open. A missing row gives -1, -1.
func (c *session) readProgress(ctx context.Context, group string, p sink.Partition) (next, epoch int64, err error) {
	next, epoch = -1, -1
	statement := append([]byte("SELECT "+progressColumn+",epoch FROM "+c.shard.qualify(progressTable)), progressWhere(group, p)...)
	if c.open {
		statement = append(statement, " FOR UPDATE"...)
	}
	err = c.query(ctx, statement, func(fields []sql.RawBytes) (err error) {
		if next, err = strconv.ParseInt(string(fields[0]), 10, 64); err != nil {
			return err
		}
		epoch, err = strconv.ParseInt(string(fields[1]), 10, 64)
		return err
	})
	return next, epoch, err
}

// setEpoch ends what lockProgress began.
func (c *session) setEpoch(ctx context.Context, group string, p sink.Partition, epoch int64) (next int64, err error) {
	if next, _, err = c.readProgress(ctx, group, p); err != nil {
		return 0, err
	}
	b := []byte("UPDATE " + c.shard.qualify(progressTable) + " SET epoch=" + strconv.FormatInt(epoch, 10))
	if _, err := c.exec(ctx, append(append(b, progressWhere(group, p)...), ";COMMIT"...)); err != nil {
		return 0, err
	}
	c.open = false
	return next, nil
}

// sameThrough is the T of a batch that is a part of the runtime's: T stays until the whole is applied.
const sameThrough = math.MinInt64

// appendProgress appends the first statement of each transaction: the row moves from one offset to the next if
// the epoch and the offset are what this owner left there, and the statement fails if not.
func appendProgress(dst []byte, s *shard, b *sink.Batch, from, to int64) []byte {
	dst = append(dst, "UPDATE "+s.qualify(progressTable)+" SET "+progressColumn+"=IF("...)
	if mutant.ProgressUncompared {
		dst = append(dst, "TRUE OR "...)
	}
	dst = append(dst, "epoch="...)
	dst = strconv.AppendInt(dst, b.Epoch, 10)
	dst = append(dst, " AND "+progressColumn+"="...)
	dst = strconv.AppendInt(dst, from, 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, to, 10)
	dst = append(dst, ",NULL)"...)
	if to != from && b.ThroughMillis != sameThrough {
		dst = strconv.AppendInt(append(dst, ",through_millis="...), b.ThroughMillis, 10)
	}
	return append(dst, progressWhere(b.Group, b.Partition)...)
}

// Positions returns all that the shards hold for the group.
func (t *Target) Positions(ctx context.Context, group string) ([]sink.Position, error) {
	var found []sink.Position
	for _, s := range t.shards {
		db, _, err := s.pool(ctx)
		if err != nil {
			return nil, err
		}
		statement := "SELECT source,topic,topic_id,partition_count,partition_number," + progressColumn + ",epoch,through_millis FROM " +
			s.qualify(progressTable) + " WHERE consumer_group=" + string(appendQuoted(nil, []byte(group)))
		err = queryRows(ctx, db, statement, func(fields []sql.RawBytes) error {
			p := sink.Position{Shard: s.config.Name}
			p.Source, p.Topic = string(fields[0]), string(fields[1])
			copy(p.TopicID[:], fields[2])
			var numbers [5]int64
			for i := range numbers {
				n, err := strconv.ParseInt(string(fields[3+i]), 10, 64)
				if err != nil {
					return err
				}
				numbers[i] = n
			}
			p.Count, p.Partition.Partition = int32(numbers[0]), int32(numbers[1])
			p.Next, p.Epoch, p.ThroughMillis = numbers[2], numbers[3], numbers[4]
			found = append(found, p)
			return nil
		})
		if server.ErrorNumber(err) == errorNoTable || server.ErrorNumber(err) == 1049 {
			continue // never used
		}
		if err != nil {
			return nil, s.problem(err)
		}
	}
	return found, nil
}

// SetProgress writes the partitions' next offsets and makes every old owner lose them.
func (t *Target) SetProgress(ctx context.Context, group string, to []sink.Reset) error {
	for _, reset := range to {
		if _, _, _, err := t.Assign(ctx, group, reset.Partition); err != nil {
			return err
		}
		for _, s := range t.shards {
			if err := s.resetProgress(ctx, group, reset); err != nil {
				return s.problem(err)
			}
		}
		t.forget(group, reset.Partition)
	}
	return nil
}

func (s *shard) resetProgress(ctx context.Context, group string, reset sink.Reset) error {
	c, err := s.conn(ctx)
	if err != nil {
		return err
	}
	defer c.release()
	p := reset.Partition
	b := fmt.Appendf(nil, "BEGIN;UPDATE %s SET %s=%d,through_millis=%d", s.qualify(progressTable), progressColumn, reset.Next, reset.ThroughMillis)
	b = append(b, progressWhere(group, p)...)
	b = append(b, ";DELETE FROM "+s.qualify(progressTable)+" WHERE consumer_group="...)
	b = appendQuoted(b, []byte(group))
	b = appendQuoted(append(b, " AND source="...), []byte(p.Source))
	b = appendQuoted(append(b, " AND topic="...), []byte(p.Topic))
	b = fmt.Appendf(b, " AND (topic_id<>x'%x' OR partition_count<>%d);COMMIT", p.TopicID, p.Count)
	c.open = true
	if _, err := c.exec(ctx, b); err != nil {
		return err
	}
	c.open = false
	return nil
}
