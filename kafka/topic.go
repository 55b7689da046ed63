package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-cdc/sluice/change"
)

// TopicSettings are what a topic needs to be.
type TopicSettings struct {
	Partitions  int32 // for a new topic; one that exists keeps its own
	Replication int16 // for a new topic; -1: the broker's default
	Configs     []TopicConfig
}

// TopicConfig is one setting of a topic and how an existing value is compared with it.
type TopicConfig struct {
	Name, Value string
	Rule        ConfigRule
}

// ConfigRule says which existing values will do.
type ConfigRule uint8

const (
	Exactly  ConfigRule = iota // the value must be this one
	AtLeast                    // a number not below it; -1 is without limit
	Advised                    // another value is noted, not refused
	OnlyMade                   // set when the topic is made, not looked at later
)

// TableSettings are those of a table's topic: compacted, time-stamped by the broker so that compaction lag counts
// from the append, tombstones and superseded changes kept as long as the config says.
func (c *Config) TableSettings() TopicSettings {
	return TopicSettings{Partitions: c.Partitions, Replication: c.Replication, Configs: append([]TopicConfig{
		{"cleanup.policy", "compact", Exactly},
		{"message.timestamp.type", "LogAppendTime", Exactly},
		{"delete.retention.ms", millis(c.DeleteRetention), AtLeast},
		{"min.compaction.lag.ms", millis(c.MinCompactionLag), AtLeast},
		{"max.message.bytes", c.messageBytes(), AtLeast},
	}, c.durability()...)}
}

// CheckpointSettings are those of the checkpoint topic: compacted in small segments, as it gets a record with
// every transaction and is read whole at each start.
func (c *Config) CheckpointSettings() TopicSettings {
	return TopicSettings{Partitions: 1, Replication: c.Replication, Configs: append([]TopicConfig{
		{"cleanup.policy", "compact", Exactly},
		{"segment.bytes", strconv.Itoa(16 << 20), Advised},
		{"segment.ms", millis(time.Hour), Advised},
		{"min.cleanable.dirty.ratio", "0.1", Advised},
		{"delete.retention.ms", millis(24 * time.Hour), OnlyMade},
		{"max.message.bytes", c.messageBytes(), AtLeast},
	}, c.durability()...)}
}

// SignalSettings are those of the signal topic: commands, kept for as long as a source may be away.
func (c *Config) SignalSettings() TopicSettings {
	return TopicSettings{Partitions: 1, Replication: c.Replication, Configs: append([]TopicConfig{
		{"cleanup.policy", "delete", Exactly},
		{"retention.ms", millis(4 * week), Advised},
		{"segment.bytes", strconv.Itoa(16 << 20), OnlyMade},
	}, c.durability()...)}
}

// StatusSettings are those of the status topic: the newest record of each process.
func (c *Config) StatusSettings() TopicSettings {
	return TopicSettings{Partitions: 1, Replication: c.Replication, Configs: append([]TopicConfig{
		{"cleanup.policy", "compact", Exactly},
		{"segment.bytes", strconv.Itoa(4 << 20), Advised},
		{"segment.ms", millis(10 * time.Minute), Advised},
		{"min.cleanable.dirty.ratio", "0.1", OnlyMade},
		{"delete.retention.ms", millis(time.Minute), OnlyMade},
	}, c.durability()...)}
}

// DeadSettings are those of a group's dead letters: kept until someone has looked at them.
func (c *Config) DeadSettings() TopicSettings {
	return TopicSettings{Partitions: 1, Replication: c.Replication, Configs: append([]TopicConfig{
		{"cleanup.policy", "delete", Exactly},
		{"retention.ms", "-1", Advised},
		{"max.message.bytes", c.deadBytes(), AtLeast},
	}, c.durability()...)}
}

// durability asks that an acknowledged write is on two brokers where there are three copies: with
// min.insync.replicas at Kafka's default of 1, acks=all means one disk when the others lag.
func (c *Config) durability() []TopicConfig {
	if c.Replication < 3 {
		return nil
	}
	return []TopicConfig{{"min.insync.replicas", "2", Advised}}
}

// batchRoom is what a record batch adds around a record of the largest size.
const batchRoom = 64 << 10

// messageBytes is the topic's max.message.bytes: it bounds a batch, so it is above the largest record.
func (c *Config) messageBytes() string { return strconv.Itoa(int(c.MaxMessageBytes) + batchRoom) }

// deadBytes leaves room for the reason that is written beside a record of the largest size.
func (c *Config) deadBytes() string { return strconv.Itoa(int(c.MaxMessageBytes) + 4*batchRoom) }

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Topic is a topic as it is.
type Topic struct {
	Name       string
	ID         TopicID
	Partitions int32
	Created    bool     // by this call
	Notes      []string // settings that could not be asked for or differ from what is advised; for the log and doctor
}

