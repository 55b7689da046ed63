package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-cdc/sluice/testbed"
)

// Peer is a program of others, running.
type Peer interface {
	// Name is what a table calls it, with its version.
	Name() string
	// Pids are its processes by what they are, "source" or "sink"; those of the servers are not among them.
	Pids() map[string]int
	// Failed says why it does not go on, nil while it does.
	Failed(ctx context.Context) error
	// Log is the file that its output goes to. Stop removes it.
	Log() string
	// Stop ends it. It may be called more than once.
	Stop() error
}

// Position is a place in a server's binlog.
type Position struct {
	File   string
	Offset uint64
	// GTIDs are the transactions before it, in MySQL's words.
	GTIDs string
}

// Now is the end of the server's binlog: where a peer must begin to read what is written from now on.
func Now(ctx context.Context, m *testbed.MySQL) (Position, error) {
	db, err := m.Open("app", "")
	if err != nil {
		return Position{}, err
	}
	defer db.Close()
	var p Position
	var do, ignore string
	if err := db.QueryRowContext(ctx, "SHOW BINARY LOG STATUS").Scan(&p.File, &p.Offset, &do, &ignore, &p.GTIDs); err != nil {
		return Position{}, fmt.Errorf("ask %s for the end of its binlog: %w; the peers are measured on MySQL 9", m.Address(), err)
	}
	p.GTIDs = strings.ReplaceAll(p.GTIDs, "\n", "")
	return p, nil
}

// SourceOptions say what a source reads and where it writes to.
type SourceOptions struct {
	MySQL *testbed.MySQL
	Kafka *testbed.Kafka
	// Registry has the schemas of keys and values, which are Avro. Nil: they are JSON. Maxwell knows only JSON.
	Registry *testbed.Registry
	// Database and Table are what is read.
	Database, Table string
	// From is where it begins to read the binlog, to the end that never comes. Nil: it reads the rows that are there (Debezium's snapshot)
	// and no more.
	From *Position
	// Prefix begins the topic's name and tells one run of a peer from the next. See Topic.
	Prefix string
	// Partitions are those of the topic, which is made unless it is there.
	Partitions int
	// HeapMB bounds the Java heap, in megabytes; default 1024.
	HeapMB int
	// Properties win over this package's.
	Properties map[string]string
	// Dir is the folder in which the instance's folder is made; default the system's temp folder.
	Dir      string
	Progress testbed.Log
}

// Topic is the topic that the source writes to: prefix.database.table.
func (o *SourceOptions) Topic() string { return o.Prefix + "." + o.Database + "." + o.Table }

// heapDefault is in megabytes: half of what Kafka's own connect-distributed.sh gives (-Xmx2G).
const heapDefault = 1024

func (o *SourceOptions) complete() error {
	switch {
	case o.MySQL == nil || o.Kafka == nil:
		return errors.New("a source needs a MySQL and a Kafka: set both")
	case o.Database == "" || o.Table == "":
		return errors.New("a source needs a database and a table: set both")
	case o.Prefix == "" || strings.ContainsAny(o.Prefix, "%{} "):
		return fmt.Errorf("prefix %q: want the beginning of a topic's name", o.Prefix)
	case o.Partitions < 1:
		return fmt.Errorf("partitions: %d; want 1 or more", o.Partitions)
	}
	if o.HeapMB == 0 {
		o.HeapMB = heapDefault
	}
	return nil
}

// makeTopic makes the source's topic unless it is there.
func (o *SourceOptions) makeTopic(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(o.Kafka.Address()))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, int32(o.Partitions), 1, nil, o.Topic())
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("make the topic %s: %w", o.Topic(), err)
	}
	return nil
}
