package feed

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/test/history"
)

// Topic names a table's topic and says where it is.
type Topic struct {
	Brokers  []string
	Registry string // URL
	Prefix   string
	Table    change.TableName
}

// ReadTopic tells the Checker every record that is committed now. The topic must not have been compacted.
func ReadTopic(ctx context.Context, t Topic, c *history.Checker) error {
	d, err := NewDecoder(t.Registry)
	if err != nil {
		return err
	}
	deleted := map[string]bool{} // keys whose last record is a delete that has no tombstone yet
	return Records(ctx, t, func(r *kgo.Record) error {
		version, ok := kafka.RecordVersion(r)
		if !ok {
			return fmt.Errorf("%s[%d] offset %d has no version", r.Topic, r.Partition, r.Offset)
		}
		key, err := d.Key(ctx, r)
		if err != nil {
			return err
		}
		rec := history.Record{Key: keyOf(t.Table, key), Partition: r.Partition, Offset: r.Offset, Op: change.Delete, Version: version}
		if r.Value == nil {
			// One that stands alone is the word of a sweep whose table is gone.
			rec.Tombstone, rec.Crawled = true, !deleted[string(r.Key)]
			deleted[string(r.Key)] = false
			c.Record(rec)
			return nil
		}
		_, e, err := d.Value(ctx, r)
		if err != nil {
			return err
		}
		rec.Op, rec.After = e.Op, rowOf(e.After)
		rec.Crawled = e.Op == change.Read || e.Source.Snapshot == "incremental" // a delete too: what it has before is the key alone
		if !rec.Crawled {
			rec.Before = rowOf(e.Before)
		}
		deleted[string(r.Key)] = e.Op == change.Delete
		c.Record(rec)
		return nil
	})
}

// Records calls each for the records that a read_committed reader finds now, in each partition's order, without the
// transactions' markers.
func Records(ctx context.Context, t Topic, each func(*kgo.Record) error) error {
	topic := kafka.TopicName(t.Prefix, t.Table)
	client, err := kgo.NewClient(kgo.SeedBrokers(t.Brokers...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("ask for the ends of %s: %w", topic, err)
	}
	left := 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left++
		}
	})
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, _ := ends.Lookup(topic, r.Partition)
			if r.Offset+1 == end.Offset {
				left--
			}
			if err == nil && !r.Attrs.IsControl() && r.Offset < end.Offset {
				err = each(r)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Decoder decodes the records of topics by the schemas of a registry.
type Decoder struct {
	registry *registry.Client
	keys     map[int]*avro.KeyDecoder
	values   map[int]*avro.Decoder
}

// NewDecoder returns a Decoder that asks the registry at this URL.
func NewDecoder(url string) (*Decoder, error) {
	client, err := registry.New(registry.Options{URL: url})
	if err != nil {
		return nil, err
	}
	return &Decoder{registry: client, keys: map[int]*avro.KeyDecoder{}, values: map[int]*avro.Decoder{}}, nil
}

// Key returns the values of a record's key.
func (d *Decoder) Key(ctx context.Context, r *kgo.Record) ([]change.Value, error) {
	id, body, err := registry.ReadFrame(r.Key)
	if err == nil && d.keys[id] == nil {
		err = load(ctx, d.registry, id, d.keys, avro.NewKeyDecoder)
	}
	var values []change.Value
	if err == nil {
		values, err = d.keys[id].Decode(body, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("%s[%d] offset %d: the key: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return values, nil
}

// Value returns the table as it was then, and the event. The record has a value.
func (d *Decoder) Value(ctx context.Context, r *kgo.Record) (*change.Table, *avro.Decoded, error) {
	id, body, err := registry.ReadFrame(r.Value)
	if err == nil && d.values[id] == nil {
		err = load(ctx, d.registry, id, d.values, avro.NewDecoder)
	}
	e := &avro.Decoded{}
	if err == nil {
		err = d.values[id].Decode(body, e)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s[%d] offset %d: %w", r.Topic, r.Partition, r.Offset, err)
	}
	return d.values[id].Table(), e, nil
}

// load fetches a schema and keeps what decodes by it.
func load[D any](ctx context.Context, client *registry.Client, id int, into map[int]D, parse func(string) (D, error)) error {
	text, err := client.Schema(ctx, id)
	if err != nil {
		return err
	}
	decoder, err := parse(text)
	if err == nil {
		into[id] = decoder
	}
	return err
}
