package peer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/sluice-cdc/sluice/testbed"
)

// maxwell is its config.properties without what names things.
var maxwell = map[string]string{
	// The same as Debezium's producer: see connectProducer.
	"kafka.compression.type": "snappy",
	"kafka.batch.size":       "262144",
	"kafka.linger.ms":        "5",
	"kafka.buffer.memory":    "67108864",
	// Its page on producers, "At-least-once properties": without them a row that Kafka did not take is lost. On one broker they cost nothing
	// ("Performant properties" there are acks=1 and retries=0).
	"kafka.acks":    "all",
	"kafka.retries": "5",
	// Rows of one key are in one partition; by database, the default, all would be in the same one. Java's own hash of the keys' text,
	// the default, would do as well.
	"producer_partition_by": "primary_key",
	"kafka_partition_hash":  "murmur3",
	// Nobody asks for rows that were there before.
	"bootstrapper": "none",
}

// Maxwell is a Maxwell, see the package comment for what it is made of.
type Maxwell struct{ server *testbed.Maxwell }

// StartMaxwell starts it. It reads only the binlog.
func StartMaxwell(ctx context.Context, o SourceOptions) (*Maxwell, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("start Maxwell: %w", err)
	}
	switch {
	case o.From == nil:
		return nil, errors.New("start Maxwell: it has no snapshot that could be measured (its bootstrap is asked for row by row of a table): set From")
	case o.Registry != nil:
		return nil, errors.New("start Maxwell: it writes JSON: set no Registry")
	}
	if err := o.makeTopic(ctx); err != nil {
		return nil, err
	}
	properties := maps.Clone(maxwell)
	properties["kafka_topic"] = o.Topic()
	properties["filter"] = fmt.Sprintf("exclude: *.*, include: %s.%s", o.Database, o.Table)
	maps.Copy(properties, o.Properties)
	server, err := testbed.StartMaxwell(ctx, testbed.MaxwellOptions{MySQL: o.MySQL, Kafka: o.Kafka.Address(), File: o.From.File, Position: o.From.Offset,
		Properties: properties, HeapMB: o.HeapMB, Measured: true, Dir: o.Dir, Log: o.Progress})
	if err != nil {
		return nil, err
	}
	return &Maxwell{server}, nil
}

// Name says which libraries were put into it.
func (m *Maxwell) Name() string { return "Maxwell " + m.server.Version }

// Pids has it as "source".
func (m *Maxwell) Pids() map[string]int { return map[string]int{"source": m.server.Pid()} }

// Failed says that it has ended, or that a thread of it has, which its log alone tells.
func (m *Maxwell) Failed(context.Context) error {
	if !m.server.Running() {
		return fmt.Errorf("Maxwell has ended; its log is %s", m.server.ErrorLog())
	}
	content, err := os.ReadFile(m.server.ErrorLog())
	if err != nil {
		return err
	}
	if _, why, dead := strings.Cut(string(content), "Exception in thread "); dead {
		return fmt.Errorf("a thread of Maxwell has ended: %.500s", why)
	}
	return nil
}

// Log is its output.
func (m *Maxwell) Log() string { return m.server.ErrorLog() }

// Stop ends it.
func (m *Maxwell) Stop() error { return m.server.Stop() }
