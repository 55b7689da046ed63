package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/sluice-cdc/sluice/testbed"
)

// sink is the configuration of Debezium's JDBC sink without what names things.
var sink = map[string]string{
	"connector.class":  "io.debezium.connector.jdbc.JdbcSinkConnector",
	"insert.mode":      "upsert",
	"delete.enabled":   "true",
	"primary.key.mode": "record_key",
	"schema.evolution": "none",
	// 500 is its default, and also that of max.poll.records, above which no batch comes, as its page says: both are 2000 here, which is four
	// times what a batch of Sluice's MySQL sink has in a statement.
	"batch.size":                         "2000",
	"consumer.override.max.poll.records": "2000",
	// One write for several changes of a row in a batch, as Sluice does. False by default; its page: "to reduce the SQL load".
	"use.reduction.buffer":                "true",
	"consumer.override.auto.offset.reset": "earliest",
	"consumer.override.isolation.level":   "read_committed",
	// Connect's default takes the headers of Sluice's records for text: see docs/comparison.md.
	"header.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
	"errors.tolerance": "none",
	"transforms":       "table",
	// prefix.database.table is the table.
	"transforms.table.type":        "org.apache.kafka.connect.transforms.RegexRouter",
	"transforms.table.regex":       `.*\.([^.]*)`,
	"transforms.table.replacement": "$1",
}

// SinkOptions say what the sink reads and where it writes to.
type SinkOptions struct {
	Kafka    *testbed.Kafka
	Registry *testbed.Registry
	// Topic has Debezium's envelopes in Avro: its own source's, or Sluice's.
	Topic string
	// Target is the MySQL with the table, in this database, under the last part of the topic's name. The table must be there.
	Target   *testbed.MySQL
	Database string
	// Tasks are how many read and write side by side, at most as many as the topic has partitions.
	Tasks int
	// HeapMB bounds the Java heap, in megabytes; default 1024.
	HeapMB int
	// Properties win over this package's.
	Properties map[string]string
	// Dir is the folder in which the instance's folder is made; default the system's temp folder.
	Dir      string
	Progress testbed.Log
}

// JDBCSink is Debezium's JDBC sink, in a Kafka Connect worker of its own.
type JDBCSink struct{ connect *testbed.Connect }

// sinkName is the connector's name in its worker.
const sinkName = "sink"

// StartJDBCSink starts it. It reads the topic from its beginning.
func StartJDBCSink(ctx context.Context, o SinkOptions) (*JDBCSink, error) {
	switch {
	case o.Kafka == nil || o.Registry == nil || o.Target == nil:
		return nil, errors.New("start the JDBC sink: it needs a Kafka, a registry and a target: set all three")
	case o.Topic == "" || o.Database == "":
		return nil, errors.New("start the JDBC sink: it needs a topic and a database: set both")
	case o.Tasks < 1:
		return nil, fmt.Errorf("start the JDBC sink: tasks: %d; want 1 or more", o.Tasks)
	}
	if o.HeapMB == 0 {
		o.HeapMB = heapDefault
	}
	connect, err := testbed.StartConnect(ctx, testbed.ConnectOptions{Kafka: o.Kafka.Address(), Registry: o.Registry,
		HeapMB: o.HeapMB, Measured: true, Dir: o.Dir, Log: o.Progress})
	if err != nil {
		return nil, err
	}
	s := &JDBCSink{connect}
	if err := connect.Put(ctx, sinkName, o.config(connect.Port)); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (o *SinkOptions) config(instance int) map[string]string {
	config := maps.Clone(sink)
	maps.Copy(config, map[string]string{
		"topics":                     o.Topic,
		"tasks.max":                  fmt.Sprint(o.Tasks),
		"consumer.override.group.id": fmt.Sprintf("%s-%s-%d", sinkName, o.Topic, instance), // a group that ran before has read it all
		"connection.username":        "app",
		"connection.password":        "app",
		// rewriteBatchedStatements: the driver's own documentation has it make one statement of many rows out of a batch; without it each row
		// is a round trip. No encryption, as everywhere here.
		"connection.url": "jdbc:mysql://" + o.Target.Address() + "/" + o.Database + "?rewriteBatchedStatements=true&sslMode=DISABLED&allowPublicKeyRetrieval=true",
	})
	maps.Copy(config, o.Properties)
	return config
}

// Name says the version.
func (s *JDBCSink) Name() string { return "Debezium JDBC sink " + s.connect.JDBCSink }

// Pids has the worker as "sink".
func (s *JDBCSink) Pids() map[string]int { return map[string]int{"sink": s.connect.Pid()} }

// Failed says why connector or task has ended.
func (s *JDBCSink) Failed(ctx context.Context) error { return failed(ctx, s.connect, sinkName) }

// Log is the worker's.
func (s *JDBCSink) Log() string { return s.connect.ErrorLog() }

// Stop ends the worker.
func (s *JDBCSink) Stop() error { return s.connect.Stop() }
