package system

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
)

// history is what a read_committed reader finds in a table's topic, with everything that must hold of it checked on the way:
// versions grow in each partition, and every record is framed and decodes.
type history struct {
	records int
	ops     map[change.Op]int
	reads   map[string]int    // op r a key
	events  map[string]string // the operations of each key in their order: "rcuud"
	newest  map[string][]byte // the row's canonical content, by the key's bytes; deleted keys are not in it
}

// readTopic reads a topic from start to end.
func (b *bed) readTopic(table string) *history { b.t.Helper(); return b.readEach(table, nil) }

// readEach does, and calls each, where it is not nil, with every event and the table as it was then.
func (b *bed) readEach(table string, each func(*change.Table, *avro.Decoded)) *history {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), size(time.Minute, 10*time.Minute))
	defer cancel()
	topic := kafka.TopicName("shop", change.TableName{DB: "shop", Name: table})
	client, err := kgo.NewClient(kgo.SeedBrokers(b.broker), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.t.Fatal(err)
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		b.t.Fatal(err)
	}
	left := 0
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left++
		}
	})
	h := &history{ops: map[change.Op]int{}, reads: map[string]int{}, events: map[string]string{}, newest: map[string][]byte{}}
	d := &topicDecoder{bed: b, values: map[int]*avro.Decoder{}, each: each}
	versions := map[int32]change.Version{}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			b.t.Fatalf("read %s: %v", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset+1 == end.Offset {
				left--
			}
			if r.Attrs.IsControl() {
				return
			}
			v, ok := kafka.RecordVersion(r)
			if last := versions[r.Partition]; !ok || v < last || v == last && r.Value != nil {
				b.t.Errorf("%s/%d offset %d: version %d after %d", topic, r.Partition, r.Offset, v, last)
			}
			versions[r.Partition] = v
			h.take(d, r)
		})
	}
	return h
}

func (h *history) take(d *topicDecoder, r *kgo.Record) {
	h.records++
	key := string(r.Key)
	if r.Value == nil {
		delete(h.newest, key)
		return
	}
	e := d.decode(r)
	h.ops[e.Op]++
	h.events[key] += e.Op.String()
	switch e.Op {
	case change.Delete:
		delete(h.newest, key)
	default:
		if e.Op == change.Read {
			h.reads[key]++
		}
		h.newest[key] = content(e.After)
	}
}

func content(values []change.Value) []byte {
	var b []byte
	for _, v := range values {
		b = fmt.Appendf(b, "%d:%d:%d:", v.Kind, v.Num, len(v.Bytes))
		b = append(b, v.Bytes...)
	}
	return b
}

type topicDecoder struct {
	bed      *bed
	registry *registry.Client
	values   map[int]*avro.Decoder
	each     func(*change.Table, *avro.Decoded)
}

func (d *topicDecoder) decode(r *kgo.Record) *avro.Decoded {
	t := d.bed.t
	id, body, err := registry.ReadFrame(r.Value)
	if err != nil {
		t.Fatalf("%s/%d offset %d: %v", r.Topic, r.Partition, r.Offset, err)
	}
	if d.values[id] == nil {
		if d.registry == nil {
			if d.registry, err = registry.New(registry.Options{URL: d.bed.registry}); err != nil {
				t.Fatal(err)
			}
		}
		text, err := d.registry.Schema(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if d.values[id], err = avro.NewDecoder(text); err != nil {
			t.Fatal(err)
		}
	}
	e := &avro.Decoded{}
	if err := d.values[id].Decode(body, e); err != nil {
		t.Fatalf("%s/%d offset %d: %v", r.Topic, r.Partition, r.Offset, err)
	}
	if d.each != nil {
		d.each(d.values[id].Table(), e)
	}
	return e
}

// compareTopic holds the newest state of each key in the topic against the table, by content, and returns the history.
func (b *bed) compareTopic(m mysql.Config, table string) *history {
	b.t.Helper()
	h, differences := b.differences(m, table)
	for i, d := range differences {
		if i == 5 {
			break
		}
		b.t.Errorf("shop.%s: %s", table, d)
	}
	if len(differences) > 0 {
		b.t.Errorf("shop.%s: %d differences", table, len(differences))
	}
	return h
}

// differences returns what the newest state of each key in the topic and the table do not have in common.
func (b *bed) differences(m mysql.Config, table string) (*history, []string) {
	b.t.Helper()
	h := b.readTopic(table)
	rows := b.tableContents(b.t.Context(), m, table)
	var differ []string
	show := func(format string, args ...any) { differ = append(differ, fmt.Sprintf(format, args...)) }
	for key, row := range rows {
		if got, ok := h.newest[key]; !ok {
			show("the topic lacks %q (%q)", row, h.events[key])
		} else if string(got) != row {
			show("the topic has\n %q, the table\n %q (%q)", got, row, h.events[key])
		}
	}
	for key, got := range h.newest {
		if _, ok := rows[key]; !ok {
			show("the topic has %q, the table does not (%q)", got, h.events[key])
		}
	}
	return h, differ
}

// tableContents reads a table as the crawl would and returns its rows' canonical contents by key.
func (b *bed) tableContents(ctx context.Context, m mysql.Config, table string) map[string]string {
	b.t.Helper()
	fatal := func(err error) {
		if err != nil {
			b.t.Helper()
			b.t.Fatal(err)
		}
	}
	db, err := mysql.Open(m, mysql.Options{Variables: mysql.ReadVariables()})
	fatal(err)
	defer db.Close()
	facts, err := mysql.ReadFacts(ctx, db)
	fatal(err)
	name := change.TableName{DB: "shop", Name: table}
	t, _, err := mysql.LoadTable(ctx, db, facts, name, nil)
	fatal(err)
	topic := kafka.TopicName("shop", name)
	encoder, err := avro.NewEncoder(t, topic, schemaDefault)
	fatal(err)
	decoder, err := avro.NewDecoder(encoder.ValueSchema())
	fatal(err)
	client, err := registry.New(registry.Options{URL: b.registry})
	fatal(err)
	keyID, err := client.Register(ctx, topic+"-key", encoder.KeySchema())
	fatal(err)
	query := "SELECT "
	for i, c := range encoder.SelectList() {
		if i > 0 {
			query += ", "
		}
		query += c
	}
	result, err := db.QueryContext(ctx, query+" FROM "+mysql.QuoteTable(name))
	fatal(err)
	defer result.Close()
	rows := map[string]string{}
	values, into := make([]sql.RawBytes, len(t.Columns)), make([]any, len(t.Columns))
	for i := range values {
		into[i] = &values[i]
	}
	text := make([][]byte, len(values))
	for result.Next() {
		fatal(result.Scan(into...))
		for i, v := range values {
			text[i] = v
		}
		row := avro.Row{Text: text}
		key, err := encoder.AppendKey(registry.AppendFrame(nil, keyID), row)
		fatal(err)
		body, err := encoder.AppendValue(nil, &avro.Event{Op: change.Read, After: row})
		fatal(err)
		var e avro.Decoded
		fatal(decoder.Decode(body, &e))
		rows[string(key)] = string(content(e.After))
	}
	fatal(result.Err())
	return rows
}
