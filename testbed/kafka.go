package testbed

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	kafkaVersion = "4.3.1"                        // 4.4.0 is on Maven Central only in part
	kafkaCache   = "kafka-" + kafkaVersion + "-2" // the number is that of the cached form
	// kafkaHeapDefault is enough for tests; a broker under load wants more.
	kafkaHeapDefault = 512
	controllerHeap   = 128
	// kafkaFence is how long after its last sign of life a broker is fenced at
	// the latest: the session, and the quarter of it at which the controller
	// looks again, and some.
	kafkaFence = 4 * time.Second
	// askTimeout bounds one question for readiness.
	askTimeout = 2 * time.Second
)

var kafkaJars = mavenProject{
	artifacts: []string{
		"org.apache.kafka:kafka_2.13:" + kafkaVersion,
		"org.apache.kafka:kafka-tools:" + kafkaVersion,
		"org.apache.logging.log4j:log4j-slf4j-impl:2.25.1",
		"org.apache.logging.log4j:log4j-core:2.25.1",
	},
	transitive: true,
}

// log4jToConsole sends warnings to the output, which is the server's log file.
const log4jToConsole = `status = error
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c - %m%n
`

// kafkaCommon is what both nodes are told.
var kafkaCommon = map[string]string{
	"controller.listener.names":      "CONTROLLER",
	"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
	// A killed broker's registration lives on for the session's length. Shorter
	// ones would fence a broker that is only starved on a busy machine.
	"broker.session.timeout.ms":    "3000",
	"broker.heartbeat.interval.ms": "500",
}

// kafkaController is the node that keeps the cluster's metadata. It is a process
// of its own because a killed combined node loses transaction markers when it
// comes back (4.3.1): its own controller still takes it for the partitions'
// leader, the coordinator sends markers that were pending, and when the fence
// comes in the middle it takes the partitions for deleted ("likely deleted
// already and hence can be skipped") and the transaction for complete. Readers
// of committed records then wait for ever. With a controller that outlives the
// broker, and Start waiting for the fence, the coordinator is elected once.
var kafkaController = map[string]string{
	"process.roles": "controller",
	"node.id":       "100",
}

// kafkaBroker is what a single small broker needs to be told: Kafka's own
// defaults are for three and more.
var kafkaBroker = map[string]string{
	"process.roles":                                    "broker",
	"node.id":                                          "1",
	"auto.create.topics.enable":                        "false",
	"num.partitions":                                   "3",
	"offsets.topic.replication.factor":                 "1",
	"offsets.topic.num.partitions":                     "4",
	"transaction.state.log.replication.factor":         "1",
	"transaction.state.log.min.isr":                    "1",
	"transaction.state.log.num.partitions":             "4",
	"share.coordinator.state.topic.replication.factor": "1",
	"share.coordinator.state.topic.min.isr":            "1",
	"share.coordinator.state.topic.num.partitions":     "4",
	"group.initial.rebalance.delay.ms":                 "0",
	"log.cleaner.dedupe.buffer.size":                   "16777216",
}

// KafkaOptions say how to start a broker.
type KafkaOptions struct {
	// HeapMB bounds the Java heap, in megabytes; default 512.
	HeapMB int
	// Properties are added to server.properties and win over this package's.
	Properties map[string]string
	// Advertised is the host:port that clients are told, of a proxy say. Empty:
	// the broker's own, which it goes on using itself.
	Advertised string
	// Host is where broker and controller run and the broker listens; nil is
	// this machine, on 127.0.0.1.
	Host *Host
	// Dir is the folder in which the broker's folder is made, with its logs;
	// default the system's temp folder, where the controller's always is.
	Dir string
	// Measured gives it both of Java's compilers: it costs seconds of processor
	// time at first and is as fast as in production after a while.
	Measured bool
	Log      Log
}

// Kafka is a running Apache Kafka: one broker and, beside it, one controller
// that lives until Stop. Topics are made only by CreateTopics.
type Kafka struct {
	*server

	// Version is Apache Kafka's.
	Version string
	// ClusterID is this instance's own.
	ClusterID string
	// DataDir is where the broker's logs are.
	DataDir string

	controller *server
	// fencedAt is when the controller has certainly fenced a killed broker.
	fencedAt time.Time
}

