package redis

import (
	"context"
	_ "embed"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/sink"
)

//go:embed assign.lua
var assignText string

var assignScript = newScript(assignText)

// nothing is the next offset of a partition that was set back to where nothing is applied.
const nothing = "-"

// progressKey is in the slot of the rows that it goes with. Rows under another name are others: the name is in it.
func (c *Config) progressKey(group string, p sink.Partition, slot int) string {
	key := append([]byte("sluice:progress:"+tag(rowsTopic(p), slot)+":"), appendEscaped(nil, group)...)
	if !c.Cluster {
		key = appendEscaped(append(key, ':'), c.Name)
	}
	return string(fmt.Appendf(key, ":%x:%d:%d", p.TopicID, p.Count, p.Partition))
}

// rowsTopic is the topic whose name the rows' keys have: another than the partition's where the table has another name here.
func rowsTopic(p sink.Partition) string {
	topic, table, ok := sink.LaneOf(p.Topic)
	if !ok {
		return topic
	}
	return kafka.TopicName(p.Source, table)
}

// groupKey is the set of a group's progress keys.
func groupKey(group string) string {
	return string(appendEscaped([]byte("sluice:progress-of:"), group))
}

// slotsOf returns over how many slots a topic's rows are spread.
func (c *Config) slotsOf(p sink.Partition) (int, error) {
	topic, name, ok := sink.LaneOf(p.Topic)
	if !ok {
		name, ok = kafka.TableOf(p.Source, topic)
	}
	if ok {
		return c.table(name).slots(), nil
	}
	for i := range c.Tables { // a topic's name too long for Kafka does not tell the table
		if c.Tables[i].slots() > 1 {
			return 0, &change.Problem{Kind: change.Configuration, What: "the topic " + p.Topic + " does not tell its table, and an entry of redis.tables has slots",
				Why: "it cannot be known over how many slots its rows are spread", Mend: "leave slots out, or give that topic a sink of its own"}
		}
	}
	return 1, nil
}

// slotsText is slotsOf for names.
func (c *Config) slotsText(p sink.Partition) int {
	n, err := c.slotsOf(p)
	if err != nil {
		return 1
	}
	return n
}

// shardName names a slot where there are several.
func shardName(slots, slot int) string {
	if slots == 1 {
		return ""
	}
	return "slot " + strconv.Itoa(slot)
}

// identity writes which partition a progress is of.
func identity(p sink.Partition, slot int) []string {
	return []string{"source", p.Source, "topic", p.Topic, "id", hex.EncodeToString(p.TopicID[:]), "count", strconv.Itoa(int(p.Count)),
		"partition", strconv.Itoa(int(p.Partition)), "slot", strconv.Itoa(slot)}
}

