package system

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/mysql"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/test/history/feed"
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
	decoder, err := feed.NewDecoder(b.registry)
	if err != nil {
		b.t.Fatal(err)
	}
	topic := feed.Topic{Brokers: []string{b.broker}, Registry: b.registry, Prefix: "shop", Table: change.TableName{DB: "shop", Name: table}}
	h := &history{ops: map[change.Op]int{}, reads: map[string]int{}, events: map[string]string{}, newest: map[string][]byte{}}
	versions := map[int32]change.Version{}
	err = feed.Records(ctx, topic, func(r *kgo.Record) error {
		v, ok := kafka.RecordVersion(r)
		if last := versions[r.Partition]; !ok || v < last || v == last && r.Value != nil {
			b.t.Errorf("versions do not grow: %s/%d offset %d has %d after %d", r.Topic, r.Partition, r.Offset, v, last)
		}
		versions[r.Partition] = v
		for _, header := range r.Headers {
			if header.Value == nil {
				b.t.Errorf("%s/%d offset %d: the header %s has no value, which ends sinks in Kafka Connect", r.Topic, r.Partition, r.Offset, header.Key)
			}
		}
		h.records++
		if r.Value == nil {
			delete(h.newest, string(r.Key))
			return nil
		}
		form, e, err := decoder.Value(ctx, r)
		if err != nil {
			return err
		}
		if e.Op == change.Delete && e.Before == nil {
			b.t.Errorf("%s/%d offset %d: a delete without an image, which ends Debezium's JDBC sink", r.Topic, r.Partition, r.Offset)
		}
		if each != nil {
			each(form, e)
		}
		h.take(string(r.Key), e)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return h
}

func (h *history) take(key string, e *avro.Decoded) {
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