// topicSettle is how long to wait until what one broker says of a topic is what the controller has decided.
const topicSettle = 30 * time.Second

// EnsureTopic makes the topic, or reads one that exists and compares its settings with what is needed. A setting
// that the broker does not know (the local broker has no min.compaction.lag.ms) is noted. Settings that are wrong
// give one Problem with all of them and the command that sets them; they are never changed behind the operator's
// back.
//
// A broker learns of topics behind the controller: it may not yet know one that was just made, know its name before its
// settings, or still show one that was just deleted. So each of these is looked at anew, from the start.
func EnsureTopic(ctx context.Context, adm *kadm.Client, name string, s TopicSettings) (*Topic, error) {
	var created bool
	var made []string
	deadline := time.Now().Add(topicSettle)
	for tries := 1; ; tries++ {
		t, err := LookupTopic(ctx, adm, name)
		if err != nil {
			return nil, err
		}
		if t == nil {
			var here bool
			if here, made, err = createTopic(ctx, adm, name, s); err != nil {
				return nil, err
			}
			created = created || here
		} else {
			notes, err := compareConfigs(ctx, adm, name, s.Configs) // of a new topic: shows what the broker ignored
			if !errors.Is(err, kerr.UnknownTopicOrPartition) {
				t.Created, t.Notes = created, append(made, notes...)
				return t, err
			}
		}
		if time.Now().After(deadline) {
			return nil, &change.Problem{Kind: change.Retry, What: "the brokers do not agree whether a topic exists", Where: name,
				Why: fmt.Sprintf("for %v one answer has shown it and another has not", topicSettle)}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(Backoff(tries)):
		}
	}
}

// LookupTopic returns the topic, or nil where there is none.
func LookupTopic(ctx context.Context, adm *kadm.Client, name string) (*Topic, error) {
	meta, err := adm.Metadata(uncached(ctx), name)
	if err != nil {
		return nil, Explain(err, "look for a topic", name)
	}
	d := meta.Topics[name]
	if errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
		return nil, nil
	}
	if d.Err != nil {
		return nil, Explain(d.Err, "look for a topic", name)
	}
	for _, p := range d.Partitions {
		if p.Leader < 0 { // made a moment ago, or its brokers are down
			return nil, Explain(kerr.LeaderNotAvailable, "look for a topic", fmt.Sprintf("%s/%d", name, p.Partition))
		}
	}
	return &Topic{Name: name, ID: TopicID(d.ID), Partitions: int32(len(d.Partitions))}, nil
}

// uncached makes the client ask the broker: its metadata are otherwise up to 100 ms old, which is the topic before
// the one that was just made. Asking for the permissions too is the way around the cache that it offers.
func uncached(ctx context.Context) context.Context { return kadm.WithAuthorizedOps(ctx) }

// createTopic makes the topic; false where somebody else was faster.
func createTopic(ctx context.Context, adm *kadm.Client, name string, s TopicSettings) (bool, []string, error) {
	configs := map[string]*string{}
	for _, c := range s.Configs {
		configs[c.Name] = &c.Value
	}
	var notes []string
	_, err := adm.CreateTopic(ctx, s.Partitions, s.Replication, configs, name)
	if errors.Is(err, kerr.InvalidConfig) { // an older broker that does not know one of them: find out which
		notes = dropUnknown(ctx, adm, name, s, configs)
		_, err = adm.CreateTopic(ctx, s.Partitions, s.Replication, configs, name)
	}
	switch {
	case err == nil:
		return true, notes, nil
	case errors.Is(err, kerr.TopicAlreadyExists):
		return false, notes, nil
	case errors.Is(err, kerr.InvalidTopicException):
		return false, nil, &change.Problem{
			Kind: change.Poison, What: "Kafka refuses the topic's name", Where: name, Err: err,
			Why:  "Kafka takes '.' and '_' as the same in metric names, so a.b_c and a_b.c cannot both be topics",
			Mend: "leave one of the two tables out, or publish it from a source of another name",
		}
	}
	return false, nil, Explain(err, "make a topic", name)
}

// dropUnknown takes those settings out of configs with which alone the topic could not be made.
func dropUnknown(ctx context.Context, adm *kadm.Client, name string, s TopicSettings, configs map[string]*string) []string {
	var notes []string
	for _, c := range s.Configs {
		one := map[string]*string{c.Name: &c.Value}
		resp, err := adm.ValidateCreateTopics(ctx, s.Partitions, s.Replication, one, name)
		if err == nil && errors.Is(resp.Error(), kerr.InvalidConfig) {
			delete(configs, c.Name)
			notes = append(notes, fmt.Sprintf("the broker does not take %s=%s for %s", c.Name, c.Value, name))
		}
	}
	return notes
}