// StartKafka fetches Kafka when it is not in the cache, starts it and waits
// until it answers. The caller must Stop it.
func StartKafka(ctx context.Context, o KafkaOptions) (*Kafka, error) {
	home, err := kafkaInstall(ctx, o.Log)
	if err != nil {
		unmet("kafka", err)
		return nil, err
	}
	base, err := newServer("kafka", o.Dir, "kafka.log")
	if err != nil {
		return nil, err
	}
	base.host = o.Host
	// Not in o.Dir, which may be a Disk: the controller stands for the rest of
	// the cluster, to which nothing happens when the broker's disk is full.
	controller, err := newServer("controller", "", "controller.log")
	if err != nil {
		return nil, joinStop(err, base)
	}
	controller.host = o.Host
	k := &Kafka{
		server: base, controller: controller,
		Version: kafkaVersion, ClusterID: newClusterID(), DataDir: filepath.Join(base.dir, "data"),
	}
	if err := k.prepare(home, o); err != nil {
		return nil, joinStop(fmt.Errorf("prepare Kafka: %w", err), k)
	}
	if err := k.startBoth(ctx); err != nil {
		return nil, joinStop(err, k)
	}
	o.Log.printf("Kafka %s ready on %s, pid %d", k.Version, k.Address(), k.Pid())
	met("kafka", kafkaVersion)
	return k, nil
}

// startBoth lets the two Java machines start side by side.
func (k *Kafka) startBoth(ctx context.Context) error {
	controller := make(chan error, 1)
	go func() { controller <- k.controller.Start(ctx) }()
	return errors.Join(k.server.Start(ctx), <-controller)
}

// Start starts the broker again on the same port and data, after Kill or
// Shutdown. After Kill it first waits until the controller has fenced it.
func (k *Kafka) Start(ctx context.Context) error {
	if err := sleep(ctx, time.Until(k.fencedAt)); err != nil {
		return fmt.Errorf("wait for the fence of the killed broker: %w", err)
	}
	return k.server.Start(ctx)
}

// Kill ends the broker with SIGKILL, as a crash would, and waits for its end.
func (k *Kafka) Kill() error {
	err := k.server.Kill()
	k.fencedAt = time.Now().Add(kafkaFence)
	return err
}

// Pause stops broker and controller (SIGSTOP), as when their machine hangs.
func (k *Kafka) Pause() error { return errors.Join(k.controller.Pause(), k.server.Pause()) }

// Resume lets them go on.
func (k *Kafka) Resume() error { return errors.Join(k.server.Resume(), k.controller.Resume()) }

// Stop ends broker and controller in order and removes their data. It may be
// called more than once.
func (k *Kafka) Stop() error {
	// The broker hands over to the controller, so the controller goes last.
	return errors.Join(k.server.Stop(), k.controller.Stop())
}

// kafkaInstall brings lib/*.jar and formatted, empty data folders.
func kafkaInstall(ctx context.Context, log Log) (string, error) {
	return cached(ctx, kafkaCache, log, func(ctx context.Context, dir string) error {
		log.printf("maven: Apache Kafka %s (92 jars, about 54 MB)", kafkaVersion)
		if err := mavenCopy(ctx, filepath.Join(dir, "lib"), kafkaJars); err != nil {
			return fmt.Errorf("fetch Apache Kafka: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "log4j2.properties"), []byte(log4jToConsole), 0o644); err != nil {
			return err
		}
		log.printf("formatting the template data folders of Kafka %s", kafkaVersion)
		return errors.Join(
			kafkaFormat(ctx, dir, "broker", kafkaBroker),
			kafkaFormat(ctx, dir, "controller", kafkaController))
	})
}

// kafkaFormat makes a template: a formatting in its own Java machine for each
// instance would cost more than the node's start.
func kafkaFormat(ctx context.Context, home, role string, properties map[string]string) error {
	path := filepath.Join(home, "format.properties")
	content := kafkaProperties(properties, filepath.Join(home, role), 2)
	content["listeners"] = kafkaListener(role, "127.0.0.1", 1)
	if err := writeProperties(path, content); err != nil {
		return err
	}
	defer os.Remove(path)
	cmd, err := kafkaJava(home, javaFlags(kafkaHeapDefault), "kafka.tools.StorageTool", "format", "--cluster-id", newClusterID(), "--config", path)
	if err != nil {
		return err
	}
	if err := runQuietly(ctx, cmd, nil); err != nil {
		return fmt.Errorf("format Kafka's data folder: %w", err)
	}
	return nil
}

// kafkaProperties are a node's without its listener.
func kafkaProperties(node map[string]string, dataDir string, controllerPort int) map[string]string {
	properties := maps.Clone(kafkaCommon)
	maps.Copy(properties, node)
	properties["log.dirs"] = dataDir
	properties["controller.quorum.voters"] = fmt.Sprintf("%s@127.0.0.1:%d", kafkaController["node.id"], controllerPort)
	return properties
}

// kafkaListener is a node's; the broker reaches its controller on loopback,
// which every Host has too.
func kafkaListener(role, ip string, port int) string {
	name := "PLAINTEXT"
	if role == "controller" {
		name = "CONTROLLER"
	}
	return fmt.Sprintf("%s://%s:%d", name, ip, port)
}

func kafkaJava(home string, flags []string, args ...string) (*exec.Cmd, error) {
	java, err := javaTool("java")
	if err != nil {
		return nil, err
	}
	flags = append(flags, "-Dlog4j2.configurationFile="+filepath.Join(home, "log4j2.properties"), "-cp", filepath.Join(home, "lib", "*"))
	return exec.Command(java, append(flags, args...)...), nil
}

// newClusterID is a random id in Kafka's form: a UUID in base64.
func newClusterID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[0] &= 0x7f           // a leading '-' would be read as a flag
	return base64.RawURLEncoding.EncodeToString(id[:])
}

