package run

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/internal/mutant"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/sink"
)

// schemas keeps the decoders by schema id: an id never changes what it means.
type schemas struct {
	registry *registry.Client

	mu     sync.RWMutex // guards the following
	values map[int]*avro.Decoder
	keys   map[int]*keyDecoder
}

// keyDecoder is a key schema's decoder with the names of its columns, made once.
type keyDecoder struct {
	*avro.KeyDecoder
	names []string
}

func newSchemas(client *registry.Client) *schemas {
	return &schemas{registry: client, values: make(map[int]*avro.Decoder), keys: make(map[int]*keyDecoder)}
}

// value returns the decoder of a value schema. Two callers may make it at the same time; one of them stays, so that
// a schema has one table pointer.
func (s *schemas) value(ctx context.Context, id int) (*avro.Decoder, error) {
	s.mu.RLock()
	d := s.values[id]
	s.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	text, err := s.registry.Schema(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.keepValue(id, text)
}

func (s *schemas) keepValue(id int, text string) (*avro.Decoder, error) {
	d, err := avro.NewDecoder(text)
	if err != nil {
		return nil, poison(err, fmt.Sprintf("the schema of id %d cannot be used", id))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.values[id]; other != nil {
		return other, nil
	}
	s.values[id] = d
	return d, nil
}

func (s *schemas) key(ctx context.Context, id int) (*keyDecoder, error) {
	s.mu.RLock()
	d := s.keys[id]
	s.mu.RUnlock()
	if d != nil {
		return d, nil
	}
	text, err := s.registry.Schema(ctx, id)
	if err != nil {
		return nil, err
	}
	made, err := avro.NewKeyDecoder(text)
	if err != nil {
		return nil, poison(err, fmt.Sprintf("the key schema of id %d cannot be used", id))
	}
	d = &keyDecoder{KeyDecoder: made, names: made.Names()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[id] = d
	return d, nil
}

// newest returns the newest schema of a topic's values, or nil where the registry has none.
func (s *schemas) newest(ctx context.Context, topic string) (*avro.Decoder, error) {
	text, id, err := s.registry.Latest(ctx, topic+"-value")
	if err != nil || text == "" {
		return nil, err
	}
	return s.keepValue(id, text)
}

// poison gives an error that has no kind the kind Poison.
func poison(err error, what string) error {
	if change.SeverityOf(err) != change.Fatal {
		return err
	}
	return &change.Problem{Kind: change.Poison, What: what, Err: err}
}

// decoder decodes the records of one partition. It belongs to the worker.
type decoder struct {
	schemas *schemas
	topic   *topic
	scratch avro.Decoded

	values []change.Value // room for the values of keys to come

	pinned int           // the key schema that the topic has agreed to
	met    *change.Table // the schema that the topic was told of last

	// The last pair of schemas that was found to fit, and the key's names then.
	fitTable *change.Table
	fitKey   *keyDecoder
	fitNames []string
}

// batch decodes what is pending. The error of a record that cannot be decoded is a *sink.Refused; those that speak
// of the registry are not.
func (d *decoder) batch(ctx context.Context, p *pending) ([]sink.Change, error) {
	changes := make([]sink.Change, 0, p.rows)
	trust := d.topic.trust()
	for _, r := range p.records {
		if r.Attrs.IsControl() || p.dead[r.Offset] {
			continue
		}
		c, err := d.record(ctx, r)
		if err != nil {
			return nil, err
		}
		c.TrustedBefore = trusted(&c, trust) && !kafka.Doubted(r) || mutant.TrustBefore
		changes = append(changes, c)
	}
	return changes, nil
}

// trusted applies rule R7: what the before image says is where the row stood, unless the record is one that says
// nothing of before, or so old that compaction may have removed its predecessor.
func trusted(c *sink.Change, sinceMillis int64) bool {
	if c.Tombstone || c.AppendMillis < sinceMillis || c.Origin.Snapshot == overTheTop {
		return false
	}
	return c.Op != change.Read || c.Origin.Snapshot == firstCrawl
}

// firstCrawl is what the envelope's snapshot says of rows of a first crawl: there was no row before.
const firstCrawl = "true"

// overTheTop is what it says of all that later crawls find: rows, and keys that are gone, of which before has no more than the key.
const overTheTop = "incremental"

func (d *decoder) record(ctx context.Context, r *kgo.Record) (sink.Change, error) {
	c := sink.Change{Offset: r.Offset, AppendMillis: r.Timestamp.UnixMilli(), Bytes: recordBytes(r)}
	version, ok := kafka.RecordVersion(r)
	if !ok {
		return c, d.refuse(r, &change.Problem{Kind: change.Poison,
			What: "unknown topic content: a record without the header " + change.VersionHeader,
			Why:  "without its version it cannot be told from a newer one",
			Mend: "find out who writes into this topic, which is sluice-source's alone; to go on past the record, have it kept aside:\n" +
				fmt.Sprintf("on_error: [{topics: %q, do: dead_letter}]", r.Topic)})
	}
	c.Version = version
	if mutant.SinkClock {
		c.Version = change.Version(time.Now().UnixMicro())
	}
	key, err := d.key(ctx, r, &c)
	if err != nil {
		return c, d.refuse(r, err)
	}
	if r.Value == nil {
		err = d.tombstone(ctx, &c)
	} else {
		err = d.envelope(ctx, r, &c)
	}
	if err == nil {
		c.KeyNames, err = d.fit(c.Table, key)
	}
	return c, d.refuse(r, err)
}

func (d *decoder) key(ctx context.Context, r *kgo.Record, c *sink.Change) (*keyDecoder, error) {
	id, body, err := registry.ReadFrame(r.Key)
	if err != nil {
		return nil, err
	}
	if id != d.pinned {
		if err := d.topic.pinKey(id); err != nil {
			return nil, err
		}
		d.pinned = id
	}
	key, err := d.schemas.key(ctx, id)
	if err != nil {
		return nil, err
	}
	values, err := key.Decode(body, d.room(len(key.names)))
	if err != nil {
		return nil, err
	}
	c.Key, c.KeyValues = body, values
	return key, nil
}

// keyValuesAtOnce is for how many values of keys memory is taken at once: whoever keeps one keeps the others, about 2.5 KiB.
const keyValuesAtOnce = 64

// room returns memory for so many values, which is the caller's.
func (d *decoder) room(count int) []change.Value {
	if cap(d.values) < count {
		d.values = make([]change.Value, 0, max(count, keyValuesAtOnce))
	}
	room := d.values[:0:count]
	d.values = d.values[count:count]
	return room
}

// tombstone finds the table that the key belongs to: the newest schema that was met, else that of the registry.
func (d *decoder) tombstone(ctx context.Context, c *sink.Change) error {
	c.Op, c.Tombstone = change.Delete, true
	c.Table = d.topic.table()
	if c.Table == nil {
		newest, err := d.schemas.newest(ctx, d.topic.name)
		if err != nil {
			return err
		}
		if newest == nil {
			return &change.Problem{Kind: change.Poison,
				What: "the registry has no schema of " + d.topic.name + "-value",
				Why:  "a tombstone names only its key; without the schema its table is not known",
				Mend: "restore the registry's subjects"}
		}
		c.Table = newest.Table()
		d.topic.meet(c.Table)
	}
	return nil
}

func (d *decoder) envelope(ctx context.Context, r *kgo.Record, c *sink.Change) error {
	id, body, err := registry.ReadFrame(r.Value)
	if err != nil {
		return err
	}
	value, err := d.schemas.value(ctx, id)
	if err != nil {
		return err
	}
	if err := value.Decode(body, &d.scratch); err != nil {
		return err
	}
	e := &d.scratch
	c.Op, c.Table, c.Before, c.After = e.Op, value.Table(), e.Before, e.After
	c.Origin = sink.Origin{Connector: "mysql", Snapshot: e.Source.Snapshot, CommitMillis: e.Source.TsMs, ReadMillis: e.TsMs,
		ServerID: e.Source.ServerID, GTID: e.Source.GTID, File: e.Source.File, Pos: e.Source.Pos, Row: e.Source.Row,
		Thread: e.Source.Thread, Query: e.Source.Query}
	if e.Transaction != nil {
		c.Origin.Transaction = e.Transaction.ID
	}
	e.Detach()
	if c.Table != d.met {
		d.topic.meet(c.Table)
		d.met = c.Table
	}
	if (c.After == nil) != (c.Op == change.Delete) {
		return &change.Problem{Kind: change.Poison, Table: c.Table.TableName,
			What: fmt.Sprintf("unknown topic content: an event of kind %s with the after image %s", c.Op,
				map[bool]string{true: "absent", false: "present"}[c.After == nil]),
			Mend: "let sluice-source write the topic"}
	}
	return nil
}

// fit returns the names of the key's columns as the table has them: the key schema has only Avro's form of them.
func (d *decoder) fit(t *change.Table, key *keyDecoder) ([]string, error) {
	if t == d.fitTable && key == d.fitKey {
		return d.fitNames, nil
	}
	names := t.KeyNames()
	same := len(names) == len(key.names)
	for i := 0; same && i < len(names); i++ {
		same = strings.EqualFold(names[i], key.names[i]) || strings.EqualFold(schema.FieldName(names[i]), key.names[i])
	}
	if !same {
		return nil, &change.Problem{Kind: change.Poison, Table: t.TableName,
			What: fmt.Sprintf("the record's key is of (%s), the table's of (%s)", strings.Join(key.names, ", "), strings.Join(names, ", ")),
			Why:  "rows would be taken for others",
			Mend: "a changed key needs a new incarnation of the topic: see the source's status"}
	}
	d.fitTable, d.fitKey, d.fitNames = t, key, names
	return names, nil
}

// refuse puts the record's place to an error about it. Errors of other kinds are the registry's: no record is to
// blame.
func (d *decoder) refuse(r *kgo.Record, err error) error {
	if err == nil || change.SeverityOf(err) != change.Poison {
		return err
	}
	if p, ok := err.(*change.Problem); ok && p.Where == "" {
		placed := *p
		placed.Where = fmt.Sprintf("%s offset %d", sayPartition(spot{r.Topic, r.Partition}), r.Offset)
		err = &placed
	}
	return &sink.Refused{Offset: r.Offset, Err: err}
}

func sayPartition(at spot) string { return fmt.Sprintf("%s[%d]", at.topic, at.partition) }
