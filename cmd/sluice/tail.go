package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
)

// tailer decodes the records of one topic.
type tailer struct {
	registry *registry.Client
	values   map[int]*avro.Decoder
	keys     map[int]*avro.KeyDecoder
}

func tailCommand() *cobra.Command {
	var key string
	var follow bool
	c := connect(&cobra.Command{
		Use: "tail DB.TABLE", Short: "a table's changes, decoded, one JSON object a line", Args: cobra.ExactArgs(1),
		Example: "  sluice tail shop.orders --key 42\n  sluice tail shop.orders --follow",
	}, func(c *cobra.Command, x *connection, args []string) error {
		name, err := change.ParseTableName(args[0])
		if err != nil {
			return &change.Problem{Kind: change.Configuration, What: err.Error()}
		}
		r, err := registry.New(registry.Options{URL: x.cfg.Kafka.Registry, User: x.cfg.Kafka.RegistryUser, Password: string(x.cfg.Kafka.RegistryPassword)})
		if err != nil {
			return err
		}
		t := &tailer{registry: r, values: map[int]*avro.Decoder{}, keys: map[int]*avro.KeyDecoder{}}
		return t.run(c.Context(), x, kafka.TopicName(x.cfg.Name, name), key, follow)
	})
	c.Flags().StringVar(&key, "key", "", "only this key: its columns joined by commas")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new changes until stopped")
	return c
}

// run prints what the topic holds, and with follow what comes.
func (t *tailer) run(ctx context.Context, x *connection, topic, key string, follow bool) error {
	ends, err := ends(ctx, x, topic)
	if err != nil {
		return err
	}
	client, err := kafka.NewClient(x.cfg.Kafka, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	defer client.Close()
	left := 0
	for _, e := range ends {
		if e > 0 {
			left++
		}
	}
	for follow || left > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return kafka.Explain(err, "read", topic)
		}
		for _, r := range fetches.Records() {
			if !r.Attrs.IsControl() {
				if err := t.print(ctx, r, key); err != nil {
					return err
				}
			}
			if r.Offset+1 == ends[r.Partition] {
				left--
			}
		}
	}
	return nil
}

// line is one change as tail prints it.
type line struct {
	Partition int32          `json:"partition"`
	Offset    int64          `json:"offset"`
	Version   int64          `json:"version"`
	Op        string         `json:"op"`
	Key       map[string]any `json:"key"`
	Before    map[string]any `json:"before,omitempty"`
	After     map[string]any `json:"after,omitempty"`
	Position  string         `json:"position,omitempty"`
	GTID      string         `json:"gtid,omitempty"`
}

func (t *tailer) print(ctx context.Context, r *kgo.Record, key string) error {
	names, values, err := t.key(ctx, r.Key)
	if err != nil {
		return fmt.Errorf("partition %d offset %d: %w", r.Partition, r.Offset, err)
	}
	text := make([]string, len(values))
	out := line{Partition: r.Partition, Offset: r.Offset, Op: "tombstone", Key: map[string]any{}}
	for i, v := range values {
		text[i] = v.String()
		out.Key[names[i]] = plain(v)
	}
	if key != "" && strings.Join(text, ",") != key {
		return nil
	}
	if v, ok := kafka.RecordVersion(r); ok {
		out.Version = int64(v)
	}
	if r.Value != nil {
		if err := t.value(ctx, r.Value, &out); err != nil {
			return fmt.Errorf("partition %d offset %d: %w", r.Partition, r.Offset, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func (t *tailer) key(ctx context.Context, b []byte) ([]string, []change.Value, error) {
	id, body, err := registry.ReadFrame(b)
	if err != nil {
		return nil, nil, err
	}
	d := t.keys[id]
	if d == nil {
		text, err := t.registry.Schema(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		if d, err = avro.NewKeyDecoder(text); err != nil {
			return nil, nil, err
		}
		t.keys[id] = d
	}
	values, err := d.Decode(body, nil)
	return d.Names(), values, err
}

func (t *tailer) value(ctx context.Context, b []byte, out *line) error {
	id, body, err := registry.ReadFrame(b)
	if err != nil {
		return err
	}
	d := t.values[id]
	if d == nil {
		text, err := t.registry.Schema(ctx, id)
		if err != nil {
			return err
		}
		if d, err = avro.NewDecoder(text); err != nil {
			return err
		}
		t.values[id] = d
	}
	var e avro.Decoded
	if err := d.Decode(body, &e); err != nil {
		return err
	}
	out.Op, out.GTID = e.Op.String(), e.Source.GTID
	out.Position = fmt.Sprintf("%s:%d", e.Source.File, e.Source.Pos)
	out.Before, out.After = row(d.Table(), e.Before), row(d.Table(), e.After)
	return nil
}

func row(t *change.Table, values []change.Value) map[string]any {
	if values == nil {
		return nil
	}
	m := make(map[string]any, len(values))
	for i, v := range values {
		m[t.Columns[i].Name] = plain(v)
	}
	return m
}

// plain returns a value as JSON shows it best: bytes as 0x hex.
func plain(v change.Value) any {
	switch v.Kind {
	case change.Null:
		return nil
	case change.Int64:
		return v.Int()
	case change.Uint64:
		return v.Uint()
	case change.Float32, change.Float64:
		return json.Number(v.String())
	case change.Raw:
		return fmt.Sprintf("0x%x", v.Bytes)
	}
	return v.String()
}

// ends returns the last stable offset of each partition.
func ends(ctx context.Context, x *connection, topic string) (map[int32]int64, error) {
	listed, err := kadm.NewClient(x.client).ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, kafka.Explain(err, "ask for the ends", topic)
	}
	at := make(map[int32]int64)
	listed.Each(func(o kadm.ListedOffset) { at[o.Partition] = o.Offset })
	return at, nil
}
