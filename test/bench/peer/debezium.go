package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/sluice-cdc/sluice/testbed"
)

// connectProducer is how Connect's producer writes; a connector hands these on with the prefix producer.override.
var connectProducer = map[string]string{
	// Sluice's default. Connect's is none.
	"compression.type": "snappy",
	// Kafka's documentation of batch.size (16384) and linger.ms (5): larger batches for throughput, at the price of memory; a batch that is
	// full does not wait. A backlog fills 256 kB at once.
	"batch.size": "262144",
	"linger.ms":  "5",
	// 32 MB is the default, 128 batches of that size.
	"buffer.memory": "67108864",
}

// debezium is the connector's configuration without what names things.
var debezium = map[string]string{
	"connector.class": "io.debezium.connector.mysql.MySqlConnector",
	"tasks.max":       "1", // "the MySQL connector always uses a single task"
	// Four times the defaults (2048 and 8192), of which Debezium's page says only that the queue must be larger than a batch. Larger batches
	// take fewer turns through Connect.
	"max.batch.size": "8192",
	"max.queue.size": "32768",
	// How long the connector waits for more before it hands on a batch that is not full; 500 by default. A backlog never waits.
	"poll.interval.ms": "50",
	// The schema is taken from the server at each start (snapshot.mode recovery), so its history may die with the process.
	"schema.history.internal":                                "io.debezium.relational.history.MemorySchemaHistory",
	"schema.history.internal.store.only.captured.tables.ddl": "true",
	// No topic of DDL, and no lock of all tables for a schema that nobody changes meanwhile.
	"include.schema.changes": "false",
	"snapshot.locking.mode":  "none",
	// The default (preferred) would encrypt.
	"database.ssl.mode":              "disabled",
	"driver.allowPublicKeyRetrieval": "true",
}

// registering lets the Avro converter register schemas, as Debezium's page on Avro has it: on its own it takes only known ones. It would write
// a schema's id into a header; before the value is where Confluent's readers and Sluice's look for it.
var registering = map[string]string{
	"key.converter.apicurio.registry.headers.enabled":   "false",
	"key.converter.apicurio.registry.auto-register":     "true",
	"key.converter.apicurio.registry.find-latest":       "true",
	"value.converter.apicurio.registry.headers.enabled": "false",
	"value.converter.apicurio.registry.auto-register":   "true",
	"value.converter.apicurio.registry.find-latest":     "true",
}

// Debezium is Debezium's MySQL source, in a Kafka Connect worker of its own.
type Debezium struct {
	name    string
	connect *testbed.Connect
}

// StartDebezium starts it. It reads the table as it is when it starts (for all of the binlog from SourceOptions.From on).
func StartDebezium(ctx context.Context, o SourceOptions) (*Debezium, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("start Debezium: %w", err)
	}
	if err := o.makeTopic(ctx); err != nil {
		return nil, err
	}
	encoding, worker := "JSON", map[string]string(nil)
	if o.Registry != nil {
		encoding, worker = "Avro", registering
	}
	connect, err := testbed.StartConnect(ctx, testbed.ConnectOptions{Kafka: o.Kafka.Address(), Registry: o.Registry, DebeziumMySQL: true,
		Properties: worker, HeapMB: o.HeapMB, Measured: true, Dir: o.Dir, Log: o.Progress})
	if err != nil {
		return nil, err
	}
	d := &Debezium{name: "Debezium " + connect.DebeziumMySQL + ", " + encoding, connect: connect}
	config := o.debezium(connect.Port)
	if o.From == nil {
		err = connect.Put(ctx, debeziumName, config)
	} else {
		err = connect.PutAt(ctx, debeziumName, config, map[string]any{"server": o.Prefix}, o.From.debezium())
	}
	if err != nil {
		return nil, errors.Join(err, d.Stop())
	}
	return d, nil
}

// debeziumName is the connector's name in its worker.
const debeziumName = "source"

func (o *SourceOptions) debezium(serverID int) map[string]string {
	config := maps.Clone(debezium)
	for name, value := range connectProducer {
		config["producer.override."+name] = value
	}
	maps.Copy(config, map[string]string{
		"topic.prefix":          o.Prefix,
		"database.hostname":     "127.0.0.1",
		"database.port":         fmt.Sprint(o.MySQL.Port),
		"database.user":         "app",
		"database.password":     "app",
		"database.server.id":    fmt.Sprint(serverID),
		"database.include.list": o.Database,
		"table.include.list":    o.Database + "." + o.Table,
		"snapshot.mode":         "recovery",
	})
	if o.From == nil {
		config["snapshot.mode"] = "initial_only"
	}
	maps.Copy(config, o.Properties)
	return config
}

// debezium is the position in the words of Debezium's offsets.
func (p Position) debezium() map[string]any {
	return map[string]any{"file": p.File, "pos": p.Offset, "gtids": p.GTIDs}
}

// Name says version and encoding.
func (d *Debezium) Name() string { return d.name }

// Pids has the worker as "source".
func (d *Debezium) Pids() map[string]int { return map[string]int{"source": d.connect.Pid()} }

// Failed says why connector or task has ended.
func (d *Debezium) Failed(ctx context.Context) error { return failed(ctx, d.connect, debeziumName) }

// Log is the worker's.
func (d *Debezium) Log() string { return d.connect.ErrorLog() }

// Stop ends the worker.
func (d *Debezium) Stop() error { return d.connect.Stop() }

func failed(ctx context.Context, connect *testbed.Connect, name string) error {
	if !connect.Running() {
		return fmt.Errorf("the worker of the connector %s has ended; its log is %s", name, connect.ErrorLog())
	}
	return connect.Failed(ctx, name)
}
