// Package localbroker is a Kafka broker inside this process, for the demo and
// for tests: the in-memory twin of the real one that testbed.StartKafka runs.
//
// It is franz-go's kfake: topics, transactions with fencing, classic and
// KIP-848 consumer groups, compaction, and persistence in a folder. It does not
// replicate and has one node, so it is never advised for production. Topics are
// made only by CreateTopics, as on a well-kept cluster.
//
// Start starts the broker's goroutines, Close ends them.
package localbroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-cdc/sluice/testbed"
)

const (
	// defaultPartitions is what a topic gets that is made without a number.
	defaultPartitions = 3
	// heartbeatMillis makes KIP-848 members hear of a new assignment soon: a
	// heartbeat carries it, and Kafka's own five seconds are long on loopback.
	heartbeatMillis = 500
)

// Options say where the broker listens and what it keeps.
type Options struct {
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// DataDir keeps topics, groups and transactions over restarts; made when
	// it is not there. Empty: all is in memory and gone at Close.
	DataDir string
	// SyncWrites makes each produce wait for the disk. Without it, what was
	// acknowledged survives a kill of the process but not of the machine.
	SyncWrites bool
	// Partitions is the number for topics made without one; default 3.
	Partitions int
	// Config sets broker configs, such as message.max.bytes,
	// transaction.max.timeout.ms or group.consumer.session.timeout.ms.
	Config map[string]string
	// Log receives the broker's warnings.
	Log testbed.Log
}

// Broker is a running broker.
type Broker struct {
	// Port is the TCP port on 127.0.0.1.
	Port int

	cluster *kfake.Cluster
	// lock keeps a second broker off DataDir; nil without one.
	lock *os.File
	// ownPort is set when the port is to be given back at Close.
	ownPort bool
	close   sync.Once
}

// Start starts a broker. Its end is Close, not the end of the context, which
// bounds only the start.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := &Broker{Port: o.Port}
	if b.Port == 0 {
		b.Port, b.ownPort = testbed.FreePort(), true
	}
	if err := b.start(o); err != nil {
		b.release()
		return nil, fmt.Errorf("start the local broker on 127.0.0.1:%d: %w", b.Port, err)
	}
	return b, nil
}

func (b *Broker) start(o Options) error {
	config := map[string]string{"group.consumer.heartbeat.interval.ms": strconv.Itoa(heartbeatMillis)}
	maps.Copy(config, o.Config)
	partitions := o.Partitions
	if partitions == 0 {
		partitions = defaultPartitions
	}
	options := []kfake.Opt{
		kfake.Ports(b.Port),
		kfake.ClusterID("sluice-local"),
		kfake.DefaultNumPartitions(partitions),
		kfake.BrokerConfigs(config),
		kfake.WithLogger(warnings{o.Log}),
	}
	if o.DataDir != "" {
		if err := b.lockDataDir(o.DataDir); err != nil {
			return err
		}
		options = append(options, kfake.DataDir(filepath.Join(o.DataDir, "log")))
	}
	if o.SyncWrites {
		options = append(options, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return err
	}
	b.cluster = cluster
	return nil
}

// lockDataDir takes the folder for this broker alone: kfake itself would let
// two brokers write over each other.
func (b *Broker) lockDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make its data folder: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("open the lock of its data folder: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("another broker runs on %s; stop it or name another folder", dir)
		}
		return fmt.Errorf("lock its data folder: %w", err)
	}
	b.lock = file
	return nil
}

func (b *Broker) release() {
	if b.lock != nil {
		b.lock.Close()
	}
	if b.ownPort {
		testbed.ReleasePort(b.Port)
	}
}

// Address is host:port, the seed for a client.
func (b *Broker) Address() string { return fmt.Sprintf("127.0.0.1:%d", b.Port) }

// Cluster is the kfake cluster itself, for tests that ask for its own faults:
// an EndTxn that times out after it took effect, a coordinator that moves.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close ends the broker, with DataDir after all is on disk. It may be called
// more than once.
func (b *Broker) Close() {
	b.close.Do(func() {
		b.cluster.Close()
		b.release()
	})
}

// warnings passes on what the broker complains about, and not each request.
type warnings struct{ log testbed.Log }

func (w warnings) Logf(level kfake.LogLevel, format string, args ...any) {
	if w.log != nil && level <= kfake.LogLevelWarn {
		w.log("local broker: "+format, args...)
	}
}
