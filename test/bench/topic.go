package bench

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/test/history/feed"
)

// offsets are a topic's ends by partition.
type offsets map[int32]int64

func (o offsets) sum() (sum int64) {
	for _, n := range o {
		sum += n
	}
	return sum
}

// committed are up to where a read_committed reader gets now; none for a topic that is not there yet. Markers of transactions count.
func (b *bed) committed(ctx context.Context, topic string) (offsets, error) {
	return ends(ctx, topic, b.admin.ListCommittedOffsets)
}

// appended are the ends of all that was appended, transactions that are open or aborted included.
func (b *bed) appended(ctx context.Context, topic string) (offsets, error) {
	return ends(ctx, topic, b.admin.ListEndOffsets)
}

func ends(ctx context.Context, topic string, list func(context.Context, ...string) (kadm.ListedOffsets, error)) (offsets, error) {
	listed, err := list(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of %s: %w", topic, err)
	}
	of := offsets{}
	listed.Each(func(o kadm.ListedOffset) { of[o.Partition] = o.Offset })
	return of, nil
}

// deleteTopics removes those of a run, whose names begin so.
func (b *bed) deleteTopics(ctx context.Context, prefix string) error {
	all, err := b.admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	var names []string
	for name := range all {
		if strings.HasPrefix(name, prefix+".") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	_, err = b.admin.DeleteTopics(ctx, names...)
	return err
}

// sum is a checksum over all rows of a table, in no order: how many they are and the XOR of their hashes. A hash covers the row's key, so
// that within one table no two are the same and none cancels another.
type sum struct {
	rows int64
	hash [16]byte
}

func (s *sum) add(hash [16]byte) {
	s.rows++
	for i := range hash {
		s.hash[i] ^= hash[i]
	}
}

func (s *sum) String() string { return fmt.Sprintf("%d rows, %x", s.rows, s.hash[:4]) }

// hashOf is a row's, over what each of its columns holds.
func hashOf(values []change.Value) (hash [16]byte) {
	var content []byte
	for i := range values {
		v := &values[i]
		content = append(content, byte(v.Kind))
		content = binary.BigEndian.AppendUint64(content, v.Num)
		content = binary.BigEndian.AppendUint32(content, uint32(len(v.Bytes)))
		content = append(content, v.Bytes...)
	}
	full := sha256.Sum256(content)
	copy(hash[:], full[:])
	return hash
}

// carried is what a topic holds.
type carried struct {
	ops        map[change.Op]int64
	tombstones int64
	newest     map[string][16]byte // hash of each row that is there, by the bytes of its key
}

func (c *carried) take(key string, op change.Op, after []change.Value) {
	c.ops[op]++
	if op == change.Delete {
		delete(c.newest, key)
		return
	}
	c.newest[key] = hashOf(after)
}

// sum is that of the rows that the topic leaves.
func (c *carried) sum() (s sum) {
	for _, hash := range c.newest {
		s.add(hash)
	}
	return s
}

// readTopic reads a topic of ours to its end.
func (b *bed) readTopic(ctx context.Context, prefix, table string) (*carried, error) {
	decoder, err := feed.NewDecoder(b.registry.URL())
	if err != nil {
		return nil, err
	}
	topic := feed.Topic{Brokers: []string{b.kafka.Address()}, Registry: b.registry.URL(), Prefix: prefix,
		Table: change.TableName{DB: database, Name: table}}
	c := &carried{ops: map[change.Op]int64{}, newest: map[string][16]byte{}}
	return c, feed.Records(ctx, topic, func(r *kgo.Record) error {
		if r.Value == nil {
			c.tombstones++
			return nil
		}
		_, e, err := decoder.Value(ctx, r)
		if err == nil {
			c.take(string(r.Key), e.Op, e.After)
		}
		return err
	})
}

// tableSum is a table's at the source, of the values as they stand in a topic: each row goes through the encoder that the crawl uses and
// the decoder that sinks use.
func (b *bed) tableSum(ctx context.Context, table string) (s sum, err error) {
	db, err := mysql.Open(mysql.Config{Address: b.source.Address(), User: "cdc", Password: "cdc"}, mysql.Options{Variables: mysql.ReadVariables()})
	if err != nil {
		return s, err
	}
	defer db.Close()
	facts, err := mysql.ReadFacts(ctx, db)
	if err != nil {
		return s, err
	}
	name := change.TableName{DB: database, Name: table}
	form, _, err := mysql.LoadTable(ctx, db, facts, name, nil)
	if err != nil {
		return s, err
	}
	encoder, err := avro.NewEncoder(form, kafka.TopicName("sum", name), schema.Options{})
	if err != nil {
		return s, err
	}
	decoder, err := avro.NewDecoder(encoder.ValueSchema())
	if err != nil {
		return s, err
	}
	rows, err := db.QueryContext(ctx, "SELECT "+strings.Join(encoder.SelectList(), ", ")+" FROM "+mysql.QuoteTable(name))
	if err != nil {
		return s, err
	}
	defer rows.Close()
	return s, errors.Join(eachRow(rows, len(form.Columns), func(text [][]byte) error {
		body, err := encoder.AppendValue(nil, &avro.Event{Op: change.Read, After: avro.Row{Text: text}})
		if err != nil {
			return err
		}
		var e avro.Decoded
		if err := decoder.Decode(body, &e); err != nil {
			return err
		}
		s.add(hashOf(e.After))
		return nil
	}), rows.Err())
}

func eachRow(rows *sql.Rows, columns int, each func(text [][]byte) error) error {
	values, into, text := make([]sql.RawBytes, columns), make([]any, columns), make([][]byte, columns)
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, v := range values {
			text[i] = v
		}
		if err := each(text); err != nil {
			return err
		}
	}
	return nil
}

// checkTopic holds a topic of ours against its table and against the changes that were made: each once, none too many.
func (b *bed) checkTopic(ctx context.Context, prefix, table string, want sum, events map[change.Op]int64) error {
	got, err := b.readTopic(ctx, prefix, table)
	if err != nil {
		return err
	}
	return got.check(want, events)
}

func (c *carried) check(want sum, events map[change.Op]int64) error {
	if has := c.sum(); has != want {
		return fmt.Errorf("the topic leaves %s, the table has %s: rows were lost or bent", &has, &want)
	}
	for _, op := range []change.Op{change.Create, change.Read, change.Update, change.Delete} {
		if c.ops[op] != events[op] {
			return fmt.Errorf("the topic has %d events of kind %s, %d were made: some came twice or not at all", c.ops[op], op, events[op])
		}
	}
	if c.tombstones != events[change.Delete] {
		return fmt.Errorf("the topic has %d tombstones for %d deletes", c.tombstones, events[change.Delete])
	}
	return nil
}