func compareConfigs(ctx context.Context, adm *kadm.Client, name string, want []TopicConfig) (notes []string, err error) {
	described, err := adm.DescribeTopicConfigs(ctx, name)
	if err == nil && len(described) == 1 {
		err = described[0].Err
	}
	if errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) {
		return []string{fmt.Sprintf("the settings of %s cannot be read: no permission for DescribeConfigs", name)}, nil
	}
	if err != nil || len(described) != 1 {
		return nil, Explain(errors.Join(err, nonEmpty(len(described))), "read the settings of a topic", name)
	}
	have := map[string]string{}
	for _, c := range described[0].Configs {
		if c.Value != nil {
			have[c.Key] = *c.Value
		}
	}
	return judgeConfigs(name, have, want)
}

func nonEmpty(n int) error {
	if n == 0 {
		return errors.New("the broker gave no answer for it")
	}
	return nil
}

// judgeConfigs compares a topic's settings with those needed.
func judgeConfigs(name string, have map[string]string, want []TopicConfig) (notes []string, err error) {
	var wrong, set []string
	for _, c := range want {
		value, known := have[c.Name]
		switch {
		case c.Rule == OnlyMade:
		case !known:
			notes = append(notes, fmt.Sprintf("the broker does not know %s for %s", c.Name, name))
		case c.satisfied(value):
		case c.Rule == Advised:
			notes = append(notes, fmt.Sprintf("%s of %s is %s; %s is advised", c.Name, name, value, c.Value))
		default:
			wrong = append(wrong, fmt.Sprintf("%s=%s (needs %s)", c.Name, value, c.need()))
			set = append(set, c.Name+"="+c.Value)
		}
	}
	if len(wrong) == 0 {
		return notes, nil
	}
	return notes, &change.Problem{
		Kind: change.Configuration, What: "the topic exists with other settings: " + strings.Join(wrong, ", "), Where: name,
		Why:  "without compaction or with short retention rows and deletes vanish before every sink has seen them; small messages stop a table",
		Mend: fmt.Sprintf("kafka-configs --alter --topic %s --add-config %s", name, strings.Join(set, ",")),
	}
}

func (c TopicConfig) satisfied(value string) bool {
	if c.Rule == AtLeast {
		want, err1 := strconv.ParseInt(c.Value, 10, 64)
		got, err2 := strconv.ParseInt(value, 10, 64)
		return err1 == nil && err2 == nil && (got >= want || got == -1)
	}
	if c.Name == "cleanup.policy" {
		return sameList(value, c.Value)
	}
	return value == c.Value
}

func sameList(a, b string) bool {
	x, y := strings.Split(a, ","), strings.Split(b, ",")
	slices.Sort(x)
	slices.Sort(y)
	return slices.Equal(x, y)
}

func (c TopicConfig) need() string {
	if c.Rule == AtLeast {
		return "at least " + c.Value
	}
	return c.Value
}

// CheckPinned compares a table's topic with what the checkpoint pinned.
func (t *Topic) CheckPinned(s *TableState) error {
	p := &change.Problem{
		Kind: change.Poison, Where: t.Name, Table: s.Table,
		Mend: "begin the table anew, and tell its sinks' groups: start the source once with --forget " + s.Table.String(),
	}
	switch {
	case t.ID != s.TopicID && !s.TopicID.IsZero() && !t.ID.IsZero():
		p.What = fmt.Sprintf("the topic was deleted and made again (id %s, was %s)", t.ID, s.TopicID)
		p.Why = "its records are gone, and sinks that knew the old topic would ignore everything below their old offsets in silence"
	case t.Partitions != s.Partitions:
		p.What = fmt.Sprintf("the topic has %d partitions, was %d", t.Partitions, s.Partitions)
		p.Why = "keys would move to other partitions, and the changes of one row would no longer be in one order"
	default:
		return nil
	}
	return p
}

// ListTopics returns the topics of a source's tables, by name. A topic whose name was shortened has a zero table.
func ListTopics(ctx context.Context, adm *kadm.Client, prefix string) (map[string]change.TableName, error) {
	meta, err := adm.Metadata(ctx)
	if err != nil {
		return nil, Explain(err, "list the topics", prefix)
	}
	out := map[string]change.TableName{}
	for name := range meta.Topics {
		rest, ok := strings.CutPrefix(name, prefix+".")
		if ok && strings.Count(rest, ".") == 1 {
			out[name], _ = TableOf(prefix, name)
		}
	}
	return out, nil
}