var clusterIDLine = regexp.MustCompile(`(?m)^cluster\.id=.*$`)

func (k *Kafka) prepare(home string, o KafkaOptions) error {
	heap := o.HeapMB
	if heap == 0 {
		heap = kafkaHeapDefault
	}
	controller := kafkaProperties(kafkaController, filepath.Join(k.controller.dir, "data"), k.controller.Port)
	controller["listeners"] = kafkaListener("controller", "127.0.0.1", k.controller.Port)
	if err := k.prepareNode(home, "controller", k.controller, javaFlags(controllerHeap), controller); err != nil {
		return err
	}
	k.controller.ready = func(context.Context) error {
		if !listens(k.controller.child.pid, k.controller.Port) {
			return errors.New("it does not listen yet")
		}
		return nil
	}
	broker := kafkaProperties(kafkaBroker, k.DataDir, k.controller.Port)
	broker["listeners"] = kafkaListener("broker", k.ip(), k.Port)
	broker["advertised.listeners"] = broker["listeners"]
	if o.Advertised != "" {
		// Two listeners, because the coordinator reaches the partitions' leader,
		// itself, over what is advertised: it must not depend on the proxy.
		own := kafkaListener("broker", k.ip(), k.extraPort())
		broker["listeners"] += ",OWN" + strings.TrimPrefix(own, "PLAINTEXT")
		broker["advertised.listeners"] = "PLAINTEXT://" + o.Advertised + ",OWN" + strings.TrimPrefix(own, "PLAINTEXT")
		broker["listener.security.protocol.map"] += ",OWN:PLAINTEXT"
		broker["inter.broker.listener.name"] = "OWN"
	}
	maps.Copy(broker, o.Properties)
	if err := k.prepareNode(home, "broker", k.server, javaFlagsFor(heap, o.Measured), broker); err != nil {
		return err
	}
	k.ready = k.answers
	return nil
}

// prepareNode gives a node its data folder, its properties and its command.
func (k *Kafka) prepareNode(home, role string, node *server, flags []string, properties map[string]string) error {
	data := properties["log.dirs"]
	if err := copyFolder(filepath.Join(home, role), data); err != nil {
		return fmt.Errorf("copy the template: %w", err)
	}
	meta := filepath.Join(data, "meta.properties")
	content, err := os.ReadFile(meta)
	if err != nil {
		return err
	}
	if !clusterIDLine.Match(content) {
		return fmt.Errorf("%s names no cluster.id", meta)
	}
	content = clusterIDLine.ReplaceAllLiteral(content, []byte("cluster.id="+k.ClusterID))
	if err := os.WriteFile(meta, content, 0o644); err != nil {
		return err
	}
	path := filepath.Join(node.dir, "server.properties")
	if err := writeProperties(path, properties); err != nil {
		return err
	}
	if _, err := kafkaJava(home, flags); err != nil {
		return err
	}
	node.command = func() *exec.Cmd {
		cmd, _ := kafkaJava(home, slices.Clip(flags), "kafka.Kafka", path) // Java was found a moment ago
		return cmd
	}
	return nil
}

// answers asks for the cluster's id, which no other broker has.
func (k *Kafka) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Address()), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer client.Close()
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{} // none; nil would be all
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if response.ClusterID == nil || *response.ClusterID != k.ClusterID {
		return errors.New("another cluster answers on its port")
	}
	if len(response.Brokers) == 0 {
		return errors.New("the broker is not registered yet")
	}
	return nil
}

// writeProperties writes Java's format; the values hold nothing to escape but
// the backslash.
func writeProperties(path string, properties map[string]string) error {
	var content strings.Builder
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		fmt.Fprintf(&content, "%s=%s\n", name, strings.ReplaceAll(properties[name], `\`, `\\`))
	}
	return os.WriteFile(path, []byte(content.String()), 0o644)
}