// Assign makes the caller the owner of the partition. An epoch is taken slot by slot, the first one first; who meets one that is not
// below in any of them begins again with a higher one, so no two owners get the same.
func (t *Target) Assign(ctx context.Context, group string, p sink.Partition) (next, epoch int64, found bool, err error) {
	slots, err := t.config.slotsOf(p)
	if err != nil {
		return 0, 0, false, err
	}
	client, err := t.connect(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	if err := t.register(ctx, client, group, p, slots); err != nil {
		return 0, 0, false, err
	}
	if epoch, err = t.greatestEpoch(ctx, client, group, p, slots); err != nil {
		return 0, 0, false, err
	}
	for {
		epoch++
		next, found, taken, err := t.take(ctx, client, group, p, slots, epoch)
		if err != nil || taken < epoch {
			return next, epoch, found, err
		}
		epoch = taken
	}
}

// take takes an epoch in every slot. taken is not below it where somebody else was faster.
func (t *Target) take(ctx context.Context, client rueidis.Client, group string, p sink.Partition, slots int, epoch int64) (next int64, found bool, taken int64, err error) {
	found = true
	for slot := range slots {
		c := call{keys: []string{t.config.progressKey(group, p, slot)}, args: append([]string{fixed(epoch)}, identity(p, slot)...)}
		results, err := t.run(ctx, client, assignScript, []call{c})
		if err != nil {
			return 0, false, 0, err
		}
		list, err := results[0].ToArray()
		if err != nil || len(list) != 3 {
			return 0, false, 0, t.judge("a partition could not be assigned", err)
		}
		mine, err := list[0].AsInt64()
		if err != nil {
			return 0, false, 0, t.judge("a script's answer", err)
		}
		if mine != 1 {
			taken, err := parseText(list[1].ToString())
			return 0, false, taken, err
		}
		stored, err := list[2].ToString()
		if err != nil {
			return 0, false, 0, t.judge("a script's answer", err)
		}
		if stored == "" || stored == nothing {
			found = false
			continue
		}
		n, err := strconv.ParseInt(stored, 10, 64)
		if err != nil {
			return 0, false, 0, err
		}
		if slot == 0 || n < next {
			next = n
		}
	}
	if !found {
		next = -1
	}
	return next, found, 0, nil
}

func parseText(text string, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// register lists the partition's progress keys, and the table again where the server was emptied meanwhile.
func (t *Target) register(ctx context.Context, client rueidis.Client, group string, p sink.Partition, slots int) error {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	var keys []string
	for slot := range slots {
		keys = append(keys, t.config.progressKey(group, p, slot))
	}
	if err := client.Do(ctx, client.B().Sadd().Key(groupKey(group)).Member(keys...).Build()).Error(); err != nil {
		return t.judge("a partition could not be assigned", err)
	}
	t.mu.Lock()
	entry, known := t.prepared[rowsTopic(p)]
	t.mu.Unlock()
	if !known {
		return nil
	}
	_, err := t.enter(ctx, client, entry)
	return err
}

func (t *Target) greatestEpoch(ctx context.Context, client rueidis.Client, group string, p sink.Partition, slots int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	greatest := int64(0)
	for slot := range slots {
		text, err := client.Do(ctx, client.B().Hget().Key(t.config.progressKey(group, p, slot)).Field("epoch").Build()).ToString()
		if rueidis.IsRedisNil(err) {
			continue
		}
		n, err := parseText(text, err)
		if err != nil {
			return 0, t.judge("a partition could not be assigned", err)
		}
		greatest = max(greatest, n)
	}
	return greatest, nil
}

// Positions returns all that is stored for the group.
func (t *Target) Positions(ctx context.Context, group string) ([]sink.Position, error) {
	stored, err := t.stored(ctx, group)
	if err != nil {
		return nil, err
	}
	positions := make([]sink.Position, len(stored))
	for i := range stored {
		positions[i] = stored[i].position
	}
	return positions, nil
}

// record is one progress as it is stored.
type record struct {
	key      string
	position sink.Position
}

func (t *Target) stored(ctx context.Context, group string) ([]record, error) {
	client, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	keys, err := client.Do(ctx, client.B().Smembers().Key(groupKey(group)).Build()).AsStrSlice()
	if err != nil {
		return nil, t.judge("the group's progress could not be read", err)
	}
	commands := make([]rueidis.Completed, len(keys))
	for i, key := range keys {
		commands[i] = client.B().Hgetall().Key(key).Build()
	}
	var records []record
	for i, r := range client.DoMulti(ctx, commands...) {
		fields, err := r.AsStrMap()
		if err != nil {
			return nil, t.judge("the group's progress could not be read", err)
		}
		if len(fields) == 0 {
			continue // its slot's data is gone: it is unknown
		}
		p, slot, err := t.parsePosition(fields)
		if err != nil {
			return nil, &change.Problem{Kind: change.Fatal, What: "the progress " + keys[i] + " cannot be read", Where: t.where(), Err: err}
		}
		if keys[i] == t.config.progressKey(group, p.Partition, slot) { // else it is that of rows under another name
			records = append(records, record{keys[i], p})
		}
	}
	return records, nil
}

func (t *Target) parsePosition(fields map[string]string) (p sink.Position, slot int, err error) {
	p.Next = -1
	p.Source, p.Topic = fields["source"], fields["topic"]
	id, err := hex.DecodeString(fields["id"])
	if err != nil || len(id) != len(p.TopicID) {
		return p, 0, fmt.Errorf("topic id %q", fields["id"])
	}
	copy(p.TopicID[:], id)
	numbers := make(map[string]int64)
	for _, name := range []string{"count", "partition", "slot", "epoch", "next", "through"} {
		text := fields[name]
		if text == "" || text == nothing {
			continue
		}
		if numbers[name], err = strconv.ParseInt(text, 10, 64); err != nil {
			return p, 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	p.Count, p.Partition.Partition = int32(numbers["count"]), int32(numbers["partition"])
	p.Epoch, p.ThroughMillis = numbers["epoch"], numbers["through"]
	if n, ok := numbers["next"]; ok {
		p.Next = n
	}
	slot = int(numbers["slot"])
	p.Shard = shardName(t.config.slotsText(p.Partition), slot)
	return p, slot, nil
}

// SetProgress writes the partitions' next offsets and makes every old owner lose them. What is stored of the same topics under
// another identity is removed.
func (t *Target) SetProgress(ctx context.Context, group string, to []sink.Reset) error {
	client, err := t.connect(ctx)
	if err != nil {
		return err
	}
	for _, reset := range to {
		if err := t.reset(ctx, client, group, reset); err != nil {
			return err
		}
	}
	stored, err := t.stored(ctx, group)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	for _, r := range stored {
		for _, reset := range to {
			old, now := r.position.Partition, reset.Partition
			if old.Source != now.Source || old.Topic != now.Topic || old.TopicID == now.TopicID && old.Count == now.Count {
				continue
			}
			for _, result := range client.DoMulti(ctx, client.B().Unlink().Key(r.key).Build(), client.B().Srem().Key(groupKey(group)).Member(r.key).Build()) {
				if err := result.Error(); err != nil {
					return t.judge("an old progress could not be removed", err)
				}
			}
			break
		}
	}
	return nil
}

func (t *Target) reset(ctx context.Context, client rueidis.Client, group string, reset sink.Reset) error {
	if _, _, _, err := t.Assign(ctx, group, reset.Partition); err != nil {
		return err
	}
	slots, err := t.config.slotsOf(reset.Partition)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	next := nothing
	if reset.Next >= 0 {
		next = fixed(reset.Next)
	}
	for slot := range slots {
		set := client.B().Hset().Key(t.config.progressKey(group, reset.Partition, slot)).FieldValue().
			FieldValue("next", next).FieldValue("through", strconv.FormatInt(reset.ThroughMillis, 10)).Build()
		if err := client.Do(ctx, set).Error(); err != nil {
			return t.judge("the progress could not be set", err)
		}
	}
	return nil
}
