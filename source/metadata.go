package source

import (
	"context"
	"encoding/binary"
	"sort"

	"github.com/sluice-cdc/sluice/change"
	"github.com/sluice-cdc/sluice/kafka"
	"github.com/sluice-cdc/sluice/schema/avro"
	"github.com/sluice-cdc/sluice/schema/registry"
	"github.com/sluice-cdc/sluice/source/publish"
)

// Transaction metadata as Debezium's (provide.transaction.metadata): each change event says which transaction it belongs to
// and its place in it, and the topic <name>.transaction has a BEGIN and an END of each transaction that changed a captured
// table.

// The schemas of the transaction topic, with Debezium's names.
const (
	transactionKeySchema   = `{"type":"record","name":"TransactionMetadataKey","namespace":"io.debezium.connector.common","fields":[{"name":"id","type":"string"}],"connect.name":"io.debezium.connector.common.TransactionMetadataKey"}`
	transactionValueSchema = `{"type":"record","name":"TransactionMetadataValue","namespace":"io.debezium.connector.common","fields":[` +
		`{"name":"status","type":"string"},{"name":"id","type":"string"},{"name":"event_count","type":["null","long"],"default":null},` +
		`{"name":"data_collections","type":["null",{"type":"array","items":{"type":"record","name":"ConnectDefault","namespace":"io.confluent.connect.avro","fields":[` +
		`{"name":"data_collection","type":"string"},{"name":"event_count","type":"long"}]}}],"default":null},` +
		`{"name":"ts_ms","type":"long"}],"connect.name":"io.debezium.connector.common.TransactionMetadataValue"}`
)

// boundaries publishes the transaction topic.
type boundaries struct {
	topic          string
	keyID, valueID int
}

// openMetadata makes the transaction topic and registers its schemas, where metadata is asked for.
func (x *session) openMetadata(ctx context.Context) (err error) {
	if !x.cfg.TransactionMetadata {
		return nil
	}
	b := &boundaries{topic: kafka.TransactionTopic(x.cfg.Name)}
	settings := x.cfg.Kafka.SignalSettings() // kept by time: a boundary has no newest record
	settings.Partitions = 1
	if _, err = kafka.EnsureTopic(ctx, x.admin, b.topic, settings); err != nil {
		return err
	}
	if b.keyID, err = x.registry.Register(ctx, b.topic+"-key", transactionKeySchema); err != nil {
		return err
	}
	b.valueID, err = x.registry.Register(ctx, b.topic+"-value", transactionValueSchema)
	x.loop.boundaries = b
	return err
}

// transactionID is Debezium's: the GTID, or the place where the transaction begins.
func (x *transaction) id() string {
	if g := x.gtid.String(); g != "" {
		return g
	}
	return "file=" + x.start.File + ",pos=" + x.start.String()[len(x.start.File)+1:]
}

// metadata returns the transaction block of the next change event of the table, nil when it was not asked for.
func (l *loop) metadata(t *table) *avro.Transaction {
	if l.boundaries == nil || !l.txn.open {
		return nil
	}
	x := &l.txn
	if x.orders == nil {
		x.orders = make(map[change.TableName]int64)
	}
	x.order++
	x.orders[t.name]++
	t.xblock = avro.Transaction{ID: x.id(), TotalOrder: x.order, DataCollectionOrder: x.orders[t.name]}
	return &t.xblock
}

// beginMetadata publishes the BEGIN before the transaction's first change event.
func (l *loop) beginMetadata() error {
	if l.boundaries == nil || l.txn.begun || !l.txn.open {
		return nil
	}
	l.txn.begun = true
	return l.boundary("BEGIN")
}

// endMetadata publishes the END of a transaction that had a BEGIN.
func (l *loop) endMetadata() error {
	if l.boundaries == nil || !l.txn.begun {
		return nil
	}
	return l.boundary("END")
}

func (l *loop) boundary(status string) error {
	b, x := l.boundaries, &l.txn
	key := appendAvroString(registry.AppendFrame(nil, b.keyID), x.id())
	value := registry.AppendFrame(nil, b.valueID)
	value = appendAvroString(appendAvroString(value, status), x.id())
	if status == "BEGIN" {
		value = append(value, 0, 0) // no counts yet: two null branches
	} else {
		value = binary.AppendVarint(append(value, 2), x.order)
		value = appendCounts(append(value, 2), x.orders)
	}
	value = binary.AppendVarint(value, x.commitMicros/1000)
	return l.pub.Add(publish.Record{Topic: b.topic, Key: key, Value: value, Version: l.version})
}

func appendCounts(dst []byte, counts map[change.TableName]int64) []byte {
	names := make([]change.TableName, 0, len(counts))
	for n := range counts {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool { return names[i].String() < names[j].String() })
	if len(names) > 0 {
		dst = binary.AppendVarint(dst, int64(len(names)))
	}
	for _, n := range names {
		dst = binary.AppendVarint(appendAvroString(dst, n.String()), counts[n])
	}
	return append(dst, 0) // the array's end
}

func appendAvroString(dst []byte, s string) []byte {
	return append(binary.AppendVarint(dst, int64(len(s))), s...)
}
